"""The score engine with the shipped weights: what a chunk is told, that chunk shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatar.cast.characters import CAST
from avatar.cast.motion import CONTROL_DIM, further
from avatar.cast.profiles import load_profile
from avatar.cast.sampler import init_state, step
from avatar.engines.score import ScoreEngine
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
