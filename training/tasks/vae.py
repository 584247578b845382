"""Training of the video VAE on crops, most of them around a mouth that moves."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.models.vae import VAE, VAEConfig
from avatar.models.vae.model import GROUP, MOTION, STRIDE, motion_of
from training.data.dataset import ClipSet

CROP = 128
"""Side of a training crop in pixels; the network is fully convolutional."""
BORDER = 8
"""Pixels of its rim that do not count: what moved in there is not in the reference's crop."""
GROUPS = 3
"""Consecutive groups of a crop; the first is only the past of the second."""
VISEMES = 4
EYES_ABOVE = 70
"""Pixels from the middle of the mouth to the middle of the eyes, about."""


@dataclass(frozen=True)
class Crops:
    """groups (B, GROUPS, 4, 3, CROP, CROP) and reference (B, 3, CROP, CROP) in [-1, 1].

    The first group is the real past, or the still reference. `motion` (B, GROUPS, 4, 2, CROP/8,
    CROP/8) is the true way back to the reference in pixels. `weight` (B, CROP, CROP) is high on the
    mouth and 0 on the rim; `visemes` (B, GROUPS, 4, VISEMES) are those of every frame and
    `on_mouth` (B,) says whether the crop is one of the mouth.
    """

    groups: Tensor
    reference: Tensor
    motion: Tensor
    weight: Tensor
    visemes: Tensor
    on_mouth: Tensor


@dataclass(frozen=True)
class VAELoss:
    """Weights of the terms beside the plain L1 error, and of what is drawn.

    `square` is on the squared error: L1 alone leaves few but large errors, at the lids above all.

    `within_group` is on what differs from the mean of a group's 4 frames: that is a twentieth of
    the pixels' energy and all of a fast mouth. The noises are added to latents of about unit
    variance; of the motion, which is given, they teach the decoder to mend a wrong one.
    """

    square: float = 12.0
    gradient: float = 0.5
    in_time: float = 0.7
    within_group: float = 1.0
    mouth: float = 4.0
    probe: float = 0.3
    latent_energy: float = 3e-4
    noise: float = 0.1
    motion_noise: float = 0.03
    mouth_share: float = 0.4
    fast_share: float = 0.5
    still_share: float = 0.3


class VAETask:
    """Reconstruction that counts mouths and their movement more than their share of the pixels.

    An auxiliary head reads the four frames' mouth shapes from the latents: without it they
    silently lose what happens between the frames of a group.
    """

    def __init__(
        self,
        clips: ClipSet,
        *,
        config: VAEConfig | None = None,
        weights: VAELoss | None = None,
        batch_size: int = 4,
        bfloat16: bool | None = None,
    ) -> None:
        self.clips, self.batch_size = clips, batch_size
        self.config, self.weights = config or VAEConfig(), weights or VAELoss()
        # twice as fast where the processor has it, four times slower where it has not
        self.bfloat16 = has_bfloat16() if bfloat16 is None else bfloat16
        self.vae = VAE(self.config)
        cells = (CROP // STRIDE) ** 2
        self.probe = nn.Sequential(
            nn.Flatten(1),
            nn.Linear(self.config.latent_channels * cells, 128),
            nn.LeakyReLU(0.1),
            nn.Linear(128, GROUP * VISEMES),
        )
        self.model = nn.ModuleDict({"vae": self.vae, "probe": self.probe})

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        crops, w = self.draw(rng), self.weights
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            decoded, latents = self.reconstruct(crops)
            probed = self.probe(latents[crops.on_mouth].flatten(0, 1)).float()
        true = crops.groups[:, 1:]
        error = decoded.float() - true
        mean_square = inside(error).detach().square().mean((1, 2, 3, 4, 5))
        loss = pixel_loss(error.bfloat16() if self.bfloat16 else error, crops.weight, w)
        loss = loss + w.latent_energy * latents.square().mean()
        figures = {"psnr": psnr(mean_square.mean().item())}
        if crops.on_mouth.any():
            within = error - error.mean(2, keepdim=True)
            lost = within[crops.on_mouth].square().sum()
            was = true - true.mean(2, keepdim=True)
            visemes = crops.visemes[crops.on_mouth].flatten(0, 1)
            probe_loss = viseme_loss(probed.unflatten(1, (GROUP, VISEMES)), visemes)
            loss = loss + w.probe * probe_loss
            figures |= {
                "mouth_psnr": psnr(mean_square[crops.on_mouth].mean().item()),
                "within_lost": (lost / was[crops.on_mouth].square().sum()).item(),
                "probe": probe_loss.item(),
            }
        return loss, figures

    def reconstruct(self, crops: Crops) -> tuple[Tensor, Tensor]:
        """Decoded groups after the first, and the latents of all."""
        stills = crops.reference.repeat_interleave(GROUPS, 0)
        motion = motion_of(crops.motion.flatten(0, 1))
        encoded = self.vae.encode_groups(crops.groups.flatten(0, 1), stills, motion).float()
        noise = torch.randn(encoded.shape)
        noise[:, :MOTION] *= self.weights.motion_noise
        noise[:, MOTION:] *= self.weights.noise
        clean = encoded.unflatten(0, crops.groups.shape[:2])
        noisy = clean + noise.unflatten(0, crops.groups.shape[:2])
        state = self.vae.init_decoder(crops.reference)
        decoded = [
            self.vae.decode_group(noisy[:, i], noisy[:, i - 1], state.reference)
            for i in range(1, GROUPS)
        ]
        return torch.stack(decoded, 1), clean

    # -- crops --------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Crops:
        drawn = [self._draw_one(rng) for _ in range(self.batch_size)]
        groups, references, motion, weights, visemes, on_mouth = zip(*drawn, strict=True)
        return Crops(
            to_signed(np.stack(groups)),
            to_signed(np.stack(references)),
            torch.from_numpy(np.stack(motion)).float().movedim(-1, -3),
            torch.from_numpy(np.stack(weights)),
            torch.from_numpy(np.stack(visemes)),
            torch.tensor(on_mouth),
        )

    def _draw_one(
        self, rng: np.random.Generator
    ) -> tuple[
        NDArray[np.uint8],
        NDArray[np.uint8],
        NDArray[np.float16],
        NDArray[np.float32],
        NDArray[np.float32],
        bool,
    ]:
        clip = self.clips.train[rng.integers(len(self.clips.train))]
        on_mouth = bool(rng.random() < self.weights.mouth_share)
        length = GROUPS * GROUP
        starts = rng.integers(0, len(clip.curves) - length + 1, 4)
        start = int(starts[0])
        if on_mouth and rng.random() < self.weights.fast_share:
            start = int(max(starts, key=lambda s: movement(clip.curves[s : s + length])))
        x0, y0, x1, y1 = clip.mouth_box
        centre = ((y0 + y1) / 2, (x0 + x1) / 2)
        y, x = crop_corner(rng, centre, on_mouth)
        window = (slice(y, y + CROP), slice(x, x + CROP))
        reference = clip.portrait[window]
        frames = np.array(clip.frames[start : start + length, window[0], window[1]])
        cells = (slice(y // STRIDE, (y + CROP) // STRIDE), slice(x // STRIDE, (x + CROP) // STRIDE))
        motion = np.array(clip.motion[start : start + length, cells[0], cells[1]])
        visemes = clip.curves[start : start + length, :VISEMES].copy()
        if rng.random() < self.weights.still_share:
            frames[:GROUP] = reference
            motion[:GROUP] = 0
            visemes[:GROUP] = 0
        weight = 1 + self.weights.mouth * bump(centre[0] - y, centre[1] - x)
        return (
            frames.reshape(GROUPS, GROUP, CROP, CROP, 3),
            reference,
            motion.reshape(GROUPS, GROUP, CROP // STRIDE, CROP // STRIDE, 2),
            within_rim(weight),
            visemes.reshape(GROUPS, GROUP, VISEMES),
            on_mouth,
        )


def movement(curves: NDArray[np.float32]) -> float:
    """How much opening, width and rounding change inside groups; curves (4k, 5)."""
    return float(curves[:, :3].reshape(-1, GROUP, 3).std(1).sum())


def bump(y: float, x: float, height: float = 18, width: float = 26) -> NDArray[np.float32]:
    """(CROP, CROP), 1 at the centre of a mouth or of eyes and 0 far from it."""
    rows, columns = np.mgrid[:CROP, :CROP].astype(np.float32)
    return np.exp(-(((columns - x) / width) ** 2) / 2 - ((rows - y) / height) ** 2 / 2)


def within_rim(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """`weight` (CROP, CROP), 0 on the rim."""
    kept = np.zeros_like(weight)
    kept[BORDER:-BORDER, BORDER:-BORDER] = weight[BORDER:-BORDER, BORDER:-BORDER]
    return kept


def inside(error: Tensor) -> Tensor:
    """(..., CROP, CROP) without the rim."""
    return error[..., BORDER:-BORDER, BORDER:-BORDER]


def crop_corner(
    rng: np.random.Generator, mouth: tuple[float, float], on_mouth: bool
) -> tuple[int, int]:
    """Top left of a crop on whole latent cells."""
    side = 256 - CROP
    y, x = mouth[0] - CROP / 2, mouth[1] - CROP / 2
    if on_mouth:
        y, x = y + rng.uniform(-8, 8), x + rng.uniform(-10, 10)
    elif rng.random() < 0.5:
        y, x = y - EYES_ABOVE + rng.uniform(-16, 16), x + rng.uniform(-40, 40)
    else:
        y, x = rng.uniform(0, side), rng.uniform(0, side)
    return (
        int(np.clip(round(y / STRIDE) * STRIDE, 0, side)),
        int(np.clip(round(x / STRIDE) * STRIDE, 0, side)),
    )


def pixel_loss(error: Tensor, weight: Tensor, w: VAELoss) -> Tensor:
    """Of errors (B, groups, GROUP, 3, CROP, CROP), weighted by (B, CROP, CROP).

    bfloat16 of the difference keeps its digits; of the pixels it would not.
    """
    weight = weight[:, None, None, None].to(error.dtype)
    within = error - error.mean(2, keepdim=True)
    return (
        weighted(error, weight)
        + w.square * (error.float().square() * weight).mean()
        + w.gradient * weighted(error.diff(dim=-1), weight[..., 1:])
        + w.gradient * weighted(error.diff(dim=-2), weight[..., 1:, :])
        # from one group to the next too: a jump there is a flicker six times a second
        + w.in_time * weighted(error.flatten(1, 2).diff(dim=1), weight[:, 0])
        + w.within_group * weighted(within, weight)
    )


def weighted(error: Tensor, weight: Tensor) -> Tensor:
    return (error.abs() * weight).mean(dtype=torch.float32)


def viseme_loss(probed: Tensor, visemes: Tensor) -> Tensor:
    """(N, 4, VISEMES) both; what differs between the frames of a group counts three times."""

    def within(x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    return F.mse_loss(probed, visemes) + 2 * F.mse_loss(within(probed), within(visemes))


def psnr(mean_square: float) -> float:
    """Of pictures in [-1, 1], dB."""
    return float(10 * np.log10(4 / mean_square))


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def to_signed(pixels: NDArray[np.uint8]) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 in [-1, 1]."""
    # a copy: clips are mapped from disk, read only
    return torch.from_numpy(np.array(pixels)).float().movedim(-1, -3) / 127.5 - 1
