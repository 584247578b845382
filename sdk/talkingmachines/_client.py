"""The client for programs without asyncio."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import grpc

from talkingmachines import _health
from talkingmachines._answer import Answer, Call
from talkingmachines._async_client import AsyncClient
from talkingmachines._async_session import AsyncSession
from talkingmachines._avatar_calls import AvatarCalls
from talkingmachines._avatars import Token
from talkingmachines._connection import channel_options, metadata_of, server_address
from talkingmachines._exchange import Exchange, Readiness
from talkingmachines._input import AudioSource, check_avatar, check_text, read_audio
from talkingmachines._live_events import Answers, PictureFormat, Place, SoundFormat
from talkingmachines._live_wire import summary_of, worker_of
from talkingmachines._operators import SessionList, SessionSummary, Worker
from talkingmachines._portal import Portal
from talkingmachines._session import Session
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
_CLOSE_S = 2.0


class Client(AvatarCalls):
    """Talks with a server; may be used from several threads.

        with Client() as client:
            client.say("Hello.", avatar="ada").save("hello.mp4")

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
        self._deadline_s = deadline_s
        self._retry_busy_s = retry_busy_s
        self._closed = threading.Event()
        options = channel_options(self._server)
        self._channel = (
            grpc.secure_channel(self._server, grpc.ssl_channel_credentials(), options)
            if tls
            else grpc.insecure_channel(self._server, options)
        )
        self._portal = Portal()  # of the sessions, which are those of the twin
        self._twin = AsyncClient(
            server, key=key, tls=tls, deadline_s=deadline_s, retry_busy_s=retry_busy_s
        )

    @property
    def server(self) -> str:
        """host:port of the server."""
        return self._server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and cancels every answer under way; a second time does nothing."""
        if not self._closed.is_set():
            self._closed.set()
            if self._portal.is_running:
                self._portal.run(self._twin.close())
            self._portal.close()
            # gRPC cancels all calls, then waits for their ends; for ever, where Ctrl-C came while
            # a call began, before the thread that would tell of its end
            closing = threading.Thread(target=self._channel.close, daemon=True)
            closing.start()
            closing.join(_CLOSE_S)

    def say(self, text: str, avatar: str = "") -> Answer:
        """The avatar says `text`, 1 to 2000 characters.

        Args:
            text: What to say.
            avatar: Id of the avatar; empty for the server's default one.

        Raises:
            InvalidInput: If the text is empty; TooLarge if it is too long.
        """
        request = say_request(check_text(text), check_avatar(avatar))

        def begin() -> Call:
            return self._talk().Say(request, timeout=self._deadline_s, metadata=self._metadata)

        return Answer(begin, self._exchange())

    def ask(self, audio: AudioSource, avatar: str = "") -> Answer:
        """The avatar hears a spoken question and answers it.

        The first step raises InvalidInput if the audio is empty, TooLarge if it is over its limit,
        and OSError if the file cannot be read.

        Args:
            audio: The bytes of an audio file (WAV, MP3, OGG, FLAC, M4A, WEBM), or its path; at
                most 16 MiB and 60 s.
            avatar: Id of the avatar; empty for the server's default one.
        """
        check_avatar(avatar)

        def begin() -> Call:
            requests = ask_requests(read_audio(audio), avatar)
            return self._talk().Ask(requests, timeout=self._deadline_s, metadata=self._metadata)

        return Answer(begin, self._exchange())

    def render(self, audio: AudioSource, avatar: str = "") -> Answer:
        """The avatar speaks with the voice of a recording.

        The first step raises InvalidInput if the audio is empty, TooLarge if it is over its limit,
        and OSError if the file cannot be read.

        Args:
            audio: The bytes of an audio file (WAV, MP3, OGG, FLAC, M4A, WEBM), or its path; at
                most 16 MiB and 240 s.
            avatar: Id of the avatar; empty for the server's default one.
        """
        check_avatar(avatar)

        def begin() -> Call:
            requests = render_requests(read_audio(audio), avatar)
            return self._talk().Render(requests, timeout=self._deadline_s, metadata=self._metadata)

        return Answer(begin, self._exchange())

    def session(
        self,
        avatar: str = "",
        *,
        answers: Answers = "server",
        pictures: PictureFormat = "jpeg",
        sound: SoundFormat = "pcm",
        wait_in_line: bool = False,
        on_place: Callable[[Place], object] | None = None,
    ) -> Session:
        """A live session with an avatar, opened when its block is entered.

        Args:
            avatar: Id of the avatar; empty for the server's default one.
            answers: Who answers the user: the server's model, or the client, which pushes replies
                of its own.
            pictures: How pictures come; "none" for sound alone.
            sound: How sound comes.
            wait_in_line: Wait, while all slots are taken.
            on_place: Called meanwhile with the place in line, from another thread.

        Raises:
            InvalidInput: If the avatar's name cannot be sent.
        """
        check_avatar(avatar)
        self._check_not_closed()

        def make() -> AsyncSession:
            return self._twin.session(
                avatar,
                answers=answers,
                pictures=pictures,
                sound=sound,
                wait_in_line=wait_in_line,
                on_place=on_place,
            )

        return Session(self._portal, make)

    def resume(
        self,
        session_id: str,
        token: str,
        *,
        pictures: PictureFormat = "jpeg",
        sound: SoundFormat = "pcm",
    ) -> Session:
        """The live session that another program, or an earlier one, opened and left.

        Args:
            session_id: `id` of that session.
            token: `token` of that session.
            pictures: How pictures come; "none" for sound alone.
            sound: How sound comes.
        """
        self._check_not_closed()

        def make() -> AsyncSession:
            return self._twin.resume(session_id, token, pictures=pictures, sound=sound)

        return Session(self._portal, make)

    def create_token(self) -> Token:
        """A token that opens sessions on the account of this client's key, for some minutes.

        For a program that shall not see the key, such as a page in a browser.

        Raises:
            InvalidInput: The server asks for no keys.
            PermissionDenied: This client has a token itself, which makes no others.
        """
        request = session_pb2.CreateTokenRequest()
        answer = self._unary(self._sessions().CreateToken, request)
        return Token(answer.token, answer.lifetime_seconds)

    def sessions(self) -> SessionList:
        """Every session of the server, for operators.

        Raises:
            PermissionDenied: If the key is not an operator's.
        """
        found: list[SessionSummary] = []
        silent: set[str] = set()
        page = ""
        while True:
            request = session_pb2.ListSessionsRequest(page_size=1000, page_token=page)
            answer = self._unary(self._sessions().ListSessions, request)
            found += [summary_of(each) for each in answer.sessions]
            silent |= set(answer.silent_gateways)
            if not (page := answer.next_page_token):
                return SessionList(tuple(found), tuple(sorted(silent)))

    def workers(self) -> list[Worker]:
        """Every process of the server, stage by stage, for operators.

        Raises:
            PermissionDenied: If the key is not an operator's.
        """
        request = operator_pb2.ListWorkersRequest()
        answer = self._unary(self._operator().ListWorkers, request)
        return [worker_of(each) for each in answer.workers]

    def drain(self, worker_id: str) -> Worker:
        """A worker takes no new sessions from now on; those that it has go on. For operators.

        Asked again, it tells how many are left.

        Raises:
            NotFound: There is no worker of that id.
            PermissionDenied: If the key is not an operator's.
        """
        request = operator_pb2.DrainWorkerRequest(worker_id=worker_id)
        return worker_of((self._unary(self._operator().DrainWorker, request)).worker)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Returns as soon as the server can talk.

        Raises:
            Unavailable: If it cannot within `timeout_s`.
        """
        readiness = Readiness(self._server, timeout_s)
        while True:
            states = _health.watch(self._open_channel(), readiness.left_s)
            try:
                if any(readiness.is_ready(state) for state in states):
                    return
                delay_s = readiness.delay_after_end_s(None)
            except grpc.RpcError as error:
                delay_s = readiness.delay_after_end_s(error)
            finally:
                states.cancel()
            self._closed.wait(delay_s)

    def _unary(self, call: Callable[..., R], request: object) -> R:
        try:
            return call(request, timeout=self._deadline_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error, CallContext(self._server, self._deadline_s)) from error

    def _pause(self, seconds: float) -> object:
        return self._closed.wait(seconds)

    def _talk(self) -> talk_pb2_grpc.TalkServiceStub:
        return talk_pb2_grpc.TalkServiceStub(self._open_channel())

    def _sessions(self) -> session_pb2_grpc.SessionServiceStub:
        return session_pb2_grpc.SessionServiceStub(self._open_channel())

    def _operator(self) -> operator_pb2_grpc.OperatorServiceStub:
        return operator_pb2_grpc.OperatorServiceStub(self._open_channel())

    def _open_channel(self) -> grpc.Channel:
        self._check_not_closed()
        return self._channel

    def _check_not_closed(self) -> None:
        if self._closed.is_set():
            raise ValueError("The client is closed: make a new one.")

    def _exchange(self) -> Exchange:
        return Exchange(self._server, self._deadline_s, self._retry_busy_s)
