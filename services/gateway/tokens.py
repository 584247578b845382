"""Tokens of one session: its owner's, and those that let others watch."""

import hashlib
import hmac
import secrets
from typing import Final

from avatar.errors import TooManyAttempts

VIEWER_PREFIX: Final = "tmv_"
MAX_VIEWER_TOKENS: Final = 64


class TokenHash:
    """Knows a token when it sees it, and could not tell it to anybody."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token)

    def matches(self, token: str) -> bool:
        return hmac.compare_digest(self._digest, _digest(token))


class ViewerTokens:
    """Lets in who watches, and to nothing else; the owner makes them and takes them all back."""

    def __init__(self) -> None:
        self._hashes: list[TokenHash] = []

    def make(self) -> str:
        """One more.

        Raises:
            TooManyAttempts: There are as many as there may be.
        """
        if len(self._hashes) >= MAX_VIEWER_TOKENS:
            raise TooManyAttempts(
                f"this session has {MAX_VIEWER_TOKENS} viewer tokens, as many as it may: give one "
                "to several viewers, or take all back with DELETE",
                60.0,
            )
        token = VIEWER_PREFIX + secrets.token_urlsafe(24)
        self._hashes.append(TokenHash(token))
        return token

    def matches(self, token: str) -> bool:
        return any(each.matches(token) for each in self._hashes)

    def forget(self) -> None:
        """None of them lets anybody in any more."""
        self._hashes.clear()


def watch_path(session: str, token: str) -> str:
    """Of a page that shows the session to who has a viewer token."""
    return f"/watch?session={session}#{token}"


def whep_path(session: str) -> str:
    return f"/v1/sessions/{session}/viewers"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
