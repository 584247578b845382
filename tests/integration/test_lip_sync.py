"""The mouth says the words: shipped weights on held-out sentences, two voices."""

from pathlib import Path

import numpy as np
import pytest

from avatar.cast.profiles import PROFILES
from avatar.render import Pipeline
from training.meters.lip_sync import measure_lip_sync, read_boxes, read_spoken_clips
from training.meters.mouth_reader import load_mouth_reader
from training.meters.sync import frames_at_rest, measure_sync

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HELD_OUT = Path(__file__).parent.parent / "data" / "held_out"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load()


@pytest.mark.parametrize("voice", ["hibari", "piper"])
def test_the_mouth_follows_a_held_out_sentence(pipeline: Pipeline, voice: str) -> None:
    clips = read_spoken_clips(HELD_OUT, voice)
    assert len(clips) == 6
    reader = load_mouth_reader(PROFILES["tiny"].folder / "mouth_reader.safetensors")
    sync = measure_lip_sync(pipeline, reader, read_boxes(), clips)
    assert sync.correlation >= 0.6
    assert abs(sync.lag_ms) <= 80
    assert sync.shuffled <= 0.2
    assert sync.rest_share <= 0.15


def test_the_meter_finds_a_known_lag() -> None:
    truth = np.random.default_rng(0).normal(size=200).astype(np.float32)
    late = np.concatenate([np.zeros(3, np.float32), truth])
    found = measure_sync(late, truth)
    assert found.lag_ms == 120
    assert found.correlation > 0.99


def test_the_meter_sees_no_sync_between_strangers() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2000)).astype(np.float32)
    assert abs(measure_sync(a, b).correlation) < 0.1


def test_rest_keeps_its_distance_from_speech() -> None:
    speaking = np.zeros(40, np.bool_)
    speaking[20] = True
    assert list(np.flatnonzero(~frames_at_rest(speaking))) == list(range(12, 29))
