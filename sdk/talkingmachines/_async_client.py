"""The client for programs with asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet

import grpc

from talkingmachines import _health
from talkingmachines._async_answer import AsyncAnswer, AsyncCall
from talkingmachines._async_avatar_calls import AsyncAvatarCalls
from talkingmachines._async_session import AsyncSession
from talkingmachines._avatars import Token
from talkingmachines._connection import channel_options, metadata_of, server_address
from talkingmachines._exchange import Exchange, Readiness
from talkingmachines._input import AudioSource, check_avatar, check_text, read_audio
from talkingmachines._live_events import Answers, PictureFormat, Place, SoundFormat
from talkingmachines._live_wire import summary_of, worker_of
from talkingmachines._operators import SessionList, SessionSummary, Worker
from talkingmachines._session_calls import SessionCalls
from talkingmachines._session_info import SessionOptions, Ticket
from talkingmachines._status import CallContext, error_of
from talkingmachines._wire import (
    ask_requests,
    render_requests,
    say_request,
)
from talkingmachines_api.v1 import (
    operator_pb2,
    operator_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    talk_pb2_grpc,
)

R = TypeVar("R")


class AsyncClient(AsyncAvatarCalls):
    """Talks with a server, from one event loop.

        async with AsyncClient() as client:
            await client.say("Hello.", avatar="ada").save("hello.mp4")

    Args:
        server: host:port of the server's gRPC address; empty for TALKINGMACHINES_SERVER, or else
            127.0.0.1:9000.
        key: Who asks, where the server wants to know; empty for TALKINGMACHINES_KEY, or else
            nobody.
        tls: Encrypt; needs something before the server that does. Without it the key travels in
            the clear: let it cross no network that others share.
        deadline_s: Time for one whole answer.
        retry_busy_s: How long `say` and `ask` keep trying while every slot of the server is
            taken, at the intervals the server asks for; 0 for no second try.

    Raises:
        InvalidInput: If `server` is not host:port, or `key` cannot be sent.
    """

    def __init__(
        self,
        server: str = "",
        *,
        key: str = "",
        tls: bool = False,
        deadline_s: float = 300.0,
        retry_busy_s: float = 0.0,
    ) -> None:
        self._server = server_address(server)
        self._metadata = metadata_of(key)
        self._tls = tls
        self._deadline_s = deadline_s
        self._retry_busy_s = retry_busy_s
        self._is_closed = False
        self._channel: grpc.aio.Channel | None = None
        self._live: WeakSet[AsyncSession] = WeakSet()

    @property
    def server(self) -> str:
        """host:port of the server."""
        return self._server

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection and cancels every answer under way; a second time does nothing."""
        await asyncio.gather(*(session.close() for session in list(self._live)))
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close(grace=None)

    def say(self, text: str, avatar: str = "") -> AsyncAnswer:
        """The avatar says `text`, 1 to 2000 characters.

        Args:
            text: What to say.
            avatar: Id of the avatar; empty for the server's default one.

        Raises:
            InvalidInput: If the text is empty; TooLarge if it is too long.
        """
        request = say_request(check_text(text), check_avatar(avatar))

        async def begin() -> AsyncCall:
            return self._talk().Say(request, timeout=self._deadline_s, metadata=self._metadata)

        return AsyncAnswer(begin, self._exchange())

    def ask(self, audio: AudioSource, avatar: str = "") -> AsyncAnswer:
        """The avatar hears a spoken question and answers it.

        The first step raises InvalidInput if the audio is empty, TooLarge if it is over its limit,
        and OSError if the file cannot be read.

        Args:
            audio: The bytes of an audio file (WAV, MP3, OGG, FLAC, M4A, WEBM), or its path; at
                most 16 MiB and 60 s.
            avatar: Id of the avatar; empty for the server's default one.
        """
        check_avatar(avatar)

        async def begin() -> AsyncCall:
            requests = ask_requests(await asyncio.to_thread(read_audio, audio), avatar)
            return self._talk().Ask(requests, timeout=self._deadline_s, metadata=self._metadata)

        return AsyncAnswer(begin, self._exchange())

    def render(self, audio: AudioSource, avatar: str = "") -> AsyncAnswer:
        """The avatar speaks with the voice of a recording.

        The first step raises InvalidInput if the audio is empty, TooLarge if it is over its limit,
        and OSError if the file cannot be read.

        Args:
            audio: The bytes of an audio file (WAV, MP3, OGG, FLAC, M4A, WEBM), or its path; at
                most 16 MiB and 240 s.
            avatar: Id of the avatar; empty for the server's default one.
        """
        check_avatar(avatar)

        async def begin() -> AsyncCall:
            requests = render_requests(await asyncio.to_thread(read_audio, audio), avatar)
            return self._talk().Render(requests, timeout=self._deadline_s, metadata=self._metadata)

        return AsyncAnswer(begin, self._exchange())

    def session(
        self,
        avatar: str = "",
        *,
        answers: Answers = "server",
        pictures: PictureFormat = "jpeg",
        sound: SoundFormat = "pcm",
        wait_in_line: bool = False,
        on_place: Callable[[Place], object] | None = None,
    ) -> AsyncSession:
        """A live session with an avatar, opened when its block is entered.

        Args:
            avatar: Id of the avatar; empty for the server's default one.
            answers: Who answers the user: the server's model, or the client, which pushes replies
                of its own.
            pictures: How pictures come; "none" for sound alone.
            sound: How sound comes.
            wait_in_line: Wait, while all slots are taken.
            on_place: Called meanwhile with the place in line, from another task.

        Raises:
            InvalidInput: If the avatar's name cannot be sent.
        """
        options = SessionOptions(
            check_avatar(avatar), answers, pictures, sound, wait_in_line, on_place
        )
        return self._keep(AsyncSession(self._calls(), options))

    def resume(
        self,
        session_id: str,
        token: str,
        *,
        pictures: PictureFormat = "jpeg",
        sound: SoundFormat = "pcm",
    ) -> AsyncSession:
        """The live session that another program, or an earlier one, opened and left.

        Args:
            session_id: `id` of that session.
            token: `token` of that session.
            pictures: How pictures come; "none" for sound alone.
            sound: How sound comes.
        """
        options = SessionOptions("", "server", pictures, sound, False, None)
        return self._keep(AsyncSession(self._calls(), options, Ticket(session_id, token)))

    async def create_token(self) -> Token:
        """A token that opens sessions on the account of this client's key, for some minutes.

        For a program that shall not see the key, such as a page in a browser.

        Raises:
            InvalidInput: The server asks for no keys.
            PermissionDenied: This client has a token itself, which makes no others.
        """
        request = session_pb2.CreateTokenRequest()
        answer = await self._unary(self._sessions().CreateToken, request)
        return Token(answer.token, answer.lifetime_seconds)

    async def sessions(self) -> SessionList:
        """Every session of the server, for operators.

        Raises:
            PermissionDenied: If the key is not an operator's.
        """
        found: list[SessionSummary] = []
        silent: set[str] = set()
        page = ""
        while True:
            request = session_pb2.ListSessionsRequest(page_size=1000, page_token=page)
            answer = await self._unary(self._sessions().ListSessions, request)
            found += [summary_of(each) for each in answer.sessions]
            silent |= set(answer.silent_gateways)
            if not (page := answer.next_page_token):
                return SessionList(tuple(found), tuple(sorted(silent)))

    async def workers(self) -> list[Worker]:
        """Every process of the server, stage by stage, for operators.

        Raises:
            PermissionDenied: If the key is not an operator's.
        """
        request = operator_pb2.ListWorkersRequest()
        answer = await self._unary(self._operator().ListWorkers, request)
        return [worker_of(each) for each in answer.workers]

    async def drain(self, worker_id: str) -> Worker:
        """A worker takes no new sessions from now on; those that it has go on. For operators.

        Asked again, it tells how many are left.

        Raises:
            NotFound: There is no worker of that id.
            PermissionDenied: If the key is not an operator's.
        """
        request = operator_pb2.DrainWorkerRequest(worker_id=worker_id)
        return worker_of((await self._unary(self._operator().DrainWorker, request)).worker)

    async def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Returns as soon as the server can talk.

        Raises:
            Unavailable: If it cannot within `timeout_s`.
        """
        readiness = Readiness(self._server, timeout_s)
        while True:
            states = _health.watch(self._open_channel(), readiness.left_s)
            try:
                async for state in states:
                    if readiness.is_ready(state):
                        return
                delay_s = readiness.delay_after_end_s(None)
            except grpc.RpcError as error:
                delay_s = readiness.delay_after_end_s(error)
            finally:
                states.cancel()
            await asyncio.sleep(delay_s)

    async def _unary(self, call: Callable[..., Awaitable[R]], request: object) -> R:
        try:
            return await call(request, timeout=self._deadline_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error, CallContext(self._server, self._deadline_s)) from error

    def _talk(self) -> "talk_pb2_grpc.TalkServiceAsyncStub":
        return talk_pb2_grpc.TalkServiceStub(self._open_channel())

    def _sessions(self) -> "session_pb2_grpc.SessionServiceAsyncStub":
        return session_pb2_grpc.SessionServiceStub(self._open_channel())

    def _operator(self) -> "operator_pb2_grpc.OperatorServiceAsyncStub":
        return operator_pb2_grpc.OperatorServiceStub(self._open_channel())

    def _calls(self) -> SessionCalls:
        return SessionCalls(
            self._server, self._metadata, self._deadline_s, self._open_channel, self._exchange
        )

    def _keep(self, session: AsyncSession) -> AsyncSession:
        self._live.add(session)
        return session

    def _open_channel(self) -> grpc.aio.Channel:
        if self._is_closed:
            raise ValueError("The client is closed: make a new one.")
        if self._channel is None:  # made at the first call: it belongs to the loop running then
            options = channel_options(self._server)
            self._channel = (
                grpc.aio.secure_channel(self._server, grpc.ssl_channel_credentials(), options)
                if self._tls
                else grpc.aio.insecure_channel(self._server, options)
            )
        return self._channel

    def _exchange(self) -> Exchange:
        return Exchange(self._server, self._deadline_s, self._retry_busy_s)
