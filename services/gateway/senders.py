"""What aiortc's senders are taught: reports that align sound and picture, and whom to tell wishes.

Four names of aiortc that are not public are used, all here; `attach` refuses an aiortc without
them, and the tests compare what a receiver makes of the reports.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from aiortc import RTCRtpSender, clock
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpSrPacket,
    unpack_remb_fci,
)

from avatar.timebase import TICKS_PER_SECOND

_TIMESTAMP: Final = "_RTCRtpSender__rtp_timestamp"
_LAST_REPORT: Final = "_RTCRtpSender__lsr"
_SEND: Final = "_send_rtcp"
_HANDLE: Final = "_handle_rtcp_packet"
_WRAP: Final = 1 << 32


class CallClock:
    """The call's clock as NTP time, the same for every stream of a connection."""

    def __init__(self, ntp_now: Callable[[], int] = clock.current_ntp_time) -> None:
        self._ntp_now = ntp_now
        self._ntp_at_zero: int | None = None

    def start(self, at: int) -> None:
        """`at`, in ticks, is now; only the first call counts."""
        if self._ntp_at_zero is None:
            self._ntp_at_zero = self._ntp_now() - _ntp_of(at)

    def ntp(self, at: int) -> int:
        """64-bit NTP timestamp of an instant of the call, in ticks."""
        assert self._ntp_at_zero is not None
        return (self._ntp_at_zero + _ntp_of(at)) % (1 << 64)


class SenderReports:
    """Makes one sender's reports say when, on the call's clock, their RTP timestamp was.

    By itself aiortc reports the instant at which the last packet was sent, so that receivers shift
    sound against picture by however long each took to encode and to wait.
    """

    def __init__(self, sender: RTCRtpSender, call: CallClock, rate: int, delay: int = 0) -> None:
        """`rate`: of RTP timestamps, in hertz; `delay`: ticks by which what is decoded lags."""
        self._sender = sender
        self._call = call
        self._rate = rate
        self._delay = delay
        self._last_pts = 0
        self._origin: int | None = None  # what aiortc adds to every pts

    def sent(self, pts: int) -> None:
        """The packet of `pts` has left completely, and none after it."""
        self._last_pts = pts
        if self._origin is None:
            self._origin = (getattr(self._sender, _TIMESTAMP) - pts) % _WRAP

    def aligned(self, packets: list[AnyRtcpPacket]) -> list[AnyRtcpPacket]:
        """The packets to send: reports corrected, or left out while nothing was sent."""
        kept: list[AnyRtcpPacket] = []
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                if self._origin is None:
                    return []
                ntp = self._call.ntp(self._at(packet.sender_info.rtp_timestamp))
                packet.sender_info.ntp_timestamp = ntp
                # receivers give it back, and aiortc knows their report by it
                setattr(self._sender, _LAST_REPORT, (ntp >> 16) % _WRAP)
            kept.append(packet)
        return kept

    def _at(self, rtp_timestamp: int) -> int:
        assert self._origin is not None
        since_last = (rtp_timestamp - self._origin - self._last_pts) % _WRAP
        if since_last >= _WRAP // 2:
            since_last -= _WRAP
        return (self._last_pts + since_last) * TICKS_PER_SECOND // self._rate - self._delay


def attach(
    sender: RTCRtpSender,
    reports: SenderReports,
    on_whole_wanted: Callable[[], None] = lambda: None,
    on_estimate: Callable[[int], None] = lambda bits_per_s: None,
) -> None:
    """Have the sender send `reports`, and pass on the receiver's wishes.

    Raises:
        RuntimeError: This aiortc is another one than the code was written for.
    """
    for name in (_TIMESTAMP, _LAST_REPORT, _SEND, _HANDLE):
        if not hasattr(sender, name):
            raise RuntimeError(
                f"aiortc {version('aiortc')} has no RTCRtpSender.{name}; "
                "install the version in constraints.txt"
            )
    send, handle = getattr(sender, _SEND), getattr(sender, _HANDLE)

    async def send_aligned(packets: list[AnyRtcpPacket]) -> None:
        if aligned := reports.aligned(packets):
            await send(aligned)

    async def handle_wishes(packet: AnyRtcpPacket) -> None:
        await handle(packet)
        if not isinstance(packet, RtcpPsfbPacket):
            return
        if packet.fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
            on_whole_wanted()
        elif packet.fmt == RTCP_PSFB_APP and (estimate := _estimate(packet.fci)) is not None:
            on_estimate(estimate)

    hooked: Any = sender
    setattr(hooked, _SEND, send_aligned)
    setattr(hooked, _HANDLE, handle_wishes)


def _estimate(fci: bytes) -> int | None:
    try:
        return int(unpack_remb_fci(fci)[0])
    except ValueError:
        return None


def _ntp_of(at: int) -> int:
    return (at << 32) // TICKS_PER_SECOND
