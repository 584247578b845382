"""One connection of a live session, without a network."""

import asyncio
from typing import Any

import grpc
import pytest

import talkingmachines as tm
from talkingmachines._link import Link, LinkLost
from talkingmachines_api.v1 import live_pb2

pytestmark = pytest.mark.unit

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
MESSAGE = live_pb2.TalkRequest()


class Call:
    """A Talk call whose answers are put by hand; `broken` makes writing fail as gRPC does."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.written: list[live_pb2.TalkRequest] = []
        self.broken: BaseException | None = None
        self.is_cancelled = False

    async def read(self) -> Any:
        return await self.answers.get()

    async def write(self, message: live_pb2.TalkRequest) -> None:
        if self.broken is not None:
            raise self.broken
        self.written.append(message)

    def cancel(self) -> None:
        self.is_cancelled = True


async def test_messages_are_read_until_the_end() -> None:
    call = Call()
    link = Link(call)
    call.answers.put_nowait(live_pb2.TalkResponse())
    call.answers.put_nowait(EOF)

    assert await link.read() == live_pb2.TalkResponse()
    assert await link.read() is None


async def test_a_server_that_says_nothing_is_a_lost_connection() -> None:
    with pytest.raises(tm.ConnectionLost, match=r"nothing for 0\.01 s"):
        await Link(Call(), silence_s=0.01).read()


@pytest.mark.parametrize("error", [asyncio.InvalidStateError(), asyncio.CancelledError()])
async def test_what_cannot_be_written_is_a_lost_link(error: BaseException) -> None:
    call = Call()
    call.broken = error

    with pytest.raises(LinkLost):
        await Link(call).write(MESSAGE)


async def test_a_task_that_is_cancelled_stays_so() -> None:
    reading = asyncio.ensure_future(Link(Call()).read())
    await asyncio.sleep(0)
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_reply_audio_waits_for_its_credit() -> None:
    link = Link(Call())
    link.grant(250)
    await link.pay(0.1)
    await link.pay(0.1)
    waiting = asyncio.ensure_future(link.pay(0.1))
    await asyncio.sleep(0)
    assert not waiting.done()
    link.grant(200)  # credit never falls
    await asyncio.sleep(0)
    assert not waiting.done()
    link.grant(300)

    await waiting


async def test_a_part_of_a_millisecond_costs_a_whole_one() -> None:
    link = Link(Call())
    link.grant(1)
    await link.pay(0.0001)
    waiting = asyncio.ensure_future(link.pay(0.0001))
    await asyncio.sleep(0)
    assert not waiting.done()
    link.grant(2)

    await waiting


async def test_losing_a_link_wakes_who_waits_for_credit() -> None:
    call = Call()
    link = Link(call)
    waiting = asyncio.ensure_future(link.pay(0.1))
    await asyncio.sleep(0)
    link.lose()
    link.lose()

    with pytest.raises(LinkLost):
        await waiting
    assert call.is_cancelled
