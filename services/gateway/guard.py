"""Whom the gateway lets in, and on whose account."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from avatar.errors import InvalidInput
from services.gateway.accounts import Accounts
from services.gateway.keyring import ANYBODY, TOKEN_S, Caller, Keyring, bearer, check_operator
from services.gateway.reach import LOOPBACK, Reach


class Guard:
    """Asks for keys where there is a file of them; a server without one is for its own machine."""

    def __init__(self, keyring: Keyring | None, accounts: Accounts) -> None:
        self._keyring = keyring
        self.accounts = accounts

    @property
    def asks_for_keys(self) -> bool:
        return self._keyring is not None

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent a request with these headers.

        Raises:
            Unauthenticated: It shows no key or token, or none that is good here.
        """
        if self._keyring is None:
            return ANYBODY
        return self._keyring.caller(bearer(headers))

    def operator(self, headers: Mapping[str, str]) -> Caller:
        """The same, of an operator.

        Raises:
            Unauthenticated: As `caller`.
            PermissionDenied: The key is not an operator's; a token never is.
        """
        caller = self.caller(headers)
        check_operator(caller)
        return caller

    def token(self, caller: Caller) -> tuple[str, float]:
        """A token for the caller's account, and for how many seconds.

        Raises:
            InvalidInput: This server asks for no keys.
        """
        if self._keyring is None:
            raise InvalidInput("this server asks for no key; open sessions without a token")
        return self._keyring.token(caller), TOKEN_S

    @asynccontextmanager
    async def using(self, caller: Caller) -> AsyncIterator[None]:
        """One of the caller's sessions, its time counted.

        Raises:
            QuotaExceeded: The caller's key may have no more.
        """
        async with self.accounts.place(caller), self.accounts.metered(caller):
            yield


def keyring_for(host: str, key_file: str, stage_host: str = LOOPBACK) -> Keyring | None:
    """The keys that a server on `host` asks for; None where it needs none.

    Other gateways reach the same services at `stage_host`, and so does who else reaches that.

    Raises:
        InvalidInput: Other machines reach it and there is no file of keys, or no good one.
    """
    if key_file:
        return Keyring(Path(key_file))
    for setting, at in (("BIND_HOST", host), ("STAGE_HOST", stage_host)):
        if not Reach(at).is_local:
            raise InvalidInput(
                f"{setting}={at} lets other machines in, and nobody is asked for a key: make one "
                "with `.venv/bin/python -m services.keys add NAME --file keys.toml` and set "
                "API_KEYS_FILE=$PWD/keys.toml"
            )
    return None
