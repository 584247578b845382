"""What crosses the wire comes out as it went in, and nothing malformed comes in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from avatar import errors, wire
from avatar.media import (
    BEHAVIOURS,
    CUES,
    AudioChunk,
    AudioEmbedding,
    Chunk,
    FrameChunk,
    LatentChunk,
    SessionId,
    Stamp,
    TimedCue,
    TurnEvent,
    TurnKind,
)
from talkingmachines_api.v1 import media_pb2

pytestmark = pytest.mark.unit

STAMP = Stamp(SessionId("s1"), epoch=1, seq=2, fence=3, pts=46_080)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
side = st.integers(0, 4)
stamps = st.builds(
    Stamp,
    st.from_regex(wire.SESSION_ID, fullmatch=True).map(SessionId),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(0.0, wire.MAX_SECONDS),
    st.booleans(),
)


def floats(*shape: int) -> st.SearchStrategy[Any]:
    return nps.arrays(np.float32, shape, elements=finite)


cues = st.lists(st.sampled_from(CUES), max_size=wire.MAX_CUES).map(tuple)

chunks: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(
        AudioChunk,
        stamps,
        side.flatmap(floats),
        st.integers(1, wire.MAX_SAMPLE_RATE),
        side.flatmap(floats),
        st.booleans(),
        st.sampled_from(BEHAVIOURS),
        cues,
    ),
    st.tuples(side, side, side, side).flatmap(
        lambda sides: st.builds(
            AudioEmbedding,
            stamps,
            floats(sides[0], *sides[2:]),
            floats(sides[1], *sides[2:]),
            st.booleans(),
            st.sampled_from(BEHAVIOURS),
            cues,
        )
    ),
    st.builds(
        LatentChunk,
        stamps,
        st.tuples(side, side, side, side).flatmap(lambda sides: floats(*sides)),
        st.booleans(),
    ),
    st.builds(
        FrameChunk,
        stamps,
        nps.arrays(np.uint8, st.tuples(side, side, side, st.just(3))),
        st.booleans(),
    ),
    st.builds(
        TurnEvent,
        stamps,
        st.sampled_from(list(wire.KINDS)),
        st.text(max_size=50),
        cues=st.lists(
            st.builds(TimedCue, st.sampled_from(CUES), st.floats(0, 100)), max_size=3
        ).map(tuple),
    ),
)


@settings(deadline=None)
@given(chunks)
def test_every_chunk_comes_out_as_it_went_in(chunk: Chunk) -> None:
    decoded = wire.decode(wire.encode(chunk))
    assert type(decoded) is type(chunk)
    for name, value in vars(chunk).items():
        got = getattr(decoded, name)
        np.testing.assert_array_equal(got, value, err_msg=name)
        if isinstance(value, np.ndarray):
            assert (got.dtype, got.shape) == (value.dtype, value.shape)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_raise_invalid_input(content: bytes) -> None:
    try:
        wire.decode(content)
    except errors.InvalidInput:
        return


@settings(deadline=None)
@given(chunks, st.data())
def test_no_single_broken_byte_does_more_than_raise_invalid_input(
    chunk: Chunk, data: st.DataObject
) -> None:
    content = bytearray(wire.encode(chunk))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        wire.decode(bytes(content))
    except errors.InvalidInput:
        return


def test_an_array_that_is_not_contiguous_is_sent_in_its_order() -> None:
    latents = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 2, 1)
    decoded = wire.decode(wire.encode(LatentChunk(STAMP, latents)))
    assert isinstance(decoded, LatentChunk)
    np.testing.assert_array_equal(decoded.latents, latents)


def test_decoded_arrays_belong_to_the_chunk() -> None:
    content = wire.encode(LatentChunk(STAMP, np.ones((1, 1, 1, 1), np.float32)))
    first, second = wire.decode(content), wire.decode(content)
    assert isinstance(first, LatentChunk)
    assert isinstance(second, LatentChunk)
    first.latents[:] = 5
    assert second.latents.item() == 1


def test_tensors_are_little_endian_on_the_wire() -> None:
    message = wire.chunk_to_proto(LatentChunk(STAMP, np.ones((1, 1, 1, 1), np.float32)))
    assert message.latents.latents.content == b"\x00\x00\x80\x3f"


def latents_message(**tensor: Any) -> media_pb2.Chunk:
    fields = {"dtype": "float32", "shape": [1, 1, 1, 2], "content": bytes(8)} | tensor
    stamp = media_pb2.Stamp(session_id="s1", seq=2)
    latents = media_pb2.LatentChunk(latents=media_pb2.Tensor(**fields))
    return media_pb2.Chunk(stamp=stamp, latents=latents)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"content": bytes(7)}, r"7 bytes given, shape \(1, 1, 1, 2\) of float32 needs 8"),
        ({"content": bytes(12)}, "12 bytes given.*needs 8"),
        ({"dtype": "object"}, "dtype 'object' is none of"),
        ({"dtype": "float64", "content": bytes(16)}, "dtype 'float64' is none of"),
        ({"dtype": "float16", "content": bytes(4)}, "float16 given, float32 expected"),
        ({"dtype": ""}, "dtype '' is none of"),
        ({"shape": [1, 2]}, r"2 axes given \(1, 2\), 4 expected"),
        ({"shape": [1] * 7}, "7 axes given, at most 6 allowed"),
        ({"content": np.array([1, np.nan], "<f4").tobytes()}, "1 of 2 values are not finite"),
        ({"content": np.array([np.inf, -np.inf], "<f4").tobytes()}, "2 of 2 values are not finite"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_malformed_tensor_is_refused_with_both_numbers(
    tensor: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        wire.chunk_from_proto(latents_message(**tensor))


@pytest.mark.parametrize("shape", [[2**32 - 1] * 4, [1, 1, 2048, 2049]], ids=["overflow", "cap"])
def test_a_tensor_over_the_cap_is_refused_by_its_shape_alone(shape: list[int]) -> None:
    with pytest.raises(errors.TooLarge, match=f"at most {wire.MAX_TENSOR_BYTES} allowed"):
        wire.chunk_from_proto(latents_message(shape=shape, content=b""))


def test_bytes_over_the_cap_are_refused_unparsed() -> None:
    with pytest.raises(errors.TooLarge, match=f"at most {wire.MAX_MESSAGE_BYTES} allowed"):
        wire.decode(bytes(wire.MAX_MESSAGE_BYTES + 1))


def test_the_largest_chunk_fits_a_message() -> None:
    cap = wire.MAX_TENSOR_BYTES // 4
    tokens = np.zeros((1, 1, cap), np.float32)
    assert len(wire.encode(AudioEmbedding(STAMP, tokens, tokens))) < wire.MAX_MESSAGE_BYTES


SESSION = media_pb2.Stamp(session_id="s1")


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (media_pb2.Chunk(stamp=SESSION), "0 bodies, 1 expected"),
        (
            media_pb2.Chunk(stamp=media_pb2.Stamp(session_id="s1", left_seconds=-1.0)),
            "-1.0 s given, 0 to 86400 expected",
        ),
        (
            media_pb2.Chunk(stamp=media_pb2.Stamp(session_id="s1", left_seconds=float("nan"))),
            "nan s given",
        ),
        (media_pb2.Chunk(turn=media_pb2.TurnEvent(kind=1)), "has 0 characters"),  # type: ignore[arg-type]
        (
            media_pb2.Chunk(stamp=SESSION, turn=media_pb2.TurnEvent()),
            "kind 0, 1 to 17 expected",
        ),
        (
            media_pb2.Chunk(stamp=SESSION, turn=media_pb2.TurnEvent(kind=18)),  # type: ignore[arg-type]
            "kind 18, 1 to 17 expected",
        ),
        (
            media_pb2.Chunk(
                stamp=SESSION,
                turn=media_pb2.TurnEvent(kind=1, text="a" * 10_001),  # type: ignore[arg-type]
            ),
            "10001 characters, at most 10000",
        ),
        (
            media_pb2.Chunk(
                stamp=SESSION,
                audio=media_pb2.AudioChunk(
                    samples=media_pb2.Tensor(dtype="float32", shape=[0]),
                    lookahead=media_pb2.Tensor(dtype="float32", shape=[0]),
                ),
            ),
            "0 Hz given, 1 to 192000 expected",
        ),
        (
            media_pb2.Chunk(
                stamp=SESSION,
                frames=media_pb2.FrameChunk(
                    frames=media_pb2.Tensor(dtype="uint8", shape=[1, 1, 1, 4], content=bytes(4))
                ),
            ),
            r"\(1, 1, 1, 4\) given, \(N, H, W, 3\) expected",
        ),
        (
            media_pb2.Chunk(
                stamp=SESSION,
                embedding=media_pb2.AudioEmbedding(
                    tokens=media_pb2.Tensor(dtype="float32", shape=[0, 2, 3]),
                    lookahead=media_pb2.Tensor(dtype="float32", shape=[0, 2, 4]),
                ),
            ),
            r"\(2, 4\) given, \(2, 3\) expected",
        ),
    ],
)
def test_a_malformed_chunk_is_refused(chunk: media_pb2.Chunk, message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        wire.chunk_from_proto(chunk)


@pytest.mark.parametrize("text", ["", "a" * 65, "a b", "a}b", "a\n", "é", "a/b"])
def test_a_session_id_that_could_break_a_key_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidInput, match=rf"{len(text)} characters"):
        wire.session_id(text)


def test_a_session_id_is_letters_digits_dash_and_underscore() -> None:
    assert wire.session_id("aZ09-_" + "x" * 58) == "aZ09-_" + "x" * 58


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LatentChunk(STAMP, np.zeros((1, 1, 1, 1))), "float64"),  # type: ignore[arg-type]
        (lambda: LatentChunk(STAMP, np.zeros((1, 1), np.float32)), "2 axes given"),
        (lambda: FrameChunk(STAMP, np.zeros((1, 1, 1, 4), np.uint8)), "N, H, W, 3"),
        (lambda: AudioChunk(STAMP, np.zeros(1, np.float32), sample_rate=0), "0 Hz"),
        (
            lambda: AudioEmbedding(
                STAMP, np.zeros((1, 2, 3), np.float32), np.zeros((1, 3, 3), np.float32)
            ),
            "as in tokens",
        ),
        (lambda: TurnEvent(Stamp(SessionId(""), 0, 0, 0, 0), "text"), "0 characters"),
    ],
)
def test_what_the_receiver_would_refuse_is_not_sent(
    make: Callable[[], Chunk], message: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        wire.encode(make())


@pytest.mark.parametrize("kind", list(wire.KINDS))
def test_every_kind_of_turn_event_travels(kind: TurnKind) -> None:
    event = TurnEvent(STAMP, kind, "words")
    assert wire.decode(wire.encode(event)) == event


def sound(**told: object) -> bytes:
    """A chunk of speech whose message is told something else."""
    message = wire.chunk_to_proto(AudioChunk(STAMP, np.zeros(4, np.float32)))
    message.audio.MergeFrom(media_pb2.AudioChunk(**told))  # type: ignore[arg-type]  # by name
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"behaviour": 9}, "behaviour 9 given, 0 to 4 expected"),
        ({"cues": [1, 0]}, "cue 0 given, 1 to 12 expected"),
        ({"cues": [13]}, "cue 13 given, 1 to 12 expected"),
        ({"cues": [1] * 17}, "17 cues at once, at most 16 allowed"),
    ],
)
def test_what_no_face_can_do_is_refused(told: dict[str, object], message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        wire.decode(sound(**told))


def test_a_chunk_of_who_knows_no_behaviours_idles() -> None:
    message = wire.chunk_to_proto(AudioChunk(STAMP, np.zeros(4, np.float32), behaviour="speaking"))
    message.audio.ClearField("behaviour")
    chunk = wire.decode(message.SerializeToString())
    assert isinstance(chunk, AudioChunk)
    assert chunk.behaviour == "idle"


def test_too_many_cues_are_not_sent() -> None:
    chunk = AudioChunk(STAMP, np.zeros(4, np.float32), cues=("nod",) * 17)
    with pytest.raises(errors.TooLarge, match="17 cues"):
        wire.encode(chunk)
