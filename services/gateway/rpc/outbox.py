"""What waits to be written to a talk: bounded, whatever its reader does."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

from talkingmachines_api.v1 import live_pb2

Kind = Literal["sound", "picture", "other"]
MAX_SOUNDS: Final = 50
"""A second."""
MAX_PICTURES: Final = 25
MAX_OTHERS: Final = 512


class Outbox:
    """Messages in the order in which they were put, for one reader.

    Where it reads too slowly, pictures go first: all that wait, and those after them until one is
    whole again. Then sound goes, oldest first. Nothing else does: `overflow` is called instead.
    """

    def __init__(self, want_whole: Callable[[], None], overflow: Callable[[], None]) -> None:
        self.num_dropped: Counter[Kind] = Counter()
        self._want_whole = want_whole
        self._overflow = overflow
        self._waiting: deque[tuple[Kind, live_pb2.TalkResponse]] = deque()
        self._num: Counter[Kind] = Counter()
        self._news = asyncio.Event()
        self._is_closed = False
        self._waits_for_whole = True

    def put_sound(self, piece: live_pb2.SoundPiece) -> None:
        if self._num["sound"] >= MAX_SOUNDS:
            oldest = next(each for each in self._waiting if each[0] == "sound")
            self._waiting.remove(oldest)
            self._num["sound"] -= 1
            self.num_dropped["sound"] += 1
        self._put("sound", live_pb2.TalkResponse(sound=piece))

    def put_picture(self, piece: live_pb2.PicturePiece) -> None:
        if piece.is_key:
            self._waits_for_whole = False
        if self._num["picture"] >= MAX_PICTURES:
            self._drop_all("picture")
            if not piece.is_key:
                self._waits_for_whole = True  # what follows builds on what is missing
                self._want_whole()
        if self._waits_for_whole:
            self.num_dropped["picture"] += 1
        else:
            self._put("picture", live_pb2.TalkResponse(picture=piece))

    def put(self, message: live_pb2.TalkResponse) -> None:
        if self._num["other"] >= MAX_OTHERS:
            self._overflow()
        else:
            self._put("other", message)

    def drop_sound(self) -> None:
        """What waits is of an answer that was interrupted."""
        self._drop_all("sound")

    def close(self) -> None:
        """Nothing is put any more; idempotent."""
        self._is_closed = True
        self._news.set()

    async def messages(self) -> AsyncIterator[live_pb2.TalkResponse]:
        """One after the other, until it is closed and empty."""
        while self._waiting or not self._is_closed:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            kind, message = self._waiting.popleft()
            self._num[kind] -= 1
            yield message

    def _put(self, kind: Kind, message: live_pb2.TalkResponse) -> None:
        if self._is_closed:
            return
        self._waiting.append((kind, message))
        self._num[kind] += 1
        self._news.set()

    def _drop_all(self, kind: Kind) -> None:
        self.num_dropped[kind] += self._num[kind]
        self._num[kind] = 0
        self._waiting = deque(each for each in self._waiting if each[0] != kind)
