"""The HTTP side of a server, as far as `doctor` looks at it."""

import datetime
import email.utils
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Final

DEFAULT_PORT: Final = 8000
TIMEOUT_S: Final = 3.0
MAX_BYTES: Final = 4 << 20
CLOCK_OFF_S: Final = 60.0


@dataclass(frozen=True)
class HttpSide:
    """What is seen there; `clock_off_s` is None where it tells no time."""

    waiting_for: tuple[str, ...]
    version: str
    clock_off_s: float | None


def look(address: str) -> HttpSide:
    """Raises OSError where no such server answers."""
    ready, headers = _get(f"{address}/readyz")
    described, _ = _get(f"{address}/openapi.json")
    missing = ready.get("waiting_for", [])
    info = described.get("info", {})
    return HttpSide(
        tuple(str(each) for each in missing) if isinstance(missing, list) else (),
        str(info.get("version", "")) if isinstance(info, dict) else "",
        _clock_off_s(headers),
    )


def _get(url: str) -> tuple[dict[str, object], Message]:
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url!r} is no http:// or https:// address")
    # without a proxy: it is about the way from here
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as response:
            content, headers = response.read(MAX_BYTES), response.headers
    except urllib.error.HTTPError as error:
        with error:
            content, headers = error.read(MAX_BYTES), error.headers
    try:
        value = json.loads(content)
    except ValueError as error:
        raise OSError(f"{url} is no TalkingMachines server's") from error
    return value if isinstance(value, dict) else {}, headers


def _clock_off_s(headers: Message) -> float | None:
    told = headers.get("date")
    if not told:
        return None
    theirs = email.utils.parsedate_to_datetime(told)
    return (datetime.datetime.now(datetime.UTC) - theirs).total_seconds()
