"""Sessions whose usual forwards run in OpenVINO: as in torch, chunk by chunk, each for itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import pytest
import torch
from torch import Tensor

from avatar.backends.dit import ChunkForward, OpenVinoDiT, chunk_inputs
from avatar.backends.graph import Graph, convert
from avatar.backends.vae import GroupDecode, OpenVinoVAE, group_inputs
from avatar.models.dit import DiT
from avatar.models.vae import VAE, VAEConfig
from avatar.sampling.batch import NextChunk, denoise_batch
from avatar.sampling.policy import NATIVE_2_STEP
from avatar.sampling.rollout import (
    RolloutState,
    denoise_chunk,
    drop_anchor,
)
from tests.fakes.networks import small_dit, small_portrait

pytestmark = pytest.mark.streaming

POLICY = replace(NATIVE_2_STEP, carry_last_latent=True)
NUM_CHUNKS = 4


class Counted(Graph):
    """Knows how often it ran."""

    calls = 0

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        self.calls += 1
        return super().__call__(inputs)


@dataclass
class Session:
    """Of one caller: what is said in it, and what was shown."""

    model: DiT
    seed: int
    said: int = 0
    """What the last chunks hear: two sessions that differ here were one until then."""
    state: RolloutState = field(default_factory=RolloutState)
    latents: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.anchor = drop_anchor(self.model, small_portrait(self.seed), POLICY)
        self.speech = torch.randn(NUM_CHUNKS, 1, 7, 2, 6, generator=generator)
        self.speech[-1] += self.said
        self.controls = torch.randn(NUM_CHUNKS, 1, 3, 5, generator=generator)

    @torch.inference_mode()
    def step(self, seq: int) -> None:
        latents, self.state = denoise_chunk(
            self.model,
            self.anchor,
            self.speech[seq],
            self.controls[seq],
            self.state,
            POLICY,
            seed=self.seed,
            epoch=0,
            seq=seq,
        )
        self.latents.append(latents)

    def run(self) -> Tensor:
        for seq in range(NUM_CHUNKS):
            self.step(seq)
        return torch.cat(self.latents, 1)


@cache
def dit() -> OpenVinoDiT:
    torch.set_num_threads(1)
    model = small_dit()
    seen: list[list[Tensor]] = []

    def keep(_model: object, args: tuple[object, ...]) -> None:
        inputs = chunk_inputs(*args[:4])  # type: ignore[arg-type]  # as DiT.forward
        if inputs is not None:
            seen.append(inputs)

    hook = model.register_forward_pre_hook(keep)
    Session(model, 0).run()
    hook.remove()
    return OpenVinoDiT(model, Counted(convert(ChunkForward(model, POLICY), seen[0])), POLICY)


def in_torch(model: DiT) -> DiT:
    plain = DiT(model.config)
    plain.load_state_dict(model.state_dict())
    return plain.eval().requires_grad_(False)


def calls(graph: Graph, work: Callable[[], object]) -> int:
    assert isinstance(graph, Counted)
    before = graph.calls
    work()
    return graph.calls - before


def test_every_forward_but_those_of_the_sink_and_of_the_first_chunk_runs_in_openvino() -> None:
    forwards = len(POLICY.sigmas) * (NUM_CHUNKS - 1)
    assert calls(dit().graphs[0], lambda: Session(dit(), 3).run()) == forwards


def test_a_rollout_is_that_of_torch() -> None:
    ours, expected = Session(dit(), 5).run(), Session(in_torch(dit()), 5).run()
    assert torch.equal(ours[:, :3], expected[:, :3])  # the first chunk is torch's
    assert torch.allclose(ours, expected, atol=2e-3)
    assert not torch.equal(ours, expected)


def test_a_rollout_repeats_bit_for_bit() -> None:
    assert torch.equal(Session(dit(), 6).run(), Session(dit(), 6).run())


def test_two_interleaved_rollouts_equal_two_alone() -> None:
    alone = [Session(dit(), seed).run() for seed in (1, 2)]
    both = [Session(dit(), seed) for seed in (1, 2)]
    for seq in range(NUM_CHUNKS):
        for each in both:
            each.step(seq)
    assert all(torch.equal(torch.cat(b.latents, 1), a) for b, a in zip(both, alone, strict=True))


def test_the_past_of_a_rollout_is_unchanged_by_its_future() -> None:
    one, other = Session(dit(), 7).run(), Session(dit(), 7, said=3).run()
    assert torch.equal(one[:, :-3], other[:, :-3])
    assert not torch.equal(one[:, -3:], other[:, -3:])


def test_what_a_session_keeps_is_not_changed_by_the_next_chunk() -> None:
    session = Session(dit(), 8)
    for seq in range(NUM_CHUNKS):
        before = session.state
        kept = [[kv.key.clone() for kv in step] for step in before.previous]
        session.step(seq)
        for step, keys in zip(before.previous, kept, strict=True):
            assert all(torch.equal(kv.key, key) for kv, key in zip(step, keys, strict=True))


@pytest.mark.parametrize("size", [2, 3])
def test_a_graph_of_several_sessions_gives_each_what_it_gets_alone_bit_for_bit(size: int) -> None:
    graph = dit().graphs[0]
    generator = torch.Generator().manual_seed(size)
    sessions = [
        [torch.randn(shape, generator=generator) for shape in graph.shapes] for _ in range(size)
    ]
    made = graph.batched(size)([torch.cat(each) for each in zip(*sessions, strict=True)])
    for number, inputs in enumerate(sessions):
        for ours, expected in zip(made, graph(inputs), strict=True):
            assert torch.equal(ours[number : number + 1], expected)


def test_rollouts_in_one_batch_run_in_openvino_and_are_those_of_each_alone() -> None:
    plain = in_torch(dit())
    model = OpenVinoDiT(plain, dit().graphs[0], POLICY, max_batch=2)
    sizes: list[int] = []
    model.graphs = tuple(noting(graph, sizes) for graph in model.graphs)
    both = [Session(model, seed) for seed in (1, 2)]
    for seq in range(NUM_CHUNKS):
        wanted = [
            NextChunk(s.anchor, s.speech[seq], s.controls[seq], s.state, (s.seed, 0, seq))
            for s in both
        ]
        with torch.inference_mode():
            made = denoise_batch(model, wanted, POLICY)
        for session, (latents, state) in zip(both, made, strict=True):
            session.state = state
            session.latents.append(latents)
    assert sizes == [2] * len(POLICY.sigmas) * (NUM_CHUNKS - 1)
    for session in both:
        alone = Session(dit(), session.seed).run()
        assert torch.allclose(torch.cat(session.latents, 1), alone, atol=2e-3)


def noting(graph: Graph, sizes: list[int]) -> Graph:
    """The graph, which adds to `sizes` how many sessions it ran for, each time."""

    class Noting(Graph):
        def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
            sizes.append(inputs[0].shape[0])
            return super().__call__(inputs)

    return Noting(graph._model)


@cache
def vae() -> OpenVinoVAE:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = VAE(VAEConfig(encoder_dims=(8, 16, 16), decoder_dims=(16, 16, 8), reference_dim=8))
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    plain.std.fill_(0.7)
    plain.mean.fill_(0.2)
    plain.eval().requires_grad_(False)
    latents = torch.randn(2, 1, 40, 4, 4)
    with torch.no_grad():
        reference = plain.init_decoder(torch.rand(1, 3, 32, 32)).reference
        inputs = group_inputs(latents[0], latents[1], reference)
        return OpenVinoVAE(plain, Counted(convert(GroupDecode(plain), inputs)))


@torch.inference_mode()
def decode(model: VAE, latents: Tensor, picture: Tensor, sizes: Sequence[int]) -> Tensor:
    state, pieces = model.init_decoder(picture), []
    for piece in latents.split(list(sizes), 1):
        frames, state = model.decode(piece, state)
        pieces.append(frames)
    return torch.cat(pieces, 1)


def test_decoded_frames_are_those_of_torch() -> None:
    plain = VAE(vae().config)
    plain.load_state_dict(vae().state_dict())
    latents, picture = torch.randn(1, 6, 40, 4, 4), torch.rand(1, 3, 32, 32)
    expected = decode(plain.eval(), latents, picture, [6])
    assert calls(vae().graph, lambda: decode(vae(), latents, picture, [6])) == 6
    assert torch.allclose(decode(vae(), latents, picture, [6]), expected, atol=1e-3)


@pytest.mark.parametrize("sizes", [[3, 3, 3], [1] * 9, [2, 6, 1]])
def test_decoding_by_chunks_equals_decoding_at_once(sizes: list[int]) -> None:
    latents, picture = torch.randn(1, 9, 40, 4, 4), torch.rand(1, 3, 32, 32)
    assert torch.equal(decode(vae(), latents, picture, sizes), decode(vae(), latents, picture, [9]))


def test_decoded_frames_are_unchanged_by_later_latents() -> None:
    latents, picture = torch.randn(1, 6, 40, 4, 4), torch.rand(1, 3, 32, 32)
    changed = torch.cat([latents[:, :3], torch.randn(1, 3, 40, 4, 4)], 1)
    one, other = (decode(vae(), each, picture, [3, 3]) for each in (latents, changed))
    assert torch.equal(one[:, :9], other[:, :9])
    assert not torch.equal(one[:, 9:], other[:, 9:])


def test_two_interleaved_decodings_equal_two_alone() -> None:
    streams, pictures = torch.randn(2, 1, 6, 40, 4, 4), torch.rand(2, 1, 3, 32, 32)
    alone = [decode(vae(), s, p, [3, 3]) for s, p in zip(streams, pictures, strict=True)]
    with torch.inference_mode():
        states = [vae().init_decoder(each) for each in pictures]
        mixed: list[list[Tensor]] = [[], []]
        for start in (0, 3):
            for i in range(2):
                frames, states[i] = vae().decode(streams[i][:, start : start + 3], states[i])
                mixed[i].append(frames)
    assert all(torch.equal(torch.cat(m, 1), a) for m, a in zip(mixed, alone, strict=True))
