"""Text or speech in, a talking face out: the client of a TalkingMachines server.

    from talkingmachines import Client

    with Client() as client:
        client.say("Hello, how are you?").save("hello.mp4")
        answer = client.ask("question.wav").save("answer.mp4")
        print(answer.transcript, "->", answer.reply)

A live session is `client.session()`. `AsyncClient` has the same names, and `testing.MockServer`
is a server without any model.
"""

from talkingmachines._answer import Answer
from talkingmachines._async_answer import AsyncAnswer
from talkingmachines._async_client import AsyncClient
from talkingmachines._async_operation import AsyncOperation
from talkingmachines._async_session import AsyncSession
from talkingmachines._avatars import (
    Consent,
    OperationList,
    OperationState,
    Portrait,
    Progress,
    Token,
    ViewerToken,
)
from talkingmachines._client import Client
from talkingmachines._errors import (
    Busy,
    ConnectionLost,
    DeadlineExceeded,
    EventsLost,
    InvalidInput,
    KeyReused,
    ModelServerUnreachable,
    NoSpeech,
    NotFound,
    NotOffered,
    OperationCancelled,
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
from talkingmachines._live_events import (
    Answers,
    CueName,
    Ended,
    Frame,
    Heard,
    LadderStep,
    LimitNotice,
    LiveEvent,
    LiveStep,
    OtherEvent,
    Picture,
    PictureFormat,
    Place,
    PlaybackFinished,
    PlaybackStarted,
    Refused,
    ResponseCreated,
    ResponseDone,
    Resumed,
    Sentence,
    Sound,
    SoundFormat,
    State,
    StateChanged,
    Swapped,
    UserSpeech,
    UserTranscript,
    Word,
)
from talkingmachines._operation import Operation
from talkingmachines._operators import Capacity, SessionList, SessionSummary, Worker
from talkingmachines._pcm import Pcm
from talkingmachines._recorder import Recorder
from talkingmachines._session import Session
from talkingmachines._session_info import SessionInfo

__all__ = [
    "Answer",
    "Answers",
    "AsyncAnswer",
    "AsyncClient",
    "AsyncOperation",
    "AsyncSession",
    "Avatar",
    "Busy",
    "Capacity",
    "ChunkReady",
    "Client",
    "ConnectionLost",
    "Consent",
    "CueName",
    "DeadlineExceeded",
    "Ended",
    "Event",
    "EventsLost",
    "Frame",
    "Heard",
    "InvalidInput",
    "KeyReused",
    "LadderStep",
    "LimitNotice",
    "LiveEvent",
    "LiveStep",
    "ModelServerUnreachable",
    "NoSpeech",
    "NotFound",
    "NotOffered",
    "Operation",
    "OperationCancelled",
    "OperationList",
    "OperationState",
    "OtherEvent",
    "Pcm",
    "PermissionDenied",
    "Picture",
    "PictureFormat",
    "Place",
    "PlaybackFinished",
    "PlaybackStarted",
    "Portrait",
    "Progress",
    "QuotaExceeded",
    "Recorder",
    "Refused",
    "ReplySentence",
    "ResponseCreated",
    "ResponseDone",
    "Resumed",
    "SavedAnswer",
    "Sentence",
    "ServerError",
    "Session",
    "SessionInfo",
    "SessionList",
    "SessionLost",
    "SessionSummary",
    "Sound",
    "SoundFormat",
    "State",
    "StateChanged",
    "Summary",
    "Swapped",
    "TalkError",
    "Token",
    "TooLarge",
    "TooManyAttempts",
    "TooManyViewers",
    "Transcript",
    "Unauthenticated",
    "Unavailable",
    "UserSpeech",
    "UserTranscript",
    "VideoPiece",
    "ViewerToken",
    "Word",
    "Worker",
]
