"""Clips are written in files of bounded size, and read by stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avatar.errors import InvalidInput, NotFound
from training.data.footage.clip import ClipInfo
from training.data.footage.shards import read_footage, write_shards
from training.data.footage.speakers import Kind
from training.data.footage.stages import is_held_out, sound_of

pytestmark = pytest.mark.unit


def clip(name: str, kind: Kind = "speaking", moved: int = 0) -> ClipInfo:
    square, box = (1.0, 2.0, 200.0), (80, 130, 176, 210)
    return ClipInfo(name, "a.mp4", 0.0, 3.24, kind, 0, 0.8, moved, moved, square, box, "CC0", False)


def encoded(folder: Path, name: str, level: float) -> Path:
    path = folder / f"{name}.safetensors"
    latents = torch.randn(21, 4, 2, 2, generator=torch.Generator().manual_seed(1)) + level
    tensors = {
        "latents": latents.half(),
        "sink": torch.full((3, 4, 2, 2), level).half(),
        "speech": torch.arange(162.0)[:, None].expand(162, 6).half().contiguous(),
        "face_mask": torch.ones(64, dtype=torch.uint8),
    }
    save_file(tensors, path)
    return path


def test_every_stage_reads_its_own_clips(tmp_path: Path) -> None:
    kinds: dict[str, Kind] = {"a": "speaking", "b": "listening", "c": "silent", "d": "off_sync"}
    clips = [(clip(name, kind), encoded(tmp_path, name, 0.0)) for name, kind in kinds.items()]
    write_shards(tmp_path / "shards", clips, {"weights": "w"})
    read = {s: read_footage(tmp_path / "shards", s).characters for s in ("motion", "audio")}
    assert read == {"motion": ["a", "b", "c", "d"], "audio": ["a"]}
    assert read_footage(tmp_path / "shards", "silence").characters == ["b", "c"]


def test_a_clip_reads_as_the_models_take_it(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [(clip("a"), encoded(tmp_path, "a", 3.0))], {"weights": "w"})
    footage = read_footage(tmp_path / "shards")
    assert footage.clips == [clip("a")]
    assert footage.latents[0].shape == (20, 4, 2, 2)
    # relative to the sink, and of variance 1 in every channel
    assert footage.latents[0].square().mean((0, 2, 3)) == pytest.approx(torch.ones(4), abs=0.01)
    assert footage.speech[0].shape == (20, 8, 6)
    assert footage.speech[0][0, 0, 0] == 2.0  # the first picture's own two tokens are left out
    assert footage.sinks["a"].shape == (3, 4, 2, 2)
    assert footage.face_masks["a"].sum() == 64


def test_shards_are_bounded_and_clips_keep_their_order(tmp_path: Path) -> None:
    clips = [(clip(name), encoded(tmp_path, name, 0.0)) for name in "abcde"]
    size = clips[0][1].stat().st_size
    write_shards(tmp_path / "shards", clips, {"weights": "w"}, shard_bytes=2 * size)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) == 3
    assert read_footage(tmp_path / "shards").characters == list("abcde")


def test_a_second_run_keeps_what_is_the_same_and_drops_what_is_gone(tmp_path: Path) -> None:
    clips = [(clip(name), encoded(tmp_path, name, 0.0)) for name in "abcd"]
    size = clips[0][1].stat().st_size
    folder = tmp_path / "shards"
    write_shards(folder, clips, {"weights": "w"}, shard_bytes=2 * size)
    first = (folder / "footage-00000.safetensors").stat().st_ino
    write_shards(folder, clips[:2], {"weights": "w"}, shard_bytes=2 * size)
    assert [path.stat().st_ino for path in folder.glob("*.safetensors")] == [first]
    write_shards(folder, clips[:2], {"weights": "other"}, shard_bytes=2 * size)
    assert [path.stat().st_ino for path in folder.glob("*.safetensors")] != [first]


def test_what_is_asked_for_wrongly_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"training\.data\.footage"):
        read_footage(tmp_path)
    with pytest.raises(InvalidInput, match="motion, audio, silence"):
        read_footage(tmp_path, "lips")


def test_a_late_picture_gets_earlier_sound() -> None:
    sound = np.repeat(np.arange(100, dtype=np.float32), 640)
    late = sound_of(sound, 10, 5, clip("a", moved=2))
    assert late[::640].tolist() == [8, 9, 10, 11, 12]
    early = sound_of(sound, 10, 5, clip("a", moved=-2), before=640)
    assert early[::640].tolist() == [11, 12, 13, 14, 15, 16]


def test_sound_beyond_the_film_is_silence() -> None:
    sound = np.repeat(np.arange(1, 11, dtype=np.float32), 640)
    assert sound_of(sound, 0, 3, clip("a", moved=2))[::640].tolist() == [0, 0, 1]
    assert sound_of(sound, 8, 3, clip("a"))[::640].tolist() == [9, 10, 0]


def test_about_the_told_share_of_videos_is_held_out() -> None:
    held = [is_held_out(f"video-{i}", 0.1) for i in range(1000)]
    assert 70 <= sum(held) <= 130
