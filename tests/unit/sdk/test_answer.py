"""An answer that is closed while its call is only beginning."""

from collections.abc import AsyncIterator, Iterator

import pytest

from talkingmachines._answer import Answer, Response
from talkingmachines._async_answer import AsyncAnswer
from talkingmachines._exchange import Exchange

pytestmark = pytest.mark.unit


class SilentCall:
    """A call in which nothing ever comes, until it is cancelled."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def __iter__(self) -> Iterator[Response]:
        assert self.is_cancelled, "waits for ever"
        return iter(())

    async def __aiter__(self) -> AsyncIterator[Response]:
        assert self.is_cancelled, "waits for ever"
        return
        yield


def test_an_answer_closed_while_it_begins_is_cancelled() -> None:
    call = SilentCall()

    def begin() -> SilentCall:
        answer.close()
        return call

    answer = Answer(begin, Exchange("a.example:1", deadline_s=1.0, retry_busy_s=0.0))

    assert list(answer) == []
    assert call.is_cancelled


async def test_an_async_answer_closed_while_it_begins_is_cancelled() -> None:
    call = SilentCall()

    async def begin() -> SilentCall:
        await answer.close()
        return call

    answer = AsyncAnswer(begin, Exchange("a.example:1", deadline_s=1.0, retry_busy_s=0.0))

    assert [event async for event in answer] == []
    assert call.is_cancelled
