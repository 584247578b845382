"""How many replicas: on curves of arrivals, with replicas that take their time to start."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from services.autoscaling import Demand, Needs, SessionsPolicy, decide

pytestmark = pytest.mark.unit

COLD_START_S = 20.0
KEEP_S = 120.0
SLOTS = 2


@dataclass
class Pool:
    """Replicas that start and drain, sessions that last, and a line; one step is a second."""

    most: int = 50
    keep_s: float = KEEP_S
    replicas: list[float] = field(default_factory=lambda: [0.0])  # when each takes sessions
    sessions: list[float] = field(default_factory=list)  # when each ends
    line: list[float] = field(default_factory=list)  # since when each waits
    waits: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    needs: Needs = field(default_factory=Needs)
    cut_short: int = 0

    def run(
        self, arrivals_per_s: Callable[[float], float], seconds: int, lasts_s: float = 180.0
    ) -> None:
        chance = random.Random(1)
        begun = len(self.sizes)
        for now in range(begun, begun + seconds):
            self.sessions = [end for end in self.sessions if end > now]
            rate = arrivals_per_s(now)
            self.line += [now] * (math.floor(rate) + (chance.random() < rate % 1))
            free = SLOTS * sum(ready <= now for ready in self.replicas) - len(self.sessions)
            for _ in range(min(max(0, free), len(self.line))):
                self.waits.append(now - self.line.pop(0))
                self.sessions.append(now + lasts_s * chance.uniform(0.5, 1.5))
            demand = Demand(len(self.sessions), len(self.line), SLOTS, 1, self.most)
            wanted, self.needs = decide(
                demand, self.needs, now, cold_start_s=COLD_START_S, keep_s=self.keep_s
            )
            self.scale(wanted, now)

    def scale(self, wanted: int, now: float) -> None:
        self.replicas += [now + COLD_START_S] * (wanted - len(self.replicas))
        self.replicas = self.replicas[:wanted]  # those that start last go first
        if len(self.sessions) > SLOTS * wanted:
            self.cut_short += 1
        self.sizes.append(wanted)


def test_nobody_there_keeps_one_slot_warm() -> None:
    assert decide(Demand(0, 0, 2, 1, 9), Needs(), 0, cold_start_s=15)[0] == 1
    assert decide(Demand(0, 0, 2, 0, 9), Needs(), 0, cold_start_s=15)[0] == 1


@pytest.mark.parametrize(
    ("leased", "waiting", "slots", "wanted"),
    [(1, 0, 1, 2), (2, 0, 2, 2), (3, 0, 4, 1), (10, 0, 1, 12), (40, 0, 4, 12), (2, 3, 1, 6)],
)
def test_all_who_are_there_fit_and_some_more(
    leased: float, waiting: float, slots: int, wanted: int
) -> None:
    assert decide(Demand(leased, waiting, slots, 1, 99), Needs(), 0, cold_start_s=15)[0] == wanted


def test_bounds_are_kept() -> None:
    assert decide(Demand(50, 9, 1, 1, 4), Needs(), 0, cold_start_s=15)[0] == 4
    assert decide(Demand(0, 0, 1, 3, 4), Needs(), 0, cold_start_s=15)[0] == 3


def test_a_rise_makes_room_for_as_many_again() -> None:
    wanted, needs = 0, Needs()
    for now, leased in enumerate(range(0, 20, 2)):
        wanted, needs = decide(Demand(leased, 0, 1, 1, 99), needs, now, cold_start_s=5)
    assert wanted == 18 + 10  # two a second for the five seconds of a cold start


def test_it_grows_at_once_and_shrinks_after_its_time() -> None:
    wanted, needs = decide(Demand(9, 0, 1, 1, 99), Needs(), 0.0, cold_start_s=1, keep_s=60)
    assert wanted == 11
    for now in (1.0, 30.0, 60.0):
        wanted, needs = decide(Demand(0, 0, 1, 1, 99), needs, now, cold_start_s=1, keep_s=60)
        assert wanted == 11
    wanted, needs = decide(Demand(0, 0, 1, 1, 99), needs, 61.0, cold_start_s=1, keep_s=60)
    assert wanted == 1


def test_a_ramp_is_followed_with_short_waits() -> None:
    pool = Pool()
    pool.run(lambda now: now / 3600, 900)
    assert max(pool.sizes) > 15
    assert max(pool.waits) <= COLD_START_S
    assert sum(wait > 1 for wait in pool.waits) < 0.1 * len(pool.waits)
    assert pool.cut_short == 0


def test_a_burst_waits_for_one_cold_start_and_no_more() -> None:
    pool = Pool()
    pool.run(lambda now: 0.0, 60)
    pool.run(lambda now: 10.0 if now < 62 else 0.0, 120)
    assert len(pool.waits) == 20
    assert max(pool.waits) <= COLD_START_S + 1
    assert pool.cut_short == 0


def test_at_night_the_replicas_go_and_in_the_morning_they_come_back() -> None:
    pool = Pool()

    def day(now: float) -> float:
        return 0.1 if (now // 1800) % 2 == 0 else 0.0

    pool.run(day, 3600)
    assert pool.sizes[1700] > 5
    assert pool.sizes[3500] == 1
    pool.run(day, 600)
    assert pool.sizes[4100] > 5
    assert pool.cut_short == 0


def test_a_steady_stream_does_not_make_it_waver() -> None:
    changes = {}
    for keep_s in (0.0, KEEP_S):
        pool = Pool(keep_s=keep_s)
        pool.run(lambda now: 0.1, 3600)
        later = pool.sizes[900:]
        changes[keep_s] = sum(a != b for a, b in pairwise(later))
    assert changes[KEEP_S] < changes[0.0] / 4


def test_what_is_remembered_stays_small() -> None:
    needs = Needs()
    for tick in range(36_000):  # an hour, ten times a second
        leased = 10 + 5 * math.sin(tick / 1000)
        _, needs = decide(Demand(leased, 0, 1, 1, 99), needs, tick / 10, cold_start_s=15)
    assert len(needs.slots) < 40
    assert len(needs.replicas) < 40


@dataclass
class FakeContext:
    aggregated_metrics: dict[str, dict[str, float]] | None
    policy_state: dict[str, Any] = field(default_factory=dict)
    current_num_replicas: int = 2
    target_num_replicas: int = 2
    capacity_adjusted_min_replicas: int = 1
    capacity_adjusted_max_replicas: int = 9
    current_time: float | None = 100.0


def test_the_policy_sums_what_is_leased_and_counts_the_line_once() -> None:
    told = {
        "slots": {"a": 1.0, "b": 1.0},
        "leased": {"a": 1.0, "b": 1.0},
        "waiting": {"a": 3.0, "b": 2.0},
    }
    wanted, state = SessionsPolicy()(FakeContext(told))
    assert wanted == 6
    later = FakeContext({**told, "waiting": {"a": 0.0}}, state, current_time=101.0)
    assert SessionsPolicy()(later)[0] == 6


@pytest.mark.parametrize("told", [None, {}, {"leased": {}}])
def test_while_nobody_says_anything_all_stays_as_it_is(told: Any) -> None:
    assert SessionsPolicy()(FakeContext(told))[0] == 2
