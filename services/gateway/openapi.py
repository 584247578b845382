"""What /openapi.json says of each request: bodies, answers, errors, and who may ask.

The handlers read and answer by themselves, with limits, so that FastAPI cannot know it from them.
"""

from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from avatar.errors import (
    AvatarError,
    Busy,
    CorruptFile,
    DeadlineExceeded,
    InvalidInput,
    KeyReused,
    NoSpeech,
    NotFound,
    NotOffered,
    NotReady,
    PermissionDenied,
    QuotaExceeded,
    TooLarge,
    TooManyAttempts,
    Unauthenticated,
    Unavailable,
    WrongRange,
    WrongType,
)

Schema = dict[str, Any]
Who = Literal["anybody", "key", "operator", "session", "viewer"]

SECURITY: Final[dict[Who, list[Schema]]] = {
    "anybody": [],
    "key": [{"key": []}, {}],  # a server for its own machine asks for none
    "operator": [{"operatorKey": []}, {}],
    "session": [{"sessionToken": []}],
    "viewer": [{"viewerToken": []}, {"sessionToken": []}],
}
REFUSALS: Final[dict[Who, tuple[type[AvatarError], ...]]] = {
    "anybody": (),
    "key": (Unauthenticated,),
    "operator": (Unauthenticated, PermissionDenied),
    "session": (Unauthenticated, NotFound, Unavailable),
    "viewer": (Unauthenticated, NotFound, Unavailable),
}
SCHEMES: Final[Schema] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token of POST /v1/tokens. A server that only its own "
        "machine reaches asks for none.",
    },
    "operatorKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key with `operator`.",
    },
    "sessionToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token that POST /v1/sessions gave with this session.",
    },
    "viewerToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of POST /v1/sessions/{id}/viewer-tokens: it watches, and nothing else.",
    },
}
TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
WHOLE: Final[Schema] = {"type": "integer"}
PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "reason"],
    "properties": {
        "type": TEXT | {"examples": ["urn:talkingmachines:no-free-slot"]},
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT | {"description": "What was given, what is expected, what mends it."},
        "reason": TEXT | {"description": "Stable; the same over gRPC (ErrorInfo.reason)."},
        "position": WHOLE | {"description": "Place in line of one who would wait; 1 is next."},
        "quota": TEXT | {"description": "Which one: sessions, minutes_a_day, opens_a_minute."},
        "waiting_for": {"type": "array", "items": TEXT},
    },
}


def operation(
    summary: str,
    who: Who = "anybody",
    *,
    ok: tuple[int, str, Schema | None] = (200, "", None),
    body: dict[str, Schema] | None = None,
    errors: tuple[type[AvatarError], ...] = (),
    headers: dict[str, str] | None = None,
    describes: str = "",
) -> dict[str, Any]:
    """Arguments of one of FastAPI's route decorators.

    Args:
        summary: One line.
        who: Whose request it is.
        ok: Status, media type ("": no body) and schema of the answer.
        body: Schemas of the request's body by media type; any one of them.
        errors: What may go wrong, besides what goes for every request.
        headers: Optional headers of the request and what they do.
        describes: More, for who reads on.
    """
    status, media, schema = ok
    answer: Schema = {"description": "Done."}
    if media:
        answer["content"] = {media: {"schema": schema or TEXT}}
    answers: dict[int | str, Schema] = {status: answer}
    wrong = errors + REFUSALS[who] + ((WrongType,) if body is not None else ())
    for code in sorted({each.http_status for each in wrong}):
        reasons = sorted({each.reason for each in wrong if each.http_status == code})
        answers[code] = {
            "description": ", ".join(reasons),
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
    extra: Schema = {"security": SECURITY[who]}
    if body is not None:
        content = {each: {"schema": _binary(of)} for each, of in body.items()}
        extra["requestBody"] = {"content": content}
    if headers:
        extra["parameters"] = [
            {"in": "header", "name": name, "schema": TEXT, "description": does}
            for name, does in headers.items()
        ]
    return {
        "summary": summary,
        "description": describes,
        "status_code": status,
        "responses": answers,
        "openapi_extra": extra,
    }


def describe(app: FastAPI, version: str) -> None:
    """Have the application answer /openapi.json with all of this."""

    def schema() -> Schema:
        if app.openapi_schema is None:
            made = get_openapi(
                title="TalkingMachines",
                version=version,
                description="Calls with an avatar whose video is generated from speech. Errors "
                "are RFC 9457 problems; a full server says 503 with Retry-After.",
                routes=app.routes,
            )
            parts = made.setdefault("components", {})
            parts["securitySchemes"] = SCHEMES
            parts["schemas"] = {
                "Problem": PROBLEM,
                "Session": SESSION,
                "Avatar": AVATAR,
                "Operation": OPERATION,
            }
            for operations in made["paths"].values():
                for each in operations.values():
                    each["responses"].pop("422", None) if _is_fastapis(each) else None
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]  # FastAPI's own way


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _binary(schema: Schema) -> Schema:
    return schema or {"type": "string", "format": "binary"}


def _is_fastapis(each: Schema) -> bool:
    """Handlers check by themselves: FastAPI's validation error is one that never comes."""
    return "HTTPValidationError" in str(each["responses"].get("422", ""))


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


AVATAR: Final[Schema] = _object(
    id=TEXT, display_name=TEXT, description=TEXT, portrait=TEXT, preview=TEXT
)
SESSION: Final[Schema] = _object(
    id=TEXT,
    token=TEXT | {"description": "For everything below /v1/sessions/{id}; told once."},
    avatar=TEXT,
    models={"type": "array", "items": TEXT},
    ice_servers={"type": "array", "items": {"type": "object"}},
    limits=_object(idle_s=NUMBER, grace_s=NUMBER, session_s=NUMBER),
    profile=_object(fps=NUMBER, chunk_s=NUMBER, width=WHOLE, height=WHOLE),
)

HEALTHZ = operation("Whether the process answers", ok=(200, "application/json", _object()))
READYZ = operation(
    "Whether the whole graph has made a video",
    ok=(200, "application/json", _object(status=TEXT)),
    errors=(NotReady,),
)
METRICS = operation("Prometheus metrics", "operator", ok=(200, "text/plain", TEXT))
PAGE = operation("The page", ok=(200, "text/html", TEXT), errors=(WrongRange,))
WATCH_PAGE = operation(
    "The page of those who watch", ok=(200, "text/html", TEXT), errors=(WrongRange,)
)
WEB = operation("A file of the page", errors=(NotFound, WrongRange))
AVATARS = operation(
    "Who can be called",
    ok=(200, "application/json", {"type": "array", "items": _ref("Avatar")}),
)
AVATAR_OF = operation(
    "One of them", ok=(200, "application/json", _ref("Avatar")), errors=(NotFound, CorruptFile)
)
OPERATION: Final[Schema] = _object(
    id=TEXT,
    avatar=TEXT,
    created=TEXT,
    state={"type": "string", "enum": ["running", "done", "failed", "cancelled"]},
    stage=TEXT,
    done=NUMBER | {"description": "A share, 0 to 1."},
    left_s={"type": ["number", "null"]},
    error_reason=TEXT,
    error_message=TEXT,
)
_OPERATION = (200, "application/json", _ref("Operation"))
CREATE_AVATAR = operation(
    "Begin to make an avatar: minutes later it can be called",
    "operator",
    ok=(202, "application/json", _ref("Operation")),
    body={
        "application/toml": TEXT | {"description": "As docs/characters.md has it."},
        "application/json": _object(
            image=TEXT | {"format": "byte"},
            avatar=TEXT,
            display_name=TEXT,
            description=TEXT,
            persona=TEXT,
            consent=_object(given={"type": "boolean"}, given_by=TEXT, statement=TEXT),
        ),
    },
    errors=(InvalidInput, TooLarge, NotOffered, Busy),
    describes="From a description (TOML) where the profile draws its characters, from a portrait "
    "(JSON) where it takes one. One is made at a time; `Location` is the operation.",
)
DELETE_AVATAR = operation(
    "Remove an avatar that was made here", "operator", ok=(204, "", None), errors=(NotFound, Busy)
)
LIST_OPERATIONS = operation(
    "Avatars that are being made, or were",
    "operator",
    ok=(
        200,
        "application/json",
        _object(
            operations={"type": "array", "items": _ref("Operation")},
            silent_gateways={"type": "array", "items": TEXT},
        ),
    ),
)
OPERATION_OF = operation("How far an avatar is", "operator", ok=_OPERATION, errors=(NotFound,))
CANCEL_OPERATION = operation(
    "Stop making an avatar; the same request goes on from there",
    "operator",
    ok=_OPERATION,
    errors=(NotFound,),
)
_FILE = (NotFound, WrongRange, CorruptFile)
PORTRAIT = operation("A portrait", ok=(200, "image/png", TEXT), errors=_FILE)
PREVIEW = operation("A short video", ok=(200, "video/mp4", TEXT), errors=_FILE)
TOKEN = operation(
    "A token that opens sessions on the key's account for some minutes",
    "key",
    ok=(201, "application/json", _object(token=TEXT, expires_in_s=NUMBER)),
    errors=(InvalidInput,),
)
_VIDEO = (200, "video/mp4", TEXT)
_LIMITED = (InvalidInput, TooLarge, NotFound, Busy, QuotaExceeded, Unavailable, DeadlineExceeded)
SAY = operation(
    "The avatar says a text: a video",
    "key",
    ok=_VIDEO,
    body={"application/json": _object(text=TEXT, avatar=TEXT) | {"required": ["text"]}},
    errors=_LIMITED,
)
ASK = operation(
    "The avatar hears a spoken question and answers it: a video",
    "key",
    ok=_VIDEO,
    body={"audio/*": {}, "video/*": {}, "application/octet-stream": {}},
    errors=(*_LIMITED, NoSpeech),
)
OPEN_SESSION = operation(
    "Open a session",
    "key",
    ok=(201, "application/json", _ref("Session")),
    body={"application/json": _object(avatar=TEXT)},
    errors=(
        InvalidInput,
        PermissionDenied,
        KeyReused,
        NotFound,
        Busy,
        QuotaExceeded,
        Unavailable,
    ),
    headers={
        "Accept": "text/event-stream: wait in line while all slots are taken. 200, and events: "
        "avatar.queue with place and estimate, then session.created, or error.",
        "Idempotency-Key": "Any text of yours, at most 255 characters: asked again with the same "
        "one within ten minutes, the same session, with a new token.",
    },
    describes="It ends by itself when nobody connects to it.",
)
LIST_SESSIONS = operation(
    "All sessions of all gateways",
    "operator",
    ok=(
        200,
        "application/json",
        _object(
            sessions={"type": "array", "items": {"type": "object"}},
            silent_gateways={"type": "array", "items": TEXT},
        ),
    ),
)
DESCRIBE_SESSION = operation(
    "How a session is", "session", ok=(200, "application/json", {"type": "object"})
)
END_SESSION = operation("End a session", "session", ok=(204, "", None))
CONNECT = operation(
    "Connect a session's caller by WebRTC (SDP offer in, answer out)",
    "session",
    ok=(201, "application/sdp", TEXT),
    body={"application/sdp": TEXT},
    errors=(InvalidInput, TooLarge, TooManyAttempts),
    describes="A second connection takes the place of the first once it stands: so a call goes on "
    "after its connection was lost.",
)
HANG_UP = operation("End the connection, not the session", "session", ok=(204, "", None))
MAKE_VIEWER_TOKEN = operation(
    "A token that lets its bearer watch",
    "session",
    ok=(201, "application/json", _object(token=TEXT, watch=TEXT)),
)
TAKE_VIEWER_TOKENS_BACK = operation(
    "No viewer token is good any more", "session", ok=(204, "", None)
)
DESCRIBE_AUDIENCE = operation(
    "Whom one watches, and how many do",
    "viewer",
    ok=(200, "application/json", {"type": "object"}),
)
WATCH = operation(
    "Watch by WHEP (SDP offer in, answer out)",
    "viewer",
    ok=(201, "application/sdp", TEXT),
    body={"application/sdp": TEXT},
    errors=(InvalidInput, TooLarge, TooManyAttempts, Busy),
)
STOP_WATCHING = operation("Stop watching", "viewer", ok=(204, "", None))
