"""Profiles as data: what is written is read, and what cannot be served is refused with a reason."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avatar.cast.profiles import (
    CARD,
    PROFILES,
    Profile,
    check_profile,
    load_profile,
    parse_size,
    read_profile,
    write_profile,
)
from avatar.errors import CorruptFile, InvalidInput, NotFound

pytestmark = pytest.mark.unit


def test_a_pictures_size_is_width_by_height_everywhere() -> None:
    assert parse_size("480x640") == (480, 640)
    assert parse_size("512") == (512, 512)
    for text in ("", "640*480", "5", "12345", "480x", "x480", "480x640x3"):
        with pytest.raises(InvalidInput, match=r"WIDTHxHEIGHT expected, such as 480x640"):
            parse_size(text)


def written(folder: Path) -> Profile:
    profile = replace(
        PROFILES["marker-16"], name="mine", folder=folder, avatars=folder / "avatars", kind="model"
    )
    write_profile(profile)
    return profile


def test_what_is_written_is_read(tmp_path: Path) -> None:
    profile = written(tmp_path / "mine")
    assert read_profile(tmp_path / "mine") == profile
    assert load_profile("mine", models=tmp_path) == profile
    assert load_profile(str(tmp_path / "mine"), tmp_path) == replace(profile, avatars=tmp_path)


def test_a_card_may_say_how_many_sessions_and_how_long_a_start(tmp_path: Path) -> None:
    profile = replace(written(tmp_path / "mine"), slots=1, ready_s=900)
    write_profile(profile)
    assert read_profile(tmp_path / "mine") == profile


def test_weights_are_as_large_as_the_files_that_are_there(tmp_path: Path) -> None:
    profile = written(tmp_path / "mine")
    assert profile.weight_bytes == 0
    (tmp_path / "mine" / "dit.safetensors").write_bytes(bytes(1000))
    (tmp_path / "mine" / "umt5.safetensors").write_bytes(bytes(7))  # serving does not open it
    assert profile.weight_bytes == 1000


@pytest.mark.parametrize("wish", ["", "huge", "./here", "~/nowhere", "..", "/"])
def test_an_unknown_profile_is_refused_with_those_there_are(wish: str, tmp_path: Path) -> None:
    written(tmp_path / "mine")
    with pytest.raises(NotFound, match=r"there are tiny, marker, marker-16, mine$"):
        load_profile(wish, models=tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "format 2, 1 expected"),
        ({"policy": None}, "Policy is None, its fields expected"),
        ({"clock": {"fps": 7, "latents_per_chunk": 2}}, "7 fps does not divide"),
        ({"clock": {"fps": 16, "latents_per_chunk": 3}}, "3 latents a chunk, the policy 2"),
        ({"clock": {"fps": 96, "latents_per_chunk": 2}}, "fps is 96, 1 to 60"),
        ({"clock": {"hertz": 16}}, "ChunkClock has no hertz"),
        ({"slots": 0}, "slots is 0, 1 to 64"),
        ({"slots": "many"}, "slots is 'many', a whole number expected"),
        ({"slot": 1, "ready": 900}, "a card has no ready, slot;"),
        ({"ready_s": 9000}, "ready_s is 9000, 1 to 7200"),
        ({"size": [320, 250]}, "320 x 250: multiples of 16"),
        ({"size": [3200, 256]}, "height is 3200, 1 to 1280"),
        ({"policy": {"sigmas": [0.5]}}, "must fall from 1.0"),
        ({"policy": {"sigmas": [1.0], "shift": 3}}, "Policy has no shift"),
        ({"policy": {"shift": 3}}, "sigmas: Field required"),
        ({"hearing": {"recipe": "mel", "hold_back_frames": 0}}, "Input should be 'own'"),
        ({"hearing": {"recipe": "s2v", "hold_back_frames": 99}}, "hold_back_frames is"),
        ({"files": {"dit": "../dit", "decoder": "vae", "audio_encoder": "x"}}, "files.dit is"),
    ],
)
def test_a_card_that_cannot_be_served_says_why(
    change: dict[str, object], problem: str, tmp_path: Path
) -> None:
    written(tmp_path)
    content = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps(content | change))
    with pytest.raises(CorruptFile, match=problem):
        read_profile(tmp_path)


def test_a_card_without_a_line_names_it(tmp_path: Path) -> None:
    written(tmp_path)
    content = json.loads((tmp_path / CARD).read_text())
    del content["size"]
    (tmp_path / CARD).write_text(json.dumps(content))
    with pytest.raises(CorruptFile, match="'size' is missing"):
        read_profile(tmp_path)


def test_a_card_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("fps: 16")
    with pytest.raises(CorruptFile, match="python -m avatar profile --folder"):
        read_profile(tmp_path)


@pytest.mark.parametrize("name", PROFILES)
def test_the_packages_own_fit_together(name: str) -> None:
    check_profile(PROFILES[name])
