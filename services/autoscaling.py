"""How many replicas a pool should have: what is leased, who waits, and some spare.

Sessions are long and a replica has few slots: how busy they are says nothing, how many are free
says all. Ray Serve calls `SessionsPolicy` several times a second within its controller; the
decision itself knows neither Ray nor a clock.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

SPARE: Final = 0.2
"""Of the leased slots, free ones to be kept; at least one slot is."""
KEEP_S: Final = 300.0
"""A need is met for so long after it was last seen: a pause is not the night."""


@dataclass(frozen=True)
class Demand:
    """What a pool's replicas say, summed up, and how many may be.

    `leased` slots have sessions, `waiting` people stand in the line of the whole system.
    """

    leased: float
    waiting: float
    slots_a_replica: int
    least: int
    most: int


@dataclass(frozen=True)
class Needs:
    """What was needed of late: (time in s, slots) with neither spare nor bounds, oldest first,
    and (time in s, replicas), of which only those are kept that none after them exceeds.
    """

    slots: tuple[tuple[float, float], ...] = ()
    replicas: tuple[tuple[float, int], ...] = ()


def decide(
    demand: Demand, before: Needs, now: float, *, cold_start_s: float, keep_s: float = KEEP_S
) -> tuple[int, Needs]:
    """Replicas wanted now, and what to remember.

    Spare is the greatest of one slot, a fifth of the leased ones, and as many as were asked for
    within the last cold start: so many more may come until a new replica stands. More are wanted at
    once; fewer when `keep_s` seconds have passed in which no more were needed.
    """
    needed = demand.leased + demand.waiting
    recent = tuple(each for each in before.slots if now - each[0] <= cold_start_s)
    risen = needed - min((slots for _, slots in recent), default=needed)
    spare = max(1.0, math.ceil(SPARE * demand.leased), risen)
    wanted = math.ceil((needed + spare) / demand.slots_a_replica)
    wanted = max(demand.least, min(demand.most, wanted))
    kept = [each for each in before.replicas if now - each[0] <= keep_s and each[1] > wanted]
    replicas = (*kept, (now, wanted))
    return replicas[0][1], Needs((*_thinned(recent, now), (now, needed)), replicas)


def _thinned(
    recent: tuple[tuple[float, float], ...], now: float
) -> tuple[tuple[float, float], ...]:
    """One a second is enough to see a rise: the policy is asked ten times in it."""
    return recent[:-1] if len(recent) > 1 and now - recent[-2][0] < 1.0 else recent


class Context(Protocol):
    """What of ray.serve.config.AutoscalingContext is looked at."""

    current_num_replicas: int
    target_num_replicas: int
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int
    current_time: float | None
    policy_state: dict[str, Any]

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None: ...


class SessionsPolicy:
    """Ray Serve's view of `decide`, one for each deployment; named in ray_config.yaml."""

    def __init__(self, cold_start_s: float = 15.0, keep_s: float = KEEP_S) -> None:
        """`cold_start_s`: from a wish to a replica that takes sessions; it is the pool's own."""
        self._cold_start_s, self._keep_s = cold_start_s, keep_s

    def __call__(self, context: Context) -> tuple[int, dict[str, Any]]:
        metrics = context.aggregated_metrics or {}
        slots = metrics.get("slots", {})
        if not slots:  # nobody has said anything yet: replicas that start, or a new controller
            return context.target_num_replicas, context.policy_state
        before = Needs(
            tuple(map(tuple, context.policy_state.get("slots", ()))),
            tuple(map(tuple, context.policy_state.get("replicas", ()))),
        )
        demand = Demand(
            leased=sum(metrics.get("leased", {}).values()),
            # every replica tells of the same line
            waiting=max(metrics.get("waiting", {}).values(), default=0.0),
            slots_a_replica=max(1, round(min(slots.values()))),
            least=context.capacity_adjusted_min_replicas,
            most=context.capacity_adjusted_max_replicas,
        )
        wanted, needs = decide(
            demand,
            before,
            context.current_time or 0.0,
            cold_start_s=self._cold_start_s,
            keep_s=self._keep_s,
        )
        return wanted, {"slots": needs.slots, "replicas": needs.replicas}
