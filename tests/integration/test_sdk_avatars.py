"""Avatars made, watched, stopped and removed by both twins; tokens; against the mock server."""

import asyncio
import dataclasses
import io
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import talkingmachines as tm
from talkingmachines.testing import MockServer
from tests.fakes.relay import Relay
from tests.fakes.twins import CLIENTS

pytestmark = pytest.mark.integration

NOVA = b"""
id = "nova"
display_name = "Nova"
description = "She looks at stars."
"""
ADA = tm.Portrait(
    b"PNG", "ada", "Ada", "She flies.", "You are Ada.", tm.Consent("Ada herself", "Show me.")
)
BEGUN = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as server:
        yield server


@pytest.fixture(params=CLIENTS)
def new_client(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return CLIENTS[request.param]


@pytest.fixture
async def client(new_client: Callable[..., Any], server: MockServer) -> AsyncIterator[Any]:
    async with new_client(server.address) as client:
        yield client


def progress(state: tm.OperationState, stage: str, share: float, **more: Any) -> tm.Progress:
    told = {"left_s": None, "created": BEGUN} | more
    return tm.Progress("operation-1", "nova", state, stage, share, **told)


STARTING = progress("running", "starting", 0.0)
HALF_WAY = progress("running", "half way", 0.5, left_s=30.0)
READY = progress("done", "ready", 1.0)


async def test_avatars_come_all_at_once_or_page_by_page(client: Any, server: MockServer) -> None:
    mira = tm.Avatar("mira", "Mira", "A museum guide.")
    otto = tm.Avatar("otto", "Otto", "A retired clockmaker.")

    assert await client.avatars() == [mira, otto]
    assert [page async for page in client.avatar_pages(page_size=1)] == [[mira], [otto]]
    pages = client.avatar_pages(1)
    num_asked = len(server.requests)
    assert await anext(pages) == [mira]
    assert len(server.requests) == num_asked + 1  # the next page is asked for when it is wanted


@pytest.mark.parametrize("size", [0, 1001, -1])
async def test_a_page_has_a_size(client: Any, size: int) -> None:
    with pytest.raises(tm.InvalidInput, match="give 1 to 1000"):
        await anext(client.avatar_pages(size))


async def test_an_avatar_is_made_from_a_description(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "nova.toml"
    path.write_bytes(NOVA)
    operation = await client.create_avatar(path)
    steps: list[tm.Progress] = []

    assert await operation.wait(on_progress=steps.append) == READY
    assert steps == [STARTING, HALF_WAY, READY]
    made = (await client.avatars())[-1]
    assert made == tm.Avatar("nova", "Nova", "She looks at stars.", is_shipped=False)
    async with client.session("nova") as session:
        assert (await session.describe()).avatar == "nova"


async def test_it_can_be_looked_at_step_by_step(client: Any) -> None:
    operation = await client.create_avatar(NOVA)

    assert [step async for step in operation.watch()] == [STARTING, HALF_WAY, READY]
    assert READY.is_over
    assert not HALF_WAY.is_over
    assert [step async for step in client.operation(operation.id).watch()] == [READY]
    assert await operation.progress() == READY
    assert await client.operations() == tm.OperationList((READY,), ())


async def test_an_avatar_is_made_from_a_portrait_of_who_agrees(
    client: Any, server: MockServer
) -> None:
    await (await client.create_avatar(ADA)).wait()
    (asked,) = [each.fields for each in server.requests if each.rpc == "CreateAvatar"]

    assert asked["image_bytes"] == 3
    told = asked["portrait"]
    assert isinstance(told, dict)
    assert told["consent"] == {
        "given": True, "given_by": "Ada herself", "statement": "Show me.",
    }  # fmt: skip
    assert "ada" in [each.id for each in await client.avatars()]
    nobody = dataclasses.replace(ADA, consent=tm.Consent(" "))
    with pytest.raises(tm.NotOffered) as caught:
        await client.create_avatar(nobody)
    assert caught.value.reason == "CONSENT_MISSING"


async def test_one_is_made_at_a_time_and_can_be_stopped(client: Any, server: MockServer) -> None:
    server.hold()
    first = await client.create_avatar(NOVA)
    with pytest.raises(tm.Busy) as caught:
        await client.create_avatar(NOVA)
    assert caught.value.retry_after_s == 30.0
    waiting = asyncio.create_task(first.wait())
    assert await asyncio.to_thread(server.wait_for, "WatchOperation")
    stopped = await first.cancel()
    assert stopped.state == "cancelled"
    with pytest.raises(tm.OperationCancelled, match="goes on"):
        await waiting
    assert (await first.cancel()).state == "cancelled"
    server.release()
    second = await client.create_avatar(NOVA)
    await second.wait()
    states = [(each.operation_id, each.state) for each in (await client.operations()).operations]
    assert states == [("operation-2", "done"), ("operation-1", "cancelled")]


async def test_what_goes_wrong_while_it_is_made_is_told_by_its_reason(
    client: Any, server: MockServer
) -> None:
    server.spoil("UNAVAILABLE", "The disk is full.")
    operation = await client.create_avatar(NOVA)
    with pytest.raises(tm.Unavailable, match=r"The disk is full\."):
        await operation.wait()
    now = await operation.progress()
    assert (now.state, now.reason, now.message) == ("failed", "UNAVAILABLE", "The disk is full.")


async def test_who_waits_too_long_is_told_and_it_goes_on(client: Any, server: MockServer) -> None:
    server.hold()
    operation = await client.create_avatar(NOVA)
    with pytest.raises(tm.DeadlineExceeded, match=r"after 0\.2 s, and is still being made"):
        await operation.wait(timeout_s=0.2)
    assert (await operation.progress()).state == "running"
    server.release()
    await operation.wait()


async def test_who_stops_waiting_stops_nothing_else(server: MockServer) -> None:
    server.hold()
    async with tm.AsyncClient(server.address) as client:
        operation = await client.create_avatar(NOVA)
        waiting = asyncio.create_task(operation.wait())
        assert await asyncio.to_thread(server.wait_for, "WatchOperation")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await operation.progress()).state == "running"


async def test_a_lost_connection_is_made_anew(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    server.hold()
    with Relay(server.address) as relay:
        async with new_client(relay.address) as client:
            operation = await client.create_avatar(NOVA)
            seen: asyncio.Queue[tm.Progress] = asyncio.Queue()
            waiting = asyncio.create_task(watched(operation, seen))
            assert [await seen.get(), await seen.get()] == [STARTING, HALF_WAY]
            relay.drop()
            assert await asyncio.to_thread(server.wait_for, "WatchOperation", 2)
            server.release()
            await waiting
            assert [seen.get_nowait() for _ in range(seen.qsize())] == [READY]


async def watched(operation: Any, seen: "asyncio.Queue[tm.Progress]") -> None:
    async for step in operation.watch():
        seen.put_nowait(step)


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        (b"", tm.InvalidInput, "is empty"),
        (b"#" * 65_537, tm.TooLarge, "over 64 KiB"),
        (b"\xff", tm.InvalidInput, "UTF-8"),
        (b"id = ", tm.InvalidInput, "no TOML"),
        (NOVA.replace(b"display_name", b"name"), tm.InvalidInput, "has no display_name"),
        (NOVA.replace(b"nova", b"mira"), tm.InvalidInput, "shipped"),
        (dataclasses.replace(ADA, image=b""), tm.InvalidInput, "PNG, JPEG or WEBP"),
        (dataclasses.replace(ADA, image=bytes((3 << 20) + 1)), tm.TooLarge, "over 3 MiB"),
        (dataclasses.replace(ADA, persona="\udc80"), tm.InvalidInput, "The persona holds bytes"),
        ("/nowhere/nova.toml", FileNotFoundError, "nova.toml"),
    ],
)
async def test_what_cannot_be_used_is_refused(
    client: Any, source: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await client.create_avatar(source)


async def test_names_are_text(client: Any) -> None:
    for call in (client.portrait("\udc80"), client.delete_avatar("\udc80")):
        with pytest.raises(tm.InvalidInput, match="no characters"):
            await call
    with pytest.raises(tm.InvalidInput, match="no characters"):
        await client.operation("\udc80").cancel()


async def test_own_avatars_can_be_removed_and_shipped_ones_cannot(client: Any) -> None:
    await (await client.create_avatar(NOVA)).wait()
    await client.delete_avatar("nova")
    with pytest.raises(tm.NotFound):
        await client.delete_avatar("nova")
    with pytest.raises(tm.PermissionDenied):
        await client.delete_avatar("mira")
    assert [each.id for each in await client.avatars()] == ["mira", "otto"]


async def test_an_avatar_has_a_portrait(client: Any) -> None:
    assert Image.open(io.BytesIO(await client.portrait("otto"))).format == "PNG"
    with pytest.raises(tm.NotFound):
        await client.portrait("nobody")


async def test_an_operation_that_nobody_knows(client: Any) -> None:
    unknown = client.operation("x")
    for call in (unknown.progress(), unknown.cancel(), unknown.wait(), anext(unknown.watch())):
        with pytest.raises(tm.NotFound):
            await call


async def test_the_end_of_the_client_ends_who_waits(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    server.hold()
    async with new_client(server.address) as client:
        operation = await client.create_avatar(NOVA)
        waiting = asyncio.create_task(operation.wait())
        assert await asyncio.to_thread(server.wait_for, "WatchOperation")
    with pytest.raises((tm.ConnectionLost, ValueError), match="close"):
        await asyncio.wait_for(waiting, 10)


async def test_others_may_watch_a_session(client: Any, server: MockServer) -> None:
    async with client.session() as session:
        token = await session.create_viewer_token()
        assert token == tm.ViewerToken(
            "viewer-session-1-1",
            "/watch?session=session-1#viewer-session-1-1",
            "/v1/sessions/session-1/viewers",
        )
        assert "viewer-session-1-1" not in repr(token)
        await session.delete_viewer_tokens()
        assert (await session.create_viewer_token()).token == "viewer-session-1-2"
        server.fail("CreateViewerToken", "TOO_MANY_ATTEMPTS", retry_after_s=60.0)
        with pytest.raises(tm.TooManyAttempts):
            await session.create_viewer_token()


async def test_a_session_that_is_not_open_has_no_viewers(client: Any) -> None:
    session = client.session()
    with pytest.raises(ValueError, match="not open"):
        await session.create_viewer_token()


async def test_a_key_makes_tokens_that_open_sessions_and_nothing_else(
    new_client: Callable[..., Any],
) -> None:
    with MockServer(key="tm_key") as server:
        async with new_client(server.address, key="tm_key") as client:
            made = await client.create_token()
            assert (made.token, made.lifetime_s) == ("token-of-the-key-1", 300.0)
            assert made.token not in repr(made)
        async with new_client(server.address, key=made.token) as client:
            async with client.session():
                pass
            for call in (client.create_token(), client.create_avatar(NOVA), client.sessions()):
                with pytest.raises(tm.PermissionDenied):
                    await call
        async with new_client(server.address) as client:
            with pytest.raises(tm.Unauthenticated):
                await client.create_avatar(NOVA)


async def test_a_server_without_keys_makes_no_tokens(client: Any) -> None:
    with pytest.raises(tm.InvalidInput):
        await client.create_token()


def test_the_second_avatar_is_begun_a_second_later() -> None:
    with MockServer() as server, tm.Client(server.address) as client:
        client.create_avatar(NOVA).wait()
        client.create_avatar(NOVA).wait()
        second, first = client.operations().operations

    assert second.created - first.created == timedelta(seconds=1)
