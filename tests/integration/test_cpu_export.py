"""The int8 graphs that ship, against the weights that they were made of."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatar.backends.graph import COMMAND, FOLDER
from avatar.cast.profiles import PROFILES
from avatar.render import Pipeline, render_chunks
from services.score_worker import deployment as score_deployment
from services.settings import AppConfig
from services.vae_decoder import deployment as vae_deployment
from training.meters import READERS
from training.meters.agreement import measure_agreement
from training.meters.lip_sync import read_boxes, read_spoken_clips
from training.meters.mouth_reader import load_mouth_reader

pytestmark = pytest.mark.integration

HELD_OUT = Path(__file__).parent.parent / "data" / "held_out"
FOLDER_OF_EXPORT = PROFILES["tiny"].folder / FOLDER


@cache
def ours() -> Pipeline:
    if not (FOLDER_OF_EXPORT / "dit.xml").is_file():
        pytest.skip(f"no export ships yet: {COMMAND}")
    torch.set_num_threads(1)
    return Pipeline.load(wish="openvino")


@cache
def spoken(seconds: float) -> NDArray[np.float32]:
    return read_spoken_clips(HELD_OUT, "hibari")[0].samples[: round(16_000 * seconds)]


def frames(seed: int) -> NDArray[np.uint8]:
    return np.concatenate(
        [each.frames for each in render_chunks(ours(), spoken(1.44), "mira", seed=seed)]
    )


def test_what_ships_was_exported_from_the_weights_that_ship() -> None:
    assert ours().score.backend.name == ours().decoder.backend.name == "openvino"


def test_a_sentence_looks_as_torch_makes_it() -> None:
    reader = load_mouth_reader(READERS / "mouth_reader.safetensors")
    boxes = {"mira": read_boxes()["mira"]}
    true = Pipeline.load(wish="torch")
    found = measure_agreement(ours(), true, reader, boxes, [spoken(3.84)])
    assert found.num_chunks == 8
    assert found.decoder_db >= 45
    assert found.video_db >= 40
    assert found.latents <= 0.08
    assert found.opening >= 0.99


def test_a_session_repeats_bit_for_bit_whatever_was_made_between() -> None:
    first = frames(1)
    other = frames(2)
    assert np.array_equal(frames(1), first)
    assert not np.array_equal(other, first)


@pytest.mark.parametrize("load", [score_deployment._load, vae_deployment._load])
def test_a_worker_says_at_start_which_back_end_it_uses_and_why(
    load: Callable[[AppConfig], object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load(AppConfig(backend="torch"))
    (line,) = (each for each in caplog.records if each.getMessage() == "engine_loaded")
    told = vars(line)["keys"]
    assert (told["backend"], told["reason"]) == ("torch", "it was asked for")
    assert told["stage"] in ("score_worker", "vae_decoder")
