"""Ray Serve really adds a replica for callers, and takes it away without ending a call."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
import yaml

from avatar.audio.files import decode
from avatar.media import SPEECH_RATE
from bench.load_caller import Noted, Script, call_until
from talkingmachines_api.v1 import operator_pb2, operator_pb2_grpc
from tests.fakes.graph import spoken_question
from tests.fakes.launcher import Run, launched

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

STAGE = "score_worker"
WAIT_S = 90.0
A_SECOND = 25
"""Pictures."""


def scaled(text: str) -> str:
    """The score worker's pool scales. Three, who leave no slot of a replica free, are reason enough
    for a second one; two are not. (That two come at once is a reason only for a policy that has
    seen the time before: these come as soon as the graph is ready.)
    """
    config: dict[str, Any] = yaml.safe_load(text)
    application = config["applications"][0]
    application["import_path"] = "tests.fakes.workers:build_quick"
    application["args"] |= {"slots": 3, "drain_s": 60}
    [pool] = [each for each in application["deployments"] if each["name"] == STAGE]
    del pool["num_replicas"]
    pool["graceful_shutdown_timeout_s"] = 70
    pool["autoscaling_config"] = {
        "min_replicas": 1,
        "max_replicas": 2,
        "upscale_delay_s": 0,
        "downscale_delay_s": 0,
        "metrics_interval_s": 0.5,
        "look_back_period_s": 1,
        "policy": {
            "policy_function": "services.autoscaling:SessionsPolicy",
            "policy_kwargs": {"cold_start_s": 20, "keep_s": 10},
        },
    }
    return yaml.safe_dump(config)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with launched(tmp_path_factory.mktemp("log"), scaled) as run:
        yield run


@dataclass
class Caller:
    """One of the load generator, who calls until told to end."""

    noted: Noted = field(default_factory=Noted)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def is_connected(self) -> bool:
        return self.noted.connect_s is not None


class Crowd:
    """All callers, whose calls may end only when they are told to."""

    def __init__(
        self,
        url: str,
        operator: "operator_pb2_grpc.OperatorServiceAsyncStub",
        tasks: asyncio.TaskGroup,
    ) -> None:
        clip = decode(spoken_question(), SPEECH_RATE)
        self._script = Script([np.concatenate([clip, np.zeros(3200, np.float32)])], interrupts=0.0)
        self._url = url
        self._operator = operator
        self._tasks = tasks
        self.callers: list[Caller] = []
        self._calls: dict[int, asyncio.Task[None]] = {}

    def begin(self) -> Caller:
        caller, rng = Caller(), random.Random(len(self.callers))
        call = call_until(caller.over, self._url, self._script, rng, caller.noted)
        self._calls[id(caller)] = self._tasks.create_task(call)
        self.callers.append(caller)
        return caller

    async def begin_with_the_idle_worker(self) -> Caller:
        """The one with most free slots gets the next, once the gateway has looked up who is there,
        which it does once a second.
        """
        while True:
            caller = self.begin()
            await self.until(caller.is_connected)
            if 0 not in (await self.loads()).values():
                return caller
            await self.end(caller)

    async def until_each_worker_has_one(self) -> None:
        """A moment after a call's end."""
        async with asyncio.timeout(WAIT_S):
            while list((await self.loads()).values()) != [1, 1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def loads(self) -> dict[str, int]:
        """How many sessions each worker of the pool has."""
        told = await self._operator.ListWorkers(operator_pb2.ListWorkersRequest())
        return {each.id: each.sessions for each in told.workers if each.stage == STAGE}

    async def end(self, *callers: Caller) -> None:
        for caller in callers:
            caller.over.set()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*(self._calls[id(caller)] for caller in callers))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for it, while no call ends by itself."""
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                for caller in self.callers:
                    assert caller.noted.refused + caller.noted.lost == ""
                await asyncio.sleep(0.05)

    async def goes_on(self, *callers: Caller) -> None:
        """Each sees a second of new pictures from now on, and hears an answer begin."""
        seen = [each.noted.pictures + A_SECOND for each in callers]
        heard = [len(each.noted.responses_s) + 1 for each in callers]
        await self.until(
            lambda: all(
                each.noted.pictures >= pictures and len(each.noted.responses_s) >= answers
                for each, pictures, answers in zip(callers, seen, heard, strict=True)
            )
        )


@asynccontextmanager
async def crowd_at(run: Run) -> AsyncIterator[Crowd]:
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{run.grpc_port}") as channel,
        asyncio.TaskGroup() as tasks,
    ):
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        yield Crowd(f"http://127.0.0.1:{run.port}", stub, tasks)


async def test_a_pool_grows_with_its_callers_and_shrinks_without_ending_a_call(
    running: Run,
) -> None:
    async with crowd_at(running) as crowd:
        assert running.count(STAGE) == 1
        first, second, other = crowd.begin(), crowd.begin(), crowd.begin()
        await crowd.until(lambda: running.count(STAGE) == 2)
        await crowd.until(lambda: running.logged("worker_started", STAGE) == 2)
        await crowd.until(lambda: all(each.is_connected() for each in crowd.callers))
        await crowd.end(other)
        third = await crowd.begin_with_the_idle_worker()
        await crowd.goes_on(first, second, third)
        assert running.logged("worker_draining", STAGE) == 0
        # one replica is enough for the two who stay, each with one of its own: whichever goes
        await crowd.end(first)
        await crowd.until_each_worker_has_one()
        await crowd.until(lambda: running.logged("worker_draining", STAGE) == 1)
        await crowd.goes_on(second, third)
        late = crowd.begin()  # where nobody drains
        await crowd.until(late.is_connected)
        await crowd.end(second, third)
        await crowd.until(lambda: running.count(STAGE) == 1)
        await crowd.goes_on(late)
        await crowd.end(late)
    for caller in crowd.callers:
        assert (caller.noted.refused, caller.noted.lost) == ("", ""), caller.noted
        assert caller.noted.unanswered == 0
        assert caller.noted.behind_ms is not None
