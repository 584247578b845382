"""Pre-training of the audio encoder: hear the mouth's shape in speech."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from avatar.media import SPEECH_RATE
from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.telemetry.logging import get_logger
from training.data.acoustics import EVERYDAY
from training.data.engines import load_engines
from training.data.speech import utterance
from training.data.visemes import mouth_curves

log = get_logger(__name__)
FPS = 25
SAMPLES_PER_FRAME = SPEECH_RATE // FPS


def make_speech(path: Path, hours: float, seed: int, engines: tuple[str, ...]) -> None:
    """Speak for `hours` and store int16 samples with their mouth curves at 25 fps."""
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    voices = load_engines(engines)
    sounds, curves, seconds = [], [], 0.0
    while seconds < hours * 3600:
        spoken = utterance(rng, 8.0, voices, acoustics=EVERYDAY)
        num_frames = len(spoken.samples) // SAMPLES_PER_FRAME
        samples = spoken.samples[: num_frames * SAMPLES_PER_FRAME]
        sounds.append((samples * 32767).astype(np.int16))
        curves.append(mouth_curves(spoken.phonemes, num_frames / FPS)[:num_frames])
        seconds += num_frames / FPS
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, samples=np.concatenate(sounds), curves=np.concatenate(curves))
    partial.replace(path)
    log.info("speech_made", hours=round(seconds / 3600, 3))


class AudioEncoderTask:
    """Windows of speech with random level and noise; the loss is on the mouth curves."""

    def __init__(self, path: Path, *, batch_size: int = 24, num_frames: int = 75) -> None:
        stored = np.load(path)
        self.samples: NDArray[np.int16] = stored["samples"]
        self.curves: NDArray[np.float32] = stored["curves"]
        self.batch_size, self.num_frames = batch_size, num_frames
        self.config = AudioEncoderConfig()
        self.model = AudioEncoder(self.config)
        # the last twentieth is held out
        self.train_frames = len(self.curves) * 19 // 20

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        lead = -(-self.model.history // SAMPLES_PER_FRAME)
        starts = rng.integers(lead, self.train_frames - self.num_frames, self.batch_size)
        samples, target = self.windows(starts)
        level = torch.from_numpy(10.0 ** rng.uniform(-0.6, 0.3, (self.batch_size, 1))).float()
        noise_level = 10.0 ** rng.uniform(-4.0, -2.0, (self.batch_size, 1))
        noisy = rng.random((self.batch_size, 1)) < 0.4
        noise = torch.from_numpy(noise_level * noisy).float() * torch.randn(samples.shape)
        predicted = self.predict((samples * level + noise).clamp(-1, 1))
        loss = F.mse_loss(predicted, target)
        return loss, {}

    def windows(self, starts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        history, T = self.model.history, self.num_frames
        samples = [
            self.samples[s * SAMPLES_PER_FRAME - history : (s + T) * SAMPLES_PER_FRAME]
            for s in starts
        ]
        curves = [self.curves[s : s + T] for s in starts]
        return torch.from_numpy(np.stack(samples)).float() / 32767, torch.from_numpy(
            np.stack(curves)
        )

    def predict(self, samples: Tensor) -> Tensor:
        history = self.model.history
        tokens, _ = self.model(samples[:, history:], samples[:, :history])
        return self.model.visemes(tokens)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Correlation of each viseme dimension on held-out speech."""
        starts = np.arange(self.train_frames, len(self.curves) - self.num_frames, self.num_frames)
        samples, target = self.windows(starts)
        predicted = self.predict(samples)
        names = ("open", "wide", "round", "teeth", "tongue")
        return {
            name: round(
                float(np.corrcoef(predicted[..., i].flatten(), target[..., i].flatten())[0, 1]), 4
            )
            for i, name in enumerate(names)
        }
