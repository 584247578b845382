"""Sessions over gRPC: opened, waited for, looked at, interrupted, swapped and ended."""

import asyncio
from contextlib import suppress

import grpc
import pytest

from avatar import errors
from services.gateway.answer import Heard
from services.gateway.events import Swap
from services.gateway.rpc.server import RpcServer
from talkingmachines_api.v1 import media_pb2, session_pb2
from tests.fakes.rpc import RpcDesk, bearer, error_in, rpc_desk

pytestmark = pytest.mark.integration


async def refused(call: object) -> errors.AvatarError:
    with pytest.raises(grpc.RpcError) as caught:
        await call  # type: ignore[misc]  # a call of grpc.aio
    return error_in(caught.value)


async def get(rpc: RpcDesk, created: session_pb2.CreatedSession) -> session_pb2.Session:
    request = session_pb2.GetSessionRequest(session_id=created.session.id)
    return (await rpc.sessions.GetSession(request, metadata=bearer(created.token))).session


async def test_a_session_is_opened_looked_at_and_ended() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create(avatar_id="otto")
        assert created.token
        session = await get(rpc, created)
        assert session == created.session
        assert (session.avatar_id, session.connected) == ("otto", False)
        assert session.state == media_pb2.BEHAVIOUR_IDLE
        assert session.profile.frame_rate == 25
        assert session.limits.grace_seconds == rpc.desk.config.limits.grace_s
        request = session_pb2.DeleteSessionRequest(session_id=session.id)
        await rpc.sessions.DeleteSession(request, metadata=bearer(created.token))
        assert rpc.desk.sessions.present == set()
        gone = await refused(get(rpc, created))
        assert isinstance(gone, errors.NotFound)
        assert "hung_up" in str(gone)


async def test_a_full_server_says_when_to_come_back_and_where_one_would_stand() -> None:
    async with rpc_desk(slots=1) as rpc:
        await rpc.create()
        error = await refused(rpc.create())
        assert isinstance(error, errors.Busy)
        assert error.retry_after_s >= 1
        assert error.position == 1


async def test_who_waits_hears_its_place_and_then_has_a_session() -> None:
    async with rpc_desk(slots=1) as rpc:
        first = await rpc.create()
        request = session_pb2.CreateSessionRequest(wait_in_line=True)
        waiting = rpc.sessions.CreateSession(request)
        steps = aiter(waiting)
        place = (await anext(steps)).place
        assert (place.position, place.waiting) == (1, 1)
        assert place.estimate_seconds > 0
        end = session_pb2.DeleteSessionRequest(session_id=first.session.id)
        await rpc.sessions.DeleteSession(end, metadata=bearer(first.token))
        *_, last = [step async for step in steps]
        assert last.created.token
        assert rpc.desk.sessions.present == {last.created.session.id}


async def test_who_stops_waiting_leaves_the_line() -> None:
    async with rpc_desk(slots=1) as rpc:
        await rpc.create()
        waiting = rpc.sessions.CreateSession(session_pb2.CreateSessionRequest(wait_in_line=True))
        await waiting.read()
        assert await rpc.desk.bus.line_length() == 1
        waiting.cancel()
        async with asyncio.timeout(10):
            while await rpc.desk.bus.line_length():  # noqa: ASYNC110  nobody tells of it
                await asyncio.sleep(0.01)
        assert rpc.desk.sessions.opened == 1


async def test_an_idempotency_key_opens_one_session_with_a_token_each_time() -> None:
    async with rpc_desk() as rpc:
        first = await rpc.create(idempotency_key="k")
        second = await rpc.create(idempotency_key="k")
        assert first.session.id == second.session.id
        assert first.token != second.token
        await get(rpc, second)
        assert isinstance(await refused(get(rpc, first)), errors.Unauthenticated)
        other = await refused(rpc.create(idempotency_key="k", avatar_id="otto"))
        assert isinstance(other, errors.KeyReused)
        assert isinstance(await refused(rpc.create(idempotency_key="\n")), errors.InvalidInput)


async def test_an_interruption_tells_what_was_heard() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        rpc.desk.live.heard_so_far = Heard("r1", "One two", 1.25)
        request = session_pb2.InterruptSessionRequest(session_id=created.session.id)
        answer = await rpc.sessions.InterruptSession(request, metadata=bearer(created.token))
        assert answer.heard == session_pb2.Heard(
            response_id="r1", text="One two", position_seconds=1.25
        )
        answer = await rpc.sessions.InterruptSession(request, metadata=bearer(created.token))
        assert not answer.HasField("heard")


async def test_another_avatar_is_asked_for() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        for name in ("", "a" * 65):
            wrong = session_pb2.SwapAvatarRequest(session_id=created.session.id, avatar_id=name)
            call = rpc.sessions.SwapAvatar(wrong, metadata=bearer(created.token))
            assert isinstance(await refused(call), errors.InvalidInput)
        request = session_pb2.SwapAvatarRequest(session_id=created.session.id, avatar_id="otto")
        await rpc.sessions.SwapAvatar(request, metadata=bearer(created.token))
        assert rpc.desk.live.events == [Swap(type="avatar.swap", avatar="otto")]


async def test_too_many_interruptions_are_refused_not_queued() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        request = session_pb2.InterruptSessionRequest(session_id=created.session.id)

        async def often() -> None:
            for _ in range(1000):
                await rpc.sessions.InterruptSession(request, metadata=bearer(created.token))

        assert isinstance(await refused(often()), errors.TooManyAttempts)


async def test_an_unknown_avatar_or_kind_of_answers_opens_nothing() -> None:
    async with rpc_desk() as rpc:
        assert isinstance(await refused(rpc.create(avatar_id="nobody")), errors.NotFound)
        assert isinstance(await refused(rpc.create(answers=7)), errors.InvalidInput)
        assert rpc.desk.sessions.opened == 0


async def test_a_model_that_answers_by_itself_leaves_nothing_to_the_client() -> None:
    async with rpc_desk(can_leave_answers=False) as rpc:
        error = await refused(rpc.create(answers=session_pb2.ANSWERS_CLIENT))
        assert isinstance(error, errors.NotOffered)
        assert rpc.desk.sessions.opened == 0


async def test_of_many_who_open_at_once_as_many_are_let_in_as_there_are_slots() -> None:
    async with rpc_desk(slots=8) as rpc:
        opens = (rpc.create() for _ in range(8 + 50))
        answers = await asyncio.gather(*opens, return_exceptions=True)
        created = [each for each in answers if isinstance(each, session_pb2.CreatedSession)]
        refusals = [error_in(each) for each in answers if isinstance(each, grpc.RpcError)]
        assert (len(created), len(refusals)) == (8, 50)
        assert len({each.session.id for each in created}) == 8
        for refusal in refusals:
            assert isinstance(refusal, errors.Busy)
            assert refusal.retry_after_s >= 1
            assert refusal.position is not None
            assert refusal.position >= 1


async def test_a_hundred_opens_that_are_cancelled_leave_nothing() -> None:
    async with rpc_desk(slots=2) as rpc:
        for number in range(100):
            request = session_pb2.CreateSessionRequest(wait_in_line=number % 2 == 0)
            opening = rpc.sessions.CreateSession(request)
            if number % 3:
                with suppress(grpc.RpcError):  # full
                    await anext(aiter(opening), None)
            opening.cancel()
        bus = rpc.desk.bus
        async with asyncio.timeout(20):
            while rpc.desk.sessions.present or rpc.desk.sessions.opening or await bus.line_length():
                rpc.desk.calls.check()
                for call in rpc.desk.calls.all():  # those that were delivered before
                    call.end("hung_up")
                await asyncio.sleep(0.01)
        for _ in range(2):
            await rpc.create()


async def test_a_crowd_is_told_when_to_come_back() -> None:
    async with rpc_desk(max_calls=2) as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await talk.next("opened")
            async with rpc.talk(created) as second:
                await second.next("opened")  # it takes the place of the first, which parts
                error = await refused(get(rpc, created))
                assert isinstance(error, errors.Busy)
                assert error.retry_after_s > 0
                await talk.hang_up()
                await talk.rest()
                await get(rpc, created)


async def test_a_port_that_is_in_use_is_not_shared_in_silence() -> None:
    async with rpc_desk() as rpc:
        port = int(rpc.address.rpartition(":")[2])
        with pytest.raises(errors.Unavailable, match="GRPC_PORT"):
            await RpcServer([]).start("127.0.0.1", port)


async def test_operators_see_all_sessions_page_by_page() -> None:
    async with rpc_desk(slots=5) as rpc:
        ids = sorted([(await rpc.create()).session.id for _ in range(5)])
        seen, token = [], ""
        while True:
            page = await rpc.sessions.ListSessions(
                session_pb2.ListSessionsRequest(page_size=2, page_token=token)
            )
            seen += [each.id for each in page.sessions]
            token = page.next_page_token
            if not token:
                break
            assert len(page.sessions) == 2
        assert seen == ids
        too_many = rpc.sessions.ListSessions(session_pb2.ListSessionsRequest(page_size=1001))
        assert isinstance(await refused(too_many), errors.InvalidInput)
