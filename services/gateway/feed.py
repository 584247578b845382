"""What a session plays, encoded once for all who get it: its caller and those who watch."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Final, Protocol

from av.packet import Packet

from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from avatar.timebase import TICKS_PER_SECOND
from services.gateway.encoders import (
    USUAL_FPS,
    Bitrates,
    FeedCodec,
    RateControl,
    SoundEncoder,
    picture_encoder,
)
from services.gateway.media import BLOCK_S, BLOCK_TICKS, Block, Picture
from services.gateway.sdp import PictureCodec
from services.gateway.tracks import Newest

log = get_logger(__name__)

MAX_PICTURES: Final = 5
WHOLE_INTERVAL_S: Final = 0.2
"""A whole picture costs as much as ten others; a caller who asks more often gets one this often."""
VIEWERS_WHOLE_INTERVAL_S: Final = 2.0
"""The same for those who watch: they wait for each other, so that the caller's picture stays."""
PAUSE_S: Final = 1.0


class Outlet(Protocol):
    """A connection, as the feed sees it; all methods return at once."""

    @property
    def codec(self) -> FeedCodec | None:
        """None: it takes no pictures."""
        ...

    def take_sound(self, packet: "Packet[Any]", /) -> None: ...
    def take_picture(self, packet: "Packet[Any]", /) -> None: ...
    def fail(self) -> None:
        """Nothing more can be encoded for it."""
        ...


class Feed:
    """Sound once, and pictures once for each codec that somebody takes.

    The connection that leads, the caller's, says at which rate: those who watch get what it gets.
    One that is slow loses packets of its own and holds up nobody.
    """

    def __init__(
        self, executor: Executor, clock: Callable[[], float], fps: int = USUAL_FPS
    ) -> None:
        """`executor` encodes pictures, of which `fps` come a second."""
        self._executor, self._fps = executor, fps
        self._clock = clock
        self._lead: Outlet | None = None
        self._outlets: list[Outlet] = []
        self._sound = SoundEncoder()
        self._streams: dict[FeedCodec, PictureStream] = {}
        self._played: tuple[float, int] | None = None  # when, and `at`, of the last block
        self._shift = 0

    @property
    def codec(self) -> PictureCodec:
        """What costs a viewer nothing more to take, or least."""
        return "H264" if self._lead is not None and self._lead.codec == "H264" else "VP8"

    def join(self, outlet: Outlet, *, leads: bool = False) -> None:
        """Give the connection all that is played from now on; one that leads replaces the other."""
        if leads:
            if self._lead is not None:
                self.leave(self._lead)
            self._lead = outlet
        self._outlets.append(outlet)
        if outlet.codec is None:
            return
        stream = self._streams.get(outlet.codec)
        if stream is None:
            stream = PictureStream(outlet.codec, self._executor, self._clock, self._fps)
            self._streams[outlet.codec] = stream
        stream.join(outlet, leads=leads)

    def leave(self, outlet: Outlet) -> None:
        """Idempotent."""
        if outlet not in self._outlets:
            return
        self._outlets.remove(outlet)
        if outlet is self._lead:
            self._lead = None
        if outlet.codec is None:
            return
        stream = self._streams[outlet.codec]
        stream.leave(outlet)
        if not stream.outlets:
            stream.close()
            del self._streams[outlet.codec]

    def play(self, block: Block) -> None:
        """20 ms of the session."""
        shift = self._shift_at(block)
        if not self._outlets:
            return
        try:
            packet = self._sound.encode(replace(block, at=block.at + shift))
        except Exception:  # the border: each connection ends, the session goes on
            log.exception("sound_not_encoded")
            for outlet in list(self._outlets):
                outlet.fail()
            return
        for outlet in self._outlets:
            outlet.take_sound(packet)
        for stream in self._streams.values():
            for picture in block.pictures:
                stream.pictures.put(replace(picture, at=picture.at + shift))

    def want_whole(self, outlet: Outlet) -> None:
        """This connection cannot go on without a whole picture."""
        if outlet in self._outlets and outlet.codec is not None:
            self._streams[outlet.codec].want_whole(is_lead=outlet is self._lead)

    def on_estimate(self, outlet: Outlet, bits_per_s: int) -> None:
        """The receiver of this connection estimates that such a rate gets through."""
        if outlet is self._lead and outlet.codec is not None:
            self._streams[outlet.codec].on_estimate(bits_per_s)

    def bits_per_s(self, codec: FeedCodec) -> int:
        """The rate that pictures are encoded for; 0 before the first one."""
        return self._streams[codec].bits_per_s if codec in self._streams else 0

    def num_dropped(self, codec: FeedCodec) -> int:
        """Pictures that came faster than they could be encoded."""
        return self._streams[codec].pictures.num_dropped if codec in self._streams else 0

    def _shift_at(self, block: Block) -> int:
        """Ticks by which the call's clock stood still while its caller was away.

        To those who watched meanwhile, timestamps have to go on as time does.
        """
        now = self._clock()
        if self._played is not None:
            then, at = self._played
            stood_s = now - then - (block.at - at) / TICKS_PER_SECOND
            if stood_s > PAUSE_S:
                self._shift += round(stood_s / BLOCK_S) * BLOCK_TICKS
        self._played = now, block.at
        return self._shift


class PictureStream:
    """The pictures in one codec, and who takes them."""

    def __init__(
        self, codec: FeedCodec, executor: Executor, clock: Callable[[], float], fps: int
    ) -> None:
        self.outlets: list[Outlet] = []
        self.pictures: Newest[Picture] = Newest(MAX_PICTURES)
        self._codec = codec
        self._encoder = picture_encoder(codec, fps)
        self._executor = executor
        self._clock = clock
        self._rate: RateControl | None = None
        self._wanted_after_s: float | None = None
        self._whole_at = float("-inf")
        self._encoding = asyncio.create_task(self._encode_all())

    @property
    def bits_per_s(self) -> int:
        return self._rate.bits_per_s if self._rate is not None else 0

    def join(self, outlet: Outlet, *, leads: bool) -> None:
        self.outlets.append(outlet)
        if leads:
            self._rate = None  # what another network took says nothing of this one
        self.want_whole(is_lead=leads)

    def leave(self, outlet: Outlet) -> None:
        self.outlets.remove(outlet)

    def close(self) -> None:
        self._encoding.cancel()

    def want_whole(self, *, is_lead: bool) -> None:
        interval_s = WHOLE_INTERVAL_S if is_lead else VIEWERS_WHOLE_INTERVAL_S
        self._wanted_after_s = min(interval_s, self._wanted_after_s or interval_s)

    def on_estimate(self, bits_per_s: int) -> None:
        if self._rate is not None:
            self._rate.on_estimate(bits_per_s)

    async def _encode_all(self) -> None:
        while True:
            picture = await self.pictures.get()
            try:
                packet = await self._encode(picture)
            except Exception:  # the border: each connection ends, the session goes on
                log.exception("picture_not_encoded")
                for outlet in list(self.outlets):
                    outlet.fail()
                return
            if packet is not None:
                for outlet in self.outlets:
                    outlet.take_picture(packet)

    async def _encode(self, picture: Picture) -> "Packet[Any] | None":
        height, width, _ = picture.pixels.shape
        if self._rate is None:
            self._rate = RateControl(Bitrates.of(width, height), self._clock)
        rate, is_whole = self._rate, self._is_whole_due()

        def encode() -> "Packet[Any] | None":
            return self._encoder.encode(picture, rate.bits_per_s, is_whole=is_whole)

        packet = await asyncio.get_running_loop().run_in_executor(self._executor, encode)
        metrics.pictures_encoded_total.labels(self._codec).inc()
        if packet is not None:
            rate.sent(packet.size)
            if packet.is_keyframe:  # also one that nobody asked for: the rate has changed
                self._whole_at = self._clock()
                self._wanted_after_s = None
        return packet

    def _is_whole_due(self) -> bool:
        after_s = self._wanted_after_s
        return after_s is not None and self._clock() - self._whole_at >= after_s
