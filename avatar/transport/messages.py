"""What an edge says, to StageService messages and back, checked."""

from typing import Final

from avatar import wire
from avatar.errors import InvalidInput, TooLarge
from avatar.media import STAGES, StageName
from avatar.transport import Hop, OpenRequest
from avatar.transport.edge import Cancel, Credit, Finish, Message
from talkingmachines_api.v1 import stage_pb2

MAX_HOPS = 8
MAX_OPTIONS = 32
MAX_TEXT_CHARACTERS = 1000
"""Of an avatar's name, an address, and an option's name or value."""

STAGE_OF: Final[dict[str, StageName]] = {stage: stage for stage in STAGES}


def to_request(message: Message) -> stage_pb2.AttachRequest:
    match message:
        case Credit(chunks):
            return stage_pb2.AttachRequest(credit=stage_pb2.Credit(chunks=chunks))
        case Cancel(epoch):
            return stage_pb2.AttachRequest(cancel=stage_pb2.Cancel(epoch=epoch))
        case Finish():
            return stage_pb2.AttachRequest(finish=stage_pb2.Finish())
        case _:
            request = stage_pb2.AttachRequest()
            wire.chunk_to_proto(message, into=request.chunk)
            return request


def to_response(message: Message) -> stage_pb2.AttachResponse:
    match message:
        case Credit(chunks):
            return stage_pb2.AttachResponse(credit=stage_pb2.Credit(chunks=chunks))
        case Cancel():
            raise AssertionError("only the side that opened an edge cancels")
        case Finish():
            return stage_pb2.AttachResponse(finish=stage_pb2.Finish())
        case _:
            response = stage_pb2.AttachResponse()
            wire.chunk_to_proto(message, into=response.chunk)
            return response


def from_request(message: stage_pb2.AttachRequest) -> Message:
    """Raises InvalidInput where `message` is none of these, or its chunk is malformed."""
    match message.WhichOneof("message"):
        case "chunk":
            return wire.chunk_from_proto(message.chunk)
        case "credit":
            return Credit(message.credit.chunks)
        case "cancel":
            return Cancel(message.cancel.epoch)
        case "finish":
            return Finish()
        case other:
            raise InvalidInput(f"{other} on an open edge; chunk, credit, cancel or finish expected")


def from_response(message: stage_pb2.AttachResponse) -> Message:
    """Raises InvalidInput where `message` is none of these, or its chunk is malformed."""
    match message.WhichOneof("message"):
        case "chunk":
            return wire.chunk_from_proto(message.chunk)
        case "credit":
            return Credit(message.credit.chunks)
        case "finish":
            return Finish()
        case other:
            raise InvalidInput(f"{other} on an open edge; chunk, credit or finish expected")


def open_to_proto(request: OpenRequest) -> stage_pb2.AttachRequest:
    message = stage_pb2.Open(
        session_id=request.session,
        fence=request.fence,
        avatar_id=request.avatar,
        seed=request.seed,
        epoch=request.epoch,
        route=[
            stage_pb2.Hop(stage=h.stage, address=h.address, fence=h.fence) for h in request.route
        ],
        options=request.options,
    )
    return stage_pb2.AttachRequest(open=message)


def open_from_proto(message: stage_pb2.AttachRequest) -> OpenRequest:
    """Raises InvalidInput where `message` is not a well-formed Open."""
    if message.WhichOneof("message") != "open":
        raise InvalidInput(f"an edge began with {message.WhichOneof('message')}, open expected")
    opening = message.open
    if len(opening.route) > MAX_HOPS:
        raise InvalidInput(f"route of {len(opening.route)} hops, at most {MAX_HOPS} allowed")
    if len(opening.options) > MAX_OPTIONS:
        raise InvalidInput(f"{len(opening.options)} options, at most {MAX_OPTIONS} allowed")
    return OpenRequest(
        wire.session_id(opening.session_id),
        opening.fence,
        _short(opening.avatar_id),
        opening.seed,
        opening.epoch,
        tuple(Hop(_stage(hop.stage), _short(hop.address), hop.fence) for hop in opening.route),
        {_short(name): _short(value) for name, value in opening.options.items()},
    )


def _stage(name: str) -> StageName:
    if name not in STAGE_OF:
        raise InvalidInput(f"stage {name[:40]!r} is none of {list(STAGES)}")
    return STAGE_OF[name]


def _short(text: str) -> str:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TooLarge(f"text of {len(text)} characters, at most {MAX_TEXT_CHARACTERS} allowed")
    return text
