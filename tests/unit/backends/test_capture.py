"""Replayed forwards: what sessions get is theirs, and equal to what the model computes as usual.

CUDA graphs need a GPU (tests/gpu); here a recorder stands for them that runs on the same memory.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from avatar.backends.capture import GraphedDiT, captured
from avatar.errors import Unavailable
from avatar.models.dit import CachedContext, Condition, DiT, KeyValue
from tests.fakes.recorder import OnTheSameMemory
from tests.fakes.tiny_wan import AUDIO, tiny_wan

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


def arguments(
    model: DiT, seed: int, num_cached: int = 3
) -> tuple[Tensor, Tensor, Condition, CachedContext, tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    c = model.config
    assert c.text_dim is not None
    assert c.image_dim is not None
    fixed = model.project_fixed(noise(1, 5, c.text_dim), noise(1, 4, c.image_dim))
    audio = model.project_audio(noise(1, 3 + 2 * AUDIO.reach, 4, AUDIO.dim))
    cached = [KeyValue(*noise(2, 1, 16 * num_cached, c.dim)) for _ in model.layers]
    condition = Condition(
        noise(1, 3, c.condition_channels, 8, 8), audio, torch.ones(1, 16), fixed=fixed
    )
    context = CachedContext((cached,), tuple(range(num_cached)))
    return noise(1, 3, 16, 8, 8), torch.full((1,), 500.0), condition, context, (18, 19, 20)


@torch.inference_mode()
def test_a_replayed_forward_equals_the_usual_one_and_the_next_leaves_it_alone() -> None:
    model, record = tiny_wan("tm-18b"), OnTheSameMemory()
    graphed = GraphedDiT(model, record)
    kept = []
    for seed in range(3):
        given = arguments(model, seed)
        kept.append((model(*given), graphed(*given)))
    assert record.count == 1
    for (expected, expected_kv), (made, made_kv) in kept:  # looked at after all of them ran
        assert torch.equal(made, expected)
        for own, theirs in zip(made_kv, expected_kv, strict=True):
            assert torch.equal(own.key, theirs.key)
            assert torch.equal(own.value, theirs.value)


@torch.inference_mode()
def test_other_shapes_are_recorded_anew_and_both_stay() -> None:
    model, record = tiny_wan("tm-18b"), OnTheSameMemory()
    graphed = GraphedDiT(model, record)
    for num_cached in (3, 6, 3, 6):
        given = arguments(model, 1, num_cached)
        assert torch.equal(graphed(*given)[0], model(*given)[0])
    assert record.count == 2


@torch.inference_mode()
def test_one_compiled_code_is_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of its own each would take minutes, and torch gives up after a few."""
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = tiny_wan("tm-18b")
    given = arguments(model, 1)
    expected = model(*given)[0]
    torch.compiler.reset()
    made = captured(model, "compile", CPU)(*given)[0]
    torch.compiler.reset()
    assert torch.equal(made, expected)
    assert len(model.layers) > 2
    assert len(compiled) == 2  # before and after attention


def test_graphs_without_a_gpu_are_refused() -> None:
    with pytest.raises(Unavailable, match="CAPTURE=off"):
        captured(tiny_wan("tm-18b"), "graph", CPU)


def test_without_capture_it_is_the_model_itself() -> None:
    model = tiny_wan("tm-18b")
    assert captured(model, "off", CPU) is model
