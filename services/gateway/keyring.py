"""API keys, and the short-lived tokens that stand for one."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar.errors import InvalidInput, PermissionDenied, Unauthenticated

KEY_PREFIX: Final = "tm_"
TOKEN_PREFIX: Final = "tmt_"
TOKEN_S: Final = 300.0
"""A token opens sessions for so long; the session itself lives on."""
MAX_CREDENTIAL_CHARACTERS: Final = 512
MAX_KEYS: Final = 10_000
_CHECK_S: Final = 2.0
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,39}$"


def utc_s() -> float:
    """Seconds since 1970 by the wall clock: tokens and days are the same on all gateways."""
    return datetime.now(UTC).timestamp()


class Entry(BaseModel):
    """What the key file says of one key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    sessions: int = Field(default=4, ge=1, le=100_000)
    minutes_a_day: float = Field(default=0.0, ge=0, description="0: no limit")
    opens_a_minute: int = Field(default=60, ge=1)
    operator: bool = False


@dataclass(frozen=True)
class Caller:
    """On whose account something happens; `key` is the key's name, "" where none is needed.

    `sessions` may go on at once, `minutes_a_day` in all (0: no limit), `opens_a_minute` begin.
    """

    key: str = ""
    sessions: int = 0
    minutes_a_day: float = 0.0
    opens_a_minute: int = 0
    is_operator: bool = False
    has_token: bool = False
    """It showed a token instead of the key."""


ANYBODY: Final = Caller(is_operator=True)
"""Who reaches a server that listens on this machine alone: whoever sits at it."""


class Keyring:
    """The keys of a file; a file that changes is read again within two seconds.

    The file holds the digests of keys, and tokens are signed with those: it is a secret as well.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = utc_s,
    ) -> None:
        """Read the file.

        Raises:
            InvalidInput: It is not there, or is no file of keys.
        """
        self._path = path
        self._clock = clock
        self._now = now
        self._entries = read_keys(path)
        self._stamp = _stamp(path)
        self._checked_at = clock()

    def caller(self, credential: str) -> Caller:
        """Who shows this key or token.

        Raises:
            Unauthenticated: It is missing, unknown, or has run out.
        """
        if not credential:
            raise Unauthenticated(
                "this server asks for a key: Authorization: Bearer KEY, or a token of "
                "POST /v1/tokens"
            )
        self._refresh()
        if credential.startswith(TOKEN_PREFIX):
            return self._of_token(credential)
        digest = digest_of(credential)
        found = None
        for name, entry in self._entries.items():  # all of them: how long it takes tells nothing
            if hmac.compare_digest(entry.sha256, digest):
                found = _caller(name, entry)
        if found is None:
            raise Unauthenticated("this key is not known here, or no longer")
        return found

    def token(self, caller: Caller) -> str:
        """A token that opens sessions on the caller's account for `TOKEN_S` seconds.

        Raises:
            PermissionDenied: The caller has a token already: tokens end, and so make no others.
            Unauthenticated: The key was taken back.
        """
        if caller.has_token:
            raise PermissionDenied("a token makes no tokens; ask with the key")
        self._refresh()
        entry = self._entries.get(caller.key)
        if entry is None:
            raise Unauthenticated("this key is not known here, or no longer")
        until = int(self._now() + TOKEN_S)
        said = f"{caller.key}.{until}.{secrets.token_urlsafe(9)}"
        return TOKEN_PREFIX + _encoded(said.encode()) + "." + _signature(said, entry)

    def _of_token(self, token: str) -> Caller:
        refused = Unauthenticated("this token is not one of this server; ask for a new one")
        if len(token) > MAX_CREDENTIAL_CHARACTERS:
            raise refused
        said_encoded, _, signature = token.removeprefix(TOKEN_PREFIX).partition(".")
        try:
            padded = said_encoded + "=" * (-len(said_encoded) % 4)
            said = base64.urlsafe_b64decode(padded.encode()).decode()
            name, until, _ = said.split(".")
            entry, runs_out = self._entries[name], int(until)
        except (ValueError, KeyError, binascii.Error) as error:
            raise refused from error
        if not hmac.compare_digest(_signature(said, entry).encode(), signature.encode()):
            raise refused
        if runs_out <= self._now():
            raise Unauthenticated("this token has run out; ask for a new one: POST /v1/tokens")
        # a token is for one who opens a session, in a browser perhaps: never for operators' things
        return replace(_caller(name, entry), is_operator=False, has_token=True)

    def _refresh(self) -> None:
        if self._clock() - self._checked_at < _CHECK_S:
            return
        self._checked_at = self._clock()
        try:
            if (stamp := _stamp(self._path)) != self._stamp:
                self._entries = read_keys(self._path)
                self._stamp = stamp
        except InvalidInput:  # half written, or gone for a moment: what was known stays known
            return


def check_operator(caller: Caller) -> None:
    """Raises PermissionDenied for a key that is not an operator's."""
    if not caller.is_operator:
        raise PermissionDenied("this is for operators; use a key that was made with --operator")


def read_keys(path: Path) -> dict[str, Entry]:
    """Name and entry of every key.

    Raises:
        InvalidInput: No such file, or something in it is wrong; the message says what.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise InvalidInput(
            f"API_KEYS_FILE={path}: {error.strerror}; make a key: python -m services.keys add NAME"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"API_KEYS_FILE={path} is no TOML: {error}") from error
    if len(content) > MAX_KEYS:
        raise InvalidInput(f"API_KEYS_FILE={path}: {len(content)} keys, at most {MAX_KEYS}")
    return {name: _entry(path, name, fields) for name, fields in content.items()}


def check_name(name: str) -> None:
    """Raises InvalidInput for what is no name of a key."""
    if not re.fullmatch(_NAME, name):
        raise InvalidInput(
            f"{name[:64]!r} is no name of a key: small letters, digits and -, at most 40"
        )


def _entry(path: Path, name: str, fields: object) -> Entry:
    try:
        check_name(name)
    except InvalidInput as error:
        raise InvalidInput(f"API_KEYS_FILE={path}: {error}") from error
    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise InvalidInput(f"API_KEYS_FILE={path}: {where}: {first['msg']}") from error


def new_key() -> str:
    """192 random bits: nothing to be guessed, so that one round of SHA-256 protects it."""
    return KEY_PREFIX + secrets.token_urlsafe(24)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(headers: Mapping[str, str]) -> str:
    """The credential of an Authorization header; "" where there is none."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def _caller(name: str, entry: Entry) -> Caller:
    return Caller(name, entry.sessions, entry.minutes_a_day, entry.opens_a_minute, entry.operator)


def _signature(said: str, entry: Entry) -> str:
    return _encoded(hmac.digest(bytes.fromhex(entry.sha256), said.encode(), "sha256"))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_size
