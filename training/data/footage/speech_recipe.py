"""Trains the shipped speech network: `python -m training.data.footage.speech_recipe --run DIR`."""

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.models.weights import save_model
from avatar.telemetry.logging import configure, get_logger
from training.data.footage.speech_net import SAMPLES_PER_FRAME, WEIGHTS, SpeechNet, SpeechNetConfig
from training.tasks.audio_encoder import make_speech
from training.trainer import Schedule, fit

log = get_logger("training.data.footage.speech_recipe")


class SpeechTask:
    """Regression on the mouth curves of synthesized speech; the last twentieth is held out."""

    def __init__(self, path: Path, *, batch_size: int = 16, num_frames: int = 100) -> None:
        stored = np.load(path)
        self.samples, self.curves = stored["samples"], stored["curves"]
        self.batch_size, self.num_frames = batch_size, num_frames
        self.model = SpeechNet(SpeechNetConfig())
        self.train_frames = len(self.curves) * 19 // 20

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        starts = rng.integers(0, self.train_frames - self.num_frames, self.batch_size)
        samples, curves = zip(*(self._window(int(s), self.num_frames) for s in starts), strict=True)
        level = torch.from_numpy(10.0 ** rng.uniform(-0.6, 0.3, (self.batch_size, 1))).float()
        noise = 10.0 ** rng.uniform(-4.0, -2.0) * torch.randn(self.batch_size, 1)
        heard = torch.stack(samples) * level
        heard = heard + noise * torch.randn(heard.shape)
        return F.mse_loss(self.model(heard), torch.stack(curves)), {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        samples, curves = self._window(self.train_frames, len(self.curves) - self.train_frames)
        heard, truth = self.model(samples[None])[0].numpy(), curves.numpy()
        return {
            name: round(float(np.corrcoef(heard[:, i], truth[:, i])[0, 1]), 3)
            for i, name in enumerate(("open", "wide", "round"))
        }

    def _window(self, start: int, num_frames: int) -> tuple[Tensor, Tensor]:
        first, last = start * SAMPLES_PER_FRAME, (start + num_frames) * SAMPLES_PER_FRAME
        samples = torch.from_numpy(self.samples[first:last]).float() / 32767.0
        return samples, torch.from_numpy(self.curves[start : start + num_frames, :3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/speech-net"))
    parser.add_argument("--hours", type=float, default=0.6)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--engines", nargs="+", default=["hibari", "espeak"])
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    configure(logging.INFO, sys.stderr)
    torch.set_num_threads(1)
    make_speech(args.run / "speech.npz", args.hours, 3, tuple(args.engines))
    torch.manual_seed(3)
    task = SpeechTask(args.run / "speech.npz")
    schedule = Schedule(args.steps, 3e-3, weight_decay=1e-3, ema_decay=0.995)
    task.model.load_state_dict(fit(task, schedule, args.run / "speech_net"))
    task.model.eval()
    figures = task.validate()
    save_model(task.model, task.model.config, args.out)
    args.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    log.info("saved", path=str(args.out), **figures)


if __name__ == "__main__":
    main()
