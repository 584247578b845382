"""What who waits in line is told when nothing comes of it."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from avatar.errors import AvatarError, Busy, NotFound, QuotaExceeded
from services.gateway.admission import Place, Tell
from services.gateway.call import Call
from services.gateway.http_line import in_line

pytestmark = pytest.mark.unit


def told(error: AvatarError) -> list[dict[str, Any]]:
    """The events of a wait that ends with `error`."""

    async def open_call(tell: Tell) -> tuple[Call, str]:
        await tell(Place(position=2, waiting=3, estimate_s=9.0))
        raise error

    async def ask(request: Any) -> Any:
        return await in_line(open_call, lambda call, token: {})

    with TestClient(Starlette(routes=[Route("/", ask)])) as http:
        lines = http.get("/").text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NotFound("nobody"), {"code": "not_found"}),
        (
            Busy("full", 7.0, position=4),
            {"code": "no_free_slot", "retry_after_s": 7.0, "position": 4},
        ),
        (
            QuotaExceeded("used up", 60.0, "minutes_a_day"),
            {
                "code": "quota_exceeded",
                "retry_after_s": 60.0,
                "position": None,
                "quota": "minutes_a_day",
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_end_of_a_wait_says_what_the_error_knows(
    error: AvatarError, says: dict[str, Any]
) -> None:
    place, end = told(error)
    assert (place["type"], place["position"], place["waiting"]) == ("avatar.queue", 2, 3)
    assert end == {"type": "error", "error": {**says, "message": str(error)}}
