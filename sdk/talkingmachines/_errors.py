"""What can go wrong, as one tree."""

from typing import ClassVar


class TalkError(Exception):
    """Base of every error this package raises on purpose; the message names the fix.

    `reason` is the server's stable machine-readable name of the fault (AIP-193 ErrorInfo.reason);
    `retry_after_s` is how long the server asks to wait before another try, None if it did not say.
    """

    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self, message: str, *, reason: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason
        self.retry_after_s = retry_after_s


class InvalidInput(TalkError, ValueError):
    """The input cannot be used: empty text, not an audio file, a malformed address."""

    default_reason = "INVALID_INPUT"


class TooLarge(InvalidInput):
    """The input is over its limit of characters, bytes or seconds."""

    default_reason = "TOO_LARGE"


class NoSpeech(InvalidInput):
    """The audio is readable, but nobody speaks in it."""

    default_reason = "NO_SPEECH"


class KeyReused(InvalidInput):
    """An idempotency key came before with another request."""

    default_reason = "KEY_REUSED"


class NotOffered(TalkError):
    """This server, as it is set up, does not do what was asked for; `reason` says which thing."""

    default_reason = "NOT_OFFERED"


class NotFound(TalkError):
    """The server has no avatar, session or operation of that name; a session may have ended."""

    default_reason = "NOT_FOUND"


class Busy(TalkError):
    """Every slot of the server is taken; try again after `retry_after_s` seconds.

    `position` is the place in line of who would wait: 1 is next; None if the server did not say.
    """

    default_reason = "NO_FREE_SLOT"
    retry_after_s: float

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        retry_after_s: float = 5.0,
        position: int | None = None,
    ) -> None:
        super().__init__(message, reason=reason, retry_after_s=retry_after_s)
        self.position = position


class TooManyAttempts(Busy):
    """The same was asked for too often; try again after `retry_after_s` seconds."""

    default_reason = "TOO_MANY_ATTEMPTS"


class TooManyViewers(Busy):
    """As many watch this session as may."""

    default_reason = "TOO_MANY_VIEWERS"


class QuotaExceeded(Busy):
    """The key has used up what it may, until `retry_after_s` seconds from now.

    `quota` names what: sessions, minutes_a_day, opens_a_minute; empty if the server did not say.
    """

    default_reason = "QUOTA_EXCEEDED"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        retry_after_s: float = 60.0,
        position: int | None = None,
        quota: str = "",
    ) -> None:
        super().__init__(message, reason=reason, retry_after_s=retry_after_s, position=position)
        self.quota = quota


class Unauthenticated(TalkError):
    """The server asks for a key, and got none, or one that it does not know."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(TalkError):
    """The server knows the key, which may not have this."""

    default_reason = "PERMISSION_DENIED"


class Unavailable(TalkError):
    """No server answers there, or it is not ready yet."""

    default_reason = "UNAVAILABLE"


class ModelServerUnreachable(Unavailable):
    """The server runs, but the language model server it is set to use does not answer."""

    default_reason = "MODEL_SERVER_UNREACHABLE"


class ConnectionLost(Unavailable):
    """The call ended before the answer was complete."""

    default_reason = "CONNECTION_LOST"


class DeadlineExceeded(TalkError):
    """The answer was not complete in its time."""

    default_reason = "DEADLINE_EXCEEDED"


class SessionLost(TalkError):
    """The server lost the state of this answer or session; it can only be opened anew."""

    default_reason = "SESSION_LOST"


class EventsLost(TalkError):
    """So many events of a session were not read that the newer ones could not be kept."""

    default_reason = "EVENTS_LOST"


class OperationCancelled(TalkError):
    """Somebody stopped what was waited for; the same request goes on from there."""

    default_reason = "OPERATION_CANCELLED"


class ServerError(TalkError):
    """The server failed, or speaks another version of the protocol."""
