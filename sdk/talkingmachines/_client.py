"""The client for programs without asyncio."""

import threading
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from talkingmachines._answer import Answer, Call
from talkingmachines._connection import channel_options, metadata_of, server_address
from talkingmachines._events import Avatar
from talkingmachines._exchange import Exchange, Readiness
from talkingmachines._input import AudioSource, check_avatar, check_text, read_audio
from talkingmachines._status import CallContext, error_of
from talkingmachines._wire import (
    HEALTH,
    LIST_AVATARS,
    ask_requests,
    avatars_of,
    say_request,
)
from talkingmachines_api.v1 import talk_pb2_grpc


class Client:
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
        self._closed.set()
        self._channel.close()

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

    def avatars(self) -> list[Avatar]:
        """The characters this server can show; the first is its default."""
        try:
            return avatars_of(
                self._talk().ListAvatars(
                    LIST_AVATARS, timeout=self._deadline_s, metadata=self._metadata
                )
            )
        except grpc.RpcError as error:
            raise error_of(error, CallContext(self._server, self._deadline_s)) from error

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Returns as soon as the server can talk.

        Raises:
            Unavailable: If it cannot within `timeout_s`.
        """
        readiness = Readiness(self._server, timeout_s)
        while True:
            states = HealthStub(self._open_channel()).Watch(
                HEALTH, timeout=readiness.left_s, wait_for_ready=True
            )
            try:
                if any(readiness.is_ready(state) for state in states):
                    return
                delay_s = readiness.delay_after_end_s(None)
            except grpc.RpcError as error:
                delay_s = readiness.delay_after_end_s(error)
            finally:
                states.cancel()
            self._closed.wait(delay_s)

    def _talk(self) -> talk_pb2_grpc.TalkServiceStub:
        return talk_pb2_grpc.TalkServiceStub(self._open_channel())

    def _open_channel(self) -> grpc.Channel:
        if self._closed.is_set():
            raise ValueError("The client is closed: make a new one.")
        return self._channel

    def _exchange(self) -> Exchange:
        return Exchange(self._server, self._deadline_s, self._retry_busy_s)
