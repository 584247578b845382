"""A caller's connection over real UDP: media in step, microphone, events, wishes, losses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

from avatar.errors import AvatarError
from avatar.timebase import TICKS_PER_SECOND
from bench.receiver import Receiver
from bench.receiver_mic import Mic
from bench.receiver_tracks import Track, sound_of
from services.gateway.feed import Feed
from services.gateway.media import BLOCK_TICKS
from services.gateway.peer import MAX_CHANNELS, WebRtcPeer
from services.gateway.reach import Reach
from services.gateway.sdp import read_offer
from tests.fakes.caller import Caller
from tests.fakes.calls import SIZE, CallDesk, block_at, call_desk
from tests.fakes.graph import until
from tests.fakes.offers import REAL, gone_wrong

pytestmark = pytest.mark.integration

PICTURE = 90_000 // 25


def brightness(frame: VideoFrame) -> float:
    assert (frame.width, frame.height) == (SIZE, SIZE)
    return float(frame.to_ndarray(format="gray").mean())


@asynccontextmanager
async def in_call(desk: CallDesk) -> AsyncIterator[Receiver[float]]:
    async with Receiver(brightness).connected(await desk.booking()) as caller:
        yield caller


def flashes(caller: Receiver[float]) -> NDArray[np.float64]:
    """When pictures turn white, by the sender's reports; where no picture is missing there."""
    shown = caller.pictures.received
    pairs = [(a, b) for a, b in zip(shown, shown[1:], strict=False) if b.rtp - a.rtp == PICTURE]
    turned = [b.rtp for a, b in pairs if a.what < 128 <= b.what]
    return np.array([caller.pictures.due_s(rtp) for rtp in turned])


def beeps(caller: Receiver[float]) -> NDArray[np.float64]:
    """When beeps begin after a silence, by the sender's reports."""
    first, sound = sound_of(caller.sound)
    loud = np.abs(sound) > 0.05
    recently = np.convolve(loud, np.ones(4800), "full")[: loud.size] > 0
    onsets = np.flatnonzero(recently[1:] & ~recently[:-1]) + 1
    return np.array([caller.sound.due_s(first + int(onset)) for onset in onsets])


def offsets_ms(caller: Receiver[float]) -> list[float]:
    """How much later than the nearest flash each beep is due."""
    lit = flashes(caller)
    if not lit.size:
        return []
    nearest = [(beep - lit)[np.abs(lit - beep).argmin()] for beep in beeps(caller)]
    return [1000 * offset for offset in nearest if abs(offset) < 0.5]  # others have no flash


def steps(track: "Track[Any]") -> list[int]:
    """Between timestamps."""
    stamps = sorted(track.arrivals)
    return [b - a for a, b in zip(stamps, stamps[1:], strict=False)]


async def beeped(caller: Receiver[float], times: int) -> None:
    await until(lambda: bool(caller.pictures.reports and caller.sound.reports))
    await until(lambda: len(offsets_ms(caller)) >= times)


async def test_what_belongs_together_is_due_at_the_same_instant() -> None:
    async with call_desk() as desk, in_call(desk) as caller:
        await beeped(caller, times=2)
        assert max(map(abs, offsets_ms(caller))) < 2
        # a busy machine may leave something out, and moves nothing
        assert {step % BLOCK_TICKS for step in steps(caller.sound)} == {0}
        assert {step % PICTURE for step in steps(caller.pictures)} == {0}
        assert np.median(steps(caller.sound)) == BLOCK_TICKS
        assert np.median(steps(caller.pictures)) == PICTURE


async def test_a_jump_of_the_call_s_clock_is_the_same_for_both() -> None:
    async with call_desk() as desk, in_call(desk) as caller:
        await beeped(caller, times=1)
        before = len(offsets_ms(caller))
        half = TICKS_PER_SECOND // 2
        await until(lambda: 0.8 * half < desk.live.at % TICKS_PER_SECOND < half)  # in silence
        desk.live.at += half
        await beeped(caller, times=before + 2)
        assert max(map(abs, offsets_ms(caller))) < 2
        assert max(steps(caller.sound)) >= half + BLOCK_TICKS


class StereoMic(Mic):
    """The same on both channels: of one, aiortc's encoder makes two that are 3 dB less."""

    async def recv(self) -> AudioFrame:
        mono = await super().recv()
        both = AudioFrame.from_ndarray(mono.to_ndarray().repeat(2, axis=1), "s16", "stereo")
        both.sample_rate, both.pts, both.time_base = mono.sample_rate, mono.pts, mono.time_base
        return both


async def test_the_microphone_is_heard_at_16_khz_as_loud_as_it_is() -> None:
    voice = 0.5 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)
    microphone = StereoMic()
    async with call_desk() as desk, Caller(microphone).connected((await desk.booking()).answer):
        await microphone.speak(voice.astype(np.float32), 16_000)
        await until(lambda: np.abs(desk.live.microphone[-1600:]).max(initial=0) > 0.3)
        await until(lambda: np.abs(desk.live.microphone[-4800:]).max() < 0.01)
        heard = desk.live.microphone
        spoken = heard[np.flatnonzero(np.abs(heard) > 0.2)[0] :][:14_000]
        assert np.sqrt(np.mean(spoken**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
        spectrum = np.abs(np.fft.rfft(spoken[:8000]))
        assert np.argmax(spectrum) * 16_000 / 8000 == pytest.approx(300, abs=4)


async def test_a_microphone_that_stops_leaves_the_call_in_writing() -> None:
    microphone = Mic()
    async with call_desk() as desk:
        async with Caller(microphone).connected((await desk.booking()).answer) as caller:
            await until(lambda: bool(desk.live.heard))
            microphone.stop()
            num_frames = caller.num_frames["audio"]
            caller.send("avatar.say", text="Still here?")
            await until(lambda: bool(desk.live.events))
            await until(lambda: caller.num_frames["audio"] > num_frames + 20)


async def test_a_caller_without_a_microphone_sees_and_hears() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            await until(lambda: min(caller.num_frames.values()) > 10)
            assert desk.live.heard == []


async def test_h264_is_sent_to_who_takes_nothing_else() -> None:
    async with call_desk() as desk:
        async with Caller(video="H264").connected((await desk.booking()).answer) as caller:
            await until(lambda: caller.num_frames["video"] > 10)
            nal_types = {packet.payload[0] & 31 for packet in caller.packets["video"]}
            assert nal_types <= {1, 5, 7, 8, 24, 28}  # RFC 6184


async def test_events_go_both_ways_and_say_when_they_were_sent() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            first = await caller.event("session.created")
            caller.send("avatar.heartbeat", n=3)
            await until(lambda: bool(desk.live.events))
            assert desk.live.events[0].model_dump() == {
                "type": "avatar.heartbeat",
                "n": 3,
                "event_id": "",
            }
            assert first["session_id"] == desk.live.id
            assert first["event_id"]
            await until(lambda: caller.num_frames["audio"] > 5)
            caller.send("no.such.event")
            error = await caller.event("error")
            assert error["error"]["code"] == "invalid_input"
            assert error["t_ms"] > 7000
            assert error["event_id"] != first["event_id"]


async def test_bytes_on_the_channel_are_refused() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            caller.channel.send(b'{"type": "response.cancel"}')
            assert "bytes" in (await caller.event("error"))["error"]["message"]
            assert desk.live.events == []


async def test_only_the_channel_called_events_is_used() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            other = caller.connection.createDataChannel("other")
            await until(lambda: other.readyState == "closed")
            assert caller.channel.readyState == "open"


async def test_a_caller_who_opens_channel_after_channel_is_shown_out() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            for n in range(MAX_CHANNELS):
                caller.connection.createDataChannel(f"channel {n}")
            await until(lambda: caller.is_closed)
            assert desk.live.peer is None


async def test_a_picture_that_was_lost_is_asked_for_and_comes_whole() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            await until(lambda: caller.num_frames["video"] > 15)
            num_packets = len(caller.packets["video"])
            await caller.pictures._send_rtcp_pli(caller.packets["video"][0].ssrc)

            def has_whole() -> bool:
                later = caller.packets["video"][num_packets:]
                return any(is_start_of_whole_picture(packet) for packet in later)

            assert not any(map(is_start_of_whole_picture, caller.packets["video"][5:num_packets]))
            await until(has_whole)


def is_start_of_whole_picture(packet: RtpPacket) -> bool:
    """RFC 7741 4.2, RFC 6386 9.1; the payload descriptor has four bytes here."""
    return bool(packet.payload[0] & 0x10) and not packet.payload[4] & 1


async def test_lost_packets_are_sent_again() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            await until(lambda: caller.num_frames["video"] > 5)
            lost: set[int] = set()

            def lose(packet: RtpPacket) -> bool:
                is_new = packet.ssrc == caller.packets["video"][0].ssrc
                if is_new and len(lost) < 5 and packet.sequence_number % 3 == 0:
                    lost.add(packet.sequence_number)
                    return True
                return False

            caller.lose = lose
            await until(lambda: len(lost) == 5)

            def again() -> set[int]:
                """RFC 4588: a stream of its own, whose payload begins with the number."""
                first = caller.packets["video"][0].ssrc
                sent = [each for each in caller.packets["video"] if each.ssrc != first]
                return {int.from_bytes(each.payload[:2]) for each in sent}

            await until(lambda: lost <= again())


async def test_events_wait_for_the_channel_and_the_oldest_go_first() -> None:
    """Nothing waits without bound for a caller that never opens its channel."""
    offer = read_offer(REAL["chromium-microphone"], 1 << 16)
    peer = WebRtcPeer(
        Silent(), offer, feed_of(ThreadPoolExecutor(1)), session_id="s", reach=Reach("127.0.0.1")
    )
    for n in range(2000):
        peer.tell({"type": "avatar.state", "n": n})
    assert len(peer._waiting) == 512
    assert json.loads(peer._waiting[-1])["n"] == 1999
    peer.tell({"type": "error", "error": "x" * (3 << 20)})
    assert len(peer._waiting) == 0
    await peer.close()


def feed_of(executor: Executor) -> Feed:
    return Feed(executor, time.monotonic)


class Silent:
    """Listens to nothing."""

    def connected(self, peer: WebRtcPeer) -> None: ...
    def lost(self, peer: WebRtcPeer) -> None: ...
    def received(self, peer: WebRtcPeer, message: str | bytes) -> None: ...
    def heard(self, peer: WebRtcPeer, samples: NDArray[np.float32]) -> None: ...


async def test_blocks_wait_no_longer_than_they_are_worth_sending() -> None:
    offer = read_offer(REAL["chromium-microphone"], 1 << 16)
    with ThreadPoolExecutor(1) as executor:
        peer = WebRtcPeer(
            Silent(), offer, feed_of(executor), session_id="s", reach=Reach("127.0.0.1")
        )
        for n in range(100):
            peer.play(block_at(n * BLOCK_TICKS))
        assert peer.stats == {"blocks_dropped": 90, "pictures_dropped": 45, "bits_per_s": 0}
        await peer.close()


async def test_offers_gone_wrong_are_answered_or_refused_and_leave_nothing() -> None:
    tasks = asyncio.all_tasks()
    answered = refused = 0
    with ThreadPoolExecutor(1) as executor:
        for seed in range(150):
            try:
                offer = read_offer(gone_wrong(seed), 1 << 16)
            except AvatarError:
                refused += 1
                continue
            peer = WebRtcPeer(
                Silent(), offer, feed_of(executor), session_id="s", reach=Reach("127.0.0.1")
            )
            assert "a=candidate" in await peer.answer()
            await peer.close()
            answered += 1
    await until(lambda: asyncio.all_tasks() == tasks)
    assert min(answered, refused) > 20


async def test_media_of_a_local_server_stay_on_loopback() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        answer = await booking.answer(REAL["chromium-listening"].decode())
        found = [line.split() for line in answer.splitlines() if line.startswith("a=candidate")]
        assert {each[4] for each in found} == {"127.0.0.1"}
        assert len({each[5] for each in found}) == 1
        await booking.end()


async def test_a_caller_on_firefox_is_reached_and_no_other_machine_is() -> None:
    """The datagrams of others are dropped before ICE sees them."""
    offer = read_offer(REAL["firefox-listening"], 1 << 16)
    with ThreadPoolExecutor(1) as executor:
        peer = WebRtcPeer(
            Silent(), offer, feed_of(executor), session_id="s", reach=Reach("127.0.0.1")
        )
        await peer.answer()
        transport = peer._connection.getTransceivers()[0].receiver.transport.transport
        ice: Any = transport._connection
        seen: list[bytes] = []
        ice.data_received = lambda data, component: seen.append(data)
        for protocol in ice._protocols:
            protocol.datagram_received(b"from outside", ("198.51.100.7", 4000))
            protocol.datagram_received(b"from here", ("127.0.0.1", 4000))
        assert seen == [b"from here"] * len(ice._protocols)
        await peer.close()


async def test_closing_twice_and_at_any_time_is_fine() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        caller = Caller()
        offering = asyncio.create_task(caller.offer(booking.answer))
        await until(lambda: bool(desk.calls._calls))
        await asyncio.gather(booking.end(), offering, return_exceptions=True)
        await caller.close()
        await caller.close()
    assert desk.sessions.present == set()
