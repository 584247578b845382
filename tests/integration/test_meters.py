"""The networks that measure, on real renders whole and damaged: what they read is true."""

from functools import cache

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from tests.fakes import renders
from tests.fakes.renders import rendered
from training.meters import READERS
from training.meters.control_reader import (
    CONTROLS,
    ControlReader,
    controls_read,
    load_control_reader,
    read_controls,
)
from training.meters.mouth_pixels import mouth_area
from training.meters.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from training.meters.movement import blinks, measure_following
from training.meters.sync import correlation, measure_sync

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@cache
def mouths() -> MouthReader:
    return load_mouth_reader(READERS / "mouth_reader.safetensors")


@cache
def moves() -> ControlReader:
    return load_control_reader(READERS / "control_reader.safetensors")


def opening(frames: renders.Video, name: str = "mira") -> renders.Curve:
    return read_mouth(mouths(), frames, rendered(name).box)[:, 0]


@pytest.mark.parametrize("name", ["mira", "otto", "ember", "pixel"])
def test_the_mouth_of_every_kind_of_character_is_read(name: str) -> None:
    real = rendered(name)
    assert measure_sync(opening(real.frames, name), real.mouth[:, 0]).correlation >= 0.97


def test_a_soft_or_noisy_picture_reads_the_same() -> None:
    real = rendered()
    for damaged in (renders.blurred(real.frames), renders.noisy(real.frames)):
        assert correlation(opening(damaged), opening(real.frames)) > 0.97


def test_a_late_or_frozen_picture_is_found() -> None:
    real = rendered()
    truth = real.mouth[:, 0]
    assert measure_sync(opening(renders.late(real.frames, 2)), truth).lag_ms == 80
    assert measure_sync(opening(renders.frozen(real.frames)), truth).correlation == 0


def test_both_methods_agree_and_both_know_another_mouth() -> None:
    real = rendered()
    area = mouth_area(real.frames, real.portrait, real.box)
    assert correlation(area, opening(real.frames)) > 0.9
    backwards = mouth_area(real.frames[::-1], real.portrait, real.box)
    assert correlation(backwards, opening(real.frames)) < 0.5


def test_the_blink_of_a_render_is_read_and_a_frozen_face_has_none() -> None:
    real = rendered()
    lids = CONTROLS.index("blink")
    assert len(blinks(read_controls(moves(), real.frames)[:, lids])) == 1
    assert blinks(read_controls(moves(), renders.frozen(real.frames))[:, lids]) == []


def test_gaze_and_lids_are_followed_by_what_is_read() -> None:
    real = rendered()
    seen = read_controls(moves(), real.frames)
    followed = measure_following([(seen, controls_read(real.controls))])
    assert followed.blink > 0.9
    gaze = CONTROLS.index("gaze_x")
    assert correlation(seen[:, gaze], real.controls[:, gaze]) > 0.8


def test_a_wobbling_iris_is_read_as_wobble() -> None:
    true = controls_read(rendered().controls)
    calm = measure_following([(read_controls(moves(), rendered().frames), true)])
    shaken = rendered(iris_wobble=0.12).frames
    nervous = measure_following([(read_controls(moves(), shaken), true)])
    assert nervous.wobble > 1.5 * calm.wobble


def test_readers_are_small() -> None:
    sizes = [path.stat().st_size for path in READERS.glob("*.safetensors")]
    assert len(sizes) == 2
    assert np.max(sizes) <= 500_000
