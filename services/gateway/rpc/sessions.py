"""SessionService: sessions opened, looked at, interrupted and ended, wherever they are."""

from typing import Any, Final, cast

import grpc

from avatar.errors import InvalidInput
from services.gateway.admission import Tell
from services.gateway.call import Call
from services.gateway.calls import Calls
from services.gateway.coordinator import Answers
from services.gateway.guard import Guard
from services.gateway.keyring import Caller, bearer
from services.gateway.line import Opening
from services.gateway.once import Once, name_of
from services.gateway.rpc.border import answered, headers_of
from services.gateway.rpc.owner import (
    ANSWER_S,
    GATHER_S,
    Owners,
    Theirs,
    asked,
    gathered,
    is_forwarded,
)
from services.gateway.rpc.server import Served, name_in
from services.gateway.rpc.states import ANSWERS, heard_of, session_of, summary_of
from services.gateway.tokens import watch_path, whep_path
from services.settings import AppConfig
from talkingmachines_api.v1 import session_pb2, session_pb2_grpc

MAX_PAGE: Final = 1000
USUAL_PAGE: Final = 100


class SessionService(session_pb2_grpc.SessionServiceServicer):
    """Its methods are coroutines that write, as those of `TalkService`."""

    def __init__(
        self, calls: Calls, guard: Guard, once: Once, owners: Owners, config: AppConfig
    ) -> None:
        self._calls = calls
        self._guard = guard
        self._once = once
        self._owners = owners
        self._config = config

    async def CreateSession(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request: session_pb2.CreateSessionRequest, context: Any
    ) -> None:
        async def create() -> None:
            caller = self._guard.caller(headers_of(context))
            key = request.idempotency_key
            name = name_of(caller, key) if key else ""
            if name and (theirs := await self._first_asked(context, name)) is not None:
                await asked(lambda: _passed_on(theirs, request, context))
            else:
                await self._create(request, caller, name, context)

        await answered(context, create)

    async def GetSession(  # noqa: N802  the protocol's name
        self, request: session_pb2.GetSessionRequest, context: Any
    ) -> session_pb2.GetSessionResponse:
        async def get(call: Call) -> session_pb2.GetSessionResponse:
            return session_pb2.GetSessionResponse(session=session_of(call, self._config))

        return await self._at_owner("GetSession", request, context, get)

    async def InterruptSession(  # noqa: N802  the protocol's name
        self, request: session_pb2.InterruptSessionRequest, context: Any
    ) -> session_pb2.InterruptSessionResponse:
        async def interrupt(call: Call) -> session_pb2.InterruptSessionResponse:
            return session_pb2.InterruptSessionResponse(heard=heard_of(call.interrupt()))

        return await self._at_owner("InterruptSession", request, context, interrupt)

    async def SwapAvatar(  # noqa: N802  the protocol's name
        self, request: session_pb2.SwapAvatarRequest, context: Any
    ) -> session_pb2.SwapAvatarResponse:
        async def swap(call: Call) -> session_pb2.SwapAvatarResponse:
            call.swap(request.avatar_id)
            return session_pb2.SwapAvatarResponse()

        return await self._at_owner("SwapAvatar", request, context, swap)

    async def DeleteSession(  # noqa: N802  the protocol's name
        self, request: session_pb2.DeleteSessionRequest, context: Any
    ) -> session_pb2.DeleteSessionResponse:
        async def delete(call: Call) -> session_pb2.DeleteSessionResponse:
            await self._calls.end(call)
            return session_pb2.DeleteSessionResponse()

        return await self._at_owner("DeleteSession", request, context, delete)

    async def CreateViewerToken(  # noqa: N802  the protocol's name
        self, request: session_pb2.CreateViewerTokenRequest, context: Any
    ) -> session_pb2.CreateViewerTokenResponse:
        async def make(call: Call) -> session_pb2.CreateViewerTokenResponse:
            token = call.audience.tokens.make()
            return session_pb2.CreateViewerTokenResponse(
                token=token, watch_path=watch_path(call.id, token), whep_path=whep_path(call.id)
            )

        return await self._at_owner("CreateViewerToken", request, context, make)

    async def DeleteViewerTokens(  # noqa: N802  the protocol's name
        self, request: session_pb2.DeleteViewerTokensRequest, context: Any
    ) -> session_pb2.DeleteViewerTokensResponse:
        async def forget(call: Call) -> session_pb2.DeleteViewerTokensResponse:
            call.audience.tokens.forget()
            call.audience.dismiss()
            return session_pb2.DeleteViewerTokensResponse()

        return await self._at_owner("DeleteViewerTokens", request, context, forget)

    async def CreateToken(  # noqa: N802  the protocol's name
        self, request: session_pb2.CreateTokenRequest, context: Any
    ) -> session_pb2.CreateTokenResponse:
        async def make() -> session_pb2.CreateTokenResponse:
            token, seconds = self._guard.token(self._guard.caller(headers_of(context)))
            return session_pb2.CreateTokenResponse(token=token, lifetime_seconds=seconds)

        return await answered(context, make)

    async def ListSessions(  # noqa: N802  the protocol's name
        self, request: session_pb2.ListSessionsRequest, context: Any
    ) -> session_pb2.ListSessionsResponse:
        async def get() -> session_pb2.ListSessionsResponse:
            self._guard.operator(headers_of(context))
            size = request.page_size or USUAL_PAGE
            if size > MAX_PAGE:
                raise InvalidInput(f"page_size is {size}; at most {MAX_PAGE} come at once")
            return await self._list(request.page_token, size, context)

        return await answered(context, get)

    async def _list(self, after: str, size: int, context: Any) -> session_pb2.ListSessionsResponse:
        """Sessions after that id. Each gateway gives its first ones: the first of all are there."""

        async def ask(theirs: Theirs) -> session_pb2.ListSessionsResponse:
            stub = session_pb2_grpc.SessionServiceStub(theirs.channel)
            page = session_pb2.ListSessionsRequest(page_size=size, page_token=after)
            answer: session_pb2.ListSessionsResponse = await stub.ListSessions(
                page, metadata=theirs.metadata, timeout=GATHER_S
            )
            return answer

        told, silent = await gathered(await self._owners.others(context), ask)
        found = [summary_of(call) for call in self._calls.all() if call.id > after]
        has_more = any(each.next_page_token for each in told)
        for each in told:
            found += each.sessions
        found.sort(key=lambda session: session.id)
        has_more = has_more or len(found) > size
        page = found[:size]
        return session_pb2.ListSessionsResponse(
            sessions=page,
            next_page_token=page[-1].id if has_more else "",
            silent_gateways=silent,
        )

    async def _create(
        self,
        request: session_pb2.CreateSessionRequest,
        caller: Caller,
        name: str,
        context: Any,
    ) -> None:
        if request.answers not in ANSWERS:
            raise InvalidInput(f"answers is {request.answers}, which this server does not know")
        answers = cast(Answers, ANSWERS[request.answers])

        async def open_call(tell: Tell | None) -> tuple[Call, str]:
            return await self._calls.open(request.avatar_id, tell, caller, answers)

        async def open_once(tell: Tell) -> tuple[Call, str]:
            told = tell if request.wait_in_line else None
            if not name:
                return await open_call(told)
            whole = f"{request.avatar_id} {request.wait_in_line} {answers}"
            return await self._once.open(name, whole, open_call, told)

        opening, is_delivered = Opening(open_once), False
        try:
            while (place := await opening.next()) is not None:
                step = session_pb2.Place(
                    position=place.position,
                    waiting=place.waiting,
                    estimate_seconds=place.estimate_s,
                )
                await context.write(session_pb2.CreateSessionResponse(place=step))
            call, token = opening.call()
            created = session_pb2.CreatedSession(
                session=session_of(call, self._config), token=token
            )
            await context.write(session_pb2.CreateSessionResponse(created=created))
            is_delivered = True
        finally:
            if not is_delivered:
                opening.abandon()

    async def _first_asked(self, context: Any, name: str) -> Theirs | None:
        """The gateway that was asked before; None where that is this one."""
        while (owner := await self._once.owner(name)) != self._once.worker:
            theirs = await self._owners.of_worker(context, owner)
            if theirs is not None or is_forwarded(context):
                return theirs
            await self._once.forget(name, owner)  # it is gone, and its sessions are
        return None

    async def _at_owner(self, method: str, request: Any, context: Any, answer: Any) -> Any:
        """Answered by the gateway that owns the session, to who has its token."""

        async def get() -> Any:
            theirs = await self._owners.of_session(context, self._calls, request.session_id)
            if theirs is None:
                token = bearer(headers_of(context))
                return await answer(self._calls.find(request.session_id, token))
            ask = getattr(session_pb2_grpc.SessionServiceStub(theirs.channel), method)
            return await asked(lambda: ask(request, metadata=theirs.metadata, timeout=ANSWER_S))

        return await answered(context, get)


async def _passed_on(
    theirs: Theirs, request: session_pb2.CreateSessionRequest, context: Any
) -> None:
    stub = session_pb2_grpc.SessionServiceStub(theirs.channel)
    async for step in stub.CreateSession(request, metadata=theirs.metadata):
        await context.write(step)


def served(service: SessionService) -> Served:
    name = name_in(session_pb2.DESCRIPTOR, "SessionService")

    def add(server: grpc.aio.Server) -> None:
        session_pb2_grpc.add_SessionServiceServicer_to_server(service, server)

    return Served(name, add)
