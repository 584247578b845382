"""Listening on a port that must be ours: asked for first, then shared only during a hand-over."""

import socket

from avatar.errors import Unavailable


def check_free(host: str, port: int, setting: str, example: int) -> None:
    """Raise Unavailable, naming the fix, if anybody listens on the port already."""
    with _socket(host) as probe:
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise Unavailable(
                f"port {port} is for root only; "
                f"choose another one: {setting}={8000 + port} make run"
            ) from error
        except OSError as error:
            raise Unavailable(
                f"port {port} of {host} is in use ({error.strerror}); "
                f"choose another one: {setting}={example} make run"
            ) from error


def listen_shared(host: str, port: int) -> socket.socket:
    """Listen beside another listener of this user on the same port, if there is one.

    The launcher answers from the first second on; the gateway takes over without a gap.
    """
    listener = _socket(host)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def listen_private(host: str) -> socket.socket:
    """Listen on a port that the system chooses."""
    listener = _socket(host)
    try:
        listener.bind((host, 0))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot listen at {host}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where HTTP finds it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with _socket(host) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    # only past the sockets of closed connections; a port with a listener is still refused
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made
