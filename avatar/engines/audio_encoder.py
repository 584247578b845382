"""Speech to embedding, chunk by chunk."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.cast.profile import load_audio_encoder
from avatar.cast.profiles import Profile
from avatar.engines import REHEARSED, Rehearsal, SessionSpec
from avatar.errors import InvalidInput
from avatar.media import LOOKAHEAD_LATENTS, SPEECH_RATE, AudioChunk, AudioEmbedding
from avatar.models.audio_encoder import AudioEncoder


class AudioEncoderEngine:
    """State is the last samples heard, (1, history)."""

    def __init__(self, profile: Profile, model: AudioEncoder) -> None:
        self.profile, self.model = profile, model
        self.samples_per_chunk = profile.clock.samples_per_chunk(SPEECH_RATE)
        self.samples_per_latent = profile.clock.samples_per_latent(SPEECH_RATE)

    @classmethod
    def load(cls, profile: Profile) -> "AudioEncoderEngine":
        """Raises AvatarError for damaged weights."""
        return cls(profile, load_audio_encoder(profile))

    def rehearsal(self) -> Rehearsal[AudioChunk]:
        """What to try it with before the first caller comes."""
        return Rehearsal(DEFAULT_CHARACTER.id, silent_chunk(self.samples_per_chunk))

    def init_state(self, request: SessionSpec) -> Tensor:
        return self.model.init_state()

    def step(self, chunk: AudioChunk, state: Tensor) -> tuple[AudioEmbedding, Tensor]:
        """Embed one chunk, and what is known after it without moving the state there.

        Raises:
            InvalidInput: Another sample rate, or not exactly one chunk of samples.
        """
        check_samples(chunk, self.samples_per_chunk)
        tokens, following = self._embed(chunk.samples, state)
        reach = LOOKAHEAD_LATENTS * self.samples_per_latent
        ahead = np.zeros(reach, np.float32)
        known = min(len(chunk.lookahead), reach)
        ahead[:known] = chunk.lookahead[:known]
        peeked, _ = self._embed(ahead, following)
        embedding = AudioEmbedding(
            chunk.stamp, tokens, peeked, chunk.last, chunk.behaviour, chunk.cues
        )
        return embedding, following

    @torch.inference_mode()
    def _embed(
        self, samples: NDArray[np.float32], state: Tensor
    ) -> tuple[NDArray[np.float32], Tensor]:
        tokens, state = self.model(torch.from_numpy(samples)[None], state)
        per_latent = tokens[0].unflatten(0, (len(samples) // self.samples_per_latent, -1))
        return per_latent.numpy(), state


def silent_chunk(num_samples: int) -> AudioChunk:
    """Of a session in which what follows is known for as long again."""
    silence = np.zeros(num_samples, np.float32)
    return AudioChunk(REHEARSED, silence, SPEECH_RATE, lookahead=silence)


def check_samples(chunk: AudioChunk, expected: int) -> None:
    """Raises InvalidInput for another sample rate, or not exactly one chunk of samples."""
    if chunk.sample_rate != SPEECH_RATE:
        raise InvalidInput(f"{chunk.sample_rate} Hz given, {SPEECH_RATE} Hz expected")
    if len(chunk.samples) != expected:
        raise InvalidInput(f"{len(chunk.samples)} samples given, {expected} a chunk expected")
