"""What a chunk's queries may see besides their own chunk: nothing, a cache, or its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from avatar.models.dit.attention import KeyValue


class Context(Protocol):
    """Adds a layer's visible past in front of its own keys and values."""

    @property
    def positions(self) -> tuple[int, ...]:
        """Place in time of each latent frame of the past, oldest first."""
        ...

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        """All keys and values, un-roped, and a mask of those that are real (None: all)."""
        ...


@dataclass(frozen=True)
class SelfContext:
    """The chunk sees only itself: the sink, or a clip in one piece (the bidirectional teacher)."""

    positions: tuple[int, ...] = ()

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        return own, None


@dataclass(frozen=True)
class CachedContext:
    """The serving path: keys and values of {sink, previous chunk}, one KeyValue a layer each."""

    parts: tuple[Sequence[KeyValue], ...]
    positions: tuple[int, ...]

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        seen = [part[layer] for part in self.parts] + [own]
        return KeyValue(
            torch.cat([s.key for s in seen], 1), torch.cat([s.value for s in seen], 1)
        ), None


@dataclass(frozen=True)
class ChunkParallelContext:
    """The training path: N consecutive chunks folded into the batch, (B N, L, dim).

    Chunk j attends to {sink, chunk j - 1, itself}: the keys and values of the layer, moved one
    chunk on. Equal to the serving path with caches, and to the block-masked forward of one long
    sequence, but nothing masked is ever computed.
    """

    sink: Sequence[KeyValue]
    num_chunks: int
    positions: tuple[int, ...]

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        N = self.num_chunks
        sink_length, length = self.sink[layer].key.shape[1], own.key.shape[1]

        def gather(sink: Tensor, mine: Tensor) -> Tensor:
            chunks = mine.unflatten(0, (-1, N))
            previous = torch.cat([torch.zeros_like(chunks[:, :1]), chunks[:, :-1]], 1)
            return torch.cat([sink.repeat_interleave(N, 0), previous.flatten(0, 1), mine], 1)

        mask = torch.ones(N, sink_length + 2 * length, dtype=torch.bool, device=own.key.device)
        mask[0, sink_length : sink_length + length] = False  # before the first chunk: nothing
        mask = mask.repeat(own.key.shape[0] // N, 1)[:, None, None]
        joined = KeyValue(*(gather(s, m) for s, m in zip(self.sink[layer], own, strict=True)))
        return joined, mask
