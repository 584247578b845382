"""Media types to protobuf and back: the only file that knows both, and the border that checks."""

import math
import re
from collections.abc import Collection, Sequence
from typing import Any, Final, get_args

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from avatar.errors import InvalidInput, TooLarge
from avatar.media import (
    BEHAVIOURS,
    CUES,
    AudioChunk,
    AudioEmbedding,
    Behaviour,
    Chunk,
    CueName,
    FrameChunk,
    LatentChunk,
    SessionId,
    Stamp,
    TimedCue,
    TurnEvent,
    TurnKind,
    Word,
)
from talkingmachines_api.v1 import media_pb2

MAX_TENSOR_BYTES = 16 << 20
MAX_AXES = 6
MAX_MESSAGE_BYTES = 2 * MAX_TENSOR_BYTES + (64 << 10)
"""Every legal chunk fits: no kind has more than two tensors."""
MAX_TEXT_CHARACTERS = 10_000
MAX_SAMPLE_RATE = 192_000
MAX_WORDS = 512
MAX_CUES = 16
MAX_SECONDS = 86_400.0
"""Of a duration."""

SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Little endian by name: on a big-endian host numpy swaps, and the wire stays the same.
DTYPES: Final = {
    name: np.dtype(name).newbyteorder("<") for name in ("uint8", "int16", "float16", "float32")
}
KINDS: Final[dict[TurnKind, "media_pb2.TurnEvent.Kind.ValueType"]] = {
    kind: media_pb2.TurnEvent.Kind.Value(f"KIND_{kind.upper()}") for kind in get_args(TurnKind)
}
KINDS_BACK: Final = {number: kind for kind, number in KINDS.items()}
BEHAVIOUR_NUMBERS: Final[dict[Behaviour, "media_pb2.Behaviour.ValueType"]] = {
    behaviour: media_pb2.Behaviour.Value(f"BEHAVIOUR_{behaviour.upper()}")
    for behaviour in BEHAVIOURS
}
BEHAVIOURS_BACK: Final[dict[int, Behaviour]] = {
    media_pb2.BEHAVIOUR_UNSPECIFIED: "idle",
    **{number: behaviour for behaviour, number in BEHAVIOUR_NUMBERS.items()},
}
CUE_NUMBERS: Final[dict[CueName, "media_pb2.Cue.ValueType"]] = {
    cue: media_pb2.Cue.Value(f"CUE_{cue.upper()}") for cue in CUES
}
CUES_BACK: Final = {number: cue for cue, number in CUE_NUMBERS.items()}


def encode(chunk: Chunk) -> bytes:
    """`chunk` as bytes, for the ledger.

    Raises:
        InvalidInput: As `chunk_to_proto`.
    """
    return chunk_to_proto(chunk).SerializeToString()


def decode(content: bytes) -> Chunk:
    """The chunk that `encode` wrote.

    Raises:
        InvalidInput: As `chunk_from_proto`, or the bytes are no chunk at all.
    """
    if len(content) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"a chunk of {len(content)} bytes, at most {MAX_MESSAGE_BYTES} allowed")
    try:
        message = media_pb2.Chunk.FromString(content)
    except DecodeError as error:
        raise InvalidInput(f"{len(content)} bytes that are no Chunk message: {error}") from error
    return chunk_from_proto(message)


def session_id(text: str) -> SessionId:
    """`text` as a session's id.

    Raises:
        InvalidInput: It is not 1 to 64 letters, digits, "-" or "_" (ids become Redis keys).
    """
    if not SESSION_ID.fullmatch(text):
        raise InvalidInput(
            f"session id {text[:80]!r} has {len(text)} characters; "
            "1 to 64 letters, digits, - or _ expected"
        )
    return SessionId(text)


def chunk_to_proto(chunk: Chunk, into: media_pb2.Chunk | None = None) -> media_pb2.Chunk:
    """`chunk` as it travels; `into`, empty and part of a larger message, saves a copy.

    Raises:
        InvalidInput: A tensor's dtype or axes are not those of its kind, or it is too large.
    """
    message = media_pb2.Chunk() if into is None else into
    _fill_stamp(message.stamp, chunk.stamp)
    match chunk:
        case AudioChunk():
            _fill(message.audio.samples, chunk.samples, "samples", "float32", 1)
            _fill(message.audio.lookahead, chunk.lookahead, "lookahead", "float32", 1)
            message.audio.sample_rate_hertz = _sample_rate(chunk.sample_rate)
            message.audio.behaviour = BEHAVIOUR_NUMBERS[chunk.behaviour]
            message.audio.cues.extend(_cue_numbers(chunk.cues))
        case AudioEmbedding():
            _check_same_layout(chunk.tokens, chunk.lookahead)
            _fill(message.embedding.tokens, chunk.tokens, "tokens", "float32", 3)
            _fill(message.embedding.lookahead, chunk.lookahead, "lookahead", "float32", 3)
            message.embedding.behaviour = BEHAVIOUR_NUMBERS[chunk.behaviour]
            message.embedding.cues.extend(_cue_numbers(chunk.cues))
        case LatentChunk():
            _fill(message.latents.latents, chunk.latents, "latents", "float32", 4)
        case FrameChunk():
            _check_rgb(chunk.frames)
            _fill(message.frames.frames, chunk.frames, "frames", "uint8", 4)
        case TurnEvent():
            message.turn.kind = KINDS[chunk.kind]
            message.turn.text = _text(chunk.text)
            message.turn.seconds = chunk.seconds
            _check_words(len(chunk.words))
            for word in chunk.words:
                message.turn.words.add(
                    text=_text(word.text), start_seconds=word.start_s, end_seconds=word.end_s
                )
            _check_cues(len(chunk.cues))
            for cue in chunk.cues:
                message.turn.cues.add(cue=CUE_NUMBERS[cue.name], start_seconds=cue.start_s)
            return message
    message.last = chunk.last
    return message


def chunk_from_proto(message: media_pb2.Chunk) -> Chunk:
    """The chunk in `message`, with arrays of its own.

    Raises:
        InvalidInput: Anything in it is not as the proto files promise.
    """
    stamp = _stamp_from_proto(message.stamp)
    match message.WhichOneof("body"):
        case "audio":
            audio = message.audio
            return AudioChunk(
                stamp,
                samples=_array(audio.samples, "samples", "float32", 1),
                sample_rate=_sample_rate(audio.sample_rate_hertz),
                lookahead=_array(audio.lookahead, "lookahead", "float32", 1),
                last=message.last,
                behaviour=_behaviour(audio.behaviour),
                cues=_cues(audio.cues),
            )
        case "embedding":
            tokens = _array(message.embedding.tokens, "tokens", "float32", 3)
            lookahead = _array(message.embedding.lookahead, "lookahead", "float32", 3)
            _check_same_layout(tokens, lookahead)
            return AudioEmbedding(
                stamp,
                tokens,
                lookahead,
                message.last,
                _behaviour(message.embedding.behaviour),
                _cues(message.embedding.cues),
            )
        case "latents":
            latents = _array(message.latents.latents, "latents", "float32", 4)
            return LatentChunk(stamp, latents, message.last)
        case "frames":
            frames = _array(message.frames.frames, "frames", "uint8", 4)
            _check_rgb(frames)
            return FrameChunk(stamp, frames, message.last)
        case "turn":
            kind = KINDS_BACK.get(message.turn.kind)
            if kind is None:
                raise InvalidInput(
                    f"turn event of kind {message.turn.kind}, {_span(KINDS_BACK)} expected"
                )
            turn = message.turn
            _check_words(len(turn.words))
            words = tuple(
                Word(_text(word.text), _seconds(word.start_seconds), _seconds(word.end_seconds))
                for word in turn.words
            )
            names = _cues([each.cue for each in turn.cues])
            starts_s = [_seconds(each.start_seconds) for each in turn.cues]
            cues = tuple(map(TimedCue, names, starts_s))
            return TurnEvent(stamp, kind, _text(turn.text), _seconds(turn.seconds), words, cues)
        case None:
            raise InvalidInput(f"chunk {stamp.seq} has 0 bodies, 1 expected")


def _fill_stamp(message: media_pb2.Stamp, stamp: Stamp) -> None:
    message.session_id = session_id(stamp.session)
    message.epoch = stamp.epoch
    message.seq = stamp.seq
    message.fence = stamp.fence
    message.pts = stamp.pts
    if stamp.left_s is not None:
        message.left_seconds = _seconds(stamp.left_s)
    message.light = stamp.is_light


def _stamp_from_proto(message: media_pb2.Stamp) -> Stamp:
    session = session_id(message.session_id)
    left_s = _seconds(message.left_seconds) if message.HasField("left_seconds") else None
    return Stamp(
        session, message.epoch, message.seq, message.fence, message.pts, left_s, message.light
    )


def _fill(
    message: media_pb2.Tensor, array: NDArray[Any], name: str, dtype: str, num_axes: int
) -> None:
    _check_layout(name, str(array.dtype), array.shape, dtype, num_axes)
    message.dtype = dtype
    message.shape.extend(array.shape)
    message.content = array.astype(DTYPES[dtype], copy=False).tobytes()  # row major in any case


def _array(message: media_pb2.Tensor, name: str, dtype: str, num_axes: int) -> NDArray[Any]:
    shape = tuple(message.shape)
    _check_layout(name, message.dtype, shape, dtype, num_axes)
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if len(message.content) != expected:
        raise InvalidInput(
            f"{name}: {len(message.content)} bytes given, shape {shape} of {dtype} needs {expected}"
        )
    # A copy: frombuffer is read-only, and torch.from_numpy warns about that.
    array = np.frombuffer(message.content, DTYPES[dtype]).reshape(shape).astype(dtype)
    if array.dtype.kind == "f":
        num_bad = int(array.size - np.isfinite(array).sum())
        if num_bad:
            raise InvalidInput(f"{name}: {num_bad} of {array.size} values are not finite")
    return array


def _check_layout(
    name: str, dtype: str, shape: tuple[int, ...], expected_dtype: str, num_axes: int
) -> None:
    if dtype not in DTYPES:
        raise InvalidInput(f"{name}: dtype {dtype[:40]!r} is none of {sorted(DTYPES)}")
    if len(shape) > MAX_AXES:
        raise InvalidInput(f"{name}: {len(shape)} axes given, at most {MAX_AXES} allowed")
    if dtype != expected_dtype:
        raise InvalidInput(f"{name}: dtype {dtype} given, {expected_dtype} expected")
    if len(shape) != num_axes:
        raise InvalidInput(f"{name}: {len(shape)} axes given {shape}, {num_axes} expected")
    num_bytes = math.prod(shape) * DTYPES[dtype].itemsize
    if num_bytes > MAX_TENSOR_BYTES:
        raise TooLarge(f"{name}: {num_bytes} bytes, at most {MAX_TENSOR_BYTES} allowed")


def _check_same_layout(tokens: NDArray[Any], lookahead: NDArray[Any]) -> None:
    if tokens.shape[1:] != lookahead.shape[1:]:
        raise InvalidInput(
            f"lookahead: latents of shape {lookahead.shape[1:]} given, "
            f"{tokens.shape[1:]} expected as in tokens"
        )


def _check_rgb(frames: NDArray[Any]) -> None:
    if frames.shape[-1:] != (3,):
        raise InvalidInput(f"frames: shape {frames.shape} given, (N, H, W, 3) expected")


def _sample_rate(hertz: int) -> int:
    if not 1 <= hertz <= MAX_SAMPLE_RATE:
        raise InvalidInput(f"sample rate of {hertz} Hz given, 1 to {MAX_SAMPLE_RATE} expected")
    return hertz


def _text(text: str) -> str:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TooLarge(f"text of {len(text)} characters, at most {MAX_TEXT_CHARACTERS} allowed")
    return text


def _check_words(count: int) -> None:
    if count > MAX_WORDS:
        raise TooLarge(f"{count} words in one sentence, at most {MAX_WORDS} allowed")


def _behaviour(number: int) -> Behaviour:
    if number not in BEHAVIOURS_BACK:
        raise InvalidInput(f"behaviour {number} given, {_span(BEHAVIOURS_BACK)} expected")
    return BEHAVIOURS_BACK[number]


def _cue_numbers(cues: Sequence[CueName]) -> list["media_pb2.Cue.ValueType"]:
    _check_cues(len(cues))
    return [CUE_NUMBERS[cue] for cue in cues]


def _cues(numbers: Sequence["media_pb2.Cue.ValueType"]) -> tuple[CueName, ...]:
    _check_cues(len(numbers))
    for number in numbers:
        if number not in CUES_BACK:
            raise InvalidInput(f"cue {number} given, {_span(CUES_BACK)} expected")
    return tuple(CUES_BACK[number] for number in numbers)


def _check_cues(count: int) -> None:
    if count > MAX_CUES:
        raise TooLarge(f"{count} cues at once, at most {MAX_CUES} allowed")


def _span(numbers: Collection[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}"


def _seconds(value: float) -> float:
    if not 0 <= value <= MAX_SECONDS:
        raise InvalidInput(f"{value} s given, 0 to {MAX_SECONDS:g} expected")
    return value
