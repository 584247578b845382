"""Statistics of the data in the VAE: its linear path before training, its latents' scale after."""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from avatar.models.vae import VAE, EncoderState
from avatar.models.vae.model import GROUP, MOTION, STRIDE, flow_of, motion_of, relative, warp
from training.data.dataset import CastClip, ClipSet
from training.tasks.vae import to_signed

TIME_GAIN = 2.0
"""How much louder what differs within a group is made before the components are chosen."""


def init_from_movement(vae: VAE, clips: ClipSet, rng: np.random.Generator) -> None:
    """Set the linear path to the components of what the moved portrait lacks, whitened.

    Every latent channel then varies by about one.
    """
    blocks = lacking_blocks(clips, rng)
    components, spread = principal(blocks, vae.config.latent_channels - MOTION)
    with torch.no_grad():
        vae.linear_encode.weight.copy_(gain(components, TIME_GAIN) / spread[:, None])
        vae.linear_decode.weight.copy_((gain(components, 1 / TIME_GAIN) * spread[:, None]).T)


@torch.no_grad()
def set_latent_statistics(vae: VAE, clips: list[CastClip]) -> None:
    """Write mean and standard deviation of the latents into the VAE: they come out normalised."""
    vae.mean.zero_()
    vae.std.fill_(1.0)
    latents = []
    for clip in clips:
        count = min(96, len(clip.frames) // GROUP * GROUP)
        frames, flow = to_signed(clip.frames[:count])[None], clip.flow(0, count)[None]
        encoded, _ = vae.encode(frames, EncoderState(to_signed(clip.portrait)[None]), flow)
        latents.append(encoded[0].transpose(0, 1).flatten(1))
    joined = torch.cat(latents, 1)
    vae.mean.copy_(joined.mean(1))
    vae.std.copy_(joined.std(1))


def lacking_blocks(clips: ClipSet, rng: np.random.Generator, count: int = 20_000) -> Tensor:
    """(N, 768): blocks less those of the portrait moved as it truly was; half from mouths."""
    rows: list[Tensor] = []
    while sum(map(len, rows)) < count:
        clip = clips.train[rng.integers(len(clips.train))]
        start = int(rng.integers(0, len(clip.curves) - GROUP))
        motion = motion_of(clip.flow(start, start + GROUP)[None])
        flow = relative(flow_of(motion).flatten(0, 1))
        lacking = to_signed(clip.frames[start : start + GROUP]) - warp(
            to_signed(clip.portrait)[None], flow
        )
        blocks = rearrange(lacking, "t c (h p) (w q) -> h w (t c p q)", p=STRIDE, q=STRIDE)
        x0, y0, x1, y1 = (v // STRIDE for v in clip.mouth_box)
        chosen = torch.from_numpy(rng.choice(1024, 120, replace=False))
        rows += [blocks[y0:y1, x0:x1].flatten(0, 1), blocks.flatten(0, 1)[chosen]]
    return torch.cat(rows)


def principal(blocks: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first axes (count, 768) of louder blocks, and the spread along each."""
    louder = gain(blocks, TIME_GAIN)
    values, axes = torch.linalg.eigh(louder.T @ louder / len(louder))
    return axes.flip(1)[:, :count].T, values.flip(0)[:count].sqrt()


def gain(blocks: Tensor, factor: float) -> Tensor:
    """Scale what differs from the mean of a block's 4 frames; (N, 768)."""
    frames = blocks.unflatten(1, (GROUP, -1))
    mean = frames.mean(1, keepdim=True)
    return (mean + (frames - mean) * factor).flatten(1)
