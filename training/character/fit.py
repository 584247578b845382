"""What is learned of one character: an addition to the decoder's features of its portrait.

The decoder moves features of the still portrait as it moves its pixels. They are a session's state,
not weights: one model serves every avatar, and what is learned ships with the avatar.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.models.vae import VAE
from avatar.models.vae.model import GROUP, MOTION, Reference, motion_of
from training.data.clips import Clip
from training.meters.lip_sync import Box
from training.meters.picture import EYE_BOX
from training.tasks.vae import VAELoss, has_bfloat16, psnr, to_signed, weighted
from training.trainer import Schedule

STEPS = 160
WATCHED = 4.0
"""What an error in the eye and mouth boxes counts more."""


def schedule(steps: int = STEPS) -> Schedule:
    return Schedule(
        steps=steps,
        learning_rate=6e-3,
        warmup_steps=min(10, steps),
        weight_decay=0.0,
        ema_decay=0.95,
        save_every_s=20.0,
        log_every=20,
    )


class ReferenceFeatures(nn.Module):
    """(1, C, h, w) at 1/8, 1/4 and 1/2, to be added to the reference's own; zero at first."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.added = nn.ParameterList(
            [nn.Parameter(torch.zeros_like(each)) for each in reference.features]
        )

    def forward(self, reference: Reference) -> Reference:
        both = zip(reference.features, self.added, strict=True)
        eighth, quarter, half = (drawn + learned for drawn, learned in both)
        return Reference(reference.pixels, (eighth, quarter, half))


class ReferenceTask:
    """Reconstruct groups of a character's clips, as `training.tasks.vae` does, the VAE frozen."""

    def __init__(
        self,
        vae: VAE,
        portrait: NDArray[np.uint8],
        clips: Sequence[Clip],
        mouth_box: Box,
        bfloat16: bool | None = None,
    ) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.clips = clips
        self.still = to_signed(portrait)[None]
        with torch.no_grad():
            self.reference = vae.init_decoder(self.still).reference
        self.model = ReferenceFeatures(self.reference)
        self.bfloat16 = has_bfloat16() if bfloat16 is None else bfloat16
        self.weight = torch.ones(portrait.shape[:2])
        for x0, y0, x1, y1 in (EYE_BOX, mouth_box):
            self.weight[y0:y1, x0:x1] += WATCHED
        self.weight /= self.weight.mean()
        self.terms = VAELoss()

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        clip = self.clips[int(rng.integers(len(self.clips)))]
        start = GROUP * int(rng.integers(len(clip.mouth) // GROUP - 1))
        window = slice(start, start + 2 * GROUP)
        groups = to_signed(clip.frames[window]).unflatten(0, (2, GROUP))
        flow = torch.from_numpy(clip.motion[window]).float().movedim(-1, 1)
        motion = motion_of(flow.unflatten(0, (2, GROUP)))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            with torch.no_grad():
                latents = self.vae.encode_groups(groups, self.still.expand(2, -1, -1, -1), motion)
            noise = torch.randn(latents.shape)
            noise[:, :MOTION] *= self.terms.motion_noise
            noise[:, MOTION:] *= self.terms.noise
            noisy = latents.float() + noise
            decoded = self.vae.decode_group(noisy[1:], noisy[:1], self.model(self.reference))
        error = decoded.float() - groups[1:]
        loss = (
            weighted(error, self.weight)
            + self.terms.square * (error.square() * self.weight).mean()
            + self.terms.gradient * weighted(error.diff(dim=-1), self.weight[:, 1:])
            + self.terms.gradient * weighted(error.diff(dim=-2), self.weight[1:])
        )
        return loss, {"psnr": psnr(error.detach().square().mean().item())}
