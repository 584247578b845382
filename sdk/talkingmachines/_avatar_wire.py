"""Avatars and how they are made, to and from protobuf."""

from datetime import UTC
from typing import Final

from talkingmachines._avatars import OperationState, Portrait, Progress
from talkingmachines._events import Avatar
from talkingmachines._input import FileSource, check_name, read_description, read_portrait
from talkingmachines_api.v1 import avatar_pb2

_STATES: "Final[dict[avatar_pb2.OperationState.ValueType, OperationState]]" = {
    avatar_pb2.OPERATION_STATE_RUNNING: "running",
    avatar_pb2.OPERATION_STATE_DONE: "done",
    avatar_pb2.OPERATION_STATE_FAILED: "failed",
    avatar_pb2.OPERATION_STATE_CANCELLED: "cancelled",
}


def avatar_of(message: avatar_pb2.AvatarDetails) -> Avatar:
    who = message.avatar
    return Avatar(who.id, who.display_name, who.description, message.is_shipped)


def create_avatar(source: FileSource | Portrait) -> avatar_pb2.CreateAvatarRequest:
    """Reads the file; raises as `read_description` and `read_portrait` do."""
    if not isinstance(source, Portrait):
        return avatar_pb2.CreateAvatarRequest(description_toml=read_description(source))
    consent = avatar_pb2.Consent(
        given=True,
        given_by=check_name(source.consent.given_by, "consent's given_by"),
        statement=check_name(source.consent.statement, "consent's statement"),
    )
    portrait = avatar_pb2.Portrait(
        image=read_portrait(source.image),
        avatar_id=check_name(source.avatar, "avatar's id"),
        display_name=check_name(source.display_name, "display_name"),
        description=check_name(source.description, "description"),
        persona=check_name(source.persona, "persona"),
        consent=consent,
    )
    return avatar_pb2.CreateAvatarRequest(portrait=portrait)


def progress_of(message: avatar_pb2.Operation) -> Progress:
    return Progress(
        operation_id=message.id,
        avatar=message.avatar_id,
        # running too where only a newer server knows what it does
        state=_STATES.get(message.state, "running"),
        stage=message.stage,
        share=message.progress,
        left_s=message.left_seconds if message.HasField("left_seconds") else None,
        created=message.create_time.ToDatetime(UTC),
        reason=message.error_reason,
        message=message.error_message,
    )
