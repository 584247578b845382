"""Features of each video frame out of a rolling window of sound, whose place is absolute time.

wav2vec2's transformer looks both ways and over all it is given, so that features depend on where
the window lies. Here it lies, for the chunk that ends with frame e, always at the frames
[e + right - window, e + right): what a chunk's features are does not depend on how its sound
arrived. Before the session's beginning there is silence.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.models.wav2vec2.config import SAMPLE_RATE, Recipe
from avatar.models.wav2vec2.model import Wav2Vec2

_VARIANCE_FLOOR = 1e-7
"""Of the checkpoints' own preprocessor."""
_PRIOR_S = 1.0
"""As if so much speech had been heard before the session, at the level of `_PRIOR_DBFS`."""
_PRIOR_DBFS = -20.0
_SPEECH_DBFS = -50.0
"""Quieter frames are pauses and count for no statistics."""


@dataclass(frozen=True)
class Heard:
    """Sums over the samples of the session's speech: their number, themselves, their squares."""

    count: float
    total: float
    squares: float

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def variance(self) -> float:
        return max(self.squares / self.count - self.mean**2, 0.0)


@dataclass(frozen=True)
class SpeechState:
    """Past of a session's sound.

    `samples` is (S,): the newest of them, as many as a window may need. `frames` counts the frames
    embedded since the session began.
    """

    samples: Tensor
    frames: int
    heard: Heard


class SpeechFeatures:
    """One recipe over one network, for chunks of `chunk_frames`; the state belongs to a session."""

    def __init__(self, model: Wav2Vec2, recipe: Recipe, chunk_frames: int) -> None:
        if not 0 < chunk_frames <= recipe.window_frames - recipe.right_frames:
            raise ValueError(
                f"chunks of {chunk_frames} frames do not fit into a window of "
                f"{recipe.window_frames} with {recipe.right_frames} frames after them"
            )
        if model.config.num_tokens(recipe.window_frames * recipe.samples_per_frame) < 2:
            raise ValueError(f"a window of {recipe.window_frames} frames is too short")
        self.model, self.recipe, self.chunk_frames = model, recipe, chunk_frames

    @property
    def dim(self) -> int:
        """Features of one frame: all the recipe's hidden states, one after the other."""
        config = self.model.config
        return (config.num_layers + (0 if self.recipe.skip_embedding else 1)) * config.dim

    def init_state(self) -> SpeechState:
        """Nothing but silence so far."""
        before = self.recipe.window_frames + self.recipe.gate_hold_frames
        count = _PRIOR_S * SAMPLE_RATE
        heard = Heard(count, 0.0, count * _power(_PRIOR_DBFS))
        return SpeechState(torch.zeros(before * self.recipe.samples_per_frame), 0, heard)

    def embed(
        self, samples: Tensor, ahead: Tensor, state: SpeechState
    ) -> tuple[Tensor, Tensor, SpeechState]:
        """Features of whole chunks, and of the frames right after the last of them.

        Args:
            samples: (S,) float32 in [-1, 1] at 16 kHz, S whole chunks.
            ahead: (A,) the sound right after them as far as it is known; beyond is silence.
            state: Past of the session; not changed.

        Returns:
            (frames, dim), (lookahead_frames, dim), and the next state. What is looked ahead at is
            embedded again, better, as part of its own chunk.
        """
        step = self.chunk_frames * self.recipe.samples_per_frame
        if samples.ndim != 1 or len(samples) == 0 or len(samples) % step:
            raise ValueError(f"samples {tuple(samples.shape)} given, (k * {step},) expected")
        right = self.recipe.right_frames * self.recipe.samples_per_frame
        known = F.pad(ahead[:right], (0, max(right - len(ahead), 0)))
        sound = torch.cat([samples, known])
        features, following = [], samples.new_zeros(0)
        for start in range(0, len(samples), step):
            now, later = sound[start : start + step], sound[start + step : start + step + right]
            frames, following, state = self._embed_chunk(now, later, state)
            features.append(frames)
        return torch.cat(features), following, state

    def _embed_chunk(
        self, samples: Tensor, ahead: Tensor, state: SpeechState
    ) -> tuple[Tensor, Tensor, SpeechState]:
        recipe = self.recipe
        heard = self._listened(samples, state.heard)
        sound = torch.cat([state.samples, samples, ahead])
        end = state.frames + self.chunk_frames + recipe.right_frames
        first = end - recipe.window_frames
        wanted = range(state.frames, end - recipe.hold_back_frames)
        window = sound[-recipe.window_frames * recipe.samples_per_frame :]
        weights = self.model.feature_projection.projection.weight
        tokens = self.model.convolved(self._normalised(window, heard).to(weights)[None])
        if recipe.resample == "before":
            tokens = _between(tokens, self._evenly(tokens.shape[1]))
            states = self.model.hidden_states(tokens)[:, :, [each - first for each in wanted]]
        else:
            places = self._nearest(wanted, first, tokens.shape[1])
            states = _between(self.model.hidden_states(tokens), places)
        if recipe.skip_embedding:
            states = states[:, 1:]
        features = states[0].transpose(0, 1).flatten(1).float()
        if recipe.gate_dbfs is not None:
            usable = sound[: len(sound) - recipe.hold_back_frames * recipe.samples_per_frame]
            features = features * self._gate(usable, len(wanted)).to(features)[:, None]
        following = torch.cat([state.samples, samples])[-len(state.samples) :]
        chunk, later = features.split([self.chunk_frames, recipe.lookahead_frames])
        return chunk, later, SpeechState(following, state.frames + self.chunk_frames, heard)

    # -- where a frame lies among the tokens ---------------------------------------------------

    def _evenly(self, num_tokens: int) -> list[float]:
        """Of all frames of the window: spread from the first token to the last, as upstream."""
        last = self.recipe.window_frames - 1
        return [i * (num_tokens - 1) / last for i in range(self.recipe.window_frames)]

    def _nearest(self, frames: range, first: int, num_tokens: int) -> list[float]:
        """Of these frames, which count from the session's beginning as the window's `first` does.

        Upstream makes 30 features a second of 50, spread from the first token to the last, and then
        takes the nearest for each frame; half a step is rounded to even.
        """
        fps, between = self.recipe.fps, self.recipe.between_hz
        count = num_tokens * self.model.config.stride * between // SAMPLE_RATE
        stretch = (num_tokens - 1) / (count - 1)
        places = (round(i * between / fps) - first * between / fps for i in frames)
        return [min(max(each, 0.0), count - 1) * stretch for each in places]

    # -- loudness ------------------------------------------------------------------------------

    def _normalised(self, window: Tensor, heard: Heard) -> Tensor:
        if self.recipe.normalise == "window":
            exact = window.double()
            mean, variance = float(exact.mean()), float(exact.var(correction=0))
        else:
            mean, variance = heard.mean, heard.variance
        return (window - mean) / math.sqrt(variance + _VARIANCE_FLOOR)

    def _listened(self, samples: Tensor, heard: Heard) -> Heard:
        """What was heard, and the chunk's frames that are no pause."""
        frames = samples.double().unflatten(0, (-1, self.recipe.samples_per_frame))
        speech = frames[frames.square().mean(1) > _power(_SPEECH_DBFS)]
        return Heard(
            heard.count + speech.numel(),
            heard.total + float(speech.sum()),
            heard.squares + float(speech.square().sum()),
        )

    def _gate(self, sound: Tensor, num_frames: int) -> Tensor:
        """(num_frames,) of 0 or 1: whether one of the last `gate_hold_frames` frames was loud."""
        assert self.recipe.gate_dbfs is not None
        hold = self.recipe.gate_hold_frames
        newest = sound[-(num_frames + hold - 1) * self.recipe.samples_per_frame :]
        frames = newest.double().unflatten(0, (-1, self.recipe.samples_per_frame))
        loud = (frames.square().mean(1) > _power(self.recipe.gate_dbfs)).float()
        return F.max_pool1d(loud[None], hold, stride=1)[0]


def _power(dbfs: float) -> float:
    return float(10.0 ** (dbfs / 10.0))


def _between(features: Tensor, places: list[float]) -> Tensor:
    """(..., N, D) at places that lie between its N rows -> (..., len(places), D), linearly."""
    below = [min(int(each), features.shape[-2] - 2) for each in places]
    share = [each - floor for each, floor in zip(places, below, strict=True)]
    weight = torch.tensor(share, device=features.device, dtype=features.dtype)[:, None]
    low, high = features[..., below, :], features[..., [each + 1 for each in below], :]
    return torch.lerp(low, high, weight)
