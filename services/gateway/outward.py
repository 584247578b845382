"""What callers are told of an error: all of it, but not where this server keeps its files."""

from avatar.errors import AvatarError, CorruptFile
from avatar.telemetry.logging import get_logger

log = get_logger(__name__)


def outward(error: AvatarError) -> AvatarError:
    """The error as its caller hears it; who runs the server finds the rest in the log."""
    if isinstance(error, CorruptFile):
        log.error("file_corrupt", error=str(error))
        return CorruptFile(
            "a file that this needs is damaged on the server, whose log says which and what mends "
            "it; choose another avatar meanwhile"
        )
    return error
