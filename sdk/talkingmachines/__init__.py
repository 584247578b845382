"""Text or speech in, a talking face out: the client of a TalkingMachines server.

    from talkingmachines import Client

    with Client() as client:
        client.say("Hello, how are you?").save("hello.mp4")
        answer = client.ask("question.wav").save("answer.mp4")
        print(answer.transcript, "->", answer.reply)

`AsyncClient` has the same names.
"""

from talkingmachines._answer import Answer
from talkingmachines._async_answer import AsyncAnswer
from talkingmachines._async_client import AsyncClient
from talkingmachines._client import Client
from talkingmachines._errors import (
    Busy,
    ConnectionLost,
    DeadlineExceeded,
    InvalidInput,
    KeyReused,
    ModelServerUnreachable,
    NoSpeech,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ServerError,
    SessionLost,
    TalkError,
    TooLarge,
    TooManyAttempts,
    TooManyViewers,
    Unauthenticated,
    Unavailable,
)
from talkingmachines._events import (
    Avatar,
    ChunkReady,
    Event,
    ReplySentence,
    SavedAnswer,
    Summary,
    Transcript,
    VideoPiece,
)

__all__ = [
    "Answer",
    "AsyncAnswer",
    "AsyncClient",
    "Avatar",
    "Busy",
    "ChunkReady",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "Event",
    "InvalidInput",
    "KeyReused",
    "ModelServerUnreachable",
    "NoSpeech",
    "NotFound",
    "PermissionDenied",
    "QuotaExceeded",
    "ReplySentence",
    "SavedAnswer",
    "ServerError",
    "SessionLost",
    "Summary",
    "TalkError",
    "TooLarge",
    "TooManyAttempts",
    "TooManyViewers",
    "Transcript",
    "Unauthenticated",
    "Unavailable",
    "VideoPiece",
]
