"""Pre-training of the audio encoder: hear the mouth's shape in speech and song."""

from dataclasses import dataclass
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
from training.data.music import STYLES
from training.data.singing import Choir
from training.data.songs import SONG_S, Song, make_song
from training.data.speech import utterance
from training.data.visemes import MOUTH_NAMES, mouth_curves

log = get_logger(__name__)
FPS = 25
SAMPLES_PER_FRAME = SPEECH_RATE // FPS


def make_speech(path: Path, hours: float, seed: int, engines: tuple[str, ...]) -> None:
    """Speak for `hours` and store int16 samples with their mouth curves at 25 fps.

    Songs, a third as long, go into a file of their own beside it.
    """
    make_songs(songs_beside(path), hours / 3, seed)
    make_spoken(path, hours, seed, engines)


def make_spoken(path: Path, hours: float, seed: int, engines: tuple[str, ...]) -> None:
    """As `make_speech`, without songs."""
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
    save_arrays(path, samples=np.concatenate(sounds), curves=np.concatenate(curves))
    log.info("speech_made", hours=round(seconds / 3600, 3))


def songs_beside(speech: Path) -> Path:
    return speech.with_name("songs.npz")


def make_songs(path: Path, hours: float, seed: int) -> None:
    """Sing for `hours`: the voice, its mouth curves, and what the instruments play beside it."""
    if path.exists():
        return
    choir, styles = Choir(), list(STYLES)
    songs: list[Song] = []
    for number in range(max(len(styles), round(hours * 3600 / SONG_S))):
        rng = np.random.default_rng((seed, number))
        style = styles[number % len(styles)]
        songs.append(make_song(rng, style, SONG_S, choir, acoustics=EVERYDAY))
    save_arrays(
        path,
        voice=np.concatenate([whole(song.voice) for song in songs]),
        backing=np.concatenate([whole(song.backing) for song in songs]),
        curves=np.concatenate([song.curves for song in songs]),
    )
    log.info("songs_made", count=len(songs), seconds=len(songs) * SONG_S)


def whole(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return (np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]  # the stubs take the flag for an array
    partial.replace(path)


@dataclass(frozen=True)
class Recordings:
    """Voices with their mouths, cut where the held-out part begins.

    `samples` is int16 at 16 kHz, `curves` (T, 5); `backing` the instruments beside, if any.
    """

    samples: NDArray[np.int16]
    curves: NDArray[np.float32]
    backing: NDArray[np.int16] | None = None

    @property
    def train_frames(self) -> int:
        """The last twentieth is held out."""
        return len(self.curves) * 19 // 20


class AudioEncoderTask:
    """Windows of speech and song with random level, noise and music behind them.

    The loss is on the mouth curves. Where nobody says or sings anything the tokens themselves are
    pulled to zero, which is what silence is: a model that knows rest from silence needs to learn
    nothing about instruments.
    """

    def __init__(
        self, path: Path, *, batch_size: int = 24, num_songs: int = 12, num_frames: int = 75
    ) -> None:
        with np.load(path) as speech, np.load(songs_beside(path)) as songs:
            self.speech = Recordings(speech["samples"], speech["curves"])
            self.songs = Recordings(songs["voice"], songs["curves"], songs["backing"])
        self.batch_size, self.num_songs, self.num_frames = batch_size, num_songs, num_frames
        self.config = AudioEncoderConfig()
        self.model = AudioEncoder(self.config)

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        samples, target = self.draw(rng)
        tokens = self.tokens(samples)
        error = F.mse_loss(self.model.visemes(tokens), target)
        rest = at_rest(target)
        power = tokens.square().mean(2)
        at_rest_power = (power * rest).sum() / rest.sum().clamp(min=1)
        figures = {
            "error": error.item(),
            "rest_power": at_rest_power.item(),
            "voice_power": ((power * (1 - rest)).sum() / (1 - rest).sum().clamp(min=1)).item(),
        }
        return error + REST_WEIGHT * at_rest_power, figures

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Samples (B, history + T 640) of speech and song, and their curves (B, T, 5)."""
        lead = -(-self.model.history // SAMPLES_PER_FRAME)

        def starts(of: Recordings, count: int) -> NDArray[np.int64]:
            return rng.integers(lead, of.train_frames - self.num_frames, count)

        spoken, said = self.windows(self.speech, starts(self.speech, self.batch_size))
        sung, mouths = self.windows(self.songs, starts(self.songs, self.num_songs))
        played, _ = self.windows(self.songs, starts(self.songs, len(spoken) + len(sung)), "backing")
        voice, target = torch.cat([spoken, sung]), torch.cat([said, mouths])
        # a fifth of the speech has music behind it, two thirds of the songs; every third of those
        # is instruments alone
        kind = torch.from_numpy(rng.random(len(voice))).float()
        is_song = torch.arange(len(voice)) >= len(spoken)
        has_music = torch.where(is_song, kind < 0.67, kind < 0.2)
        is_silent = is_song & (kind < 0.25)
        voice, target = voice * ~is_silent[:, None], target * ~is_silent[:, None, None]
        voice_db = torch.from_numpy(rng.uniform(-3.0, 15.0, len(voice))).float()
        samples = voice + behind(voice, played, voice_db) * has_music[:, None]
        samples = samples / samples.abs().amax(1, keepdim=True).clamp(min=1)
        level = torch.from_numpy(10.0 ** rng.uniform(-0.6, 0.3, (len(voice), 1))).float()
        noise_level = 10.0 ** rng.uniform(-4.0, -2.0, (len(voice), 1))
        noisy = rng.random((len(voice), 1)) < 0.4
        noise = torch.from_numpy(noise_level * noisy).float() * torch.randn(samples.shape)
        return (samples * level + noise).clamp(-1, 1), target

    def windows(
        self, of: Recordings, starts: NDArray[np.int64], what: str = "samples"
    ) -> tuple[Tensor, Tensor]:
        """(B, history + T 640) samples, the voice's or the backing's, and (B, T, 5) curves."""
        history, T = self.model.history, self.num_frames
        whole = of.samples if what == "samples" else of.backing
        assert whole is not None
        samples = [
            whole[s * SAMPLES_PER_FRAME - history : (s + T) * SAMPLES_PER_FRAME] for s in starts
        ]
        curves = [of.curves[s : s + T] for s in starts]
        return torch.from_numpy(np.stack(samples)).float() / 32767, torch.from_numpy(
            np.stack(curves)
        )

    def tokens(self, samples: Tensor) -> Tensor:
        history = self.model.history
        tokens: Tensor = self.model(samples[:, history:], samples[:, :history])[0]
        return tokens

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Correlation of each viseme dimension on held-out speech and song; rest with music."""
        told = self._correlations(*self.held_out())
        voice, target = self._held_out(self.songs)
        played, _ = self._held_out(self.songs, "backing")
        told |= {f"sung_{k}": v for k, v in self._correlations(voice, target).items()}
        mixed = voice + behind(voice, played, torch.full((len(voice),), 6.0))
        told |= {f"song_{k}": v for k, v in self._correlations(mixed, target).items()}
        heard, tokens = self._curves(voice), self.tokens(played)
        opening = self.model.visemes(tokens)[..., 0]
        singing = (target[..., 0] > 0).float()
        sung_opening = (heard[..., 0] * singing).sum() / singing.sum()
        told["music_opening"] = round(float(opening.abs().mean() / sung_opening), 4)
        tokens_sung = self.tokens(voice).square().mean() / singing.mean()
        told["music_tokens"] = round(float((tokens.square().mean() / tokens_sung).sqrt()), 4)
        return told

    def held_out(self) -> tuple[Tensor, Tensor]:
        """Speech and curves that nothing is learned from."""
        return self._held_out(self.speech)

    def _held_out(self, of: Recordings, what: str = "samples") -> tuple[Tensor, Tensor]:
        starts = np.arange(of.train_frames, len(of.curves) - self.num_frames, self.num_frames)
        return self.windows(of, starts, what)

    def _curves(self, samples: Tensor) -> Tensor:
        curves: Tensor = self.model.visemes(self.tokens(samples))
        return curves

    def _correlations(self, samples: Tensor, target: Tensor) -> dict[str, float]:
        predicted = self._curves(samples)
        return {
            name: round(
                float(np.corrcoef(predicted[..., i].flatten(), target[..., i].flatten())[0, 1]), 4
            )
            for i, name in enumerate(MOUTH_NAMES)
        }


def behind(voice: Tensor, music: Tensor, voice_db: Tensor) -> Tensor:
    """Music (B, S) at the level at which the voice is `voice_db` (B,) louder while it sounds."""

    def power(samples: Tensor, fallback: float) -> Tensor:
        sounding = (samples.abs() > 1e-3).float()
        count = sounding.sum(1, keepdim=True)
        mean = (samples.square() * sounding).sum(1, keepdim=True) / count.clamp(min=1)
        return torch.where(count > 0, mean, torch.full_like(mean, fallback))

    ratio = power(voice, 0.01) / power(music, 1.0) * 10.0 ** (-voice_db[:, None] / 10)
    return music * ratio.sqrt()


REST_WEIGHT = 0.02
_REST_MARGIN = 3
"""Frames between a moving mouth and where the tokens must be still: they tell what comes."""


def at_rest(curves: Tensor) -> Tensor:
    """(B, T, 5) mouths at 25 fps -> (B, 2 T) at the tokens' 50 Hz: 1 well away from any words."""
    moving = (curves.abs().sum(2, keepdim=True) > 1e-3).float().transpose(1, 2)
    near = F.max_pool1d(moving, 2 * _REST_MARGIN + 1, 1, _REST_MARGIN)
    return 1 - near[:, 0].repeat_interleave(2, 1)
