"""Events to and from protobuf: the only file that knows both."""

from collections.abc import Iterator

from talkingmachines._events import (
    ChunkReady,
    Event,
    ReplySentence,
    Summary,
    Transcript,
    VideoPiece,
)
from talkingmachines_api.v1 import talk_pb2

_PIECE_BYTES = 64 * 1024


def event_of(message: talk_pb2.TalkEvent) -> Event | None:
    """The event in `message`; None for a kind that only a newer server knows."""
    match message.WhichOneof("event"):
        case "transcript":
            return Transcript(message.transcript.text)
        case "reply":
            return ReplySentence(message.reply.text)
        case "chunk_ready":
            chunk = message.chunk_ready
            return ChunkReady(
                chunk.chunks_done, chunk.chunks_known, chunk.media_seconds, chunk.elapsed_seconds
            )
        case "video":
            return VideoPiece(message.video.content)
        case "summary":
            summary = message.summary
            return Summary(
                frame_count=summary.frame_count,
                frame_rate=summary.frame_rate,
                audio_s=summary.audio_seconds,
                first_chunk_s=summary.first_chunk_seconds,
                total_s=summary.total_seconds,
                models=tuple(summary.models),
            )
        case _:
            return None


def say_request(text: str, avatar: str) -> talk_pb2.SayRequest:
    return talk_pb2.SayRequest(avatar_id=avatar, text=text)


def ask_requests(audio: bytes, avatar: str) -> Iterator[talk_pb2.AskRequest]:
    """The settings, then the audio file in pieces."""
    yield talk_pb2.AskRequest(config=talk_pb2.AskConfig(avatar_id=avatar))
    for start in range(0, len(audio), _PIECE_BYTES):
        yield talk_pb2.AskRequest(audio=audio[start : start + _PIECE_BYTES])


def render_requests(audio: bytes, avatar: str) -> Iterator[talk_pb2.RenderRequest]:
    """The settings, then the audio file in pieces."""
    yield talk_pb2.RenderRequest(config=talk_pb2.RenderConfig(avatar_id=avatar))
    for start in range(0, len(audio), _PIECE_BYTES):
        yield talk_pb2.RenderRequest(audio=audio[start : start + _PIECE_BYTES])
