"""Sessions and operators' calls of a mock server."""

from collections.abc import Iterator

import grpc

from talkingmachines.testing._connection import describe
from talkingmachines.testing._desk import Desk, MockSession, bearer
from talkingmachines.testing._faults import Fault
from talkingmachines.testing._services import full
from talkingmachines_api.v1 import (
    media_pb2,
    operator_pb2,
    operator_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)

STAGES = ("gateway", "audio_llm", "audio_encoder", "score_worker", "vae_decoder")


class Sessions(session_pb2_grpc.SessionServiceServicer):
    """Exactly as many sessions as there are slots; the others wait or are refused."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def CreateSession(  # noqa: N802  # named by the proto
        self, request: session_pb2.CreateSessionRequest, context: grpc.ServicerContext
    ) -> Iterator[session_pb2.CreateSessionResponse]:
        desk = self._desk
        desk.begin("CreateSession", request, context)
        desk.check_key(context)
        avatar = desk.check_avatar(request.avatar_id, context)
        with desk.changed:
            session = desk.opened.get(request.idempotency_key)
            if session is None and not desk.line and desk.num_free() > 0:
                session = desk.open_session(avatar, request.answers, request.idempotency_key)
        if session is None and not request.wait_in_line:
            full(desk).end(context)
        if session is None:
            for step in self._in_line(context):
                if isinstance(step, MockSession):
                    session = step
                    session.avatar, session.answers = avatar, request.answers
                else:
                    yield session_pb2.CreateSessionResponse(place=step)
        if session is not None:
            about = describe(session, connected=False)
            created = session_pb2.CreatedSession(session=about, token=session.token)
            is_delivered = False
            try:
                yield session_pb2.CreateSessionResponse(created=created)
                is_delivered = context.is_active()
            finally:  # who leaves before it arrives gives it up
                if not is_delivered:
                    desk.end_session(session, "hung_up")

    def _in_line(self, context: grpc.ServicerContext) -> Iterator[session_pb2.Place | MockSession]:
        """The places in line, then the session; nothing more once the caller is gone."""
        desk, me, told = self._desk, object(), (0, 0)
        session: MockSession | None = None
        context.add_callback(desk.wake)
        with desk.changed:
            desk.line.append(me)
        try:
            while session is None and context.is_active():
                with desk.changed:
                    if desk.line[0] is me and desk.num_free() > 0:
                        session = desk.open_session("", 0, "")
                        continue
                    place = (desk.line.index(me) + 1, len(desk.line))
                    if place == told:
                        desk.changed.wait()
                        continue
                    told = place
                yield session_pb2.Place(
                    position=place[0], waiting=place[1], estimate_seconds=10.0 * place[0]
                )
        finally:
            with desk.changed:
                desk.line.remove(me)
                desk.changed.notify_all()
        if session is not None:
            yield session

    def GetSession(  # noqa: N802  # named by the proto
        self, request: session_pb2.GetSessionRequest, context: grpc.ServicerContext
    ) -> session_pb2.GetSessionResponse:
        self._desk.begin("GetSession", request, context)
        session = self._desk.session(request.session_id, context)
        about = describe(session, connected=session.connection is not None)
        return session_pb2.GetSessionResponse(session=about)

    def ListSessions(  # noqa: N802  # named by the proto
        self, request: session_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> session_pb2.ListSessionsResponse:
        desk = self._desk
        desk.begin("ListSessions", request, context)
        desk.check_operator(context)
        with desk.changed:
            sessions = sorted(desk.sessions.values(), key=lambda session: session.id)
        start = int(request.page_token or 0)
        end = start + (request.page_size or 100)
        summaries = [
            session_pb2.SessionSummary(
                id=session.id,
                avatar_id=session.avatar,
                state=media_pb2.BEHAVIOUR_IDLE,
                age_seconds=session.at / 48_000,
                connected=session.connection is not None,
            )
            for session in sessions[start:end]
        ]
        token = str(end) if end < len(sessions) else ""
        return session_pb2.ListSessionsResponse(sessions=summaries, next_page_token=token)

    def InterruptSession(  # noqa: N802  # named by the proto
        self, request: session_pb2.InterruptSessionRequest, context: grpc.ServicerContext
    ) -> session_pb2.InterruptSessionResponse:
        self._desk.begin("InterruptSession", request, context)
        connection = self._desk.session(request.session_id, context).connection
        heard = connection.interrupt() if connection is not None else None
        return session_pb2.InterruptSessionResponse(heard=heard)

    def SwapAvatar(  # noqa: N802  # named by the proto
        self, request: session_pb2.SwapAvatarRequest, context: grpc.ServicerContext
    ) -> session_pb2.SwapAvatarResponse:
        self._desk.begin("SwapAvatar", request, context)
        session = self._desk.session(request.session_id, context)
        session.avatar = self._desk.check_avatar(request.avatar_id, context)
        if session.connection is not None:
            session.connection.swap(session.avatar)
        return session_pb2.SwapAvatarResponse()

    def DeleteSession(  # noqa: N802  # named by the proto
        self, request: session_pb2.DeleteSessionRequest, context: grpc.ServicerContext
    ) -> session_pb2.DeleteSessionResponse:
        self._desk.begin("DeleteSession", request, context)
        session = self._desk.session(request.session_id, context)
        self._desk.end_session(session, "hung_up")
        return session_pb2.DeleteSessionResponse()

    def CreateViewerToken(  # noqa: N802  # named by the proto
        self, request: session_pb2.CreateViewerTokenRequest, context: grpc.ServicerContext
    ) -> session_pb2.CreateViewerTokenResponse:
        self._desk.begin("CreateViewerToken", request, context)
        session = self._desk.session(request.session_id, context)
        with self._desk.changed:
            token = f"viewer-{session.id}-{next(session.viewer_numbers)}"
            session.viewer_tokens.append(token)
        return session_pb2.CreateViewerTokenResponse(
            token=token,
            watch_path=f"/watch?session={session.id}#{token}",
            whep_path=f"/v1/sessions/{session.id}/viewers",
        )

    def DeleteViewerTokens(  # noqa: N802  # named by the proto
        self, request: session_pb2.DeleteViewerTokensRequest, context: grpc.ServicerContext
    ) -> session_pb2.DeleteViewerTokensResponse:
        self._desk.begin("DeleteViewerTokens", request, context)
        session = self._desk.session(request.session_id, context)
        with self._desk.changed:
            session.viewer_tokens.clear()
        return session_pb2.DeleteViewerTokensResponse()

    def CreateToken(  # noqa: N802  # named by the proto
        self, request: session_pb2.CreateTokenRequest, context: grpc.ServicerContext
    ) -> session_pb2.CreateTokenResponse:
        desk = self._desk
        desk.begin("CreateToken", request, context)
        if not desk.key:
            Fault("INVALID_INPUT", "This server asks for no key.").end(context)
        desk.check_key(context)
        if bearer(context) != desk.key:
            Fault("PERMISSION_DENIED", "A token makes no tokens.").end(context)
        return session_pb2.CreateTokenResponse(token=desk.make_token(), lifetime_seconds=300)


class Operators(operator_pb2_grpc.OperatorServiceServicer):
    """One worker a stage."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def ListWorkers(  # noqa: N802  # named by the proto
        self, request: operator_pb2.ListWorkersRequest, context: grpc.ServicerContext
    ) -> operator_pb2.ListWorkersResponse:
        self._desk.begin("ListWorkers", request, context)
        self._desk.check_operator(context)
        workers = [self._worker(stage) for stage in STAGES]
        return operator_pb2.ListWorkersResponse(workers=workers)

    def DrainWorker(  # noqa: N802  # named by the proto
        self, request: operator_pb2.DrainWorkerRequest, context: grpc.ServicerContext
    ) -> operator_pb2.DrainWorkerResponse:
        self._desk.begin("DrainWorker", request, context)
        self._desk.check_operator(context)
        stage = request.worker_id.removesuffix("-1")
        if stage not in STAGES or not request.worker_id.endswith("-1"):
            Fault("NOT_FOUND", f"No worker {request.worker_id!r}.").end(context)
        with self._desk.changed:
            self._desk.draining.add(stage)
        return operator_pb2.DrainWorkerResponse(worker=self._worker(stage))

    def _worker(self, stage: str) -> operator_pb2.WorkerSummary:
        with self._desk.changed:
            return operator_pb2.WorkerSummary(
                id=f"{stage}-1",
                stage=stage,
                slots=self._desk.slots,
                sessions=len(self._desk.sessions),
                draining=stage in self._desk.draining,
            )
