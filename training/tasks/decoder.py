"""The decoder alone, last of all: it learns to draw what the DiT really makes.

A model of few steps leaves out of its latents what it cannot foretell. What shows of that is much
the same every time, so the decoder can put it back. The encoder stays, and with it all latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.cast.motion import CONTROL_NAMES
from avatar.models.vae import VAE
from avatar.models.vae.model import GROUP, STRIDE
from training.data.dataset import CastClip
from training.tasks.vae import (
    CROP,
    EYES_ABOVE,
    GROUPS,
    VAELoss,
    bump,
    crop_corner,
    has_bfloat16,
    inside,
    movement,
    pixel_loss,
    psnr,
    to_signed,
    within_rim,
)

ENCODER = ("motion_frame", "motion_group", "linear_encode", "encode_frame", "encode_group")
CELLS = CROP // STRIDE
PLACES = (0.35, 0.45, 0.2)
"""Shares of crops of mouths, of eyes, and of anything."""
CANDIDATES = 6
RARE_SHARE = 0.7
"""Of mouths and eyes that are the fastest, or the most shut, of the candidates: lids are shut for a
twentieth of the time, and without this what is under them showed through."""
BLINK = CONTROL_NAMES.index("blink")


@dataclass(frozen=True)
class LatentCrops:
    """`latents` (B, GROUPS, C, CELLS, CELLS) as the VAE has them, the first only the past.

    `pixels` (B, GROUPS - 1, 4, 3, CROP, CROP) and `reference` (B, 3, CROP, CROP) in [-1, 1];
    `weight` (B, CROP, CROP).
    """

    latents: Tensor
    pixels: Tensor
    reference: Tensor
    weight: Tensor


def detail_lost(decoded: Tensor, pixels: Tensor, weight: Tensor) -> Tensor:
    """How far the mean gradient of squares of a latent's size is from the true one's.

    The mean of two edges is a blur, and errors counted by the pixel ask for the mean where it is
    not known which of them it is. This asks for an edge, wherever in the square.
    """
    where = F.avg_pool2d(weight[:, None], STRIDE)[:, None]
    off = weight.new_zeros(())
    for way in (-1, -2):
        shown, true = (squares(x.diff(dim=way).abs()) for x in (decoded, pixels))
        off = off + ((shown - true).abs() * where[..., : shown.shape[-2], : shown.shape[-1]]).mean()
    return off


def squares(x: Tensor) -> Tensor:
    """(B, groups, 4, 3, H, W) -> (B, groups * 4, 3, h, w): means of whole squares."""
    B = x.shape[0]
    return F.avg_pool2d(x.flatten(0, 2), STRIDE).unflatten(0, (B, -1))


def rarity(clip: CastClip, first: int, on: str) -> float:
    """Of the groups from there on: how fast the mouth is, or how far the lids close and open."""
    span = slice(GROUP * first, GROUP * (first + GROUPS))
    if on == "mouth":
        return movement(clip.curves[span])
    blink = clip.controls[span, BLINK]
    return float(blink.max() + blink.std())


class DecoderTask:
    """`made[i]` (L, C, 32, 32) are latents that the DiT made for `clips[i]`, `true[i]` the clip's.

    True ones are drawn too, so that the decoder does not forget them.
    """

    def __init__(
        self,
        vae: VAE,
        clips: Sequence[CastClip],
        made: Sequence[Tensor],
        true: Sequence[Tensor],
        *,
        weights: VAELoss | None = None,
        batch_size: int = 4,
        true_share: float = 0.5,
        eyes: float = 5.0,
        sharpness: float = 8.0,
        bfloat16: bool | None = None,
    ) -> None:
        self.clips, self.made, self.true = clips, made, true
        self.weights = weights or VAELoss(mouth=8.0)
        self.batch_size, self.true_share = batch_size, true_share
        self.eyes, self.sharpness = eyes, sharpness
        self.bfloat16 = has_bfloat16() if bfloat16 is None else bfloat16
        self.vae = vae.requires_grad_(True)
        for name in ENCODER:
            vae.get_submodule(name).requires_grad_(False)
        self.model: nn.Module = vae

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        crops = self.draw(rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            reference = self.vae.init_decoder(crops.reference).reference
            decoded = torch.stack(
                [
                    self.vae.decode_group(crops.latents[:, i], crops.latents[:, i - 1], reference)
                    for i in range(1, GROUPS)
                ],
                1,
            )
        error = decoded.float() - crops.pixels
        shown = psnr(inside(error).detach().square().mean().item())
        error = error.bfloat16() if self.bfloat16 else error
        blur = detail_lost(decoded.float(), crops.pixels, crops.weight)
        loss = pixel_loss(error, crops.weight, self.weights) + self.sharpness * blur
        return loss, {"psnr": shown, "blur": blur.item()}

    def draw(self, rng: np.random.Generator) -> LatentCrops:
        drawn = [self._draw_one(rng) for _ in range(self.batch_size)]
        latents, pixels, references, weights = zip(*drawn, strict=True)
        return LatentCrops(
            torch.stack(latents).float(),
            to_signed(np.stack(pixels)),
            to_signed(np.stack(references)),
            torch.from_numpy(np.stack(weights)),
        )

    def _draw_one(
        self, rng: np.random.Generator
    ) -> tuple[Tensor, NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        number = int(rng.integers(len(self.clips)))
        clip = self.clips[number]
        latents = (self.true if rng.random() < self.true_share else self.made)[number]
        on = rng.choice(["mouth", "eyes", "any"], p=PLACES)
        starts = rng.integers(0, len(latents) - GROUPS + 1, CANDIDATES)
        first = int(starts[0])
        if on != "any" and rng.random() < RARE_SHARE:
            first = max((int(s) for s in starts), key=lambda s: rarity(clip, s, on))
        x0, y0, x1, y1 = clip.mouth_box
        centre = ((y0 + y1) / 2, (x0 + x1) / 2)
        eyes = (centre[0] - EYES_ABOVE, centre[1])
        y, x = crop_corner(rng, eyes if on == "eyes" else centre, on != "any")
        rows, columns = slice(y, y + CROP), slice(x, x + CROP)
        frames = clip.frames[GROUP * (first + 1) : GROUP * (first + GROUPS), rows, columns]
        v, u = y // STRIDE, x // STRIDE
        weight = 1 + self.weights.mouth * bump(centre[0] - y, centre[1] - x)
        weight += self.eyes * bump(centre[0] - EYES_ABOVE - y, centre[1] - x, 16, 44)
        return (
            latents[first : first + GROUPS, :, v : v + CELLS, u : u + CELLS],
            np.array(frames).reshape(GROUPS - 1, GROUP, CROP, CROP, 3),
            clip.portrait[rows, columns],
            within_rim(weight),
        )
