"""The audio encoder once more: to hear a voice through other sounds, and none where there is none.

What it learned of the mouth is not touched: of speech it must say what it said before, so that
every network behind it still understands it.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.models.audio_encoder import AudioEncoder
from avatar.telemetry.logging import get_logger
from training.data.sounds import make_sound
from training.tasks.audio_encoder import (
    SAMPLES_PER_FRAME,
    AudioEncoderTask,
    Recordings,
    behind,
    save_arrays,
    whole,
)

log = get_logger(__name__)
SOUND_S = 8.0
_ALONE, _CLEAN = 0.4, 0.35
"""Shares of windows without a voice, and with nothing but a voice."""


def make_sounds(path: Path, hours: float, seed: int) -> None:
    """Play for `hours` what no mouth makes."""
    if path.exists():
        return
    count = max(2, round(hours * 3600 / SOUND_S))
    sounds = [make_sound(np.random.default_rng((seed, 77, i)), SOUND_S) for i in range(count)]
    save_arrays(path, samples=np.concatenate([whole(sound) for sound in sounds]))
    log.info("sounds_made", count=count, seconds=count * SOUND_S)


def sounds_beside(speech: Path) -> Path:
    return speech.with_name("sounds.npz")


class AudioRestTask(AudioEncoderTask):
    """Tokens of a mixture against the tokens that `known` has of the voice in it.

    Of no voice those are zero, so instruments alone are silence; of a voice alone they are what
    they were. The error is a share of the power of a voice's tokens.
    """

    def __init__(self, path: Path, known: AudioEncoder, *, batch_size: int = 32) -> None:
        super().__init__(path, batch_size=batch_size, num_songs=batch_size // 3)
        with np.load(sounds_beside(path)) as sounds:
            samples = sounds["samples"]
        curves = np.zeros((len(samples) // SAMPLES_PER_FRAME, 5), np.float32)
        self.sounds = Recordings(samples, curves)
        self.known = known.eval().requires_grad_(False)
        self.model.load_state_dict(known.state_dict())
        self.model.viseme_head.requires_grad_(False)
        voice = self.known_tokens(self.held_out()[0])
        self.power = float(voice.square().sum(2).mean())
        self.viseme_power = float(self.known.visemes(voice).square().sum(2).mean())

    def known_tokens(self, samples: Tensor) -> Tensor:
        history = self.known.history
        tokens: Tensor = self.known(samples[:, history:], samples[:, :history])[0]
        return tokens

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        heard, voice, kind = self.mixtures(rng)
        with torch.no_grad():
            target = self.known_tokens(voice)
            mouth = self.known.visemes(target)
        tokens = self.tokens(heard)
        error = (tokens - target).square().sum(2).mean(1) / self.power
        seen = (self.model.visemes(tokens) - mouth).square().sum(2).mean(1) / self.viseme_power
        figures = {name: float(error.detach()[kind == i].mean()) for i, name in enumerate(_KINDS)}
        return (error + seen).mean(), figures

    def mixtures(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What is heard and the voice in it, each (B, history + T 640), and which of `_KINDS`."""
        spoken, _ = self.windows(self.speech, self._starts(self.speech, self.batch_size, rng))
        sung, _ = self.windows(self.songs, self._starts(self.songs, self.num_songs, rng))
        voice = torch.cat([spoken, sung])
        count = len(voice)
        pieces, _ = self.windows(self.songs, self._starts(self.songs, count, rng), "backing")
        sounds, _ = self.windows(self.sounds, self._starts(self.sounds, count, rng))
        is_piece = torch.from_numpy(rng.random(count) < 0.35)
        other = torch.where(is_piece[:, None], pieces, sounds)
        drawn = torch.from_numpy(rng.random(count))
        kind = (drawn >= _ALONE).long() + (drawn >= _ALONE + _CLEAN).long()
        voice = voice * (kind != 0)[:, None]
        voice_db = torch.from_numpy(rng.uniform(0.0, 18.0, count)).float()
        heard = voice + behind(voice, other, voice_db) * (kind != 1)[:, None]
        level = torch.from_numpy(10.0 ** rng.uniform(-0.6, 0.3, (count, 1))).float()
        level = level / heard.abs().amax(1, keepdim=True).clamp(min=1)
        # sounds alone come as loud as voices do, not as the mixture has them
        alone = torch.from_numpy(10.0 ** rng.uniform(-1.3, -0.1, (count, 1))).float()
        alone = alone / other.abs().amax(1, keepdim=True).clamp(min=1e-2)
        heard = torch.where((kind == 0)[:, None], other * alone, heard * level)
        return heard.clamp(-1, 1), (voice * level).clamp(-1, 1), kind

    def _starts(self, of: Recordings, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        lead = -(-self.model.history // SAMPLES_PER_FRAME)
        return rng.integers(lead, of.train_frames - self.num_frames, count)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """As before, and: how far speech moved, and what is left of sounds and of instruments."""
        told = super().validate()
        spoken, sounds = self.held_out()[0], self._held_out(self.sounds)[0]
        known = self.known_tokens(spoken)
        moved = (self.tokens(spoken) - known).square().mean() / known.square().mean()
        left = self.tokens(sounds).square().mean() / known.square().mean()
        opening = self.model.visemes(self.tokens(sounds))[..., 0].abs().mean()
        said = self.known.visemes(known)[..., 0].abs().mean()
        return told | {
            "speech_moved": round(float(moved.sqrt()), 4),
            "sound_tokens": round(float(left.sqrt()), 4),
            "sound_opening": round(float(opening / said), 4),
        }


_KINDS = ("alone", "clean", "mixed")
