"""Embedding to latents: the DiT, two forwards a chunk."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.backends import TORCH, Backend, Wish
from avatar.backends.dit import OpenVinoDiT, slots
from avatar.backends.graph import choose_graph
from avatar.cast.avatars import character_of
from avatar.cast.dance import Moves, danced
from avatar.cast.motion import further
from avatar.cast.profile import load_appearance, load_dit
from avatar.cast.profiles import Profile
from avatar.cast.sampler import MotionState, init_state, step
from avatar.engines import SessionSpec
from avatar.errors import InvalidInput
from avatar.media import AudioEmbedding, LatentChunk
from avatar.models.dit import DiT
from avatar.sampling.rollout import Anchor, RolloutState, denoise_chunk, drop_anchor


@dataclass(frozen=True)
class ScoreState:
    """The past of a session.

    `heard` is the embedded speech of the latents just before the next chunk, (reach, L, D).
    """

    seed: int
    anchor: Anchor
    motion: MotionState
    rollout: RolloutState
    heard: Tensor


class ScoreEngine:
    """Denoises chunk after chunk; text, image and sink keys and values are made once a session."""

    def __init__(self, profile: Profile, model: DiT, backend: Backend = TORCH) -> None:
        self.profile, self.model, self.backend = profile, model, backend

    @classmethod
    def load(cls, profile: Profile, wish: Wish = "auto") -> "ScoreEngine":
        """Raises AvatarError for damaged weights, or a back end by name that cannot be had."""
        model, policy = load_dit(profile), profile.policy
        graph, backend = choose_graph(wish, profile.folder, "dit", {"positions": slots(policy)})
        if graph is not None:
            model = OpenVinoDiT(model, graph, policy)
        return cls(profile, model, backend)

    @torch.inference_mode()
    def init_state(self, request: SessionSpec) -> ScoreState:
        """Raises NotFound for an unknown avatar, CorruptFile for a damaged one."""
        appearance = load_appearance(self.profile, request.avatar)
        anchor = drop_anchor(self.model, appearance.model_portrait, self.profile.policy)
        audio = self.model.config.audio
        assert audio is not None
        heard = torch.zeros(audio.reach, audio.tokens_per_latent, audio.dim)
        character = character_of(request.avatar, self.profile.avatars)
        motion = init_state(request.seed, character.temperament)
        return ScoreState(request.seed, anchor, motion, RolloutState(), heard)

    @torch.inference_mode()
    def step(
        self, chunk: AudioEmbedding, state: ScoreState, moves: Moves | None = None
    ) -> tuple[LatentChunk, ScoreState]:
        """Make one chunk of video latents for one chunk of embedded speech; `moves` are a dance.

        Raises:
            InvalidInput: The embedding has another shape than this model was trained on.
        """
        audio = self.model.config.audio
        assert audio is not None
        clock, policy = self.profile.clock, self.profile.policy
        expected = (policy.chunk_latents, audio.tokens_per_latent, audio.dim)
        if chunk.tokens.shape != expected or chunk.lookahead.shape != (audio.reach, *expected[1:]):
            raise InvalidInput(
                f"embedding of shapes {chunk.tokens.shape} and {chunk.lookahead.shape} given, "
                f"{expected} and {(audio.reach, *expected[1:])} expected"
            )
        tokens = torch.from_numpy(np.ascontiguousarray(chunk.tokens))
        ahead = torch.from_numpy(np.ascontiguousarray(chunk.lookahead))
        speech = torch.cat([state.heard, tokens, ahead])[None]
        controls, motion = step(state.motion, chunk.behaviour, chunk.cues, clock.frames_per_chunk)
        if moves is not None:
            controls = danced(controls, moves, state.motion.temperament)
        taken = further(controls, policy.head_gain)
        taken = taken[:, : self.model.config.num_controls // clock.frames_per_latent]
        latents, rollout = denoise_chunk(
            self.model,
            state.anchor,
            speech,
            torch.from_numpy(taken.reshape(1, policy.chunk_latents, -1)),
            state.rollout,
            policy,
            seed=state.seed,
            epoch=chunk.stamp.epoch,
            seq=chunk.stamp.seq,
        )
        heard = torch.cat([state.heard, tokens])[-audio.reach :]
        following = ScoreState(state.seed, state.anchor, motion, rollout, heard)
        return LatentChunk(chunk.stamp, latents[0].numpy(), chunk.last), following
