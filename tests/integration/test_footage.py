"""A folder of rendered films goes through the whole pipeline, and comes out as it should."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.cast.characters import character_of
from avatar.errors import InvalidInput, NotFound
from training.data.engines import load_engines
from training.data.footage.__main__ import main
from training.data.footage.pipeline import make_footage, video_id
from training.data.footage.rehearsal import (
    Take,
    keep_shut,
    moved,
    side_by_side,
    speak,
    write_film,
)
from training.data.footage.settings import Settings
from training.data.footage.shards import read_footage
from training.data.footage.video import SAMPLES_PER_FRAME, read_frames, read_sound

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CLIP = 81
SETTINGS = Settings(held_out_share=0.0)
FILMS = ("voice_over", "early", "speaker", "uneven", "cut", "mute", "torn", "no_video")


@pytest.fixture(scope="module")
def takes() -> tuple[Take, Take]:
    """Mira speaks; Otto keeps his mouth shut beside her."""
    rng = np.random.default_rng(8)
    spoken = speak(character_of("mira"), CLIP + 2, rng, load_engines(["espeak"]))
    return spoken, keep_shut(character_of("otto"), CLIP + 2, rng)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, takes: tuple[Take, Take]) -> Path:
    folder = tmp_path_factory.mktemp("films")
    spoken, shut = takes
    rng = np.random.default_rng(9)
    scene, sound = side_by_side(spoken, shut, rng), spoken.sound
    write_film(folder / "speaker.mp4", scene, sound)
    (folder / "speaker.mp4.rights.txt").write_text("CC BY 4.0, consent by contract\n")
    write_film(folder / "early.mp4", scene, moved(sound, 6))
    other = speak(character_of("mira"), 1, np.random.default_rng(3), load_engines(["espeak"]))
    elsewhere = np.resize(_whole(other), len(sound))
    write_film(folder / "voice_over.mkv", scene, elsewhere)
    write_film(folder / "mute.mp4", scene, None)
    # a phone's rate: now 30, now 20 frames a second
    steps = np.where(np.arange(len(scene)) // 15 % 2, 1 / 30, 1 / 20)
    times = np.cumsum(steps) - steps[0]
    times = times[times < len(scene) / 25]
    frames = scene[np.minimum((times * 25).astype(int), len(scene) - 1)]
    write_film(folder / "uneven.mkv", frames, sound, times.tolist())
    # two shots, each too short for a clip
    mirrored = scene[40:, :, ::-1]
    write_film(folder / "cut.mp4", np.concatenate([scene[:40], 255 - mirrored]), sound)
    (folder / "torn.mp4").write_bytes((folder / "speaker.mp4").read_bytes()[:20_000])
    (folder / "no_video.mov").write_bytes(b"this is a letter")
    (folder / "notes.txt").write_text("no film either")
    return folder


def _whole(take: Take) -> np.ndarray:
    return np.concatenate([take.sound, take.sound[::-1]])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, films: Path) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("out")
    make_footage(films, out, SETTINGS, "unknown rights")
    return out


@pytest.fixture(scope="module")
def report(made: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((made / "report.json").read_text())
    return read


def of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in report["each"] if each["source"].startswith(name + ".")]
    return dict(found)


def test_the_speaker_is_named_and_the_other_listens(made: Path) -> None:
    audio = [c for c in read_footage(made / "shards").clips if c.source == "speaker.mp4"]
    silence = [
        c for c in read_footage(made / "shards", "silence").clips if c.source == "speaker.mp4"
    ]
    assert [clip.kind for clip in audio] == ["speaking"]
    assert [clip.kind for clip in silence] == ["listening"]
    # Mira is on the left
    assert audio[0].square[0] + audio[0].square[2] / 2 < 320 < silence[0].square[0] + 60
    assert abs(audio[0].lag_frames) <= 1


def test_a_film_of_an_uneven_rate_is_in_sync_too(made: Path) -> None:
    clips = [c for c in read_footage(made / "shards").clips if c.source == "uneven.mkv"]
    assert [clip.kind for clip in clips] == ["speaking"]
    assert abs(clips[0].lag_frames) <= 1


def test_what_is_out_of_sync_or_said_by_nobody_is_left_out(report: dict[str, Any]) -> None:
    assert of(report, "early")["verdicts"].get("off_sync") == 1
    for name in ("early", "voice_over"):
        assert "speaking" not in of(report, name)["verdicts"]
        assert not [c for c in of(report, name)["clips"] if c.endswith("-00")]


def test_without_sound_only_the_shut_mouth_is_kept(report: dict[str, Any]) -> None:
    mute = of(report, "mute")
    assert mute["verdicts"] == {"silent": 1, "unmatched": 1}
    assert len(mute["clips"]) == 1


def test_no_clip_spans_a_cut(report: dict[str, Any]) -> None:
    cut = of(report, "cut")
    assert (cut["num_shots"], cut["clips"]) == (2, [])


def test_broken_files_are_named_with_their_reason_and_take_nothing_with_them(
    report: dict[str, Any],
) -> None:
    assert report["videos"] == len(FILMS)
    assert set(report["failed"]) == {"torn.mp4", "no_video.mov"}
    assert all(report["failed"].values())


def test_a_clip_holds_picture_sound_and_tensors_of_81_frames(made: Path) -> None:
    footage = read_footage(made / "shards")
    at = [clip.source for clip in footage.clips].index("speaker.mp4")
    info = footage.clips[at]
    (path,) = made.glob(f"videos/*/{info.id}.mkv")
    frames = np.stack(list(read_frames(path)))
    sound = read_sound(path, CLIP)
    assert frames.shape == (CLIP, 256, 256, 3)
    assert sound is not None
    assert sound.shape == (CLIP * SAMPLES_PER_FRAME,)
    assert np.abs(sound).max() > 0.02
    assert footage.latents[at].shape[0] == footage.speech[at].shape[0] == 20
    assert footage.speech[at].abs().max() > 0
    assert 8 <= footage.face_masks[info.id].sum() <= 40
    assert info.rights == "CC BY 4.0, consent by contract"


def test_listening_clips_have_the_zero_embedding(made: Path) -> None:
    silence = read_footage(made / "shards", "silence")
    assert len(silence) >= 2
    assert all(not speech.any() for speech in silence.speech)


def test_a_second_run_does_only_what_is_missing(made: Path, films: Path) -> None:
    folder = made / "videos" / video_id(films / "speaker.mp4", "speaker.mp4")
    lost = next(folder.glob("encoded-*/*.safetensors"))
    content = lost.read_bytes()
    before = {p: p.stat().st_mtime_ns for p in made.rglob("videos/**/*.*") if p != lost}
    lost.unlink()  # as if the run had been interrupted there
    make_footage(films, made, SETTINGS, "unknown rights")
    after = {p: p.stat().st_mtime_ns for p in made.rglob("videos/**/*.*") if p != lost}
    assert after == before
    assert lost.read_bytes() == content


def test_other_settings_need_another_folder(made: Path, films: Path) -> None:
    with pytest.raises(InvalidInput, match="--min-face"):
        make_footage(films, made, Settings(held_out_share=0.0, min_face=70.0), "")


def test_what_is_no_folder_or_no_detector_is_told_of_once(films: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        make_footage(tmp_path / "nowhere", tmp_path / "out", SETTINGS, "")
    with pytest.raises(NotFound, match="is no folder"):
        make_footage(films / "speaker.mp4", tmp_path / "out", SETTINGS, "")
    with pytest.raises(NotFound, match="face_detection_yunet"):
        make_footage(films, tmp_path / "out", Settings(detector=str(tmp_path / "no.onnx")), "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--jobs", "0"),
        ("--min-score", "5"),
        ("--max-lag", "99"),
        ("--min-face", "-4"),
        ("--max-seconds", "nan"),
    ],
)
def test_numbers_without_sense_are_refused(
    arguments: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--videos", str(tmp_path), "--out", str(tmp_path / "out"), *arguments]
    with pytest.raises(SystemExit):
        main(given)
    assert f"'{arguments[1]}' is not between" in capsys.readouterr().err


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no video"):
        make_footage(tmp_path, tmp_path / "out", SETTINGS, "")
