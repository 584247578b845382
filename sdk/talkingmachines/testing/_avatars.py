"""Avatars of a mock server: listed, made in two steps, removed."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import grpc

from talkingmachines.testing._desk import Desk, MockAvatar
from talkingmachines.testing._faults import Fault
from talkingmachines.testing._play import media
from talkingmachines_api.v1 import avatar_pb2, avatar_pb2_grpc, talk_pb2

BEGUN_S: Final = 1_767_225_600
"""The first one was begun with the year 2026, the next a second later."""


@dataclass(eq=False)
class Making:
    """An avatar that is made, as it stands now."""

    avatar: MockAvatar
    operation: avatar_pb2.Operation

    @property
    def is_running(self) -> bool:
        return self.operation.state == avatar_pb2.OPERATION_STATE_RUNNING

    def tell(self, state: "avatar_pb2.OperationState.ValueType", stage: str) -> None:
        self.operation.state = state
        self.operation.stage = stage
        self.operation.ClearField("left_seconds")


class Avatars(avatar_pb2_grpc.AvatarServiceServicer):
    """Each look at one that is made, takes it a step further."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._making: list[Making] = []
        self._spoilt: Fault | None = None

    def spoil(self, fault: Fault) -> None:
        with self._desk.changed:
            self._spoilt = fault

    def ListAvatars(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.AvatarServiceListAvatarsRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.AvatarServiceListAvatarsResponse:
        self._desk.begin("ListAvatars", request, context)
        if request.page_token and not request.page_token.isdecimal():
            Fault("INVALID_INPUT", "page_token is none that was given.").end(context)
        start = int(request.page_token or 0)
        end = start + (request.page_size or 100)
        with self._desk.changed:
            avatars = list(self._desk.avatars)
        return avatar_pb2.AvatarServiceListAvatarsResponse(
            avatars=[_details(each) for each in avatars[start:end]],
            next_page_token=str(end) if end < len(avatars) else "",
        )

    def GetAvatar(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.GetAvatarRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.GetAvatarResponse:
        self._desk.begin("GetAvatar", request, context)
        name = self._desk.check_avatar(request.avatar_id, context)
        avatar = next(each for each in self._desk.avatars if each.id == name)
        return avatar_pb2.GetAvatarResponse(avatar=_details(avatar), portrait=media("face.png"))

    def CreateAvatar(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.CreateAvatarRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.CreateAvatarResponse:
        self._note(request)
        self._desk.fail_if_told("CreateAvatar", context)
        self._desk.check_operator(context)
        avatar = _asked_for(request, context)
        if avatar.id in [each.id for each in self._desk.avatars if each.is_shipped]:
            Fault("INVALID_INPUT", f"{avatar.id} is shipped with the server.").end(context)
        with self._desk.changed:
            is_busy = any(each.is_running for each in self._making)
            making = None if is_busy else self._begin(avatar)
        if making is None:
            Fault("NO_FREE_SLOT", "Another avatar is being made.", retry_after_s=30.0).end(context)
        return avatar_pb2.CreateAvatarResponse(operation=making.operation)

    def DeleteAvatar(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.DeleteAvatarRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.DeleteAvatarResponse:
        self._desk.begin("DeleteAvatar", request, context)
        self._desk.check_operator(context)
        name = self._desk.check_avatar(request.avatar_id or "?", context)
        with self._desk.changed:
            found = next(each for each in self._desk.avatars if each.id == name)
            if not found.is_shipped:
                self._desk.avatars.remove(found)
        if found.is_shipped:
            Fault("PERMISSION_DENIED", f"{name} comes with the server and stays.").end(context)
        return avatar_pb2.DeleteAvatarResponse()

    def GetOperation(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.GetOperationRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.GetOperationResponse:
        self._desk.begin("GetOperation", request, context)
        making = self._find(request.operation_id, context)
        with self._desk.changed:
            self._step(making)
            return avatar_pb2.GetOperationResponse(operation=making.operation)

    def WatchOperation(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.WatchOperationRequest, context: grpc.ServicerContext
    ) -> Iterator[avatar_pb2.WatchOperationResponse]:
        self._desk.begin("WatchOperation", request, context)
        making = self._find(request.operation_id, context)
        context.add_callback(self._desk.wake)
        while True:
            with self._desk.changed:
                now = avatar_pb2.Operation()
                now.CopyFrom(making.operation)
            yield avatar_pb2.WatchOperationResponse(operation=now)
            if now.state != avatar_pb2.OPERATION_STATE_RUNNING:
                return
            with self._desk.changed:
                while making.operation == now and context.is_active():
                    if not self._step(making):
                        self._desk.changed.wait()
                if not context.is_active():
                    return

    def ListOperations(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.ListOperationsRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.ListOperationsResponse:
        self._desk.begin("ListOperations", request, context)
        self._desk.check_operator(context)
        with self._desk.changed:
            operations = [each.operation for each in reversed(self._making)]
            return avatar_pb2.ListOperationsResponse(operations=operations)

    def CancelOperation(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.CancelOperationRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.CancelOperationResponse:
        self._desk.begin("CancelOperation", request, context)
        making = self._find(request.operation_id, context)
        with self._desk.changed:
            if making.is_running:
                making.tell(avatar_pb2.OPERATION_STATE_CANCELLED, "cancelled")
                self._desk.changed.notify_all()
            return avatar_pb2.CancelOperationResponse(operation=making.operation)

    def _begin(self, avatar: MockAvatar) -> Making:
        number = len(self._making) + 1
        operation = avatar_pb2.Operation(
            id=f"operation-{number}",
            avatar_id=avatar.id,
            state=avatar_pb2.OPERATION_STATE_RUNNING,
            stage="starting",
        )
        operation.create_time.seconds = BEGUN_S + number
        making = Making(avatar, operation)
        self._making.append(making)
        return making

    def _find(self, id: str, context: grpc.ServicerContext) -> Making:
        self._desk.check_operator(context)
        with self._desk.changed:
            found = [each for each in self._making if each.operation.id == id]
        if not found:
            Fault("NOT_FOUND", f"No operation {id!r}.").end(context)
        return found[0]

    def _step(self, making: Making) -> bool:
        """Takes it a step further, with `changed` held; whether that could be."""
        operation = making.operation
        if not making.is_running:
            return False
        if operation.progress == 0:
            operation.stage, operation.progress, operation.left_seconds = "half way", 0.5, 30.0
        elif self._desk.hold_after is not None:
            return False
        elif (fault := self._spoilt) is not None:
            self._spoilt = None
            making.tell(avatar_pb2.OPERATION_STATE_FAILED, "failed")
            operation.error_reason, operation.error_message = fault.reason, fault.message
        else:
            making.tell(avatar_pb2.OPERATION_STATE_DONE, "ready")
            operation.progress = 1.0
            kept = [each for each in self._desk.avatars if each.id != making.avatar.id]
            self._desk.avatars = [*kept, making.avatar]
        self._desk.changed.notify_all()
        return True

    def _note(self, request: avatar_pb2.CreateAvatarRequest) -> None:
        """The picture as its size."""
        if not request.HasField("portrait"):
            self._desk.note_message("CreateAvatar", request)
            return
        asked = avatar_pb2.CreateAvatarRequest()
        asked.CopyFrom(request)
        asked.portrait.ClearField("image")
        noted = dict(self._desk.fields_of(asked), image_bytes=len(request.portrait.image))
        self._desk.note("CreateAvatar", noted)


def _details(avatar: MockAvatar) -> avatar_pb2.AvatarDetails:
    about = talk_pb2.Avatar(
        id=avatar.id, display_name=avatar.display_name, description=avatar.description
    )
    return avatar_pb2.AvatarDetails(avatar=about, is_shipped=avatar.is_shipped)


def _asked_for(
    request: avatar_pb2.CreateAvatarRequest, context: grpc.ServicerContext
) -> MockAvatar:
    """Whom a request describes, or shows."""
    if request.HasField("portrait"):
        given = request.portrait
        if not given.consent.given or not given.consent.given_by.strip():
            Fault("CONSENT_MISSING", "Whoever is shown has to agree.").end(context)
        return MockAvatar(given.avatar_id, given.display_name, given.description, False)
    try:
        told = tomllib.loads(request.description_toml)
        return MockAvatar(
            str(told["id"]), str(told["display_name"]), str(told["description"]), False
        )
    except tomllib.TOMLDecodeError as error:
        Fault("INVALID_INPUT", f"The description is no TOML: {error}").end(context)
    except KeyError as error:
        Fault("INVALID_INPUT", f"The description has no {error.args[0]}.").end(context)
