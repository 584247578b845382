"""Who watches a session: so many at the most, and none of them keeps it alive."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiortc import RTCIceServer, RTCPeerConnection

from avatar.errors import NotFound, TooManyAttempts, TooManyViewers
from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from services.gateway.allowance import Allowance
from services.gateway.connection import Connection
from services.gateway.feed import Feed
from services.gateway.reach import Reach
from services.gateway.sdp import Offer
from services.gateway.tokens import ViewerTokens
from services.settings import Limits

log = get_logger(__name__)


class Viewer(Connection):
    """A connection that sees and hears the avatar, and says nothing."""

    def __init__(
        self,
        audience: "Audience",
        offer: Offer,
        reach: Reach,
        ice_servers: Sequence[RTCIceServer] = (),
    ) -> None:
        super().__init__(offer, audience.feed, reach, ice_servers)
        self._audience = audience

    def _prepare(self, connection: RTCPeerConnection) -> None:
        pass  # it sends nothing

    def _connected(self) -> None:
        self._audience.connected(self)

    def _lost(self) -> None:
        self._audience.lost(self)


@dataclass
class _Seat:
    viewer: Viewer
    taken_at: float
    is_connected: bool = False


class Audience:
    """Seats of viewers, by ids that only they know; `on_change` is told when one comes or goes."""

    def __init__(
        self,
        feed: Feed,
        limits: Limits,
        let_go: Callable[[Connection], None],
        clock: Callable[[], float],
    ) -> None:
        """`let_go` closes a connection in its own time."""
        self.feed = feed
        self.tokens = ViewerTokens()
        self.on_change: Callable[[], None] = lambda: None
        self._limits = limits
        self._let_go = let_go
        self._clock = clock
        self._seats: dict[str, _Seat] = {}
        self._attempts = Allowance(limits.viewer_connects_per_minute / 60, 60, clock)

    @property
    def num_watching(self) -> int:
        return sum(seat.is_connected for seat in self._seats.values())

    def describe(self) -> dict[str, int]:
        return {"watching": self.num_watching, "most": self._limits.viewers}

    def attempt(self) -> None:
        """Count an offer.

        Raises:
            TooManyAttempts: There were too many.
        """
        if not self._attempts.take():
            most = self._limits.viewer_connects_per_minute
            raise TooManyAttempts(
                f"this session was offered more than {most} viewers a minute; wait before the "
                "next one",
                max(1.0, 60 / most),
            )

    def admit(
        self, offer: Offer, reach: Reach, ice_servers: Sequence[RTCIceServer] = ()
    ) -> tuple[str, Viewer]:
        """A viewer who is not answered yet, and the id of its seat.

        Raises:
            TooManyViewers: All seats are taken.
        """
        if len(self._seats) >= self._limits.viewers:
            raise TooManyViewers(
                f"{self._limits.viewers} watch this session, as many as may; try again later",
                10.0,
            )
        id, viewer = secrets.token_urlsafe(12), Viewer(self, offer, reach, ice_servers)
        self._seats[id] = _Seat(viewer, self._clock())
        return id, viewer

    def dismiss_one(self, id: str) -> None:
        """Show a viewer out.

        Raises:
            NotFound: It has gone, or never was there.
        """
        if id not in self._seats:
            raise NotFound(f"nobody watches as {id[:64]!r}, or no longer")
        self._free(id)

    def dismiss(self) -> None:
        """Show all viewers out."""
        for id in list(self._seats):
            self._free(id)

    def check(self) -> None:
        """Free the seats of those who were answered and never came."""
        due = self._clock() - self._limits.connect_s
        for id, seat in list(self._seats.items()):
            if not seat.is_connected and seat.taken_at < due:
                self._free(id)

    # What connections tell

    def connected(self, viewer: Viewer) -> None:
        seat = self._seats.get(self._id_of(viewer))
        if seat is None:
            self._let_go(viewer)
            return
        seat.is_connected = True
        metrics.viewers.inc()
        self.feed.join(viewer)
        log.info("viewer_connected", watching=self.num_watching)
        self.on_change()

    def lost(self, viewer: Viewer) -> None:
        if id := self._id_of(viewer):
            self._free(id)

    def _id_of(self, viewer: Viewer) -> str:
        return next((id for id, seat in self._seats.items() if seat.viewer is viewer), "")

    def _free(self, id: str) -> None:
        seat = self._seats.pop(id)
        self.feed.leave(seat.viewer)
        self._let_go(seat.viewer)
        if seat.is_connected:
            metrics.viewers.dec()
            log.info("viewer_gone", watching=self.num_watching)
            self.on_change()
