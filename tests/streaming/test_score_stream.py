"""The score engine with the shipped weights: what a chunk is told, that chunk shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatar.backends import Running, Wish
from avatar.cast.characters import CAST
from avatar.cast.motion import CONTROL_DIM, further
from avatar.cast.profiles import load_profile
from avatar.cast.sampler import init_state, step
from avatar.engines.score import ScoreEngine
from avatar.errors import InvalidInput
from avatar.media import AudioEmbedding, Behaviour, CueName, SessionId, Stamp
from avatar.models.dit import DiT

pytestmark = pytest.mark.streaming

Told = tuple[Behaviour, tuple[CueName, ...]]
QUIET: Told = ("idle", ())


@dataclass(frozen=True)
class Spec:
    avatar: str = "mira"
    seed: int = 4


@cache
def engine() -> ScoreEngine:
    torch.set_num_threads(1)
    return ScoreEngine.load(load_profile("tiny"))


def embedding(scorer: ScoreEngine, seq: int, told: Told) -> AudioEmbedding:
    """Silence."""
    audio = scorer.model.config.audio
    assert audio is not None
    tokens = np.zeros((3, audio.tokens_per_latent, audio.dim), np.float32)
    stamp = Stamp(SessionId("s"), 0, seq, 1, scorer.profile.clock.pts(seq))
    ahead = np.zeros((audio.reach, *tokens.shape[1:]), np.float32)
    return AudioEmbedding(stamp, tokens, ahead, behaviour=told[0], cues=told[1])


def latents(told: Sequence[Told]) -> list[NDArray[np.float32]]:
    state, made = engine().init_state(Spec()), []
    for seq, each in enumerate(told):
        chunk, state = engine().step(embedding(engine(), seq, each), state)
        made.append(chunk.latents)
    return made


def test_a_cue_at_a_chunk_shows_in_it_and_no_earlier() -> None:
    plain = latents([QUIET] * 3)
    cued = latents([QUIET, QUIET, ("idle", ("look_left",))])
    assert all(np.array_equal(one, other) for one, other in zip(plain[:2], cued[:2], strict=True))
    change = np.abs(plain[2] - cued[2]).mean(axis=(1, 2, 3))
    assert (change > 0).all()  # the first latent, four frames, already
    assert change.max() > 0.01


def test_a_behaviour_shows_from_its_chunk_on() -> None:
    plain = latents([QUIET] * 4)
    other = latents([QUIET, ("thinking", ()), ("thinking", ()), ("thinking", ())])
    changed = [not np.array_equal(one, two) for one, two in zip(plain, other, strict=True)]
    assert changed == [False, True, True, True]


class Watched(ScoreEngine):
    """Keeps the controls that its model is given."""

    def __init__(self, num_controls: int) -> None:
        profile, model = load_profile("tiny"), engine().model
        self.given: list[torch.Tensor] = []
        wide = DiT(replace(model.config, num_controls=num_controls)).eval()
        wide.register_forward_pre_hook(self._keep, with_kwargs=True)
        super().__init__(profile, wide)

    def _keep(self, _model: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        condition = kwargs.get("condition", args[2] if len(args) > 2 else None)
        controls = getattr(condition, "controls")  # noqa: B009  any condition of the model
        assert isinstance(controls, torch.Tensor)
        self.given.append(controls)


@pytest.mark.parametrize("num_columns", [CONTROL_DIM - 1, CONTROL_DIM])
def test_a_model_is_given_as_many_controls_as_it_takes(num_columns: int) -> None:
    scorer = Watched(4 * num_columns)
    state = scorer.init_state(Spec())
    scorer.given.clear()  # of the sink
    scorer.step(embedding(scorer, 0, ("speaking", ("nod",))), state)
    sampled, _ = step(init_state(4, CAST[0].temperament), "speaking", ("nod",), 12)
    asked = further(sampled, scorer.profile.policy.head_gain)[:, :num_columns]
    expected = torch.from_numpy(asked.reshape(1, 3, -1))
    assert scorer.given
    assert all(torch.equal(given, expected) for given in scorer.given)


@pytest.mark.parametrize("wish", ["torch", "openvino"])
def test_sessions_made_together_are_as_each_alone_and_may_join_and_leave(wish: Wish) -> None:
    """The int8 graph rounds: what torch's own noise moves across a step differs by one."""
    tolerance = 1e-3 if wish == "torch" else 0.3
    scorer = ScoreEngine.load(load_profile("tiny"), Running(wish), max_batch=3)
    avatars = [character.id for character in CAST[:3]]
    alone = {avatar: scorer.init_state(Spec(avatar)) for avatar in avatars}
    both = dict(alone)
    # one alone, then all three of which two begin, then all, then two
    for seq, members in enumerate([avatars[:1], avatars, avatars, avatars[1:]]):
        chunks = [embedding(scorer, seq, ("speaking", ("nod",))) for _ in members]
        made = scorer.step_many(chunks, [both[avatar] for avatar in members])
        for avatar, chunk, (ours, state) in zip(members, chunks, made, strict=True):
            expected, alone[avatar] = scorer.step(chunk, alone[avatar])
            both[avatar] = state
            difference = np.abs(ours.latents - expected.latents)
            assert difference.max() < tolerance
            assert difference.mean() < tolerance / 30
            assert ours.stamp == chunk.stamp


def test_of_chunks_of_which_one_cannot_be_made_none_is() -> None:
    good = embedding(engine(), 0, QUIET)
    bad = replace(good, tokens=good.tokens[:1])
    with pytest.raises(InvalidInput, match="embedding of shapes"):
        engine().step_many([good, bad], [engine().init_state(Spec())] * 2)


def speaking(seq: int, *, is_light: bool) -> AudioEmbedding:
    chunk = embedding(engine(), seq, ("speaking", ()))
    return replace(chunk, stamp=replace(chunk.stamp, is_light=is_light))


def rollout(light: set[int], num_chunks: int = 8) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Latents of each chunk, and how many forwards it took."""
    scorer, taken = ScoreEngine.load(load_profile("tiny"), Running("torch")), [0]
    scorer.model.register_forward_hook(lambda *_: taken.append(taken.pop() + 1))
    state, made, forwards = scorer.init_state(Spec()), [], []
    for seq in range(num_chunks):
        taken[0] = 0
        chunk, state = scorer.step(speaking(seq, is_light=seq in light), state)
        made.append(chunk.latents)
        forwards.append(taken[0])
    return made, forwards


def test_light_chunks_take_one_forward_and_full_ones_after_them_are_as_if_they_had_not_been() -> (
    None
):
    full, _ = rollout(set())
    mixed, forwards = rollout({2, 3})
    assert forwards == [2, 2, 1, 1, 2, 2, 2, 2]
    difference = [float(np.abs(a - b).mean()) for a, b in zip(full, mixed, strict=True)]
    assert difference[:2] == [0.0, 0.0]
    assert min(difference[2:4]) > 0
    assert all(later < earlier / 2 for earlier, later in pairwise(difference[3:7]))
    assert difference[7] < 1e-3


def test_light_and_full_chunks_of_a_batch_are_made_as_each_asks() -> None:
    scorer = engine()
    states = [scorer.init_state(Spec(each.id)) for each in CAST[:3]]
    states = [s for _, s in scorer.step_many([speaking(0, is_light=False)] * 3, states)]
    chunks = [speaking(1, is_light=number == 1) for number in range(3)]
    made = scorer.step_many(chunks, states)
    assert [len(state.rollout.previous) for _, state in made] == [2, 1, 2]
    following = scorer.step_many([speaking(2, is_light=False)] * 3, [s for _, s in made])
    assert [len(state.rollout.previous) for _, state in following] == [2, 2, 2]
