"""The VAE's training: where it starts from, what its loss counts, what its meter says."""

import numpy as np
import pytest
import torch

from avatar.models.vae import VAE, VAEConfig
from avatar.models.vae.model import motion_of
from training.data.dataset import CastClip, ClipSet
from training.meters.mouth_reader import MouthReader
from training.meters.reconstruction import measure_vae, reconstruct
from training.tasks.vae import CROP, GROUPS, VAETask, to_signed, viseme_loss
from training.tasks.vae_start import gain, init_from_movement, set_latent_statistics

pytestmark = pytest.mark.unit

SMALL = VAEConfig(encoder_dims=(8, 8, 16), decoder_dims=(16, 16, 8), reference_dim=8)


def blinking_clip(seed: int) -> CastClip:
    """A plain picture whose mouth is a square that changes its brightness at every frame."""
    rng = np.random.default_rng(seed)
    portrait = np.full((256, 256, 3), rng.integers(60, 190, 3), np.uint8)
    frames = np.repeat(portrait[None], 24, 0)
    curves = np.zeros((24, 5), np.float32)
    curves[:, 0] = rng.random(24)
    frames[:, 144:184, 104:152] = (255 * curves[:, 0]).astype(np.uint8)[:, None, None, None]
    samples, controls = np.zeros(24 * 640, np.float32), np.zeros((24, 11), np.float32)
    motion = rng.normal(0, 1, (24, 32, 32, 2)).astype(np.float16)
    box = (80, 124, 176, 204)
    return CastClip("mira", portrait, box, frames, samples, curves, controls, motion)


@pytest.fixture(scope="module")
def clips() -> ClipSet:
    return ClipSet([blinking_clip(i) for i in range(3)], [blinking_clip(9)])


def test_components_of_movement_keep_every_frame_of_a_group(clips: ClipSet) -> None:
    torch.manual_seed(0)
    vae = VAE(SMALL)
    # the linear path alone
    for layer in (vae.encode_group[-1], vae.motion_group[-1]):
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    init_from_movement(vae, clips, np.random.default_rng(0))
    clip = clips.held_out[0]
    frames = to_signed(clip.frames)
    decoded, _ = reconstruct(vae, clip, frames)
    still = (to_signed(clip.portrait) - frames).square().mean()
    assert (decoded - frames).square().mean() < 0.05 * still


def test_gain_is_undone_by_its_inverse() -> None:
    blocks = torch.randn(5, 768)
    assert torch.allclose(gain(gain(blocks, 3.0), 1 / 3.0), blocks, atol=1e-5)
    assert torch.allclose(
        gain(blocks, 3.0).unflatten(1, (4, -1)).mean(1),
        blocks.unflatten(1, (4, -1)).mean(1),
        atol=1e-5,
    )


def test_the_same_step_draws_the_same_crops(clips: ClipSet) -> None:
    task = VAETask(clips, config=SMALL, batch_size=2, bfloat16=False)
    one, other = (task.draw(np.random.default_rng((0, 7))) for _ in range(2))
    assert one.groups.shape == (2, GROUPS, 4, 3, CROP, CROP)
    assert torch.equal(one.groups, other.groups)
    assert torch.equal(one.visemes, other.visemes)


def test_a_few_steps_lower_the_loss(clips: ClipSet) -> None:
    torch.manual_seed(0)
    task = VAETask(clips, config=SMALL, batch_size=2, bfloat16=False)
    optimizer = torch.optim.Adam(task.model.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss, _ = task.loss(0, np.random.default_rng(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_a_mean_over_the_group_is_not_enough_for_the_probe() -> None:
    visemes = torch.randn(6, 4, 4)
    flat = visemes.mean(1, keepdim=True).expand_as(visemes)
    shifted = visemes + (visemes - flat).square().mean().sqrt()
    # the same squared error, but every frame's movement is right
    assert torch.allclose((flat - visemes).square().mean(), (shifted - visemes).square().mean())
    assert viseme_loss(shifted, visemes) < 0.5 * viseme_loss(flat, visemes)


def test_latents_come_out_normalised(clips: ClipSet) -> None:
    torch.manual_seed(0)
    vae = VAE(SMALL)
    set_latent_statistics(vae, clips.held_out)
    clip = clips.held_out[0]
    groups = to_signed(clip.frames).unflatten(0, (-1, 4))
    portrait = to_signed(clip.portrait).expand(len(groups), -1, -1, -1)
    motion = motion_of(clip.flow(0, len(clip.frames)).unflatten(0, (-1, 4)))
    latents = vae.encode_groups(groups, portrait, motion)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(40), atol=0.02)
    assert latents.mean((0, 2, 3)).abs().max() < 0.02


def test_the_meter_sees_a_perfect_and_a_frozen_picture(clips: ClipSet) -> None:
    class Frozen(VAE):
        def decode_group(self, latents, previous, reference):  # type: ignore[no-untyped-def]
            return reference.pixels[:, None].expand(-1, 4, -1, -1, -1)

    torch.manual_seed(0)
    vae = Frozen(SMALL)
    figures = measure_vae(vae, clips.held_out, MouthReader())
    assert figures.within_lost == pytest.approx(1.0, abs=1e-5)
    assert figures.amplitude_within_group == pytest.approx(0.0, abs=1e-5)
    assert figures.psnr_fast <= figures.psnr_mouth <= figures.psnr
