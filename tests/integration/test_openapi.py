"""/openapi.json: every route is in it, and answers as it says."""

from typing import Any

import pytest
from fastapi.routing import APIRoute

from services.gateway.accounts import Accounts
from services.gateway.guard import Guard
from services.gateway.keyring import Keyring
from tests.fakes.calls import CallDesk, call_desk

pytestmark = pytest.mark.integration


async def told(desk: CallDesk) -> dict[str, Any]:
    answer = await desk.http.get("/openapi.json")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


async def test_every_route_says_who_may_ask_and_what_comes_back() -> None:
    async with call_desk() as desk:
        document = await told(desk)
        routes = [route for route in desk.app.routes if isinstance(route, APIRoute)]
        assert len(routes) > 10
        for route in routes:
            for method in route.methods or ():
                operation = document["paths"][route.path][method.lower()]
                assert "security" in operation, (method, route.path)
                assert operation["summary"] != route.name.replace("_", " ").title()
                [done] = [status for status in operation["responses"] if status.startswith("2")]
                content = operation["responses"][done].get("content", {})
                assert bool(content) == (done != "204")


async def test_references_lead_somewhere() -> None:
    async with call_desk() as desk:
        document = await told(desk)

    def references(part: object) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [each for value in part.values() for each in references(value)]
        return (
            [each for value in part for each in references(value)] if isinstance(part, list) else []
        )

    found = set(references(document))
    assert found
    for reference in found:
        at: Any = document
        for name in reference.removeprefix("#/").split("/"):
            at = at[name]


async def test_requests_of_nobody_with_nothing_are_answered_as_it_says(tmp_path: Any) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[somebody]\nsha256 = "{"0" * 64}"\n')
    async with call_desk() as open_desk:
        guard = Guard(Keyring(keys), Accounts(open_desk.sessions.bus))
        async with call_desk(guard=guard) as desk:
            document = await told(desk)
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    url = path.replace("{id}", "unknown").replace("{name}", "unknown")
                    answer = await desk.http.request(method, url)
                    where = (method, path, answer.text[:200])
                    assert str(answer.status_code) in operation["responses"], where
                    is_guarded = operation["security"] != []
                    assert (answer.status_code == 401) == is_guarded, where
