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

    @property
    def places(self) -> Tensor | None:
        """(L, 3), time, height and width of tokens on no common grid, in front of the others."""
        ...

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        """All keys and values, un-roped, and a mask of those that are real (None: all)."""
        ...


@dataclass(frozen=True)
class SelfContext:
    """The chunk sees only itself: the sink, or a clip in one piece (the bidirectional teacher)."""

    positions: tuple[int, ...] = ()
    places: None = None

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        return own, None


@dataclass(frozen=True)
class CachedContext:
    """The serving path: keys and values of {sink, previous chunk}, one KeyValue a layer each.

    Without any part a chunk sees only itself.
    """

    parts: tuple[Sequence[KeyValue], ...]
    positions: tuple[int, ...]
    places: Tensor | None = None

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

    `sink` is empty where there is none, and so is `previous` where no previous chunk is seen; it
    holds what another forward over the same chunks wrote, or None for this forward's own.
    """

    sink: Sequence[KeyValue]
    num_chunks: int
    positions: tuple[int, ...]
    previous: Sequence[KeyValue] | None = None
    places: None = None

    def extend(self, layer: int, own: KeyValue) -> tuple[KeyValue, Tensor | None]:
        N, B, length = self.num_chunks, own.key.shape[0] // self.num_chunks, own.key.shape[1]
        written = [own] if self.previous is None else self.previous[layer : layer + 1]
        sink = self.sink[layer : layer + 1]
        seen = [KeyValue(*(each.repeat_interleave(N, 0) for each in kv)) for kv in sink]
        seen += [KeyValue(*(self._one_on(each) for each in kv)) for kv in written]
        seen.append(own)
        joined = KeyValue(
            torch.cat([s.key for s in seen], 1), torch.cat([s.value for s in seen], 1)
        )
        if not written:
            return joined, None
        mask = torch.ones(N, joined.key.shape[1], dtype=torch.bool, device=own.key.device)
        mask[0, -2 * length : -length] = False  # before the first chunk: nothing
        return joined, mask.repeat(B, 1)[:, None, None]

    def _one_on(self, written: Tensor) -> Tensor:
        chunks = written.unflatten(0, (-1, self.num_chunks))
        return torch.cat([torch.zeros_like(chunks[:, :1]), chunks[:, :-1]], 1).flatten(0, 1)
