"""When a call steps down to less picture, and when it comes back: decisions alone, no call."""

from dataclasses import dataclass

import pytest

from services.gateway.ladder import (
    FEWEST_PROBES,
    LIGHT,
    LIGHT_CHUNKS,
    MOST_PROBES,
    PROBE_S,
    STUCK_S,
    Ladder,
    Rung,
)

pytestmark = pytest.mark.unit
CHUNK_S, BLOCK_S = 0.48, 0.02


@dataclass
class Caller:
    """Plays chunk after chunk, each begun when the one before is over; `now` is its clock."""

    ladder: Ladder
    now: float = 100.0

    def plays(self, num_chunks: int, busy_s: float) -> None:
        """The graph takes `busy_s` a full chunk: what is over its duration is stood still."""
        full_s = busy_s
        for _ in range(num_chunks):
            busy_s = full_s * LIGHT if self.ladder.rung == "light" else full_s
            for block in range(1, round(max(busy_s, CHUNK_S) / BLOCK_S) + 1):
                self.now += BLOCK_S
                is_standing = block > round(CHUNK_S / BLOCK_S)
                self.ladder = self.ladder.played(self.now, BLOCK_S, is_standing, block * BLOCK_S)
            self.ladder = self.ladder.made(self.now, busy_s, busy_s)

    def is_overloaded(self, busy_s: float = 0.96, limit_s: float = 10.0) -> None:
        self.steps_down_to("still", busy_s, limit_s)

    def steps_down_to(self, rung: Rung, busy_s: float, limit_s: float) -> None:
        until = self.now + limit_s
        while self.ladder.rung != rung and self.now < until:
            self.plays(1, busy_s)
        assert self.ladder.rung == rung

    def probes(self, num: int, took_s: float) -> None:
        for _ in range(num):
            self.now += PROBE_S + BLOCK_S
            if self.ladder.is_probe_due(self.now):
                self.ladder = self.ladder.probing(self.now).probed(self.now, took_s)


def caller() -> Caller:
    return Caller(Ladder(CHUNK_S, longest_s=0.78))


def test_chunks_in_time_keep_the_pictures() -> None:
    call = caller()
    call.plays(200, 0.46)
    assert call.ladder.rung == "full"


def test_a_single_late_chunk_keeps_the_pictures() -> None:
    call = caller()
    for _ in range(10):
        call.plays(8, 0.3)
        call.plays(1, 1.2)
    assert call.ladder.rung == "full"


@pytest.mark.parametrize("busy_s", [0.72, 0.96, 1.9])
def test_chunk_after_chunk_that_is_late_ends_the_pictures(busy_s: float) -> None:
    call = caller()
    call.plays(10, 0.3)
    while call.ladder.rung == "full":
        call.plays(1, busy_s)
    assert call.ladder.rung == "still"  # at once: light ones would be late as well
    assert call.now - 100 <= 10 * CHUNK_S + 3.5


@pytest.mark.parametrize("busy_s", [0.54, 0.56])
def test_chunks_a_little_late_are_made_light_and_stay_so(busy_s: float) -> None:
    call = caller()
    call.plays(10, 0.3)
    call.steps_down_to("light", busy_s, limit_s=12.0)
    call.plays(200, busy_s)
    assert call.ladder.rung == "light"
    assert call.ladder.reason == "chunks are late"


def light() -> Caller:
    call = caller()
    call.plays(10, 0.3)
    call.steps_down_to("light", 0.56, limit_s=12.0)
    return call


def test_light_chunks_that_are_late_as_well_end_the_pictures() -> None:
    call = light()
    call.is_overloaded(0.72, limit_s=5.0)


def test_where_there_is_room_light_chunks_become_full() -> None:
    call = light()
    call.plays(LIGHT_CHUNKS * FEWEST_PROBES - 1, 0.35)
    assert call.ladder.rung == "light"
    call.plays(1, 0.45)  # it begins anew
    call.plays(LIGHT_CHUNKS * FEWEST_PROBES - 1, 0.35)
    assert call.ladder.rung == "light"
    call.plays(1, 0.35)
    assert (call.ladder.rung, call.ladder.reason) == ("full", "there is room")


def test_full_chunks_that_did_not_last_need_more_light_ones_the_next_time() -> None:
    call, needed = light(), []
    for _ in range(3):
        num = 0
        while call.ladder.rung == "light":
            call.plays(1, 0.35)
            num += 1
        needed.append(num // LIGHT_CHUNKS)
        call.steps_down_to("light", 0.56, limit_s=12.0)
    assert needed == [2, 4, 8]


def test_a_graph_that_makes_nothing_any_more_ends_the_pictures() -> None:
    call = caller()
    call.plays(10, 0.3)
    begun = call.now
    for block in range(200):
        call.now = begun + block * BLOCK_S
        call.ladder = call.ladder.played(call.now, BLOCK_S, True, call.now - begun)
        if call.ladder.rung == "still":
            break
    assert call.now - begun == pytest.approx(STUCK_S, abs=0.05)


def test_a_long_way_through_a_graph_that_keeps_up_keeps_the_pictures() -> None:
    call = caller()
    for _ in range(100):  # two chunks at once are on their way, each takes 0.7 s
        call.now += CHUNK_S
        call.ladder = call.ladder.made(call.now, 0.7, 0.4)
        call.ladder = call.ladder.played(call.now, BLOCK_S, True, 0.4)
        call.ladder = call.ladder.played(call.now, BLOCK_S, False, 0.4)
    assert call.ladder.rung == "full"


def overloaded() -> Caller:
    call = caller()
    call.plays(10, 0.25)
    call.is_overloaded()
    return call


def test_slow_probes_bring_no_pictures_back() -> None:
    call = overloaded()
    call.probes(50, 0.96)
    call.probes(FEWEST_PROBES - 1, 0.25)
    call.probes(1, 0.6)  # it begins anew
    call.probes(FEWEST_PROBES - 1, 0.25)
    assert call.ladder.rung == "still"


def test_probes_in_time_bring_the_pictures_back() -> None:
    call = overloaded()
    assert not call.ladder.is_probe_due(call.now)
    call.probes(FEWEST_PROBES, 0.25)
    seen = [call.ladder.rung]
    call.plays(30, 0.25)
    assert [*seen, call.ladder.rung] == ["light", "full"]


def test_a_graph_that_was_always_slow_but_kept_up_is_in_time_when_it_is_as_before() -> None:
    call = caller()
    call.ladder = call.ladder.made(call.now, 0.55, 0.3)
    call.is_overloaded(1.2)
    call.probes(FEWEST_PROBES, 0.6)
    assert call.ladder.rung == "light"


def test_pictures_that_did_not_last_need_more_probes_the_next_time() -> None:
    call, needed = overloaded(), []
    for _ in range(6):
        num = 0
        while call.ladder.rung == "still":
            call.probes(1, 0.25)
            num += 1
        needed.append(num)
        call.is_overloaded()
    assert needed == [2, 4, 8, MOST_PROBES, MOST_PROBES, MOST_PROBES]
    call.probes(MOST_PROBES, 0.25)
    call.plays(200, 0.25)
    call.is_overloaded()
    call.probes(FEWEST_PROBES, 0.25)
    assert call.ladder.rung == "light"


def test_without_light_chunks_a_call_goes_from_full_to_still_and_back() -> None:
    call = Caller(Ladder(CHUNK_S, longest_s=0.78, has_light=False))
    seen, until = {call.ladder.rung}, call.now + 10.0
    while call.ladder.rung != "still" and call.now < until:
        call.plays(1, 0.56)  # late by so little that light ones would do
        seen.add(call.ladder.rung)
    assert seen == {"full", "still"}
    call.probes(FEWEST_PROBES, 0.25)
    assert call.ladder.rung == "full"
