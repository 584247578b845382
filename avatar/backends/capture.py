"""Forwards of a DiT without their overhead: fused by torch.compile, or replayed as CUDA graphs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from avatar.backends import Capture
from avatar.errors import Unavailable
from avatar.models.dit import CachedContext, Condition, DiT, KeyValue
from avatar.models.dit.context import Context

Run = Callable[[], list[Tensor]]


class Replay(Protocol):
    """Does what was recorded once more, on the same memory, and answers with where results are."""

    def __call__(self) -> list[Tensor]: ...


Record = Callable[[Run], Replay]

WARM_UPS = 2
"""Runs before one is recorded: libraries choose their kernels and workspaces in the first."""


def captured(model: DiT, capture: Capture, device: torch.device) -> DiT:
    """The model, its blocks run as asked.

    Raises:
        Unavailable: CUDA graphs were asked for, and there is no GPU.
    """
    if capture == "compile":
        for block in model.layers:
            for name in ("before_attention", "after_attention"):
                # one code for all layers; shapes are those of the profile and never change
                setattr(block, name, torch.compile(getattr(block, name), dynamic=False))
    if capture == "graph":
        if device.type != "cuda":
            raise Unavailable("CAPTURE=graph needs a CUDA GPU; use CAPTURE=off or compile")
        return GraphedDiT(model, record_cuda_graph)
    return model


def record_cuda_graph(run: Run) -> Replay:
    """Record `run` on the present stream."""
    for _ in range(WARM_UPS):
        run()
    torch.cuda.current_stream().synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        results = run()

    def replay() -> list[Tensor]:
        graph.replay()
        return results

    return replay


class GraphedDiT(DiT):
    """A DiT whose blocks are replayed, for each combination of shapes its own recording.

    What goes in is copied to where the recording reads it, what comes out is copied from where it
    writes: sessions own their caches as before. Anything but a cached chunk runs as usual.
    """

    def __init__(self, model: DiT, record: Record) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(model))  # its very weights, not a copy of them
        self._record = record
        self._recordings: dict[object, tuple[list[Tensor], Replay]] = {}

    def through_blocks(
        self,
        x: Tensor,
        time6: Tensor,
        own_turns: Tensor,
        key_turns: Tensor,
        context: Context,
        condition: Condition,
    ) -> tuple[Tensor, list[KeyValue]]:
        usual = super().through_blocks
        if not isinstance(context, CachedContext):
            return usual(x, time6, own_turns, key_turns, context, condition)
        inputs, unpack = _packed(x, time6, own_turns, key_turns, context, condition)
        signature = tuple((each.shape, each.dtype) for each in inputs), unpack.shape
        if signature not in self._recordings:
            held = [each.clone() for each in inputs]

            def run() -> list[Tensor]:
                tokens, kv = usual(*unpack(held))
                return [tokens, *(each for pair in kv for each in pair)]

            self._recordings[signature] = held, self._record(run)
        held, replay = self._recordings[signature]
        torch._foreach_copy_(held, inputs)
        tokens, *kv = (each.clone() for each in replay())
        return tokens, [KeyValue(*pair) for pair in zip(kv[::2], kv[1::2], strict=True)]


class _Unpack:
    """Makes the arguments of `through_blocks` out of a flat list of tensors again."""

    def __init__(self, context: CachedContext, condition: Condition) -> None:
        self.shape = (
            tuple(len(part) for part in context.parts),
            tuple(len(layer) for layer in condition.fixed),
            condition.audio is not None,
            condition.face_mask is not None,
        )

    def __call__(
        self, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, CachedContext, Condition]:
        rest = iter(tensors)
        x, time6, own_turns, key_turns = (next(rest) for _ in range(4))
        parts = tuple(_pairs(rest, count) for count in self.shape[0])
        fixed = tuple(tuple(_pairs(rest, count)) for count in self.shape[1])
        audio = next(rest) if self.shape[2] else None
        face_mask = next(rest) if self.shape[3] else None
        condition = Condition(x, audio, face_mask, fixed=fixed)
        return x, time6, own_turns, key_turns, CachedContext(parts, ()), condition


def _packed(
    x: Tensor,
    time6: Tensor,
    own_turns: Tensor,
    key_turns: Tensor,
    context: CachedContext,
    condition: Condition,
) -> tuple[list[Tensor], _Unpack]:
    inputs = [x, time6, own_turns, key_turns]
    inputs += (each for part in context.parts for pair in part for each in pair)
    inputs += (each for layer in condition.fixed for pair in layer for each in pair)
    inputs += (each for each in (condition.audio, condition.face_mask) if each is not None)
    return inputs, _Unpack(context, condition)


def _pairs(rest: Iterator[Tensor], count: int) -> list[KeyValue]:
    return [KeyValue(next(rest), next(rest)) for _ in range(count)]
