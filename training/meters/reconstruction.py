"""What the VAE alone does to a video: pixels, sharpness, and the mouth frame by frame."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.models.vae import VAE, DecoderState, EncoderState
from avatar.models.vae.model import GROUP, STRIDE
from training.data.dataset import CastClip
from training.meters.mouth_reader import MouthReader, read_mouth
from training.tasks.vae import psnr, to_signed

STEP = 3 * GROUP
"""Frames decoded at a time, as in serving."""


@dataclass(frozen=True)
class VAEFigures:
    """PSNR in dB. `within_lost` is the share of the mouth's energy inside groups that is gone.

    `open` to `round` are correlations of the mouth read from the reconstruction with the true
    one; `open_within_group` of what differs from a group's mean; the amplitudes are ratios of
    spreads to those read from the originals. `fast` is over the fifth of groups that move most.
    `sharpness` is the mouth's gradient over the original's; `temporal_correlation` that of a
    latent with the next.
    """

    psnr: float
    psnr_mouth: float
    psnr_fast: float
    within_lost: float
    sharpness: float
    open: float
    wide: float
    round: float
    open_within_group: float
    amplitude: float
    amplitude_within_group: float
    temporal_correlation: float

    def figures(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


@torch.no_grad()
def measure_vae(
    vae: VAE, clips: list[CastClip], reader: MouthReader, max_frames: int = 144
) -> VAEFigures:
    """Encode and decode the beginning of every clip as serving would, and compare."""
    whole, mouth, fast, lost, sharp, steps = [], [], [], [], [], []
    curves: list[tuple[NDArray[np.float32], ...]] = []
    for clip in clips:
        length = min(max_frames, len(clip.frames)) // GROUP * GROUP
        frames = to_signed(clip.frames[:length])
        decoded, latents = reconstruct(vae, clip, frames)
        x0, y0, x1, y1 = clip.mouth_box
        true = frames[..., y0:y1, x0:x1].unflatten(0, (-1, GROUP))
        shown = decoded[..., y0:y1, x0:x1].unflatten(0, (-1, GROUP))
        each = (shown - true).square().mean((1, 2, 3, 4))
        movement = within(true).square().mean((1, 2, 3, 4))
        whole.append((decoded - frames).square().mean())
        mouth.append(each.mean())
        fast.append(each[movement >= movement.quantile(0.8)].mean())
        lost.append((within(shown) - within(true)).square().sum() / within(true).square().sum())
        sharp.append(gradient(shown) / gradient(true))
        steps.append(correlation(latents[1:].numpy(), latents[:-1].numpy()))
        pixels = ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        curves.append(
            (
                read_mouth(reader, pixels, clip.mouth_box),
                read_mouth(reader, clip.frames[:length], clip.mouth_box),
                clip.curves[:length],
            )
        )
    shown_, original, truth = (np.concatenate(x) for x in zip(*curves, strict=True))

    def inside(x: NDArray[np.float32]) -> NDArray[np.float32]:
        groups = x[:, 0].reshape(-1, GROUP)
        return groups - groups.mean(1, keepdims=True)

    return VAEFigures(
        psnr=psnr(mean(whole)),
        psnr_mouth=psnr(mean(mouth)),
        psnr_fast=psnr(mean(fast)),
        within_lost=mean(lost),
        sharpness=mean(sharp),
        open=correlation(shown_[:, 0], truth[:, 0]),
        wide=correlation(shown_[:, 1], truth[:, 1]),
        round=correlation(shown_[:, 2], truth[:, 2]),
        open_within_group=correlation(inside(shown_), inside(truth)),
        amplitude=float(shown_[:, 0].std() / original[:, 0].std()),
        amplitude_within_group=float(inside(shown_).std() / inside(original).std()),
        temporal_correlation=float(np.mean(steps)),
    )


@torch.no_grad()
def reconstruct(vae: VAE, clip: CastClip, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (4F, 3, H, W) after the still portrait -> the decoded ones, and latents (F, ...)."""
    portrait = to_signed(clip.portrait)[None]
    nowhere = torch.zeros(1, 1, 2, portrait.shape[-2] // STRIDE, portrait.shape[-1] // STRIDE)
    still, encoding = vae.encode(portrait[:, None], EncoderState(), nowhere)
    state = DecoderState(still[:, 0], vae.init_decoder(portrait).reference)
    decoded, latents = [], []
    flow = clip.flow(0, len(frames))[None]
    for piece, way in zip(frames[None].split(STEP, 1), flow.split(STEP, 1), strict=True):
        encoded, encoding = vae.encode(piece, encoding, way)
        pixels, state = vae.decode(encoded, state)
        decoded.append(pixels[0].clamp(-1, 1))
        latents.append(encoded[0])
    return torch.cat(decoded), torch.cat(latents)


def within(groups: Tensor) -> Tensor:
    """(G, 4, ...) less the mean of the 4."""
    return groups - groups.mean(1, keepdim=True)


def gradient(x: Tensor) -> Tensor:
    return x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()


def mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).mean())


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if min(a.std(), b.std()) < 1e-6:  # a frozen picture follows nothing
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
