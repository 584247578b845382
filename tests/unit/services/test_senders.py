"""Sender reports: what belongs together on the call's clock has one NTP time."""

import asyncio
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RtcpPsfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    pack_remb_fci,
)

from avatar.timebase import TICKS_PER_SECOND
from services.gateway.senders import CallClock, SenderReports, attach

pytestmark = pytest.mark.unit

NOW = 3_900_000_000 << 32
WRAP = 1 << 32
TIMESTAMP = "_RTCRtpSender__rtp_timestamp"


class Sender:
    """Has what `attach` needs of aiortc's."""

    def __init__(self) -> None:
        self._RTCRtpSender__rtp_timestamp = 0
        self._RTCRtpSender__lsr: int | None = None
        self.sent: list[Any] = []
        self.handled: list[Any] = []

    async def _send_rtcp(self, packets: list[Any]) -> None:
        self.sent.append(packets)

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        self.handled.append(packet)


def report(rtp_timestamp: int, ntp: int = 1) -> RtcpSrPacket:
    return RtcpSrPacket(1, RtcpSenderInfo(ntp, rtp_timestamp % WRAP, 0, 0))


def started(at: int) -> CallClock:
    call = CallClock(lambda: NOW)
    call.start(at)
    return call


def ntp_s(packet: Any, since: int = NOW) -> float:
    return float((packet.sender_info.ntp_timestamp - since) / WRAP)


def stream(call: CallClock, rate: int, origin: int, delay: int = 0) -> tuple[SenderReports, Sender]:
    sender: Any = Sender()
    reports = SenderReports(sender, call, rate, delay)
    setattr(sender, TIMESTAMP, origin % WRAP)
    reports.sent(0)
    return reports, sender


def test_sound_and_picture_of_one_instant_have_one_ntp_time() -> None:
    call = started(at=TICKS_PER_SECOND)
    sound, _ = stream(call, 48_000, origin=123)
    pictures, _ = stream(call, 90_000, origin=WRAP - 5)
    for seconds in (0, 1, 2.5, 4000):
        (of_sound,) = sound.aligned([report(123 + round(seconds * 48_000))])
        (of_pictures,) = pictures.aligned([report(WRAP - 5 + round(seconds * 90_000))])
        assert ntp_s(of_sound) == pytest.approx(seconds - 1, abs=1e-6)
        assert ntp_s(of_pictures) == pytest.approx(seconds - 1, abs=1e-6)
        sound.sent(round(seconds * 48_000))
        pictures.sent(round(seconds * 90_000))


def test_what_a_decoder_holds_back_is_counted() -> None:
    sound, _ = stream(started(at=0), 48_000, origin=0, delay=480)
    (packet,) = sound.aligned([report(48_000)])
    assert ntp_s(packet) == pytest.approx(0.99, abs=1e-6)


def test_timestamps_that_begin_again_go_on() -> None:
    """32 bits of 90 kHz last 13 hours."""
    pictures, _ = stream(started(at=0), 90_000, origin=77)
    pts = 3 * WRAP + 90_000
    pictures.sent(pts)
    (packet,) = pictures.aligned([report(77 + pts + 90_000)])
    assert ntp_s(packet) == pytest.approx((pts + 90_000) / 90_000, abs=1e-4)


def test_nothing_is_reported_before_something_was_sent() -> None:
    sender: Any = Sender()
    reports = SenderReports(sender, started(at=0), 48_000)
    assert reports.aligned([report(0, ntp=0), RtcpSdesPacket([])]) == []


def test_aiortc_knows_the_report_that_a_receiver_gives_back() -> None:
    sound, sender = stream(started(at=0), 48_000, origin=0)
    (packet,) = sound.aligned([report(48_000)])
    assert isinstance(packet, RtcpSrPacket)
    middle = packet.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF
    assert sender._RTCRtpSender__lsr == middle


def test_the_call_s_clock_is_set_once() -> None:
    call = started(at=480)
    call.start(96_000)
    assert call.ntp(480) == NOW


async def test_wishes_are_passed_on_and_aiortc_has_them_too() -> None:
    sender: Any = Sender()
    wishes: list[object] = []
    reports = SenderReports(sender, started(at=0), 90_000)
    attach(sender, reports, lambda: wishes.append("whole"), wishes.append)
    packets = [
        RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=2),
        RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, fci=pack_remb_fci(512_000, [2])),
        RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, fci=b"no REMB"),
    ]
    for packet in packets:
        await sender._handle_rtcp_packet(packet)
    assert wishes == ["whole", 512_000]
    assert sender.handled == packets


async def test_an_aiortc_that_has_changed_is_refused() -> None:
    changed: Any = type("Changed", (Sender,), {})()
    del changed._RTCRtpSender__rtp_timestamp
    with pytest.raises(RuntimeError, match=r"has no RTCRtpSender\._RTCRtpSender__rtp_timestamp"):
        attach(changed, SenderReports(changed, started(at=0), 48_000))


async def test_this_aiortc_is_taken_and_sends_through_us() -> None:
    """Its reports come by the name that is replaced; the names that are read exist."""
    connection = RTCPeerConnection()
    sender = connection.addTransceiver("audio").sender
    assert isinstance(sender, RTCRtpSender)
    told: list[object] = []
    call = started(at=0)
    reports = SenderReports(sender, call, 48_000)
    attach(sender, reports)
    reports.sent(0)
    taken: Any = sender
    taken.transport._send_rtp = lambda payload: _note(told, payload)
    await taken._send_rtcp([report(48_000)])
    (payload,) = told
    assert isinstance(payload, bytes)
    assert int.from_bytes(payload[8:16]) == call.ntp(48_000)
    await connection.close()


async def _note(told: list[object], payload: bytes) -> None:
    await asyncio.sleep(0)
    told.append(payload)
