"""The DiT's usual forward as a graph: a chunk that follows another, with its caches."""

from itertools import chain

from torch import Tensor, nn

from avatar.backends.graph import Graph
from avatar.models.dit import CachedContext, Condition, DiT, KeyValue
from avatar.models.dit.context import Context
from avatar.sampling.policy import Policy


class ChunkForward(nn.Module):
    """A forward of `DiT` whose arguments are tensors alone, as an export needs it.

    In: noisy latents, timestep, condition channels, audio, face mask, controls, then keys and
    values layer by layer of the sink, then those of the previous chunk. Out: the prediction, then
    keys and values layer by layer. Positions are the policy's, fixed in the graph.
    """

    def __init__(self, model: DiT, policy: Policy) -> None:
        super().__init__()
        self.model, self.policy = model, policy

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        noisy, timestep, channels, audio, face_mask, controls, *cached = inputs
        kv = [KeyValue(*pair) for pair in zip(cached[::2], cached[1::2], strict=True)]
        num_layers, policy = self.model.config.num_layers, self.policy
        context = CachedContext(
            (kv[:num_layers], kv[num_layers:]), policy.sink_positions + policy.previous_positions
        )
        prediction, own = self.model(
            noisy,
            timestep,
            Condition(channels, audio, face_mask, controls),
            context,
            policy.current_positions,
        )
        return prediction, *chain.from_iterable(own)


def chunk_inputs(
    noisy: Tensor, timestep: Tensor, condition: Condition, context: Context
) -> list[Tensor] | None:
    """The inputs of `ChunkForward`, or None where the forward is of another kind."""
    c = condition
    if not isinstance(context, CachedContext) or len(context.parts) != 2:
        return None
    if c.audio is None or c.face_mask is None or c.controls is None or any(c.fixed):
        return None
    cached = chain.from_iterable(chain.from_iterable(context.parts))
    return [noisy, timestep, c.channels, c.audio, c.face_mask, c.controls, *cached]


def slots(policy: Policy) -> str:
    """The positions that are fixed in a graph, as it says them of itself."""
    places = (policy.sink_positions, policy.previous_positions, policy.current_positions)
    return " ".join(str(each) for each in chain.from_iterable(places))


class OpenVinoDiT(DiT):
    """A DiT whose usual forward runs as a graph.

    What a session needs once runs in torch: its sink, and its first chunk, which has no past.
    Forwards of up to `max_batch` sessions together have a graph each.
    """

    def __init__(self, model: DiT, graph: Graph, policy: Policy, max_batch: int = 1) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(model))  # its very weights, not a copy of them
        self.graphs = (graph, *(graph.batched(size) for size in range(2, max_batch + 1)))
        self.policy = policy

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        condition: Condition,
        context: Context,
        positions: tuple[int, ...],
    ) -> tuple[Tensor, list[KeyValue]]:
        graph, inputs = None, chunk_inputs(latents, timestep, condition, context)
        if inputs is not None and self._has_usual_slots(context, positions):
            graph = next((each for each in self.graphs if each.takes(inputs)), None)
        if graph is None or inputs is None:
            return super().forward(latents, timestep, condition, context, positions)
        prediction, *cached = graph(inputs)
        return prediction, [KeyValue(*kv) for kv in zip(cached[::2], cached[1::2], strict=True)]

    def _has_usual_slots(self, context: Context, positions: tuple[int, ...]) -> bool:
        past = self.policy.sink_positions + self.policy.previous_positions
        return context.positions == past and positions == self.policy.current_positions
