"""Each public checkpoint's policy: chunk after chunk equals all at once, on random networks."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from avatar.models.dit import DiT
from avatar.sampling.batch import NextChunk, alike, denoise_batch
from avatar.sampling.policy import POLICIES
from avatar.sampling.rollout import Key, Portrait, RolloutState, denoise_chunk, drop_anchor
from avatar.sampling.schedule import drawn
from tests.fakes.one_shot import MISTAKES, Call, Geometry, one_shot
from tests.fakes.tiny_wan import tiny_wan

pytestmark = [pytest.mark.streaming, pytest.mark.usefixtures("one_thread")]

NUM_CHUNKS = 16
TOLERANCE = 1e-4
SEED = 5


def live_avatar_sink(chunk: int, step: int) -> int:
    behind = 4 + drawn(SEED, 0, chunk, step) % 27
    return 30 + max(0, 3 * chunk - (30 - behind))


MODELS = {
    "native": "tm-18b",
    "realvideo-2step": "wan2.2-s2v-14b",
    "realvideo-4step": "wan2.2-s2v-14b",
    "liveavatar-4step": "wan2.2-s2v-14b",
}
GEOMETRY = {
    # slots 0-2, 15-17, 18-20 of every chunk: only distances count
    "native": Geometry(lambda n: 18 + 3 * n, lambda n, _: 3 * n, 3),
    # begins at 1; from the first block that begins after 20 the sink moves on by one with each
    "realvideo-2step": Geometry(lambda n: 1 + 2 * n, lambda n, _: 30 + max(0, n - 9), 2),
    "realvideo-4step": Geometry(lambda n: 1 + 2 * n, lambda n, _: 30 + max(0, n - 9), 2),
    "liveavatar-4step": Geometry(lambda n: 3 * n, live_avatar_sink, 9, motion=True, posed=True),
}
LEVELS = {
    "native": [1000, 500],
    "realvideo-2step": [1000, 750, 0],
    "realvideo-4step": [1000, 900, 750, 500, 0],
    "liveavatar-4step": [1000, 857.69, 602.15, 8.93],
}
"""Of each forward of a chunk; 0 is the clean pass."""
ALONG_THE_LINE, HEARS_ANEW = {"liveavatar-4step"}, {"liveavatar-4step"}
"""Which go on without fresh noise, and hear each chunk as if speech began with it."""


@dataclass
class Session:
    """A stream of random speech, and every forward that it took."""

    name: str
    model: DiT
    seed: int = SEED
    state: RolloutState = field(default_factory=RolloutState)
    latents: list[Tensor] = field(default_factory=list)
    calls: list[list[Call]] = field(default_factory=list)

    def __post_init__(self) -> None:
        g = torch.Generator().manual_seed(self.seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g)

        self.policy = POLICIES[self.name]
        config, length = self.model.config, self.policy.chunk_latents * NUM_CHUNKS
        mask = torch.zeros(1, 16)
        mask[:, 4:10] = 1
        self.portrait = Portrait(
            draw(1, 3, 16, 8, 8),
            mask,
            image_channels=draw(1, 21, 20, 8, 8) if config.condition_channels else None,
            motion_latents=draw(1, 19, 16, 8, 8),
        )
        image = draw(1, 5, 40) if config.image_dim else None
        self.anchor = drop_anchor(
            self.model, self.portrait, self.policy, text=draw(1, 7, 48), image=image
        )
        if config.s2v:
            self.speech = draw(1, 4 * length + 9, config.s2v.audio_layers, config.s2v.audio_dim)
        else:
            assert config.audio is not None
            tokens = config.audio.tokens_per_latent
            self.speech = draw(1, length + 2 * config.audio.reach, tokens, config.audio.dim)

    def step(self, seq: int) -> None:
        calls: list[Call] = []

        def keep(_: object, given: tuple, out: tuple) -> None:  # type: ignore[type-arg]
            latents, timestep, condition, _, _ = given
            calls.append(Call(latents, timestep, condition, out[0]))

        hook = self.model.register_forward_hook(keep)
        latents, self.state = denoise_chunk(
            self.model, self.anchor, self.heard(seq), None, self.state, self.policy,
            seed=self.seed, epoch=0, seq=seq,
        )  # fmt: skip
        hook.remove()
        self.latents.append(latents)
        self.calls.append(calls)

    def wanted(self, seq: int) -> NextChunk:
        return NextChunk(self.anchor, self.heard(seq), None, self.state, (self.seed, 0, seq))

    def heard(self, seq: int) -> Tensor:
        """The chunk's speech and what of its surroundings the model needs."""
        F = self.policy.chunk_latents
        if self.model.config.s2v:
            return self.speech[:, 4 * F * seq : 4 * F * (seq + 1) + 9]
        return self.speech[:, F * seq : F * (seq + 1) + 4]

    def whole(self, step: int, mistake: str = "") -> Tensor:
        geometry, calls, audio = GEOMETRY[self.name], self.calls, self.all_heard()
        return one_shot(self.model, self.anchor, self.policy, geometry, calls, step, audio, mistake)

    def all_heard(self) -> Tensor:
        """What all chunks hear, of the whole speech at once where the checkpoint does not begin
        anew.
        """
        if self.name not in HEARS_ANEW:
            return self.model.project_audio(self.speech)
        own = self.speech[:, 9:].split(4 * self.policy.chunk_latents, 1)
        began = [torch.cat([each[:, :1].expand(-1, 9, -1, -1), each], 1) for each in own]
        return torch.cat([self.model.project_audio(each) for each in began], 1)

    def streamed(self, step: int) -> Tensor:
        return torch.cat([each[step].prediction for each in self.calls], 1)


@pytest.fixture(scope="module")
def sessions() -> dict[str, Session]:
    """One of each policy, played to its end."""
    played = {}
    for name in POLICIES:
        played[name] = Session(name, tiny_wan(MODELS[name]))
        for seq in range(NUM_CHUNKS):
            played[name].step(seq)
    return played


@pytest.mark.parametrize("name", POLICIES)
def test_streamed_equals_the_one_shot_block_masked_forward(
    name: str, sessions: dict[str, Session]
) -> None:
    session = sessions[name]
    for step in range(len(session.policy.sigmas)):
        difference = (session.whole(step) - session.streamed(step)).abs().max()
        assert difference <= TOLERANCE


@pytest.mark.parametrize("name", POLICIES)
def test_each_level_follows_from_the_one_before(name: str, sessions: dict[str, Session]) -> None:
    session = sessions[name]
    for calls, made in zip(session.calls, session.latents, strict=True):
        assert [call.timestep.item() for call in calls] == pytest.approx(LEVELS[name], abs=1e-3)
        following = [*calls[1:], None]
        for call, after in zip(calls, following, strict=True):
            if (sigma := call.timestep.item() / 1000) == 0:  # the clean pass
                assert torch.equal(call.latents, made)
                continue
            clean = call.latents - sigma * call.prediction
            below = 0.0 if after is None else after.timestep.item() / 1000
            latents = made if after is None else after.latents
            if name in ALONG_THE_LINE and after is not None:
                expected = call.latents + (below - sigma) * call.prediction
                assert (latents - expected).abs().max() <= TOLERANCE
            elif below:
                noise = (latents - (1 - below) * clean) / below
                assert noise.mean().abs() < 0.15
                assert noise.std() == pytest.approx(1, abs=0.1)
            else:
                assert (latents - clean).abs().max() <= TOLERANCE


def possible_mistakes() -> list[tuple[str, str]]:
    """A clean pass can be skipped where there is one, a pose's bias be wrong where there is one."""
    clean = {name for name, policy in POLICIES.items() if policy.cache == "clean_pass"}
    posed = {name for name, model in MODELS.items() if "s2v" in model}
    only = {"clean pass": clean, "bias": posed}
    return [(n, m) for n in POLICIES for m in MISTAKES if n in only.get(m, POLICIES)]


@pytest.mark.parametrize(("name", "mistake"), possible_mistakes())
def test_the_comparison_sees_a_mistake(
    name: str, mistake: str, sessions: dict[str, Session]
) -> None:
    """Each misses by a hundred times the tolerance."""
    session = sessions[name]
    last = len(session.policy.sigmas) - 1
    wrong = session.whole(last, mistake)
    assert (wrong - session.streamed(last)).abs().max() >= 100 * TOLERANCE


@pytest.mark.parametrize("name", POLICIES)
def test_two_interleaved_sessions_equal_two_alone(name: str) -> None:
    model = tiny_wan(MODELS[name])
    alone, mixed = ([Session(name, model, 1), Session(name, model, 2)] for _ in range(2))
    for session in alone:
        for seq in range(4):
            session.step(seq)
    for seq in range(4):
        for session in mixed:
            session.step(seq)
    for one, other in zip(alone, mixed, strict=True):
        assert torch.equal(torch.cat(one.latents), torch.cat(other.latents))
    assert not torch.equal(alone[0].latents[0], alone[1].latents[0])


BATCH_NOISE = 1e-4
"""Sums of a product of more rows may be taken in another order."""


@pytest.mark.parametrize("name", POLICIES)
def test_two_sessions_at_the_same_places_are_denoised_together(name: str) -> None:
    model = tiny_wan(MODELS[name])
    alone, both = ([Session(name, model, seed) for seed in (1, 2)] for _ in range(2))
    policy = both[0].policy
    for seq in range(2):  # liveavatar's sink, with what is drawn of these seeds, does not move yet
        made = denoise_batch(model, [each.wanted(seq) for each in both], policy)
        for session, single, (latents, state) in zip(both, alone, made, strict=True):
            session.state = state
            single.step(seq)
            assert torch.allclose(latents, single.latents[seq], atol=BATCH_NOISE)
        assert not torch.allclose(made[0][0], made[1][0], atol=0.1)


def test_sessions_whose_places_differ_are_denoised_apart() -> None:
    ours = {name: Session(name, tiny_wan(MODELS[name])) for name in POLICIES}

    def is_alike(name: str, *keys: Key) -> bool:
        session, first = ours[name], ours[name].wanted(0)
        found = {alike(session.model, replace(first, key=key), session.policy) for key in keys}
        return len(found) == 1

    assert not is_alike("liveavatar-4step", (1, 0, 12), (2, 0, 12))  # each draws its sink's places
    assert not is_alike("realvideo-2step", (1, 0, 12), (2, 0, 13))
    assert is_alike("realvideo-2step", (1, 0, 12), (2, 0, 12))
    assert is_alike("native", (1, 0, 12), (2, 0, 13))


def test_sessions_whose_texts_are_of_other_lengths_are_denoised_apart() -> None:
    session = Session("native", tiny_wan(MODELS["native"]))
    longer = drop_anchor(
        session.model, session.portrait, session.policy,
        text=torch.zeros(1, 9, 48), image=torch.zeros(1, 5, 40),
    )  # fmt: skip
    wanted = [session.wanted(0), replace(session.wanted(0), anchor=longer)]
    with pytest.raises(ValueError, match="places or sizes"):
        denoise_batch(session.model, wanted, session.policy)


@pytest.mark.parametrize("name", POLICIES)
def test_the_past_is_unchanged_by_the_future(name: str) -> None:
    model = tiny_wan(MODELS[name])
    one, other = Session(name, model), Session(name, model)
    other.speech[:, one.heard(0).shape[1] :] += 1.0  # beyond what the first chunk may hear
    for seq in range(3):
        one.step(seq)
        other.step(seq)
    assert torch.equal(one.latents[0], other.latents[0])
    assert not torch.equal(one.latents[2], other.latents[2])


@pytest.mark.parametrize("name", POLICIES)
def test_a_chunk_that_is_made_again_is_the_same_chunk(name: str) -> None:
    session = Session(name, tiny_wan(MODELS[name]))
    session.step(0)
    before = session.state
    session.step(1)
    session.state = before
    session.step(1)
    assert torch.equal(session.latents[1], session.latents[2])


@pytest.mark.parametrize("name", POLICIES)
def test_the_cache_stops_growing(name: str, sessions: dict[str, Session]) -> None:
    session, tokens = sessions[name], 16
    policy = session.policy
    for kept in session.state.previous:
        assert kept[0].key.shape[1] == policy.history_latents * tokens
    assert len(session.state.previous) == (
        1 if policy.cache == "clean_pass" else len(policy.sigmas)
    )
