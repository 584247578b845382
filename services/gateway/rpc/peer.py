"""A caller's talk over gRPC, as its session sees it: blocks and events become messages."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from av.packet import Packet

from avatar.errors import InvalidInput
from avatar.timebase import TICKS_PER_SECOND
from services.gateway.answer import Heard
from services.gateway.encoders import PICTURE_RATE, FeedCodec
from services.gateway.feed import Feed
from services.gateway.media import Block
from services.gateway.rpc.credit import ReplyCredit
from services.gateway.rpc.events import call_event
from services.gateway.rpc.outbox import Outbox
from services.gateway.rpc.states import heard_of
from talkingmachines_api.v1 import live_pb2, session_pb2

PICTURES: Final[Mapping[int, FeedCodec | None]] = {
    live_pb2.PICTURE_FORMAT_UNSPECIFIED: "JPEG",
    live_pb2.PICTURE_FORMAT_JPEG: "JPEG",
    live_pb2.PICTURE_FORMAT_VP8: "VP8",
    live_pb2.PICTURE_FORMAT_H264: "H264",
    live_pb2.PICTURE_FORMAT_NONE: None,
}
OPUS: Final[Mapping[int, bool]] = {
    live_pb2.SOUND_FORMAT_UNSPECIFIED: False,
    live_pb2.SOUND_FORMAT_PCM: False,
    live_pb2.SOUND_FORMAT_OPUS: True,
}


class RpcPeer:
    """A `CallPeer`, and an `Outlet` of the session's feed; its messages are in `outbox`."""

    def __init__(
        self,
        opening: live_pb2.TalkOpen,
        feed: Feed,
        describe: Callable[[], session_pb2.Session],
        backlog_s: Callable[[], float],
        lose: Callable[["RpcPeer"], None],
    ) -> None:
        """`describe` and `backlog_s` ask the session; `lose` hears that nothing can be sent.

        Raises:
            InvalidInput: A format is none that there is.
        """
        if opening.pictures not in PICTURES or opening.sound not in OPUS:
            raise InvalidInput("sound or pictures were asked for in a format that is not known")
        self.credit = ReplyCredit()
        self.gone = asyncio.Event()
        self._codec, self._is_opus = PICTURES[opening.pictures], OPUS[opening.sound]
        self._feed = feed
        self._describe, self._backlog_s = describe, backlog_s
        self._lose = lose
        self.outbox = Outbox(lambda: feed.want_whole(self), self.fail)
        self._block: Block | None = None
        self._leads = self._is_over = False
        self._last_at = 0

    # As the session sees it

    @property
    def stats(self) -> dict[str, int]:
        dropped = self.outbox.num_dropped
        late = self._feed.num_dropped(self._codec) if self._codec else 0
        rate = self._feed.bits_per_s(self._codec) if self._codec else 0
        return {
            "blocks_dropped": dropped["sound"],
            "pictures_dropped": dropped["picture"] + late,
            "bits_per_s": rate,
        }

    def play(self, block: Block) -> None:
        if self._is_over:
            return
        if not self._leads:
            self._leads = True
            self._feed.join(self, leads=True)
        self._last_at, self._block = block.at, block
        self._feed.play(block)
        if self.credit.grow(self._backlog_s()):
            self.outbox.put(live_pb2.TalkResponse(reply_credit=self._reply_credit()))

    def tell(self, event: Mapping[str, Any]) -> None:
        if self._is_over:
            return
        if event["type"] == "session.created":
            self.outbox.put(live_pb2.TalkResponse(opened=self._opened(event)))
            return
        about = {
            "event_id": uuid.uuid4().hex,
            "t_ms": round(1000 * self._last_at / TICKS_PER_SECOND),
        }
        message = call_event({**about, **event})
        if message is not None:
            self.outbox.put(live_pb2.TalkResponse(event=message))

    def interrupted(self, request_id: str, heard: Heard | None) -> None:
        """Answer an `interrupt`; no sound of the old answer comes after it."""
        self.outbox.drop_sound()
        answer = live_pb2.Interrupted(request_id=request_id[:128], heard=heard_of(heard))
        self.outbox.put(live_pb2.TalkResponse(interrupted=answer))

    async def leave(self, patience_s: float) -> None:
        """End once all is written, or when `patience_s` has passed."""
        self.close()
        try:
            async with asyncio.timeout(patience_s):
                await self.gone.wait()
        except TimeoutError:
            self.gone.set()

    def close(self) -> None:
        """Nothing more is put into the outbox; idempotent."""
        self._is_over = True
        self._feed.leave(self)
        self.outbox.close()

    # As the feed sees it

    @property
    def codec(self) -> FeedCodec | None:
        return self._codec

    def take_sound(self, packet: "Packet[Any]") -> None:
        assert packet.pts is not None  # its unit is the tick
        assert self._block is not None, "the feed plays what this peer gave it"
        content = bytes(packet) if self._is_opus else self._block.sound.astype("<i2").tobytes()
        self.outbox.put_sound(live_pb2.SoundPiece(pts=packet.pts, content=content))

    def take_picture(self, packet: "Packet[Any]") -> None:
        assert packet.pts is not None
        pts = packet.pts * TICKS_PER_SECOND // PICTURE_RATE
        self.outbox.put_picture(
            live_pb2.PicturePiece(pts=pts, content=bytes(packet), is_key=packet.is_keyframe)
        )

    def fail(self) -> None:
        self._lose(self)

    def _opened(self, event: Mapping[str, Any]) -> live_pb2.TalkOpened:
        items = [
            live_pb2.ConversationItem(role=item["role"], text=item["text"])
            for item in event.get("items", [])
        ]
        return live_pb2.TalkOpened(
            session=self._describe(), reply_credit=self._reply_credit(), items=items
        )

    def _reply_credit(self) -> live_pb2.ReplyCredit:
        return live_pb2.ReplyCredit(granted_milliseconds=self.credit.granted_ms)
