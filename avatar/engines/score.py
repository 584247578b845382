"""Embedding to latents: the DiT, two forwards a chunk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.backends import ANYHOW, TORCH, Backend, Running
from avatar.backends.device import Lane, choose_device, lane_of
from avatar.backends.dit import OpenVinoDiT, slots
from avatar.cast.avatars import character_of
from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.cast.dance import Moves, danced
from avatar.cast.motion import further
from avatar.cast.profile import load_dit
from avatar.cast.profiles import Profile
from avatar.cast.sampler import MotionState, init_state, step
from avatar.cast.wardrobe import Wardrobe
from avatar.engines import REHEARSED, Rehearsal, SessionSpec
from avatar.engines.choice import graph_or_torch
from avatar.engines.hearing import hearing_of
from avatar.errors import InvalidInput
from avatar.media import AudioEmbedding, LatentChunk
from avatar.models.dit import DiT
from avatar.sampling.batch import NextChunk, alike, denoise_batch
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import Anchor, Portrait, RolloutState, drop_anchor


@dataclass(frozen=True)
class ScoreState:
    """The past of a session.

    `heard` is the embedded speech just before the next chunk, None before the first.
    """

    seed: int
    anchor: Anchor
    motion: MotionState
    rollout: RolloutState
    heard: Tensor | None = None


class ScoreEngine:
    """Denoises chunk after chunk; text, image and sink keys and values are made once a session."""

    def __init__(
        self, profile: Profile, model: DiT, backend: Backend = TORCH, lane: Lane | None = None
    ) -> None:
        self.profile, self.model, self.backend = profile, model, backend
        self._lane = lane or Lane(torch.device("cpu"))
        self._hearing = hearing_of(model.config)
        self._wardrobe = Wardrobe(profile)

    @classmethod
    def load(cls, profile: Profile, running: Running = ANYHOW, max_batch: int = 1) -> "ScoreEngine":
        """`max_batch` is how many sessions `step_many` is ready for.

        Raises:
            AvatarError: Weights are damaged, or a back end or a device cannot be had.
        """
        policy = profile.policy
        graph, backend = graph_or_torch(running, profile, "dit", {"positions": slots(policy)})
        if graph is not None:
            model = OpenVinoDiT(load_dit(profile), graph, policy, max_batch)
            return cls(profile, model, backend)
        lane = lane_of(running, choose_device(running.device))
        return cls(profile, load_dit(profile, running, lane.device), backend, lane)

    @property
    def avatars(self) -> tuple[str, ...]:
        """Whose appearance is in memory."""
        return self._wardrobe.names

    def rehearsal(self) -> Rehearsal[AudioEmbedding]:
        """What to try it with before the first caller comes: forwards of every shape there is.

        Kernels are then compiled or recorded, and no caller's first chunks wait for it.
        """
        policy, hearing = self.profile.policy, self._hearing
        each = (hearing.tokens_per_latent, hearing.dim)
        tokens = np.zeros((policy.chunk_latents, *each), np.float32)
        ahead = np.zeros((hearing.lookahead_latents, *each), np.float32)
        chunk = AudioEmbedding(REHEARSED, tokens, ahead)
        num_chunks = policy.history_latents // policy.chunk_latents + 1
        return Rehearsal(DEFAULT_CHARACTER.id, chunk, num_chunks, str(self._lane.device))

    def init_state(self, request: SessionSpec) -> ScoreState:
        """Raises NotFound for an unknown avatar, CorruptFile for a damaged one."""
        appearance = self._wardrobe.take(request.avatar)
        with self._lane.open():
            anchor = drop_anchor(
                self.model,
                self._taken(appearance.model_portrait),
                self.profile.policy,
                text=self._take(appearance.text),
                image=self._take(appearance.image),
            )
        character = character_of(request.avatar, self.profile.avatars)
        motion = init_state(request.seed, character.temperament)
        return ScoreState(request.seed, anchor, motion, RolloutState())

    def step(
        self, chunk: AudioEmbedding, state: ScoreState, moves: Moves | None = None
    ) -> tuple[LatentChunk, ScoreState]:
        """Make one chunk of video latents for one chunk of embedded speech; `moves` are a dance.

        On a GPU they are under way when this returns, and nothing has waited for them.

        Raises:
            InvalidInput: The embedding has another shape than this model was trained on.
        """
        [made] = self.step_many([chunk], [state], moves)
        return made

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
        for chunk in chunks:
            self._check(chunk)
        made: dict[int, tuple[LatentChunk, ScoreState]] = {}
        with self._lane.open():
            prepared = [self._prepare(*each, moves) for each in zip(chunks, states, strict=True)]
            for group in self._groups(prepared):
                wanted = [prepared[i].wanted for i in group]
                done = denoise_batch(self.model, wanted, prepared[group[0]].policy)
                for i, (latents, rollout) in zip(group, done, strict=True):
                    following = replace(prepared[i].following, rollout=rollout)
                    given, chunk = self._lane.send(latents[0].float()), chunks[i]
                    made[i] = LatentChunk(chunk.stamp, given, chunk.last), following
        return [made[i] for i in range(len(chunks))]

    def _check(self, chunk: AudioEmbedding) -> None:
        hearing, policy = self._hearing, self.profile.policy
        expected = (policy.chunk_latents, hearing.tokens_per_latent, hearing.dim)
        beyond = (hearing.lookahead_latents, *expected[1:])
        if chunk.tokens.shape != expected or chunk.lookahead.shape != beyond:
            raise InvalidInput(
                f"embedding of shapes {chunk.tokens.shape} and {chunk.lookahead.shape} given, "
                f"{expected} and {beyond} expected"
            )

    def _prepare(
        self, chunk: AudioEmbedding, state: ScoreState, moves: Moves | None
    ) -> "_Prepared":
        """Within the lane."""
        controls, motion = self._controls(chunk, state.motion, moves)
        tokens, ahead = self._lane.take(chunk.tokens), self._lane.take(chunk.lookahead)
        speech, heard = self._hearing.around(state.heard, tokens, ahead)
        key = (state.seed, chunk.stamp.epoch, chunk.stamp.seq)
        wanted = NextChunk(state.anchor, speech, self._take(controls), state.rollout, key)
        policy = self.profile.policy.light if chunk.stamp.is_light else self.profile.policy
        return _Prepared(wanted, policy, replace(state, motion=motion, heard=heard))

    def _groups(self, prepared: "Sequence[_Prepared]") -> list[list[int]]:
        """Which of them may be denoised together."""
        groups: dict[object, list[int]] = {}
        for index, each in enumerate(prepared):
            key = alike(self.model, each.wanted, each.policy)
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    def _controls(
        self, chunk: AudioEmbedding, motion: MotionState, moves: Moves | None
    ) -> tuple[Tensor | None, MotionState]:
        """(1, F, num_controls) of the chunk, None where the model has none, and what follows."""
        num_controls = self.model.config.num_controls
        if not num_controls:
            return None, motion
        clock, policy = self.profile.clock, self.profile.policy
        temperament = motion.temperament
        controls, motion = step(motion, chunk.behaviour, chunk.cues, clock.frames_per_chunk)
        if moves is not None:
            controls = danced(controls, moves, temperament)
        taken = further(controls, policy.head_gain)
        taken = taken[:, : num_controls // clock.frames_per_latent]
        return torch.from_numpy(taken.reshape(1, policy.chunk_latents, -1)), motion

    def _take(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else self._lane.take(tensor)

    def _taken(self, portrait: Portrait) -> Portrait:
        return Portrait(
            self._lane.take(portrait.sink_latents),
            self._lane.take(portrait.face_mask),
            self._take(portrait.image_channels),
            self._take(portrait.motion_latents),
        )


@dataclass(frozen=True)
class _Prepared:
    """What a chunk is denoised from and how, and the session after it but for its rollout."""

    wanted: NextChunk
    policy: Policy
    following: ScoreState
