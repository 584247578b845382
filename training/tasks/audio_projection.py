"""Pre-training of the audio projection: its code tells the mouth of every frame of a latent.

Hours of speech are heard in minutes; as video they would take days. What the DiT learns from clips
is then how a mouth looks, not how it sounds.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.audio_encoder import AudioEncoder
from avatar.models.dit import AudioConfig, DiT
from avatar.models.dit.audio_projection import AudioProjection
from avatar.models.vae.model import GROUP
from training.data.visemes import MOUTH_NAMES
from training.tasks.audio_encoder import AudioEncoderTask

VISEMES = 4
UNKNOWN_SHARE = 0.2
"""Of windows whose end is silence, because live speech has not come so far."""


class AudioProjectionTask:
    """`model` holds the projection and a linear head on its code, which is thrown away."""

    def __init__(self, speech: Path, encoder: AudioEncoder, config: AudioConfig) -> None:
        self.sounds = AudioEncoderTask(speech)
        self.encoder, self.config = encoder.eval().requires_grad_(False), config
        self.sounds.model = self.encoder
        self.projection = AudioProjection(config)
        head = nn.Linear(self.projection.proj2.out_features, GROUP * VISEMES)
        self.model = nn.ModuleDict({"projection": self.projection, "head": head})

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        samples, curves = self.sounds.draw(rng)
        windows, target = self.windows(samples, curves)
        hidden = torch.from_numpy(rng.integers(1, self.config.reach + 1, len(windows)))
        hidden = hidden * torch.from_numpy(rng.random(len(windows)) < UNKNOWN_SHARE)
        known = (
            torch.arange(self.config.window_latents) < self.config.window_latents - hidden[:, None]
        )
        predicted = self.visemes(windows * known[:, :, None, None])
        error = F.mse_loss(predicted, target)
        return error, {"error": error.item()}

    @torch.no_grad()
    def windows(self, samples: Tensor, curves: Tensor) -> tuple[Tensor, Tensor]:
        """Sounds and curves (B, T, 5) -> (N, window, tokens, dim) and (N, GROUP, VISEMES)."""
        c = self.config
        tokens = self.sounds.tokens(samples)
        count = curves.shape[1] // GROUP
        latents = tokens[:, : count * c.tokens_per_latent].unflatten(1, (count, -1))
        mouths = curves[:, : count * GROUP, :VISEMES].unflatten(1, (count, GROUP))
        windows = latents.unfold(1, c.window_latents, 1).movedim(-1, 2)
        return windows.flatten(0, 1), mouths[:, c.reach : count - c.reach].flatten(0, 1)

    def visemes(self, windows: Tensor) -> Tensor:
        read: Tensor = self.model["head"](self.projection.code(windows))
        return read[:, 0].unflatten(1, (GROUP, VISEMES))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Correlations on held-out speech, and within the frames of a latent."""
        samples, curves = self.sounds.held_out()
        windows, target = self.windows(samples, curves)
        read = self.visemes(windows)
        figures = {
            name: correlation(read[..., i], target[..., i])
            for i, name in enumerate(MOUTH_NAMES[:VISEMES])
        }
        own, true = (x[..., 0] - x[..., 0].mean(1, keepdim=True) for x in (read, target))
        return figures | {"open_within_group": correlation(own, true)}


def give_code(model: DiT, trained: dict[str, Tensor]) -> None:
    """Put a trained code into a DiT; it is not learned any further."""
    layers = model.audio_projection
    for name in ("proj1", "proj2"):
        layer = layers.get_submodule(name)
        layer.load_state_dict(
            {key: trained[f"projection.{name}.{key}"] for key in ("weight", "bias")}
        )
        layer.requires_grad_(False)


def correlation(a: Tensor, b: Tensor) -> float:
    return round(float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]), 4)
