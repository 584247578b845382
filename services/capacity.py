"""How many sessions a worker has time for: what a chunk costs it, found out before it is known."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, runtime_checkable

from avatar.bus import Measured
from avatar.engines import Rehearsal, Spec
from avatar.media import StageName, settle
from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from services.settings import MOST_SLOTS
from services.stage import BatchEngine, Engine, In, Out, State

log = get_logger(__name__)

SHARE = 0.8
"""Of a chunk's time that sessions may take; the rest is for openings and what takes longer."""
REPETITIONS = 5
LONGEST_S = 10.0
"""When so much time has gone, two repetitions are enough."""
MEMORY_SHARE = 0.5
"""Of what is free that states may take: another stage may count on the same memory."""

Clock = Callable[[], float]
ON_GPU: Sequence[Clock] = (time.perf_counter,)
ON_CPU: Sequence[Clock] = (time.perf_counter, time.process_time)
"""The lesser counts: while others have the core no processor time goes by, and more threads than
one spend more of it than time."""

WAYS_OUT: Mapping[str, str] = {
    "audio_encoder": "a GPU (ENCODER_DEVICE=cuda:0)",
    "score_worker": "a GPU or a faster one (SCORE_DEVICE), LINEARS=fp8, CAPTURE=compile, "
    "a policy with fewer steps, a smaller picture or model",
    "vae_decoder": "a GPU of its own (VAE_DEVICE), the tiny decoder "
    "(python -m avatar profile --decoder tiny_vae), a smaller picture",
}


@runtime_checkable
class TriedEngine(Protocol[In]):
    """An engine that can be tried before the first caller comes."""

    def rehearsal(self) -> Rehearsal[In]: ...


class Trial(Generic[State, In, Out]):
    """One session of an engine, whose next chunk is made again and again."""

    def __init__(self, engine: Engine[State, In, Out], rehearsal: Rehearsal[In]) -> None:
        """Opens the session and makes chunks until nothing happens for the first time any more."""
        self._engine, self._rehearsal = engine, rehearsal
        spec: Any = Spec(rehearsal.avatar, 0)  # of an OpenRequest engines see no more than that
        state = engine.init_state(spec)
        for seq in range(rehearsal.num_chunks):
            made, state = engine.step(self._chunk(seq), state)
            settle(made)
        self.state, self.device = state, rehearsal.device

    def most_together(self, max_batch: int) -> int:
        return max_batch if isinstance(self._engine, BatchEngine) else 1

    def cost_s(self, together: int, clocks: Sequence[Clock]) -> float:
        """The least of some repetitions: whatever else the machine does, a chunk costs no more."""
        began = clocks[0]()
        costs: list[float] = []
        self._make(together)  # a batch of this size is made for the first time
        while len(costs) < REPETITIONS:
            before = [clock() for clock in clocks]
            self._make(together)
            costs.append(min(clock() - at for clock, at in zip(clocks, before, strict=True)))
            if len(costs) >= 2 and clocks[0]() - began > LONGEST_S:
                break
        return min(costs)

    def _make(self, together: int) -> None:
        chunk = self._chunk(self._rehearsal.num_chunks)
        if together == 1 or not isinstance(self._engine, BatchEngine):
            results: Sequence[tuple[Out, State]] = [self._engine.step(chunk, self.state)]
        else:
            results = self._engine.step_many([chunk] * together, [self.state] * together)
        for made, _ in results:  # a device may be at it still
            settle(made)

    def _chunk(self, seq: int) -> In:
        chunk: Any = self._rehearsal.chunk
        made: In = replace(chunk, stamp=replace(chunk.stamp, seq=seq))
        return made


def time_for(chunk_s: float, costs_s: Mapping[int, float]) -> Measured:
    """For how many sessions there is time, where the chunks of k together cost `costs_s[k]`.

    At least one: who is too slow for that has a slot in which one may see it.
    """

    def sessions(together: int) -> int:
        cost_s = max(costs_s[together], 1e-9)  # a clock may stand still
        return together * int(SHARE * chunk_s / cost_s)

    best = max(sorted(costs_s), key=sessions)  # the smallest of those that do as well
    if not sessions(best):
        best = min(costs_s)
    return Measured(chunk_s, costs_s[best], best, max(1, sessions(best)))


def measure(
    engine: Engine[State, In, Out],
    chunk_s: float,
    max_batch: int = 1,
    clocks: Sequence[Clock] | None = None,
) -> "tuple[Measured, Trial[State, In, Out]] | None":
    """Try an engine, which is warm then; None where it cannot be tried. `clocks` are for tests."""
    if not isinstance(engine, TriedEngine):
        return None
    trial = Trial(engine, engine.rehearsal())
    clocks = clocks or (ON_GPU if trial.device.startswith("cuda") else ON_CPU)
    sizes = sorted({1, trial.most_together(max_batch)})
    return time_for(chunk_s, {size: trial.cost_s(size, clocks) for size in sizes}), trial


def fitting(trial: Trial[State, In, Out]) -> int:
    """For the states of how many sessions its device has memory, with the one that was tried."""
    import torch  # not at the top: who builds the graph has no use for it

    from avatar.backends.memory import free_memory, num_bytes_of

    return memory_for(num_bytes_of(trial.state), free_memory(torch.device(trial.device)))


def memory_for(state_bytes: int, free_bytes: int) -> int:
    return 1 + int(MEMORY_SHARE * free_bytes) // max(1, state_bytes)


def declared(stage: StageName, asked: int | None, found: Measured, fits: int = MOST_SLOTS) -> int:
    """Slots of a worker: no more than there is time for, were asked for, and `fits` into memory.

    Says what was found, and warns where it is less than one might think.
    """
    slots = max(1, min(asked or MOST_SLOTS, found.sessions, fits))
    metrics.chunk_cost_seconds.labels(stage).set(found.cost_s / found.together)
    figures = {
        "stage": stage,
        "cost_ms": round(1000 * found.cost_s, 1),
        "together": found.together,
        "chunk_ms": round(1000 * found.chunk_s, 1),
        "sessions": found.sessions,
        "slots": slots,
    }
    log.info("capacity_measured", **figures)
    if found.cost_s > found.chunk_s:
        log.warning("too_slow_for_one_session", **figures, ways_out=WAYS_OUT.get(stage, ""))
    elif slots < (asked or 1):
        log.warning("fewer_slots_than_asked", **figures, asked=asked)
    return slots
