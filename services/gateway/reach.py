"""Where a caller's media may come from, and on which addresses it finds us."""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

from aioice.ice import Connection, get_host_addresses
from aiortc import RTCPeerConnection

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class Reach:
    """Follows BIND_HOST: where the page stays on this machine, media do too."""

    host: str

    @property
    def is_local(self) -> bool:
        address = _address(self.host)
        return address.is_loopback if address is not None else self.host == "localhost"

    def addresses(self, *, is_firefox: bool) -> list[str]:
        """The addresses to open sockets on.

        Firefox pairs a loopback candidate with none of its own (docs/adr/0007): with it, media of
        this machine use the addresses of its interfaces too, and still never leave the kernel.
        """
        if self.is_local:
            return [LOOPBACK, *(interfaces() if is_firefox else [])]
        address = _address(self.host)
        if address is None or address.is_unspecified:
            has_v6 = address is not None and address.version == 6
            return interfaces(use_ipv6=has_v6) or [LOOPBACK]
        return [self.host]


async def gather(connection: RTCPeerConnection, reach: Reach, *, is_firefox: bool) -> None:
    """Make the answer of a connection that has its offer, with sockets only where `reach` says.

    Raises:
        RuntimeError: This aiortc is another one than the code was written for.
    """
    gatherer = connection.getTransceivers()[0].receiver.transport.transport.iceGatherer
    ice = gatherer._connection
    if type(ice) is not Connection or not hasattr(ice, "_protocols"):
        raise RuntimeError("this aiortc or aioice is another one than in constraints.txt")
    everywhere = ice.get_component_candidates

    async def here(component: int, addresses: list[str]) -> Any:
        candidates = await everywhere(component, reach.addresses(is_firefox=is_firefox))
        if reach.is_local:
            _refuse_others(ice)
        return candidates

    hooked: Any = ice
    hooked.get_component_candidates = here
    await connection.setLocalDescription()


def interfaces(*, use_ipv6: bool = False) -> list[str]:
    """This machine's addresses, without loopback."""
    return get_host_addresses(use_ipv4=True, use_ipv6=use_ipv6)


def _refuse_others(ice: Any) -> None:
    """Drop what comes from other machines before anybody reads it.

    They cannot pretend: the kernel refuses our own addresses as sources from outside.
    """
    ours = {LOOPBACK, *interfaces()}
    for protocol in ice._protocols:
        if protocol.local_candidate.type != "host":
            continue  # the operator's relay brings whom it may
        received = protocol.datagram_received

        def receive(data: bytes, addr: tuple[Any, ...], received: Any = received) -> None:
            if addr[0] in ours:
                received(data, addr)

        protocol.datagram_received = receive


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
