"""The decoder learns from what the DiT makes, and the latents stay what they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar.models.vae import VAE, VAEConfig
from avatar.sampling.policy import NATIVE_2_STEP
from tests.fakes.networks import small_dit
from training.data.dataset import CastClip
from training.data.latents import LatentClips
from training.data.made import make_latents, roll, true_latents
from training.tasks.decoder import ENCODER, DecoderTask, detail_lost
from training.tasks.vae import CROP, GROUPS

pytestmark = pytest.mark.unit

SMALL = VAEConfig(encoder_dims=(8, 8, 16), decoder_dims=(16, 16, 8), reference_dim=8)
LATENTS = 6


def clip(seed: int) -> CastClip:
    """Frames whose brightness is their number, so that what is drawn tells where it is from."""
    portrait = np.random.default_rng(seed).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    numbers = np.arange(4 * LATENTS, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(numbers, (4 * LATENTS, 256, 256, 3))
    curves, controls = np.zeros((4 * LATENTS, 5), np.float32), np.zeros((24, 11), np.float32)
    motion = np.zeros((4 * LATENTS, 32, 32, 2), np.float16)
    box = (80, 124, 176, 204)
    samples = np.zeros(4 * LATENTS * 640, np.float32)
    return CastClip("mira", portrait, box, frames, samples, curves, controls, motion)


def numbered() -> Tensor:
    """(L, C, 32, 32) latents whose value is their number."""
    return torch.arange(float(LATENTS))[:, None, None, None].expand(-1, 40, 32, 32)


def task(true_share: float = 0.5) -> DecoderTask:
    torch.manual_seed(0)
    made, true = [numbered(), numbered()], [numbered() + 100, numbered() + 100]
    return DecoderTask(
        VAE(SMALL), [clip(1), clip(2)], made, true, true_share=true_share, bfloat16=False
    )


def test_latents_lie_beside_their_own_frames() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        drawn = task().draw(rng)
        numbers = (drawn.latents[:, 1:, 0, 0, 0] % 100).repeat_interleave(4, 1)
        frames = ((drawn.pixels[..., 0, 0, 0] + 1) * 127.5).round().flatten(1)
        offsets = torch.arange(4).repeat(GROUPS - 1)
        assert torch.equal(4 * numbers + offsets, frames)


def test_made_and_true_latents_are_drawn_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    assert (task(0.0).draw(rng).latents < 100).all()
    assert (task(1.0).draw(rng).latents >= 100).all()


def test_only_the_decoder_learns() -> None:
    asked = task()
    loss, _ = asked.loss(0, np.random.default_rng(0))
    loss.backward()
    for name, parameter in asked.vae.named_parameters():
        if name.split(".")[0] in ENCODER:
            assert parameter.grad is None, name
    assert asked.vae.to_pixels.weight.grad is not None
    assert asked.vae.linear_decode.weight.grad is not None
    assert asked.draw(np.random.default_rng(0)).weight.shape[-1] == CROP


@pytest.fixture
def stored() -> LatentClips:
    torch.manual_seed(2)
    return LatentClips(
        latents=[torch.randn(LATENTS, 4, 8, 8).half() for _ in range(3)],
        speech=[torch.randn(LATENTS, 2, 6).half() for _ in range(3)],
        controls=[torch.randn(LATENTS, 5) for _ in range(3)],
        visemes=[torch.zeros(LATENTS, 4, 4) for _ in range(3)],
        mouth_boxes=[(0, 0, 64, 64)] * 3,
        characters=["mira"] * 3,
        held_out=[False, True, False],
        sinks={"mira": torch.randn(3, 4, 8, 8)},
        scale=torch.full((4, 8, 8), 0.5),
    )


def test_what_is_made_is_kept_in_the_order_of_the_clips_that_are_learned_from(
    stored: LatentClips, tmp_path: Path
) -> None:
    model, masks = small_dit(carries=False), {"mira": torch.ones(16)}
    path = tmp_path / "made.safetensors"
    made = make_latents(model, stored, masks, NATIVE_2_STEP, path)
    assert len(made) == len(true_latents(stored)) == 2
    for index, latents in zip((0, 2), made, strict=True):
        assert torch.equal(latents, roll(model, stored, masks, NATIVE_2_STEP, index).half())
    again = make_latents(small_dit(carries=False), stored, {}, NATIVE_2_STEP, path)
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))


def test_true_latents_are_as_the_vae_has_them(stored: LatentClips) -> None:
    back = (true_latents(stored)[1].float() - stored.sinks["mira"][0]) / 0.5
    assert torch.allclose(back, stored.latents[2].float(), atol=2e-2)


def test_a_blur_loses_detail_and_an_edge_beside_its_place_does_not() -> None:
    true = torch.zeros(1, 1, 4, 3, 32, 32)
    true[..., 3::8] = 1  # a line in the middle of every square
    weight = torch.ones(1, 32, 32)
    assert detail_lost(true, true, weight) == 0
    assert detail_lost(true.roll(1, -1), true, weight) < 1e-6
    blurred = (true.roll(1, -1) + true + true.roll(-1, -1)) / 3
    assert detail_lost(blurred, true, weight) > 0.1
