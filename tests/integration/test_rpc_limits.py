"""What one address, and all together, may hold open over gRPC without asking for anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from avatar import errors
from services.gateway.rpc.crowd import address_of
from services.gateway.rpc.server import MAX_REQUEST_BYTES, REFLECTION_V1
from services.settings import Limits
from talkingmachines_api.v1 import avatar_pb2, live_pb2, session_pb2, talk_pb2
from tests.fakes.graph import until
from tests.fakes.rpc import EOF, RpcDesk, RpcTalk, bearer, error_in, rpc_desk

pytestmark = pytest.mark.integration

MOST = 3
LIMITS = Limits(waiting_streams=MOST)
SERVING = health_pb2.HealthCheckResponse.SERVING


async def refusal(call: Any) -> tuple[errors.AvatarError, grpc.StatusCode]:
    """How a call ends that is not let in."""
    with pytest.raises(grpc.RpcError) as caught:
        await RpcTalk(call).rest()
    return error_in(caught.value), await call.code()


def watch(rpc: RpcDesk) -> Any:
    return health_pb2_grpc.HealthStub(rpc.channel).Watch(health_pb2.HealthCheckRequest())


def reflect(rpc: RpcDesk) -> Any:
    return reflection_pb2_grpc.ServerReflectionStub(rpc.channel).ServerReflectionInfo()


def reflect_v1(rpc: RpcDesk) -> Any:
    call: Any = rpc.channel.stream_stream(
        f"/{REFLECTION_V1}/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    return call()


def talk(rpc: RpcDesk) -> Any:
    return rpc.talks.Talk()


def ask(rpc: RpcDesk) -> Any:
    return rpc.talks.Ask()


def render(rpc: RpcDesk) -> Any:
    return rpc.talks.Render()


WAYS = {each.__name__: each for each in (watch, reflect, reflect_v1, talk, ask, render)}


@asynccontextmanager
async def held(rpc: RpcDesk, *ways: Any) -> AsyncIterator[list[Any]]:
    """Streams that are open at the server, and ask for nothing."""
    async with AsyncExitStack() as stack:
        calls = []
        for number, way in enumerate(ways, start=1):
            calls.append(way(rpc))
            stack.callback(calls[-1].cancel)
            await until(lambda number=number: waiting(rpc) == number)  # type: ignore[misc]
        yield calls
    await until(lambda: waiting(rpc) == 0)


def waiting(rpc: RpcDesk) -> int:
    return rpc.server.num_waiting


@pytest.mark.parametrize("one_more", WAYS.values(), ids=list(WAYS))
async def test_one_address_holds_so_many_streams_and_no_more(one_more: Any) -> None:
    async with rpc_desk(limits=LIMITS) as rpc:
        async with held(rpc, watch, reflect, talk):
            error, code = await refusal(one_more(rpc))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert isinstance(error, errors.TooManyAttempts)
            assert error.retry_after_s > 0
            # whoever asks for something, and asks how the server is, is served
            assert (await rpc.create()).token
            check = health_pb2.HealthCheckRequest()
            checked = await health_pb2_grpc.HealthStub(rpc.channel).Check(check)
            assert checked.status == SERVING
        async with held(rpc, *[one_more] * MOST):
            pass


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
async def test_a_stream_that_ends_gives_its_place_to_another(way: Any) -> None:
    async with rpc_desk(limits=LIMITS) as rpc, held(rpc, *[way] * MOST) as calls:
        await refusal(way(rpc))
        calls[0].cancel()
        await until(lambda: waiting(rpc) == MOST - 1)
        calls.append(way(rpc))
        await until(lambda: waiting(rpc) == MOST)
        calls[-1].cancel()


async def test_of_all_addresses_no_more_wait_than_half_the_calls() -> None:
    async with rpc_desk(max_calls=4, limits=LIMITS) as rpc, held(rpc, watch, talk):
        error, code = await refusal(watch(rpc))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert type(error) is errors.Busy
        assert (await rpc.create()).token


async def test_a_talk_that_has_begun_takes_nobody_elses_place() -> None:
    async with rpc_desk(limits=LIMITS, slots=9) as rpc, AsyncExitStack() as stack:
        for _ in range(MOST + 2):
            begun = await stack.enter_async_context(rpc.talk(await rpc.create()))
            await begun.next("opened")
        assert waiting(rpc) == 0
        await stack.enter_async_context(held(rpc, *[talk] * MOST))


async def test_a_file_counts_until_it_is_complete() -> None:
    async with rpc_desk(limits=LIMITS) as rpc, held(rpc, ask, render) as calls:
        question, _ = calls
        await question.write(talk_pb2.AskRequest(config=talk_pb2.AskConfig()))
        await question.write(talk_pb2.AskRequest(audio=b"half"))
        assert waiting(rpc) == 2
        await question.done_writing()
        assert (await question.read()).event.WhichOneof("event") == "summary"
        await until(lambda: waiting(rpc) == 1)


async def test_reflection_and_health_answer_as_before() -> None:
    async with rpc_desk(limits=LIMITS) as rpc:
        for way in (reflect, reflect_v1):
            asking = way(rpc)
            await asking.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
            names = [each.name for each in (await asking.read()).list_services_response.service]
            assert "grpc.health.v1.Health" in names
            await asking.done_writing()
            assert await asking.read() is EOF
        watching = watch(rpc)
        assert (await watching.read()).status == SERVING
        await rpc.server.set_ready(False)
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()


async def test_a_talk_that_never_opens_ends_by_itself_and_leaves_its_place() -> None:
    limits = Limits(waiting_streams=1, open_s=0.05)
    async with rpc_desk(limits=limits) as rpc:
        for _ in range(3):  # each had to leave for the next
            error, code = await refusal(talk(rpc))
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert isinstance(error, errors.DeadlineExceeded)
            assert "0.05 s" in str(error)
            await until(lambda: waiting(rpc) == 0)


async def test_a_first_message_of_another_kind_leaves_no_place_taken() -> None:
    async with rpc_desk(limits=LIMITS) as rpc:
        for _ in range(MOST + 1):
            call = talk(rpc)
            await call.write(live_pb2.TalkRequest(say=live_pb2.SayText(text="Hello.")))
            error, _ = await refusal(call)
            assert isinstance(error, errors.InvalidInput)
        await until(lambda: waiting(rpc) == 0)


async def test_a_message_over_the_cap_is_refused_unread() -> None:
    async with rpc_desk() as rpc:
        request = avatar_pb2.CreateAvatarRequest(description_toml="a" * (MAX_REQUEST_BYTES + 1))
        with pytest.raises(grpc.RpcError) as caught:
            await rpc.avatars.CreateAvatar(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await rpc.create()).token


async def test_a_burst_over_one_connection_is_served_or_told_to_come_back() -> None:
    async with rpc_desk(max_calls=20, slots=9) as rpc:
        created = await rpc.create()
        request = session_pb2.GetSessionRequest(session_id=created.session.id)
        shown = bearer(created.token)
        answers = await asyncio.gather(
            *(rpc.sessions.GetSession(request, metadata=shown) for _ in range(50)),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, session_pb2.GetSessionResponse):
                assert answer.session.id == created.session.id
            else:
                assert isinstance(answer, grpc.RpcError)
                assert isinstance(error_in(answer), errors.Busy)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:40000", "127.0.0.1"),
        ("ipv6:[::1]:40000", "::/64"),
        ("ipv6:%5B2001:db8:0:1:2:3:4:5%5D:40000", "2001:db8:0:1::/64"),
        ("ipv6:%5B2001:db8:0:1:9:9:9:9%5D:1", "2001:db8:0:1::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:1", "192.0.2.7"),
        ("unix:/run/socket", "unix:/run/socket"),
        ("", ""),
    ],
)
def test_an_address_is_told_from_its_ports(peer: str, address: str) -> None:
    assert address_of(peer) == address
