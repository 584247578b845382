"""Six calls at a graph of twice too little speed, in virtual time: who steps down, and how."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from tests.fakes.live_shared import SharedCall, SharedGraph, shared_calls
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.services.test_live_overload import begin_reply, rungs, sounding

pytestmark = pytest.mark.unit
NUM_CALLS, CHUNK_S = 6, 0.48
DECLARED_S = 0.9 * CHUNK_S / NUM_CALLS
"""What a chunk takes on the machine that the slots were declared for."""
OVERLOADED_S = 2 * CHUNK_S / NUM_CALLS
REPLY_S = 60.0


def stood_s(call: SharedCall, since: float) -> list[float]:
    """The gaps in an answer that goes on all the time, of those after that instant."""
    instants = np.array([at for at, _ in sounding(call.peer) if at >= since])
    gaps = np.diff(instants)
    return [float(gap) - 0.02 for gap in gaps if gap > 0.025]


def first_step(call: SharedCall) -> float:
    """When the ladder acted first, on the loop's clock."""
    told = call.peer.told("avatar.ladder")
    begun = call.peer.blocks[0][0]
    return begun + told[0]["t_ms"] / 1000 if told else float("inf")


async def passes(calls: list[SharedCall], seconds: float) -> None:
    """Let time pass; whatever rung a call is on, that was told last."""
    for _ in range(round(seconds * 10)):
        await asyncio.sleep(0.1)
        told = [(rungs(each.peer) or ["full"])[-1] for each in calls]
        assert told == [each.live.describe()["rung"] for each in calls]


def test_twice_too_much_takes_the_last_ones_pictures_and_nobodys_sound() -> None:
    async def main() -> list[SharedCall]:
        graph = SharedGraph(DECLARED_S)
        async with shared_calls(graph, NUM_CALLS) as calls:
            for each in calls:
                begin_reply(each.session, each.live, REPLY_S)
            await passes(calls, 10)
            assert [rungs(each.peer) for each in calls] == [[]] * NUM_CALLS
            graph.takes_s = OVERLOADED_S
            await passes(calls, 35)
            seen = [each.live.describe()["rung"] for each in calls]
            assert seen[:2] == ["full", "full"]
            assert set(seen[2:]) <= {"light", "still"}
            assert seen.count("still") >= 2
            graph.takes_s = DECLARED_S / 2  # the load falls
            await passes(calls, 60)
            assert {each.live.describe()["rung"] for each in calls} == {"full"}
            for each in calls:
                assert each.live.describe()["state"] == "idle"
        return calls

    calls = in_virtual_time(main())
    for number, each in enumerate(calls):
        steps = rungs(each.peer)
        assert (steps == []) == (number < 2)
        assert all(one != other for one, other in pairwise(steps))
        assert steps[-1:] in ([], ["full"])
        stood = stood_s(each, first_step(each) if steps else 0.0)
        assert max(stood, default=0.0) <= 0.4
        # no sound is left out, or played twice
        assert len(sounding(each.peer)) * 0.02 == pytest.approx(REPLY_S, abs=0.05)
        (finished,) = each.peer.told("avatar.playback.finished")
        assert finished["position_ms"] == pytest.approx(1000 * REPLY_S, abs=3)
