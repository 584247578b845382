"""Speech to embedding by wav2vec2, chunk by chunk: the audio encoder of the public checkpoints."""

import numpy as np
import torch

from avatar.backends import Running
from avatar.backends.device import Lane, choose_device
from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.cast.profile import load_speech_features
from avatar.cast.profiles import Profile
from avatar.engines import Rehearsal, SessionSpec
from avatar.engines.audio_encoder import check_samples, silent_chunk
from avatar.engines.hearing import whole_latents
from avatar.media import SPEECH_RATE, AudioChunk, AudioEmbedding, on_host
from avatar.models.wav2vec2 import SpeechFeatures, SpeechState


class SpeechFeaturesEngine:
    """A token of the embedding is one video frame: as many hidden states as the recipe takes."""

    def __init__(self, profile: Profile, features: SpeechFeatures, lane: Lane) -> None:
        self.profile, self.features, self._lane = profile, features, lane

    @classmethod
    def load(cls, profile: Profile, running: Running) -> "SpeechFeaturesEngine":
        """Raises AvatarError for damaged weights, or a device that is not there."""
        lane = Lane(choose_device(running.device))
        return cls(profile, load_speech_features(profile, lane.device), lane)

    def rehearsal(self) -> Rehearsal[AudioChunk]:
        """What to try it with before the first caller comes."""
        chunk = silent_chunk(self.profile.clock.samples_per_chunk(SPEECH_RATE))
        return Rehearsal(DEFAULT_CHARACTER.id, chunk, device=str(self._lane.device))

    def init_state(self, request: SessionSpec) -> SpeechState:
        return self.features.init_state()

    def step(self, chunk: AudioChunk, state: SpeechState) -> tuple[AudioEmbedding, SpeechState]:
        """Embed one chunk, and the frames right after it that the model looks ahead at.

        Raises:
            InvalidInput: Another sample rate, or not exactly one chunk of samples.
        """
        clock = self.profile.clock
        check_samples(chunk, clock.samples_per_chunk(SPEECH_RATE))
        samples, known = (
            torch.from_numpy(np.array(each, np.float32))
            for each in (chunk.samples, chunk.lookahead)
        )
        with self._lane.open():
            frames, ahead, following = self.features.embed(samples, known, state)
            latents = [whole_latents(each, clock.frames_per_latent) for each in (frames, ahead)]
            tokens, lookahead = (on_host(self._lane.send(each)) for each in latents)
        embedding = AudioEmbedding(
            chunk.stamp,
            tokens,
            lookahead,
            chunk.last,
            chunk.behaviour,
            chunk.cues,
        )
        return embedding, following
