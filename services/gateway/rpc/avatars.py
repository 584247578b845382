"""AvatarService: who can be called, and avatars that are made and removed."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from avatar.cast.avatars import is_shipped
from avatar.cast.characters import Character
from avatar.errors import InvalidInput
from avatar.telemetry.logging import get_logger
from services.gateway.guard import Guard
from services.gateway.keyring import Caller
from services.gateway.looks import everybody, picture_of
from services.gateway.neighbours import ANSWER_S, GATHER_S
from services.gateway.recipes import Consent, Described, Portrayed, Source
from services.gateway.rpc.border import answered, headers_of
from services.gateway.rpc.owner import Owners, Theirs, asked
from services.gateway.rpc.server import Served, name_in
from services.gateway.rpc.states import avatar_of
from services.gateway.talker import find_avatar
from services.gateway.workshop import Operation, Workshop, worker_of
from services.settings import AppConfig
from talkingmachines_api.v1 import avatar_pb2, avatar_pb2_grpc

log = get_logger(__name__)

MAX_PAGE: Final = 1000
USUAL_PAGE: Final = 100
MAX_TOKEN_DIGITS: Final = 9
STATES: Final = {
    "running": avatar_pb2.OPERATION_STATE_RUNNING,
    "done": avatar_pb2.OPERATION_STATE_DONE,
    "failed": avatar_pb2.OPERATION_STATE_FAILED,
    "cancelled": avatar_pb2.OPERATION_STATE_CANCELLED,
}
T = TypeVar("T")


class AvatarService(avatar_pb2_grpc.AvatarServiceServicer):
    """An operation is answered for by the gateway that runs it; its id names that."""

    def __init__(self, workshop: Workshop, guard: Guard, owners: Owners, config: AppConfig) -> None:
        self._workshop = workshop
        self._guard = guard
        self._owners = owners
        self._config = config

    async def ListAvatars(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.AvatarServiceListAvatarsRequest, context: Any
    ) -> avatar_pb2.AvatarServiceListAvatarsResponse:
        async def get() -> avatar_pb2.AvatarServiceListAvatarsResponse:
            size, start = request.page_size or USUAL_PAGE, request.page_token or "0"
            if size > MAX_PAGE:
                raise InvalidInput(f"page_size is {size}; at most {MAX_PAGE} come at once")
            if not start.isdecimal() or len(start) > MAX_TOKEN_DIGITS:
                raise InvalidInput("page_token is none that was given; leave it empty to begin")
            first = int(start)
            people = await everybody(self._config.avatars_dir)
            last = first + size
            return avatar_pb2.AvatarServiceListAvatarsResponse(
                avatars=[_details(each) for each in people[first:last]],
                next_page_token=str(last) if last < len(people) else "",
            )

        return await answered(context, get)

    async def GetAvatar(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.GetAvatarRequest, context: Any
    ) -> avatar_pb2.GetAvatarResponse:
        async def get() -> avatar_pb2.GetAvatarResponse:
            character = find_avatar(request.avatar_id, self._config.avatars_dir)
            path = picture_of(self._config, character.id, "portrait.png")
            portrait = path.read_bytes() if path is not None else b""
            return avatar_pb2.GetAvatarResponse(avatar=_details(character), portrait=portrait)

        return await answered(context, get)

    async def CreateAvatar(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.CreateAvatarRequest, context: Any
    ) -> avatar_pb2.CreateAvatarResponse:
        async def create() -> avatar_pb2.CreateAvatarResponse:
            operator = self._guard.operator(headers_of(context))
            operation = await self._workshop.create(_source(request))
            log.info("avatar_asked", avatar=operation.avatar, key=operator.key)
            return avatar_pb2.CreateAvatarResponse(operation=_message(operation))

        return await answered(context, create)

    async def DeleteAvatar(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.DeleteAvatarRequest, context: Any
    ) -> avatar_pb2.DeleteAvatarResponse:
        async def delete() -> avatar_pb2.DeleteAvatarResponse:
            operator = self._guard.operator(headers_of(context))
            await self._workshop.delete(request.avatar_id)
            log.info("avatar_removal_asked", avatar=request.avatar_id, key=operator.key)
            return avatar_pb2.DeleteAvatarResponse()

        return await answered(context, delete)

    async def GetOperation(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.GetOperationRequest, context: Any
    ) -> avatar_pb2.GetOperationResponse:
        async def ours(operator: Caller) -> avatar_pb2.GetOperationResponse:
            operation = self._workshop.get(request.operation_id)
            return avatar_pb2.GetOperationResponse(operation=_message(operation))

        return await self._at_maker("GetOperation", request, context, ours)

    async def CancelOperation(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.CancelOperationRequest, context: Any
    ) -> avatar_pb2.CancelOperationResponse:
        async def ours(operator: Caller) -> avatar_pb2.CancelOperationResponse:
            operation = await self._workshop.cancel(request.operation_id)
            log.info("avatar_stop_asked", avatar=operation.avatar, key=operator.key)
            return avatar_pb2.CancelOperationResponse(operation=_message(operation))

        return await self._at_maker("CancelOperation", request, context, ours)

    async def WatchOperation(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request: avatar_pb2.WatchOperationRequest, context: Any
    ) -> None:
        async def pass_on(theirs: Theirs) -> None:
            stub = avatar_pb2_grpc.AvatarServiceStub(theirs.channel)
            async for step in stub.WatchOperation(request, metadata=theirs.metadata):
                await context.write(step)

        async def watch() -> None:
            self._guard.operator(headers_of(context))
            theirs = await self._owners.of_worker(context, worker_of(request.operation_id))
            if theirs is not None:
                await asked(lambda: pass_on(theirs))
                return
            async for operation in self._workshop.watch(request.operation_id):
                step = avatar_pb2.WatchOperationResponse(operation=_message(operation))
                await context.write(step)

        await answered(context, watch)

    async def ListOperations(  # noqa: N802  the protocol's name
        self, request: avatar_pb2.ListOperationsRequest, context: Any
    ) -> avatar_pb2.ListOperationsResponse:
        async def ask(theirs: Theirs) -> avatar_pb2.ListOperationsResponse:
            stub = avatar_pb2_grpc.AvatarServiceStub(theirs.channel)
            answer: avatar_pb2.ListOperationsResponse = await stub.ListOperations(
                request, metadata=theirs.metadata, timeout=GATHER_S
            )
            return answer

        async def get() -> avatar_pb2.ListOperationsResponse:
            self._guard.operator(headers_of(context))
            found = [_message(each) for each in self._workshop.all()]
            told, silent = await self._owners.gather(context, ask)
            for each in told:
                found += each.operations
            found.sort(key=lambda each: each.create_time.ToNanoseconds(), reverse=True)
            return avatar_pb2.ListOperationsResponse(operations=found, silent_gateways=silent)

        return await answered(context, get)

    async def _at_maker(
        self, method: str, request: Any, context: Any, ours: Callable[[Caller], Awaitable[T]]
    ) -> T:
        async def get() -> T:
            operator = self._guard.operator(headers_of(context))
            theirs = await self._owners.of_worker(context, worker_of(request.operation_id))
            if theirs is None:
                return await ours(operator)
            ask = getattr(avatar_pb2_grpc.AvatarServiceStub(theirs.channel), method)
            answer: T = await asked(
                lambda: ask(request, metadata=theirs.metadata, timeout=ANSWER_S)
            )
            return answer

        return await answered(context, get)


def _details(character: Character) -> avatar_pb2.AvatarDetails:
    shipped = is_shipped(character.id)
    return avatar_pb2.AvatarDetails(avatar=avatar_of(character), is_shipped=shipped)


def _source(request: avatar_pb2.CreateAvatarRequest) -> Source:
    match request.WhichOneof("source"):
        case "description_toml":
            return Described(request.description_toml)
        case "portrait":
            given = request.portrait
            consent = given.consent
            return Portrayed(
                given.image,
                given.avatar_id,
                given.display_name,
                given.description,
                given.persona,
                Consent(consent.given, consent.given_by, consent.statement),
            )
        case _:
            raise InvalidInput("nothing to make an avatar from: set description_toml or portrait")


def _message(operation: Operation) -> avatar_pb2.Operation:
    created = Timestamp()
    created.FromDatetime(operation.created)
    return avatar_pb2.Operation(
        id=operation.id,
        avatar_id=operation.avatar,
        state=STATES[operation.state],
        stage=operation.stage,
        progress=operation.done,
        left_seconds=operation.left_s,
        create_time=created,
        error_reason=operation.error_reason,
        error_message=operation.error_message,
    )


def served(service: AvatarService) -> Served:
    name = name_in(avatar_pb2.DESCRIPTOR, "AvatarService")

    def add(server: grpc.aio.Server) -> None:
        avatar_pb2_grpc.add_AvatarServiceServicer_to_server(service, server)

    return Served(name, add)
