"""Training of the video VAE on crops, most of them around the mouth."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.models.vae import VAE, DecoderState, EncoderState, VAEConfig
from avatar.models.vae.model import GROUP, STRIDE
from training.data.dataset import CastClip, ClipSet

CROP = 96
"""Side of a training crop in pixels; the network is fully convolutional."""


@dataclass(frozen=True)
class Crops:
    """groups (B, 3, 4, 3, CROP, CROP) and reference (B, 3, CROP, CROP) in [-1, 1].

    The first group comes before the other two: the real past, or the still reference.
    `visemes` is (B, 3, 4, 4) where the crop shows the mouth, else None.
    """

    groups: Tensor
    reference: Tensor
    starts_stream: Tensor
    visemes: Tensor | None


class VAETask:
    """L1, gradient and temporal-difference loss, weighted towards the mouth.

    An auxiliary head reads the four frames' mouth shapes from the free channels: without it the
    latents silently lose what happens between the frames of a group.
    """

    def __init__(self, clips: ClipSet, *, batch_size: int = 4) -> None:
        self.clips, self.batch_size = clips, batch_size
        self.config = VAEConfig()
        vae = VAE(self.config)
        cells = (CROP // STRIDE) ** 2
        probe = nn.Sequential(
            nn.Flatten(1),
            nn.Linear(self.config.free_channels * cells, 96),
            nn.SiLU(),
            nn.Linear(96, 4 * GROUP),
        )
        self.model = nn.ModuleDict({"vae": vae, "probe": probe})
        self.vae, self.probe = vae, probe
        y, x = torch.meshgrid(
            torch.arange(CROP) - CROP / 2, torch.arange(CROP) - CROP / 2, indexing="ij"
        )
        self.mouth_weight = 1 + 5 * torch.exp(-((x / 26) ** 2) / 2 - ((y / 18) ** 2) / 2)

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        on_mouth = step % 2 == 0
        crops = self.draw(rng, on_mouth)
        decoded, latents = self.reconstruct(crops)
        error = decoded - crops.groups
        # a group that is not the start of a stream has no true past here: no loss on it
        error = (
            error
            * torch.cat([crops.starts_stream[:, None].float(), torch.ones(len(error), 2)], 1)[
                :, :, None, None, None, None
            ]
        )
        weight = self.mouth_weight if on_mouth else torch.ones(CROP, CROP)
        across = error[..., 1:] - error[..., :-1]
        down = error[..., 1:, :] - error[..., :-1, :]
        in_time = error[:, :, 1:] - error[:, :, :-1]
        loss = (
            (error.abs() * weight).mean()
            + 0.8 * (across.abs() * weight[:, 1:]).mean()
            + 0.8 * (down.abs() * weight[1:]).mean()
            + (in_time.abs() * weight).mean()
            + 3e-4 * latents.square().mean()
        )
        mse = error[:, 1:].square().mean().item()
        figures = {"mouth_psnr" if on_mouth else "psnr": 10 * np.log10(4 / mse)}
        if crops.visemes is not None:
            free = latents[:, :, self.config.pca_channels :].flatten(0, 1)
            probed = self.probe(free).unflatten(0, latents.shape[:2]).unflatten(2, (GROUP, 4))
            probe_loss = F.mse_loss(probed, crops.visemes)
            figures["probe"] = probe_loss.item()
            loss = loss + 0.6 * probe_loss
        return loss, figures

    def reconstruct(self, crops: Crops) -> tuple[Tensor, Tensor]:
        """Decoded groups and latents (B, 3, C, h, w), with a little noise between them."""
        B, N = crops.groups.shape[:2]
        before = torch.cat([crops.groups[:, :1, -1], crops.groups[:, :-1, -1]], 1)
        encoded = self.vae.encode_groups(crops.groups.flatten(0, 1), before.flatten(0, 1))
        encoded = encoded + 0.04 * torch.randn(encoded.shape)
        latents = encoded.unflatten(0, (B, N))
        previous = torch.cat([latents[:, :1], latents[:, :-1]], 1)
        state = self.vae.init_decoder(crops.reference)
        features = (f.repeat_interleave(N, 0) for f in state.features)
        decoded = self.vae.decode_groups(encoded, previous.flatten(0, 1), *features)
        return decoded.unflatten(0, (B, N)), latents

    def draw(self, rng: np.random.Generator, on_mouth: bool) -> Crops:
        groups, references, visemes, starts = [], [], [], []
        for _ in range(self.batch_size):
            clip = self.clips.train[rng.integers(len(self.clips.train))]
            start = int(rng.integers(GROUP, len(clip.curves) - 2 * GROUP + 1))
            y, x = self._corner(rng, clip.mouth_box, on_mouth)
            window = (slice(y, y + CROP), slice(x, x + CROP))
            reference = clip.portrait[window]
            frames = clip.frames[start - GROUP : start + 2 * GROUP, window[0], window[1]]
            curves = clip.curves[start - GROUP : start + 2 * GROUP, :4]
            from_start = rng.random() < 0.3
            if from_start:
                still = np.broadcast_to(reference, (GROUP, *reference.shape))
                frames = np.concatenate([still, frames[GROUP:]])
                curves = np.concatenate([np.zeros_like(curves[:GROUP]), curves[GROUP:]])
            groups.append(frames.reshape(3, GROUP, CROP, CROP, 3))
            references.append(reference)
            visemes.append(curves.reshape(3, GROUP, 4))
            starts.append(from_start)
        return Crops(
            to_signed(np.stack(groups)),
            to_signed(np.stack(references)),
            torch.tensor(starts),
            torch.from_numpy(np.stack(visemes)) if on_mouth else None,
        )

    @staticmethod
    def _corner(
        rng: np.random.Generator, box: tuple[int, int, int, int], on_mouth: bool
    ) -> tuple[int, int]:
        """Top left of a crop on whole latent cells."""
        x0, y0, x1, y1 = box
        side = 256 - CROP
        if on_mouth:
            y, x = (y0 + y1) / 2 - CROP / 2, (x0 + x1) / 2 - CROP / 2
            y, x = y + rng.uniform(-8, 8), x + rng.uniform(-10, 10)
        elif rng.random() < 0.5:  # the eyes lie about 70 pixels above the mouth
            y, x = (y0 + y1) / 2 - 70 - CROP / 2, (x0 + x1) / 2 - CROP / 2
            y, x = y + rng.uniform(-16, 16), x + rng.uniform(-40, 40)
        else:
            y, x = rng.uniform(0, side), rng.uniform(0, side)
        return (
            int(np.clip(round(y / STRIDE) * STRIDE, 0, side)),
            int(np.clip(round(x / STRIDE) * STRIDE, 0, side)),
        )


def to_signed(pixels: NDArray[np.uint8]) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 in [-1, 1]."""
    # a copy: clips are mapped from disk, read only
    return torch.from_numpy(np.array(pixels)).float().movedim(-1, -3) / 127.5 - 1


def init_from_pca(vae: VAE, clips: ClipSet, rng: np.random.Generator, blocks: int = 24_000) -> None:
    """Set the linear path to the whitened principal components of 8x8x4 pixel blocks."""
    rows: list[NDArray[np.float32]] = []
    while sum(map(len, rows)) < blocks:
        clip = clips.train[rng.integers(len(clips.train))]
        start = int(rng.integers(0, len(clip.curves) - GROUP))
        frames = to_signed(clip.frames[start : start + GROUP])
        cells = frames.reshape(GROUP, 3, 32, STRIDE, 32, STRIDE).permute(2, 4, 0, 1, 3, 5)
        flat = cells.reshape(1024, -1)
        x0, y0, x1, y1 = (v // STRIDE for v in clip.mouth_box)
        on_mouth = torch.zeros(32, 32, dtype=torch.bool)
        on_mouth[y0:y1, x0:x1] = True
        chosen = torch.from_numpy(rng.choice(1024, 120, replace=False))
        rows.append(torch.cat([flat[chosen], flat[on_mouth.flatten()]]).numpy())
    data = torch.from_numpy(np.concatenate(rows))
    mean = data.mean(0)
    _, spread, axes = torch.linalg.svd(data - mean, full_matrices=False)
    count = vae.config.pca_channels
    std = spread[:count] / len(data) ** 0.5
    # between whitening (0) and none (1): later components keep less of the latent's energy
    scale = std / (std / std[0]) ** 0.4
    with torch.no_grad():
        vae.pca_encode.weight.copy_(axes[:count] / scale[:, None])
        vae.pca_encode.bias.copy_(-(axes[:count] @ mean) / scale)
        vae.pca_decode.weight.copy_((axes[:count] * scale[:, None]).T)
        vae.pca_decode.bias.copy_(mean)


@torch.no_grad()
def set_latent_statistics(vae: VAE, clips: list[CastClip]) -> dict[str, float]:
    """Write mean and standard deviation of the latents into the VAE; return its PSNR.

    `psnr_mouth` is over the mouth box alone.
    """
    vae.mean.zero_()
    vae.std.fill_(1.0)
    latents, squares, mouth_squares = [], [], []
    for clip in clips:
        frames = to_signed(clip.frames[: min(96, len(clip.frames) // GROUP * GROUP)])[None]
        encoded, _ = vae.encode(frames, EncoderState(to_signed(clip.portrait)[None]))
        state = vae.init_decoder(to_signed(clip.portrait)[None])
        decoded, _ = vae.decode(encoded, DecoderState(encoded[:, 0], state.features))
        error = (decoded.clamp(-1, 1) - frames).square()
        x0, y0, x1, y1 = clip.mouth_box
        latents.append(encoded[0].transpose(0, 1).flatten(1))
        squares.append(error.mean().item())
        mouth_squares.append(error[..., y0:y1, x0:x1].mean().item())
    joined = torch.cat(latents, 1)
    vae.mean.copy_(joined.mean(1))
    vae.std.copy_(joined.std(1))
    return {
        "psnr": round(float(10 * np.log10(4 / np.mean(squares))), 2),
        "psnr_mouth": round(float(10 * np.log10(4 / np.mean(mouth_squares))), 2),
    }
