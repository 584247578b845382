"""Embedding to latents: the DiT, two forwards a chunk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.backends import TORCH, Backend, Wish
from avatar.backends.dit import OpenVinoDiT, slots
from avatar.backends.graph import choose_graph
from avatar.cast.avatars import FOLDER, character_of
from avatar.cast.dance import Moves, danced
from avatar.cast.motion import further
from avatar.cast.profile import Profile, load_appearance, load_dit, load_profile
from avatar.cast.sampler import MotionState, init_state, step
from avatar.engines import SessionSpec
from avatar.errors import InvalidInput
from avatar.media import AudioEmbedding, LatentChunk
from avatar.models.dit import DiT
from avatar.sampling.rollout import Anchor, NextChunk, RolloutState, denoise_batch, drop_anchor


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
    def load(
        cls, profile: str, avatars: Path = FOLDER, wish: Wish = "auto", max_batch: int = 1
    ) -> "ScoreEngine":
        """`max_batch` is how many sessions `step_many` is ready for.

        Raises:
            AvatarError: Weights are damaged, or a back end by name cannot be had.
        """
        loaded = load_profile(profile, avatars)
        model, policy = load_dit(loaded), loaded.policy
        graph, backend = choose_graph(wish, loaded.folder, "dit", {"positions": slots(policy)})
        if graph is not None:
            model = OpenVinoDiT(model, graph, policy, max_batch)
        return cls(loaded, model, backend)

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

    def step(
        self, chunk: AudioEmbedding, state: ScoreState, moves: Moves | None = None
    ) -> tuple[LatentChunk, ScoreState]:
        """Make one chunk of video latents for one chunk of embedded speech; `moves` are a dance.

        Raises:
            InvalidInput: The embedding has another shape than this model was trained on.
        """
        [made] = self.step_many([chunk], [state], moves)
        return made

    @torch.inference_mode()
    def step_many(
        self,
        chunks: Sequence[AudioEmbedding],
        states: Sequence[ScoreState],
        moves: Moves | None = None,
    ) -> list[tuple[LatentChunk, ScoreState]]:
        """`step` of several sessions, with common forwards where they can.

        Raises:
            InvalidInput: As `step`; then no chunk was made.
        """
        prepared = [self._prepare(*each, moves) for each in zip(chunks, states, strict=True)]
        made: dict[int, tuple[LatentChunk, ScoreState]] = {}
        for group in _alike(prepared):
            wanted = [prepared[i].wanted for i in group]
            is_light = prepared[group[0]].is_light
            policy = self.profile.policy.light if is_light else self.profile.policy
            done = denoise_batch(self.model, wanted, policy)
            for i, (latents, rollout) in zip(group, done, strict=True):
                chunk, following = chunks[i], replace(prepared[i].following, rollout=rollout)
                made[i] = LatentChunk(chunk.stamp, latents[0].numpy(), chunk.last), following
        return [made[i] for i in range(len(chunks))]

    def _prepare(
        self, chunk: AudioEmbedding, state: ScoreState, moves: Moves | None
    ) -> "_Prepared":
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
        wanted = NextChunk(
            state.anchor,
            speech,
            torch.from_numpy(taken.reshape(1, policy.chunk_latents, -1)),
            state.rollout,
            (state.seed, chunk.stamp.epoch, chunk.stamp.seq),
        )
        heard = torch.cat([state.heard, tokens])[-audio.reach :]
        following = replace(state, motion=motion, heard=heard)
        return _Prepared(wanted, following, chunk.stamp.is_light)


@dataclass(frozen=True)
class _Prepared:
    """What a chunk is denoised from, and the session after it but for its rollout."""

    wanted: NextChunk
    following: ScoreState
    is_light: bool


def _alike(prepared: Sequence[_Prepared]) -> list[list[int]]:
    """Which of them may be denoised together: in as many steps, after as many."""
    groups: dict[tuple[bool, int], list[int]] = {}
    for index, each in enumerate(prepared):
        key = (each.is_light, len(each.wanted.state.previous))
        groups.setdefault(key, []).append(index)
    return list(groups.values())
