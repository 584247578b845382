"""The causal DiT hears more speech than there are clips.

Rendering an hour of clips takes half a day of a core, and a DiT that has heard less than one knows
its sentences by heart: lips followed speech of the clips it learned from at 0.93, 0.85 and 0.83
(opening, width, rounding), other speech at 0.88, 0.69 and 0.68. An hour of speech with its mouth
curves takes minutes. So every second step is a rollout to speech that nobody drew: a reader of
latents says whether the mouth follows, and what is not the mouth is compared with the clip whose
controls were used, because it is the same whatever is said.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.models.audio_encoder import AudioEncoder
from avatar.models.vae.model import GROUP
from training.data.latents import SAMPLES_PER_LATENT
from training.tasks.audio_encoder import SAMPLES_PER_FRAME
from training.tasks.batch import Stretch, read_mouths
from training.tasks.distill import DistillTask
from training.tasks.dit import weighted_square
from training.tasks.latent_reader import WINDOW, mouth_cells

VISEMES = 4


@dataclass(frozen=True)
class Spoken:
    """`samples` int16 at 16 kHz with mouth `curves` (T, 5) at 25 fps; nothing of it was drawn."""

    samples: NDArray[np.int16]
    curves: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> "Spoken":
        with np.load(path) as stored:
            return cls(stored["samples"], stored["curves"])


class SpokenTask:
    """Steps of `usual` (Self Forcing on clips), in turn with rollouts to other speech."""

    def __init__(
        self, usual: DistillTask, spoken: Spoken, encoder: AudioEncoder, *, sync: float = 6.0
    ) -> None:
        self.usual, self.spoken, self.sync = usual, spoken, sync
        self.encoder = encoder.eval().requires_grad_(False)
        self.model: nn.Module = usual.student

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        if step % 2 == 0:
            return self.usual.loss(step, rng)
        stretch = self.resounded(self.usual.draw(rng), rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.usual.bfloat16):
            made = self.usual.generate(stretch, rng)
            read = read_mouths(self.usual.reader, made, stretch)
            sync = (read.float() - stretch.visemes).square().mean()
            off = weighted_square(made - stretch.clean, besides_mouths(stretch)).mean()
        return self.sync * sync + off, {"spoken_sync": sync.item(), "besides_off": off.item()}

    def resounded(self, stretch: Stretch, rng: np.random.Generator) -> Stretch:
        """The same faces and movements, but they say something else."""
        drawn = [self._draw_one(stretch, rng) for _ in range(len(stretch.clean))]
        speech, visemes = zip(*drawn, strict=True)
        return replace(stretch, speech=torch.stack(speech), visemes=torch.stack(visemes))

    @torch.no_grad()
    def _draw_one(self, stretch: Stretch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Tokens (T + 2 reach, n, dim) and visemes (T, GROUP, 4)."""
        heard, length = stretch.speech.shape[1], stretch.clean.shape[1]
        reach = (heard - length) // 2
        lead = -(-self.encoder.history // SAMPLES_PER_FRAME)
        frames = heard * GROUP
        first = int(rng.integers(lead, len(self.spoken.curves) - frames))
        start = first * SAMPLES_PER_FRAME
        samples = self.spoken.samples[
            start - self.encoder.history : start + heard * SAMPLES_PER_LATENT
        ]
        wave = torch.from_numpy(samples.astype(np.float32) / 32767)[None]
        history = self.encoder.history
        tokens = self.encoder(wave[:, history:], wave[:, :history])[0]
        curves = self.spoken.curves[first + reach * GROUP : first + (reach + length) * GROUP]
        return (
            tokens[0].unflatten(0, (heard, -1)),
            torch.from_numpy(curves[:, :VISEMES].copy()).unflatten(0, (length, GROUP)),
        )


def besides_mouths(stretch: Stretch) -> Stretch:
    """The stretch whose errors count nothing where the reader looks, and around it."""
    weight = stretch.weight.clone()
    for row, box in enumerate(stretch.boxes):
        y, x = mouth_cells(box)
        weight[row, max(0, y - 1) : y + WINDOW + 1, max(0, x - 1) : x + WINDOW + 1] = 0
    return replace(stretch, weight=weight)
