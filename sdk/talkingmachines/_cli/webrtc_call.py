"""A call as a browser makes it, over HTTP and WebRTC; needs aiortc, the extra `webrtc`."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from talkingmachines import _live_events as live
from talkingmachines._errors import Busy, ServerError, TalkError, Unavailable
from talkingmachines._extras import needed

HEARTBEAT_S: Final = 0.25
HTTP_S: Final = 30.0
CONNECT_S: Final = 20.0
STOP_S: Final = 5.0
MAX_BYTES: Final = 1 << 20


class WebRtcCall:
    """What `bench` needs of a session, in a browser's way."""

    def __init__(self, url: str, headers: Mapping[str, str], avatar: str) -> None:
        """`headers` hold the key, where the server asks for one."""
        self._aiortc: ModuleType = needed("aiortc", "webrtc")
        self._url, self._headers, self._avatar = url.rstrip("/"), dict(headers), avatar
        self._path = ""
        self._token: dict[str, str] = {}
        self._peer: Any = None
        self._channel: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._steps: asyncio.Queue[live.LiveStep] = asyncio.Queue()
        self._open = asyncio.Event()
        self._stopped: asyncio.Future[live.Heard] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """A session, and a connection to it whose channel is open."""
        body = json.dumps({"avatar": self._avatar}).encode() if self._avatar else b"{}"
        answer = await self._http("POST", "/v1/sessions", body, "application/json", self._headers)
        created = json.loads(answer)
        self._path = f"/v1/sessions/{created['id']}"
        self._token = {"authorization": f"Bearer {created['token']}"}
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connect()
                await self._open.wait()
        except TimeoutError:
            await self.close()
            raise Unavailable(
                f"No WebRTC connection to {self._url} within {CONNECT_S:g} s: UDP does not get"
                " through; see ICE_SERVERS."
            ) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._peer is not None:
            await self._peer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._path:
            path, self._path = self._path, ""
            with suppress(TalkError):  # it may have ended by itself
                await self._http("DELETE", path, None, "", self._token)

    async def say(self, text: str) -> None:
        self._send("avatar.say", text=text)

    async def ask(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self._send("conversation.item.create", item=item)
        self._send("response.create")

    async def interrupt(self) -> live.Heard | None:
        self._stopped = asyncio.get_running_loop().create_future()
        self._send("response.cancel")
        try:
            async with asyncio.timeout(STOP_S):
                return await self._stopped
        except TimeoutError:
            return None
        finally:
            self._stopped = None

    def __aiter__(self) -> AsyncIterator[live.LiveStep]:
        return self

    async def __anext__(self) -> live.LiveStep:
        return await self._steps.get()

    # The connection

    async def _connect(self) -> None:
        rtc = self._aiortc
        self._peer = rtc.RTCPeerConnection(rtc.RTCConfiguration(iceServers=[]))
        self._peer.on("track", self._on_track)
        self._peer.addTransceiver("audio", direction="recvonly")
        self._peer.addTransceiver("video", direction="recvonly")
        # after the media: aiortc closes the transport of a channel that was there before them
        self._channel = self._peer.createDataChannel("events")
        self._channel.on("message", self._on_message)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        offer = self._peer.localDescription.sdp.encode()
        answer = await self._http(
            "POST", f"{self._path}/call", offer, "application/sdp", self._token
        )
        description = rtc.RTCSessionDescription(answer.decode(), "answer")
        await self._peer.setRemoteDescription(description)
        self._tasks.add(asyncio.create_task(self._beat()))

    def _on_track(self, track: Any) -> None:
        self._tasks.add(asyncio.create_task(self._take(track)))

    async def _take(self, track: Any) -> None:
        with suppress(self._aiortc.mediastreams.MediaStreamError):
            while True:
                frame = await track.recv()
                is_sound = track.kind == "audio"
                step = live.Sound(0, b"") if is_sound else live.Picture(frame.pts, b"", False)
                self._steps.put_nowait(step)

    async def _beat(self) -> None:
        """A caller whose heartbeat stops is gone, for the server."""
        await self._open.wait()
        number = 0
        while self._channel.readyState == "open":
            self._send("avatar.heartbeat", n=number)
            number += 1
            await asyncio.sleep(HEARTBEAT_S)

    def _send(self, type_: str, **fields: object) -> None:
        if self._channel.readyState == "open":
            self._channel.send(json.dumps({"type": type_, **fields}))

    def _on_message(self, message: str | bytes) -> None:
        event = json.loads(message)
        match event["type"]:
            case "session.created":
                self._open.set()
            case "avatar.playback.started":
                self._steps.put_nowait(live.PlaybackStarted(event["response_id"]))
            case "avatar.playback.finished":
                heard = live.Heard(
                    event["response_id"], event["text_heard"], event["position_ms"] / 1000
                )
                if event["interrupted"] and self._stopped and not self._stopped.done():
                    self._stopped.set_result(heard)
                self._steps.put_nowait(live.PlaybackFinished(heard, event["interrupted"]))
            case "avatar.ended":
                self._steps.put_nowait(live.Ended(event["reason"]))
            case _:
                pass

    async def _http(
        self, method: str, path: str, body: bytes | None, kind: str, headers: Mapping[str, str]
    ) -> bytes:
        more = {"content-type": kind} if kind else {}
        request = urllib.request.Request(
            f"{self._url}{path}", body, {**headers, **more}, method=method
        )
        return await asyncio.to_thread(_fetch, request)


def _fetch(request: urllib.request.Request) -> bytes:
    """Raises TalkError with the server's reason where it refuses."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=HTTP_S) as response:
            return bytes(response.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.code, error.read(MAX_BYTES)) from None
    except OSError as error:
        raise Unavailable(f"Nothing answers at {request.full_url}: {error}") from error


def _refusal(status: int, content: bytes) -> TalkError:
    try:
        problem = json.loads(content)
        reason, detail = str(problem["reason"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServerError(f"The server answered HTTP {status}, and not why.")
    return (Busy if status in (429, 503) else TalkError)(detail, reason=reason)
