"""Which server to call, and how."""

import ipaddress
import os

from talkingmachines._errors import InvalidInput

DEFAULT_SERVER = "127.0.0.1:9000"
SERVER_VARIABLE = "TALKINGMACHINES_SERVER"
KEY_VARIABLE = "TALKINGMACHINES_KEY"
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024

ChannelOptions = list[tuple[str, int]]
Metadata = tuple[tuple[str, str], ...]


def server_address(server: str) -> str:
    """`server`, or the one named by TALKINGMACHINES_SERVER, or 127.0.0.1:9000.

    Raises:
        InvalidInput: If it is not host:port.
    """
    address = server or os.getenv(SERVER_VARIABLE) or DEFAULT_SERVER
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        raise InvalidInput(f"{address!r} is no server address: give host:port, as {DEFAULT_SERVER}")
    return address


def metadata_of(key: str) -> Metadata:
    """What each call carries of `key`, or of the one in TALKINGMACHINES_KEY; nothing without one.

    Raises:
        InvalidInput: If it is nothing that a header can carry.
    """
    credential = (key or os.getenv(KEY_VARIABLE) or "").strip()
    if not credential:
        return ()
    if not (credential.isascii() and credential.isprintable()) or " " in credential:
        raise InvalidInput("The key has characters that no key has: copy it whole, and once.")
    return (("authorization", f"Bearer {credential}"),)


def channel_options(address: str) -> ChannelOptions:
    return [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        # The usual back-off grows to two minutes: wait_ready would sleep past a started server.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # gRPC would send even loopback calls to the proxy that http_proxy names.
        ("grpc.enable_http_proxy", 0 if _is_loopback(address) else 1),
    ]


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
