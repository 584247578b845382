"""Clips are encoded for a Wan-class model, and its recipe learns from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from avatar.cast.profile import load_speech_features
from avatar.cast.profiles import Profile
from avatar.errors import InvalidInput
from avatar.models.dit import DiT, DiTConfig
from avatar.models.weights import config_of, read_header
from tests.fakes.wan_folder import converted_toy
from training.data.footage.clip import ClipInfo
from training.data.footage.encode_wan import WanEncoders
from training.data.footage.shards import write_shards
from training.recipes.tm_18b import toy
from training.scale.clips import Mix, ShardedClips
from training.scale.tasks import Batches, CausalTask

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Encoded:
    profile: Profile
    encoders: WanEncoders
    samples: NDArray[np.float32]
    tensors: dict[str, Tensor]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoded]:
    """Noise to see and to hear, encoded by toys."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two of them wait for each other longer than such networks take
    profile = converted_toy("tm-18b", tmp_path_factory.mktemp("wan") / "tm")
    encoders, rng = WanEncoders(profile, "cpu"), np.random.default_rng(0)
    frames = rng.integers(0, 256, (81, profile.height, profile.width, 3), np.uint8)
    heard = encoders.samples_before + (81 + encoders.frames_after) * 640
    samples = rng.standard_normal(heard, np.float32) * 0.1
    yield Encoded(profile, encoders, samples, encoders.encode(frames, samples))
    torch.set_num_threads(before)


def test_a_clip_becomes_what_the_recipe_of_its_model_learns_from(
    clip: Encoded, tmp_path: Path
) -> None:
    profile, tensors = clip.profile, dict(clip.tensors)
    config = config_of(DiTConfig, read_header(profile.folder / "dit.safetensors"))
    assert config.audio is not None
    h, w = profile.height // 8, profile.width // 8
    assert {name: tuple(each.shape) for name, each in tensors.items()} == {
        "latents": (21, 16, h, w),
        "sink": (3, 16, h, w),
        "speech": (81, config.audio.dim),
        "image_channels": (21, 20, h, w),
        "text": (tensors["text"].shape[0], config.text_dim),
        "image": (tensors["image"].shape[0], config.image_dim),
    }
    tensors["face_mask"] = torch.ones(clip.encoders.tokens**2, dtype=torch.uint8)
    save_file(tensors, tmp_path / "clip.safetensors")
    square, box = (1.0, 2.0, 200.0), (80, 130, 176, 210)
    info = ClipInfo(
        "a", "a.mp4", 0.0, 3.24, "speaking", 0, 0.8, 0, 0, square, box, "CC0", False
    )  # fmt: skip
    write_shards(tmp_path / "shards", [(info, tmp_path / "clip.safetensors")], {"weights": "w"})
    clips = ShardedClips(tmp_path / "shards", config, Mix(), torch.device("cpu"))
    task = CausalTask(DiT(config), Batches(clips, 1, 2, toy().policy))
    loss, _ = task.loss(0, np.random.default_rng(0))
    loss.backward()
    assert loss.isfinite()
    assert all(each.grad is not None for each in task.model.audio_projection.parameters())


def test_a_clips_speech_is_what_a_call_hears(clip: Encoded) -> None:
    frames, samples = clip.profile.clock.frames_per_chunk, torch.from_numpy(clip.samples)
    features = load_speech_features(clip.profile)
    state, found = features.init_state(), []
    assert len(samples) % (frames * 640) == 0
    for start in range(0, len(samples), frames * 640):
        following = start + frames * 640
        embedded, _, state = features.embed(samples[start:following], samples[following:], state)
        found.append(embedded)
    served = torch.cat(found)[2 * frames :][:80]
    assert torch.allclose(clip.tensors["speech"][1:].float(), served, atol=1e-2)


def test_a_model_that_footage_cannot_serve_is_refused(tmp_path: Path) -> None:
    profile = converted_toy("realvideo", tmp_path / "realvideo")
    with pytest.raises(InvalidInput, match="no square picture at 25 frames"):
        WanEncoders(profile, "cpu")
