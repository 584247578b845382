"""What caller and session tell each other: OpenAI Realtime names, and avatar.* beside them."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from avatar.errors import InvalidInput, TooLarge
from avatar.media import Behaviour, CueName

MAX_EVENT_BYTES = 16 << 10


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # the protocol's clients send more

    event_id: str = Field(default="", max_length=128)


class InputText(BaseModel):
    """A text that the caller typed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["input_text"]
    text: str = Field(max_length=2000)


class UserMessage(BaseModel):
    """A message of the caller."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["message"]
    role: Literal["user"]
    content: tuple[InputText, ...] = Field(min_length=1, max_length=8)


class CreateItem(_Event):
    """A typed message; answered at the next response.create."""

    type: Literal["conversation.item.create"]
    item: UserMessage


class CreateResponse(_Event):
    """Answer now."""

    type: Literal["response.create"]


class CancelResponse(_Event):
    """Stop making the answer, and talking."""

    type: Literal["response.cancel"]


class ClearOutput(_Event):
    """Stop talking: the same as response.cancel, because nothing is made that is not played."""

    type: Literal["output_audio_buffer.clear"]


class PushToTalk(_Event):
    """The talk button: while it is down a turn does not end; letting it go ends it."""

    type: Literal["avatar.push_to_talk"]
    pressed: bool


class Say(_Event):
    """Say this text as it stands."""

    type: Literal["avatar.say"]
    text: str = Field(min_length=1, max_length=2000)


class Cue(_Event):
    """Show this, from the next chunk on."""

    type: Literal["avatar.cue"]
    name: CueName


class Swap(_Event):
    """Let another avatar go on with the call."""

    type: Literal["avatar.swap"]
    avatar: str = Field(min_length=1, max_length=64)

    @classmethod
    def to(cls, avatar: str) -> "Swap":
        """Raises InvalidInput for what can be nobody's name."""
        try:
            return cls(type="avatar.swap", avatar=avatar)
        except ValidationError as error:
            raise InvalidInput(
                f"an avatar of {len(avatar)} characters; give the id of one, such as mira"
            ) from error


class ClientHeartbeat(_Event):
    """The caller is there; several a second. It is sent back as it came."""

    type: Literal["avatar.heartbeat"]
    n: int = Field(ge=0, le=2**53)


ClientEvent = (
    CreateItem
    | CreateResponse
    | CancelResponse
    | ClearOutput
    | PushToTalk
    | Say
    | Cue
    | Swap
    | ClientHeartbeat
)
_CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(
    Annotated[ClientEvent, Field(discriminator="type")]
)

CallState = Behaviour


def parse(message: str | bytes) -> ClientEvent:
    """One event of a caller.

    Raises:
        TooLarge: It has more than 16 KiB.
        InvalidInput: It is no event that a caller may send.
    """
    size = len(message.encode() if isinstance(message, str) else message)
    if size > MAX_EVENT_BYTES:
        raise TooLarge(f"an event of {size} bytes, at most {MAX_EVENT_BYTES} are taken")
    try:
        return _CLIENT_EVENT.validate_python(json.loads(message))
    except (ValueError, RecursionError) as error:
        first: Any = error.errors()[0] if isinstance(error, ValidationError) else None
        where = [".".join(map(str, first["loc"]))] if first and first["loc"] else []
        detail = ": ".join([*where, first["msg"]]) if first else "no JSON"
        raise InvalidInput(f"this event is not understood: {detail[:300]}") from error
