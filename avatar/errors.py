"""Every error raised on purpose, as one tree; each knows its gRPC and HTTP status."""

from typing import ClassVar


class AvatarError(Exception):
    """Base of all errors of this project.

    `reason` is the stable machine-readable name (AIP-193 ErrorInfo.reason); the message says
    what was given, what was expected, and how to fix it.
    """

    grpc_status: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    reason: ClassVar[str] = "INTERNAL"


class InvalidInput(AvatarError, ValueError):
    """The caller gave something unusable: not audio, empty text, a malformed tensor."""

    grpc_status = "INVALID_ARGUMENT"
    http_status = 400
    reason = "INVALID_INPUT"


class TooLarge(InvalidInput):
    """An input is over its limit (bytes, seconds or characters)."""

    http_status = 413
    reason = "TOO_LARGE"


class WrongMethod(InvalidInput):
    """HTTP: nothing is done by that method there; `Allow` says which ones are."""

    http_status = 405
    reason = "METHOD_NOT_ALLOWED"


class WrongType(InvalidInput):
    """HTTP: a body of another Content-Type than is taken."""

    http_status = 415
    reason = "UNSUPPORTED_MEDIA_TYPE"


class WrongRange(InvalidInput):
    """HTTP: a part of a file that it does not have."""

    http_status = 416
    reason = "RANGE_NOT_SATISFIABLE"


class KeyReused(InvalidInput):
    """An idempotency key came before with another request."""

    http_status = 422
    reason = "KEY_REUSED"


class NoSpeech(InvalidInput):
    """The audio is readable but nobody speaks in it."""

    http_status = 422
    reason = "NO_SPEECH"


class CreditExceeded(InvalidInput):
    """More reply audio came than was granted."""

    http_status = 429
    reason = "CREDIT_EXCEEDED"


class NotOffered(AvatarError):
    """This server, as it is set up, does not do what was asked for."""

    grpc_status = "FAILED_PRECONDITION"
    http_status = 409
    reason = "NOT_OFFERED"


class PortraitNotTaken(NotOffered):
    """The profile draws its characters from a description; a portrait is nothing to it."""

    reason = "PROFILE_TAKES_NO_PORTRAIT"


class DescriptionNotTaken(NotOffered):
    """The profile shows whom a portrait shows; a description is nothing to it."""

    reason = "PROFILE_TAKES_NO_DESCRIPTION"


class ConsentMissing(NotOffered):
    """Nobody has said that who is shown agrees to it."""

    reason = "CONSENT_MISSING"


class NotFound(AvatarError):
    """A named thing (avatar, session, file) does not exist."""

    grpc_status = "NOT_FOUND"
    http_status = 404
    reason = "NOT_FOUND"


class CorruptFile(AvatarError):
    """A weight or asset file does not match its checksum or its declared shapes."""

    grpc_status = "DATA_LOSS"
    http_status = 500
    reason = "CORRUPT_FILE"


class Busy(AvatarError):
    """No free slot; try again after `retry_after_s` seconds.

    `position` is the place in line that a caller would have who waited: 1 is next.
    """

    grpc_status = "RESOURCE_EXHAUSTED"
    http_status = 503
    reason = "NO_FREE_SLOT"

    def __init__(
        self, message: str, retry_after_s: float = 5.0, position: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.position = position

    def __reduce__(self) -> tuple[type["Busy"], tuple[str, float, int | None]]:
        return type(self), (str(self), self.retry_after_s, self.position)


class TooManyAttempts(Busy):
    """The same was asked for too often; try again after `retry_after_s` seconds."""

    http_status = 429
    reason = "TOO_MANY_ATTEMPTS"


class TooManyViewers(Busy):
    """As many watch this session as may."""

    reason = "TOO_MANY_VIEWERS"


class QuotaExceeded(Busy):
    """The key has used up what it may; try again after `retry_after_s` seconds.

    `quota` names what: sessions, minutes_a_day, opens_a_minute.
    """

    http_status = 429
    reason = "QUOTA_EXCEEDED"

    def __init__(self, message: str, retry_after_s: float = 60.0, quota: str = "") -> None:
        super().__init__(message, retry_after_s)
        self.quota = quota

    def __reduce__(self) -> tuple[type["QuotaExceeded"], tuple[str, float, str]]:  # type: ignore[override]
        return type(self), (str(self), self.retry_after_s, self.quota)


class Unauthenticated(AvatarError):
    """Who asks has not shown the key or token that goes with the thing asked for."""

    grpc_status = "UNAUTHENTICATED"
    http_status = 401
    reason = "UNAUTHENTICATED"


class PermissionDenied(AvatarError):
    """Who asks is known, and may not have this."""

    grpc_status = "PERMISSION_DENIED"
    http_status = 403
    reason = "PERMISSION_DENIED"


class Unavailable(AvatarError):
    """A service this request needs cannot be reached, or is not ready yet."""

    grpc_status = "UNAVAILABLE"
    http_status = 503
    reason = "UNAVAILABLE"


class NotReady(Unavailable):
    """The server is up and its graph is not; `waiting_for` says what it waits for."""

    reason = "NOT_READY"

    def __init__(self, message: str, waiting_for: list[str] | None = None) -> None:
        super().__init__(message)
        self.waiting_for = waiting_for or []

    def __reduce__(self) -> tuple[type["NotReady"], tuple[str, list[str]]]:
        return type(self), (str(self), self.waiting_for)


class ModelServerUnreachable(Unavailable):
    """The OpenAI-compatible server named by the settings does not answer."""

    reason = "MODEL_SERVER_UNREACHABLE"


class DeadlineExceeded(AvatarError):
    """A chunk or a request was not done in its time."""

    grpc_status = "DEADLINE_EXCEEDED"
    http_status = 504
    reason = "DEADLINE_EXCEEDED"


class Fenced(AvatarError):
    """The lease has a new owner; whoever gets this stops writing at once and drops its state."""

    grpc_status = "ABORTED"
    http_status = 409
    reason = "FENCED"


class SessionLost(AvatarError):
    """The state of a session is gone; it cannot be continued, only opened anew."""

    grpc_status = "FAILED_PRECONDITION"
    http_status = 409
    reason = "SESSION_LOST"


class ChannelClosed(AvatarError):
    """The other end of a channel has gone."""

    grpc_status = "UNAVAILABLE"
    http_status = 503
    reason = "CHANNEL_CLOSED"
