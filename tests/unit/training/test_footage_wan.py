"""Clips are encoded for a Wan-class model, and its recipe learns from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wan") / "tm"


def test_a_clip_becomes_what_the_recipe_of_its_model_learns_from(folder: Path) -> None:
    profile = converted_toy("tm-18b", folder)
    encoders = WanEncoders(profile, "cpu")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (81, profile.height, profile.width, 3), np.uint8)
    heard = encoders.samples_before + (81 + encoders.frames_after) * 640
    assert heard % (profile.clock.frames_per_chunk * 640) == 0
    tensors = encoders.encode(frames, rng.standard_normal(heard, np.float32) * 0.1)
    config = config_of(DiTConfig, read_header(profile.folder / "dit.safetensors"))
    assert config.audio is not None
    h, w = profile.height // 8, profile.width // 8
    assert {name: tuple(each.shape) for name, each in tensors.items() if name != "text"} == {
        "latents": (21, 16, h, w),
        "sink": (3, 16, h, w),
        "speech": (81, config.audio.dim),
        "image_channels": (21, 20, h, w),
        "image": tuple(tensors["image"].shape),
    }
    tensors["face_mask"] = torch.ones(encoders.tokens**2, dtype=torch.uint8)
    save_file(tensors, folder / "clip.safetensors")
    square, box = (1.0, 2.0, 200.0), (80, 130, 176, 210)
    info = ClipInfo(
        "a", "a.mp4", 0.0, 3.24, "speaking", 0, 0.8, 0, 0, square, box, "CC0", False
    )  # fmt: skip
    write_shards(folder / "shards", [(info, folder / "clip.safetensors")], {"weights": "w"})
    clips = ShardedClips(folder / "shards", config, Mix(), torch.device("cpu"))
    task = CausalTask(DiT(config), Batches(clips, 1, 2, toy().policy))
    loss, _ = task.loss(0, np.random.default_rng(0))
    loss.backward()
    assert loss.isfinite()
    assert all(each.grad is not None for each in task.model.audio_projection.parameters())


def test_a_clips_speech_is_what_a_call_hears(folder: Path) -> None:
    profile = converted_toy("tm-18b", folder.with_name("again"))
    encoders = WanEncoders(profile, "cpu")
    rng = np.random.default_rng(1)
    frames = np.zeros((81, profile.height, profile.width, 3), np.uint8)
    heard = encoders.samples_before + (81 + encoders.frames_after) * 640
    samples = rng.standard_normal(heard, np.float32) * 0.1
    speech = encoders.encode(frames, samples)["speech"]
    features, state, found = encoders._speech, encoders._speech.init_state(), []
    step = profile.clock.frames_per_chunk * 640
    for start in range(0, heard, step):
        ahead = torch.from_numpy(samples[start + step :])
        chunk = torch.from_numpy(samples[start : start + step])
        embedded, _, state = features.embed(chunk, ahead, state)
        found.append(embedded)
    served = torch.cat(found)[profile.clock.frames_per_chunk * 2 :][:80]
    assert torch.allclose(speech[1:].float(), served, atol=2e-2)
    assert speech.shape[0] == 81


def test_a_model_that_footage_cannot_serve_is_refused(folder: Path) -> None:
    profile = converted_toy("realvideo", folder.with_name("realvideo"))
    with pytest.raises(InvalidInput, match="no square picture at 25 frames"):
        WanEncoders(replace(profile, name="realvideo"), "cpu")
