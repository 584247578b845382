"""Ray Serve really adds a replica for who may come, and takes it away without ending a call."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.fakes.graph import until
from tests.fakes.launcher import Run, launched

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

STAGE = "score_worker"
WAIT_S = 90.0


def scaled(text: str) -> str:
    """The score worker's pool scales; a call may be alone for long."""
    config: dict[str, Any] = yaml.safe_load(text)
    application = config["applications"][0]
    application["args"] |= {"slots": 2, "drain_s": 60, "limits": {"grace_s": 300}}
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
            "policy_kwargs": {"cold_start_s": 1, "keep_s": 4},
        },
    }
    return yaml.safe_dump(config)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with launched(tmp_path_factory.mktemp("log"), scaled) as run:
        yield run


class Calls:
    """Sessions that nobody has connected to yet."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def open(self) -> dict[str, Any]:
        answer = await self._http.post("/v1/sessions")
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def end(self, created: dict[str, Any]) -> None:
        answer = await self._http.delete(f"/v1/sessions/{created['id']}", headers=token(created))
        assert answer.status_code == 204, answer.text

    async def lives(self, created: dict[str, Any]) -> bool:
        answer = await self._http.get(f"/v1/sessions/{created['id']}", headers=token(created))
        return answer.status_code == 200


def token(created: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {created['token']}"}


async def test_a_pool_grows_with_its_sessions_and_shrinks_without_ending_one(running: Run) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=30) as http:
        calls = Calls(http)
        assert running.count(STAGE) == 1
        first, second = await calls.open(), await calls.open()
        await until(lambda: running.count(STAGE) == 2, WAIT_S)
        await until(lambda: running.logged("worker_started", STAGE) == 2, WAIT_S)
        # the one with most free slots gets the next: it is the new one
        await calls.end(first)
        third = await calls.open()
        await calls.end(second)
        # one replica is enough for one call; whichever goes, the call goes on
        await until(lambda: running.logged("worker_draining", STAGE) == 1, WAIT_S)
        assert await calls.lives(third)
        await calls.end(third)
        await until(lambda: running.count(STAGE) == 1, WAIT_S)
        another = await calls.open()
        assert await calls.lives(another)
        await calls.end(another)
