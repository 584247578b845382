"""The page and HTTP API of a running gateway: health, readiness, videos, what browsers may do."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from avatar.bus.memory import MemoryBus
from services.gateway.accounts import Accounts
from services.gateway.guard import Guard
from services.gateway.http import WEB, HttpServer, make_app
from services.gateway.talker import Talker
from services.ports import free_port, listen_shared
from services.settings import AppConfig, Environment
from tests.fakes.engines import GatedPainter
from tests.fakes.graph import Parts, fake_graph, pictures_of, spoken_question, until

pytestmark = pytest.mark.integration


async def test_it_is_healthy_at_once_and_ready_after_its_first_video() -> None:
    painter = GatedPainter()
    async with fake_graph(parts=Parts(painter=lambda: painter), ready=False) as graph:
        early = await graph.http.get("/readyz")
        assert (await graph.http.get("/healthz")).status_code == 200
        painter.gate.set()
        await until(lambda: not graph.gateway.waiting_for)
        late = await graph.http.get("/readyz")
        assert early.status_code == 503
        assert early.headers["content-type"] == "application/problem+json"
        assert early.json()["waiting_for"]
        assert late.status_code == 200


async def test_a_text_posted_comes_back_as_a_video_with_its_words() -> None:
    async with fake_graph() as graph:
        response = await graph.http.post("/v1/say", json={"text": "Hello there.", "avatar": "otto"})
        assert response.headers["content-type"] == "video/mp4"
        assert response.headers["avatar-reply"] == "Hello%20there."
        assert "total;dur=" in response.headers["server-timing"]
        assert len(pictures_of(response.content)) % 12 == 0


async def test_a_question_posted_comes_back_answered() -> None:
    async with fake_graph() as graph:
        response = await graph.http.post(
            "/v1/ask?avatar=mira",
            content=spoken_question(),
            headers={"content-type": "audio/flac"},
        )
        assert response.status_code == 200
        assert response.headers["avatar-transcript"] == "what%20is%20it"
        assert len(pictures_of(response.content)) > 0


async def test_the_page_asks_no_other_host_for_anything() -> None:
    async with fake_graph(ready=False) as graph:
        page = await graph.http.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        for name in ("/", "/web/page.js", "/web/style.css"):
            response = await graph.http.get(name)
            assert response.status_code == 200
            assert "://" not in response.text
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_cast_is_listed_with_portraits() -> None:
    async with fake_graph(ready=False) as graph:
        cast = (await graph.http.get("/v1/avatars")).json()
        assert len(cast) >= 4
        assert {"id", "display_name", "description", "portrait", "preview"} == set(cast[0])
        for character in cast:
            portrait = await graph.http.get(character["portrait"])
            assert portrait.headers["content-type"] == "image/png"
            preview = await graph.http.get(character["preview"])
            assert preview.headers["content-type"] == "video/mp4"


async def test_all_files_of_the_page_come_as_what_they_are() -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    async with fake_graph(ready=False) as graph:
        for path in WEB.iterdir():
            if path.suffix in types:
                response = await graph.http.get(f"/web/{path.name}")
                assert response.content == path.read_bytes()
                assert response.headers["content-type"].split(";")[0] == types[path.suffix]
                assert response.headers["cache-control"] == "no-cache"


async def test_the_page_may_use_the_microphone_and_nobody_in_it_the_camera() -> None:
    async with fake_graph(ready=False) as graph:
        policy = (await graph.http.get("/")).headers["permissions-policy"]
        assert policy == "microphone=(self), camera=(), geolocation=()"


@pytest.mark.parametrize("name", ["../README.md", "..%2f..%2fpyproject.toml", "index.html"])
async def test_no_other_file_can_be_had(name: str) -> None:
    async with fake_graph(ready=False) as graph:
        assert (await graph.http.get(f"/web/{name}")).status_code == 404


async def test_metrics_name_stages_and_no_session() -> None:
    async with fake_graph() as graph:
        await graph.say("Hello.")
        text = (await graph.http.get("/metrics")).text
        for stage in ("audio_encoder", "score_worker", "vae_decoder"):
            assert f'avatar_stage_seconds_count{{stage="{stage}"}}' in text
        assert "session=" not in text


async def test_a_browser_that_goes_away_leaves_nothing_behind() -> None:
    painter = GatedPainter()
    painter.gate.set()
    async with fake_graph(parts=Parts(painter=lambda: painter)) as graph:
        painter.gate.clear()
        painter.reached.clear()
        posting = asyncio.create_task(graph.http.post("/v1/say", json={"text": "One. Two. Three."}))
        await asyncio.to_thread(painter.reached.wait, 30)
        posting.cancel()
        await asyncio.wait({posting})
        await until(lambda: not graph.gateway.coordinator.sessions)
        painter.gate.set()
        assert await graph.leftovers() == {}


async def test_a_name_that_somebody_else_gave_this_machine_is_refused() -> None:
    async with fake_graph() as graph:
        evil = await graph.http.get("/v1/avatars", headers={"host": "evil.example:8000"})
        local = await graph.http.get("/v1/avatars", headers={"host": "localhost:8000"})
        assert (evil.status_code, local.status_code) == (400, 200)
        assert evil.headers["content-type"] == "application/problem+json"
        assert evil.json()["reason"] == "INVALID_INPUT"
        for needed in ("evil.example:8000", "localhost", "BIND_HOST"):
            assert needed in evil.json()["detail"]


@pytest.mark.parametrize(
    "host",
    ["", "localhost:8000.evil.example", "localhost@evil.example", "evil.example#localhost",
     "localhost:80:80", "[::1", "[::1].evil.example", "localhost.", "127.0.0.1.evil.example"],
)  # fmt: skip
async def test_what_only_looks_like_a_name_of_this_machine_is_none(host: str) -> None:
    async with app_of(AppConfig()) as http:
        answer = await http.get("/healthz", headers={"host": host})
        assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_INPUT")


@pytest.mark.parametrize("given", ["bytes=9-1", "bytes=x", "bytes=999999999-"])
async def test_a_part_of_a_file_that_it_has_not_is_a_problem(given: str) -> None:
    async with app_of(AppConfig()) as http:
        answer = await http.get("/web/page.js", headers={"range": given})
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code in (400, 416)
        assert answer.json()["status"] == answer.status_code
        whole = await http.get("/web/page.js")
        part = await http.get("/web/page.js", headers={"range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, whole.content[:10])


async def test_one_request_too_many_is_told_so_and_when_to_come_back() -> None:
    entered, may_go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await may_go.wait()
        await PlainTextResponse("done")(scope, receive, send)

    port = free_port()
    server = HttpServer(cast(FastAPI, slow), listen_shared("127.0.0.1", port), max_requests=1)
    server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            first = asyncio.create_task(http.get("/"))
            await entered.wait()
            refused = await http.post("/", content=b"a" * 100_000)
            assert refused.headers["content-type"] == "application/problem+json"
            assert (refused.status_code, refused.json()["reason"]) == (503, "NO_FREE_SLOT")
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["x-content-type-options"] == "nosniff"
            may_go.set()
            assert (await first).text == "done"
            assert (await http.get("/")).status_code == 200
    finally:
        may_go.set()
        await server.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
async def test_so_is_it_by_whatever_name_of_this_machine_it_is_bound(host: str) -> None:
    async with app_of(AppConfig(host=host)) as http:
        own = f"[{host}]" if ":" in host else host
        for name, status in (("evil.example", 400), (own, 200), ("localhost", 200)):
            answer = await http.get("/healthz", headers={"host": f"{name}:8000"})
            assert answer.status_code == status, name


async def test_a_fault_of_the_server_is_a_problem_as_well() -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError

    async with app_of(AppConfig(), broken) as http:
        answer = await http.get("/readyz")
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
        assert "division" not in answer.text


def app_of(config: AppConfig, waiting_for: Callable[[], list[str]] = list) -> httpx.AsyncClient:
    """Asks the application alone, without anything behind it."""
    guard = Guard(None, Accounts(MemoryBus()))
    app = make_app(cast(Talker, None), config, Environment(), waiting_for, guard)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
