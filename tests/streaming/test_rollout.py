"""The rollout: chunk after chunk equals all at once."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from avatar.models.dit import (
    CachedContext,
    ChunkParallelContext,
    Condition,
    DiT,
    KeyValue,
    SelfContext,
)
from avatar.models.dit.attention import attention
from avatar.models.dit.rope import rope_angles, turns_of
from avatar.sampling.batch import NextChunk, denoise_batch
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.sampling.rollout import (
    Anchor,
    RolloutState,
    denoise_chunk,
    drop_anchor,
)
from tests.fakes.networks import small_dit, small_portrait
from training.tasks.batch import Stretch
from training.tasks.dit import denoise_chunks

pytestmark = pytest.mark.streaming

POLICY = replace(NATIVE_2_STEP, carry_last_latent=True)
NUM_CHUNKS = 16
VARIANTS = {
    "native": NATIVE_2_STEP,
    "fresh noise": replace(NATIVE_2_STEP, noise="fresh"),
    "no sink": replace(NATIVE_2_STEP, sink_positions=()),
    "no previous": replace(NATIVE_2_STEP, previous_positions=()),
    "neither": replace(NATIVE_2_STEP, sink_positions=(), previous_positions=()),
    "clean pass": replace(NATIVE_2_STEP, cache="clean_pass"),
    "clean pass, no sink": replace(NATIVE_2_STEP, cache="clean_pass", sink_positions=()),
    "chunks of one": replace(
        NATIVE_2_STEP, chunk_latents=1, previous_positions=(19,), current_positions=(20,)
    ),
    "chunks of seven": replace(
        NATIVE_2_STEP,
        chunk_latents=7,
        previous_positions=tuple(range(7, 14)),
        current_positions=tuple(range(14, 21)),
    ),
    "the whole picture": replace(NATIVE_2_STEP, audio_scope="whole"),
    "four steps": replace(NATIVE_2_STEP, sigmas=(1.0, 0.75, 0.5, 0.25)),
}


@dataclass
class Session:
    """One session's inputs, and everything that its forwards were given and answered."""

    model: DiT
    seed: int
    state: RolloutState = field(default_factory=RolloutState)
    latents: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        g = torch.Generator().manual_seed(100 + self.seed)
        self.anchor = drop_anchor(self.model, small_portrait(self.seed), POLICY)
        self.speech = torch.randn(1, 3 * NUM_CHUNKS + 4, 2, 6, generator=g)
        self.controls = torch.randn(1, 3 * NUM_CHUNKS, 5, generator=g)

    def step(self, seq: int) -> None:
        latents, self.state = denoise_chunk(
            self.model,
            self.anchor,
            self.speech[:, 3 * seq : 3 * seq + 7],
            self.controls[:, 3 * seq : 3 * seq + 3],
            self.state,
            POLICY,
            seed=self.seed,
            epoch=0,
            seq=seq,
        )
        self.latents.append(latents)


class Recorder:
    """Keeps the inputs and outputs of every forward of a model."""

    def __init__(self, model: DiT) -> None:
        self.calls: list[tuple[Tensor, Tensor, Condition, Tensor]] = []
        self.handle = model.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, given: tuple, out: tuple) -> None:  # type: ignore[type-arg]
        latents, timestep, condition, _, _ = given
        self.calls.append((latents, timestep, condition, out[0]))


def test_a_chunk_takes_two_forwards_and_the_session_projects_its_conditions_once() -> None:
    model = small_dit(text=True, image=True)
    counts = {"forward": 0, "text": 0, "image": 0}
    attention_layer = model.layers[0].attn2
    model.register_forward_hook(lambda *_: counts.update(forward=counts["forward"] + 1))
    attention_layer.to_k.register_forward_hook(lambda *_: counts.update(text=counts["text"] + 1))
    attention_layer.add_k_proj.register_forward_hook(
        lambda *_: counts.update(image=counts["image"] + 1)
    )
    anchor = drop_anchor(
        model, small_portrait(), POLICY, text=torch.randn(1, 7, 10), image=torch.randn(1, 5, 14)
    )
    assert counts == {"forward": 1, "text": 1, "image": 1}  # the sink
    state = RolloutState()
    for seq in range(5):
        _, state = denoise_chunk(
            model,
            anchor,
            torch.randn(1, 7, 2, 6),
            torch.randn(1, 3, 5),
            state,
            POLICY,
            seed=0,
            epoch=0,
            seq=seq,
        )
    assert counts == {"forward": 1 + 5 * 2, "text": 1, "image": 1}


def test_streamed_equals_the_one_shot_block_masked_forward() -> None:
    model = small_dit(text=True)
    recorder = Recorder(model)
    session = Session(model, 0)
    recorder.calls.clear()
    for seq in range(NUM_CHUNKS):
        session.step(seq)
    recorder.handle.remove()
    for step in range(len(POLICY.sigmas)):
        calls = recorder.calls[step :: len(POLICY.sigmas)]
        whole = one_shot(model, session.anchor, calls)
        streamed = torch.cat([out for *_, out in calls], dim=1)
        assert (whole - streamed).abs().max() <= 1e-4


@pytest.mark.parametrize("mistake", ["sink", "window", "positions"])
def test_the_comparison_sees_a_mistake(mistake: str) -> None:
    model = small_dit(text=True)
    recorder = Recorder(model)
    session = Session(model, 0)
    recorder.calls.clear()
    for seq in range(6):
        session.step(seq)
    recorder.handle.remove()
    calls = recorder.calls[1::2]
    whole = one_shot(model, session.anchor, calls, mistake=mistake)
    streamed = torch.cat([out for *_, out in calls], dim=1)
    assert (whole - streamed).abs().max() > 1e-2


def test_teacher_forcing_equals_serving() -> None:
    model = small_dit()
    session = Session(model, 0)
    g = torch.Generator().manual_seed(5)
    noisy = torch.randn(4, 3, 4, 8, 8, generator=g)
    given = Condition(
        channels=torch.randn(4, 3, 8, 8, 8, generator=g),
        audio=model.project_audio(torch.randn(4, 7, 2, 6, generator=g)),
        face_mask=session.anchor.portrait.face_mask.expand(4, -1),
        controls=torch.randn(4, 3, 5, generator=g),
    )
    assert given.audio is not None
    assert given.face_mask is not None
    assert given.controls is not None
    timestep = torch.full((4,), 500.0)
    sink, places = session.anchor.sink, POLICY.sink_positions
    both = places + POLICY.previous_positions
    parallel, _ = model(
        noisy, timestep, given, ChunkParallelContext(sink, 4, both), POLICY.current_positions
    )
    previous: list[KeyValue] | None = None
    for n in range(4):
        one = Condition(
            given.channels[n : n + 1],
            given.audio[n : n + 1],
            given.face_mask[n : n + 1],
            given.controls[n : n + 1],
        )
        context = (
            CachedContext((sink,), places)
            if previous is None
            else CachedContext((sink, previous), both)
        )
        served, previous = model(
            noisy[n : n + 1], timestep[:1], one, context, POLICY.current_positions
        )
        assert (served - parallel[n : n + 1]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_training_of_every_policy_equals_serving_it(name: str) -> None:
    """All forwards of a session at once, as in training, from what serving gave each of them."""
    policy, model, num_chunks = VARIANTS[name], small_dit(carries=False), 4
    stretch = random_stretch(num_chunks * policy.chunk_latents)
    recorder = Recorder(model)
    served = serve(model, stretch, policy)
    recorder.handle.remove()
    calls = recorder.calls[1 if policy.sink_positions else 0 :]
    forwards = len(policy.sigmas) + (policy.cache == "clean_pass")
    assert len(calls) == num_chunks * forwards
    inner = (served - stretch.sinks[:, :1]) / model.latent_scale
    past = replace(stretch, clean=inner)  # what a clean pass sees of the chunks
    known = torch.ones(1, num_chunks, dtype=torch.bool)
    for step, sigma in enumerate(policy.sigmas):
        noisy = torch.cat([given for given, *_ in calls[step::forwards]], 1)
        predicted = torch.cat([out for *_, out in calls[step::forwards]], 1)
        whole = denoise_chunks(model, past, noisy, torch.tensor([sigma]), policy, known)
        assert (whole - predicted).abs().max() <= 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_every_policy_sees_what_it_says_and_nothing_else(name: str) -> None:
    policy, model = VARIANTS[name], small_dit(carries=False)
    stretch = random_stretch(3 * policy.chunk_latents)
    before = serve(model, stretch, policy)
    F = policy.chunk_latents
    other = replace(stretch, sinks=torch.cat([stretch.sinks[:, :1], stretch.sinks[:, 1:] + 1], 1))
    sees_sink = not torch.equal(before, serve(model, other, policy))
    assert sees_sink == bool(policy.sink_positions)
    controls = stretch.controls.clone()
    controls[:, :F] += 1  # of the first chunk alone
    after = serve(model, replace(stretch, controls=controls), policy)
    assert not torch.equal(before[:, :F], after[:, :F])
    sees_previous = not torch.equal(before[:, F:], after[:, F:])
    assert sees_previous == bool(policy.previous_positions)


def random_stretch(length: int) -> Stretch:
    g = torch.Generator().manual_seed(3)
    portrait = small_portrait(1)
    return Stretch(
        clean=torch.randn(1, length, 4, 8, 8, generator=g),
        speech=torch.randn(1, length + 4, 2, 6, generator=g),
        controls=torch.randn(1, length, 5, generator=g),
        visemes=torch.zeros(1, length, 4, 4),
        sinks=portrait.sink_latents,
        masks=portrait.face_mask,
        weight=torch.ones(1, 8, 8),
        importance=torch.ones(4, 8, 8),
        boxes=((0, 0, 64, 64),),
    )


def serve(model: DiT, stretch: Stretch, policy: Policy) -> Tensor:
    """(1, T, C, H, W) in the VAE's space."""
    F, state, latents = policy.chunk_latents, RolloutState(), []
    anchor = drop_anchor(model, stretch.portrait, policy)
    for seq, start in enumerate(range(0, stretch.clean.shape[1], F)):
        speech = stretch.speech[:, start : start + F + 4]
        controls = stretch.controls[:, start : start + F]
        made, state = denoise_chunk(
            model, anchor, speech, controls, state, policy, seed=0, epoch=0, seq=seq
        )
        latents.append(made)
    return torch.cat(latents, 1)


def test_two_interleaved_sessions_equal_two_alone() -> None:
    model = small_dit()
    alone = [Session(model, 1), Session(model, 2)]
    for session in alone:
        for seq in range(4):
            session.step(seq)
    mixed = [Session(model, 1), Session(model, 2)]
    for seq in range(4):
        for session in mixed:
            session.step(seq)
    for one, other in zip(alone, mixed, strict=True):
        assert torch.equal(torch.cat(one.latents), torch.cat(other.latents))
    assert not torch.equal(alone[0].latents[0], alone[1].latents[0])


BATCH_NOISE = 1e-5
"""Sums of a product of more rows may be taken in another order."""


def together(
    model: DiT, policy: Policy, states: list[RolloutState], seq: int, sessions: list[int]
) -> list[tuple[Tensor, RolloutState]]:
    """The next chunk of these sessions, in one batch."""
    F, wanted = policy.chunk_latents, []
    for state, number in zip(states, sessions, strict=True):
        g = torch.Generator().manual_seed(100 * number + seq)
        anchor = drop_anchor(model, small_portrait(number), policy)
        speech = torch.randn(1, F + 4, 2, 6, generator=g)
        controls = torch.randn(1, F, 5, generator=g)
        wanted.append(NextChunk(anchor, speech, controls, state, (number, 0, seq)))
    return denoise_batch(model, wanted, policy)


@pytest.mark.parametrize("policy", VARIANTS.values(), ids=VARIANTS.keys())
def test_sessions_denoised_together_are_as_each_alone(policy: Policy) -> None:
    model, sessions = small_dit(carries=policy.carry_last_latent), [1, 2, 3]
    batch = [RolloutState()] * len(sessions)
    alone = list(batch)
    for seq in range(2):
        made = together(model, policy, batch, seq, sessions)
        single = [
            together(model, policy, [state], seq, [number])[0]
            for state, number in zip(alone, sessions, strict=True)
        ]
        for (ours, _), (expected, _) in zip(made, single, strict=True):
            assert torch.allclose(ours, expected, atol=BATCH_NOISE, rtol=BATCH_NOISE)
        assert not torch.allclose(made[0][0], made[1][0], atol=0.1)
        batch, alone = [s for _, s in made], [s for _, s in single]


def test_a_session_of_a_batch_keeps_nothing_of_the_others() -> None:
    model = small_dit()
    (_, state), _ = together(model, POLICY, [RolloutState()] * 2, 0, [1, 2])
    kept = [each for layers in state.previous for kv in layers for each in kv]
    assert state.last_latent is not None
    for each in (*kept, state.last_latent):
        assert each.untyped_storage().nbytes() == each.numel() * each.element_size()


def test_a_session_with_a_past_and_one_without_are_not_denoised_together() -> None:
    model = small_dit()
    [(_, state)] = together(model, POLICY, [RolloutState()], 0, [1])
    with pytest.raises(ValueError, match="pasts differ in steps, places or sizes"):
        together(model, POLICY, [state, RolloutState()], 1, [1, 2])


def test_the_past_is_unchanged_by_the_future() -> None:
    model = small_dit()
    one, other = Session(model, 1), Session(model, 1)
    other.speech[:, 3 * 2 + 7 :] += 1.0  # beyond what chunk 2 may hear
    for seq in range(5):
        one.step(seq)
        other.step(seq)
    assert torch.equal(torch.cat(one.latents[:3]), torch.cat(other.latents[:3]))
    assert not torch.equal(one.latents[4], other.latents[4])


def test_a_chunk_that_is_made_again_is_the_same_chunk() -> None:
    model = small_dit()
    session = Session(model, 3)
    session.step(0)
    before = session.state
    session.step(1)
    session.state = before
    session.step(1)
    assert torch.equal(session.latents[1], session.latents[2])


def one_shot(
    model: DiT,
    anchor: Anchor,
    calls: list[tuple[Tensor, Tensor, Condition, Tensor]],
    mistake: str = "",
) -> Tensor:
    """All chunks of one denoising step as one sequence under an explicit block mask.

    Written without the caches and contexts that it is compared with: every layer's keys of sink
    and all chunks stand side by side, and each query chunk rotates them to its own slots.
    """
    N, n = len(calls), 16
    latents = torch.cat([c[0] for c in calls], 1)
    conditions = [c[2] for c in calls]
    channels = torch.cat([c.channels for c in conditions], 1)
    audio = torch.cat([c.audio for c in conditions if c.audio is not None], 1)
    controls = torch.cat([c.controls for c in conditions if c.controls is not None], 1)
    mask_of_face = conditions[0].face_mask
    x = model.embed(latents, calls[0][1], channels, controls)
    time, time6 = model.embed_time(calls[0][1], 3 * N, controls)
    block = 3 * n
    for i, layer in enumerate(model.layers):
        modulation = layer.modulation(time6)
        query, kv = layer.before_attention(x, modulation)
        keys = torch.cat([anchor.sink[i].key, kv.key], 1)
        values = torch.cat([anchor.sink[i].value, kv.value], 1)
        rows = []
        for j in range(N):
            visible = torch.zeros(1 + N, dtype=torch.bool)
            visible[[0, j, j + 1]] = True  # sink, previous (the sink again for chunk 0), itself
            if mistake == "sink":
                visible[0] = False
            if mistake == "window" and j > 1:
                visible[j - 1] = True
            slots = torch.full((1 + N, 3), 0)
            slots[0] = torch.tensor((0, 1, 2))
            if j:
                slots[j] = torch.tensor((15, 16, 17))
            slots[j + 1] = torch.tensor((18, 19, 20))
            if mistake == "positions" and j:
                slots[j] += 1
            angles = rope_angles(slots.flatten(), (4, 4), 24)
            own = turns_of(rope_angles(torch.tensor((18, 19, 20)), (4, 4), 24))
            q = layer.attn1._turn(query[:, j * block : (j + 1) * block], own)
            k = layer.attn1._turn(keys, turns_of(angles))
            mask = visible.repeat_interleave(block)[None, None, None]
            rows.append(attention(q, k, values, layer.attn1.num_heads, mask))
        attended = layer.attn1.to_out[0](torch.cat(rows, 1))
        fixed = conditions[0].fixed[i] if conditions[0].fixed else ()
        x = layer.after_attention(x, attended, modulation, fixed, audio, mask_of_face)
    return model.head(x, time, (4, 4))


def test_the_sink_sees_only_itself() -> None:
    model = small_dit()
    assert SelfContext().extend(0, KeyValue(torch.zeros(1), torch.zeros(1)))[1] is None
    anchor = drop_anchor(model, small_portrait(), POLICY)
    assert len(anchor.sink) == model.config.num_layers
