"""Live messages from and to protobuf."""

from typing import Any, get_args

import pytest
from google.protobuf.descriptor import FieldDescriptor

import talkingmachines as tm
from avatar.media import CUES
from talkingmachines import _live_wire as wire
from talkingmachines._pcm import pieces
from talkingmachines_api.v1 import live_pb2, media_pb2

pytestmark = pytest.mark.unit

KINDS = [field.name for field in live_pb2.CallEvent.DESCRIPTOR.oneofs_by_name["what"].fields]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_event_has_a_class_and_keeps_its_values(kind: str) -> None:
    message = live_pb2.CallEvent(time_milliseconds=1500)
    fill(getattr(message, kind))
    event = wire.live_event_of(message)

    assert event is not None
    assert event.at_s == 1.5
    plain = repr(event)
    for text in strings_in(getattr(message, kind)):
        assert text in plain


def test_an_event_that_only_a_newer_server_knows_is_passed_over() -> None:
    assert wire.live_event_of(live_pb2.CallEvent(time_milliseconds=1)) is None


def test_cues_are_those_of_the_server() -> None:
    assert set(get_args(tm.CueName)) == set(CUES)
    for name in CUES:
        sent = wire.cue(name).cue.cue
        assert media_pb2.Cue.Name(sent) == f"CUE_{name.upper()}"


def test_a_state_of_tomorrow_is_idle() -> None:
    assert wire.state_of(media_pb2.BEHAVIOUR_SPEAKING) == "speaking"
    assert wire.state_of(media_pb2.BEHAVIOUR_UNSPECIFIED) == "idle"
    assert wire.state_of(99) == "idle"  # type: ignore[arg-type]  # a value of tomorrow


def test_no_limit_left_is_told_from_none_set() -> None:
    notice = live_pb2.LimitNotice(limit="idle")
    assert wire.live_event_of(live_pb2.CallEvent(limit=notice)) == tm.LimitNotice("idle", None)
    notice.seconds_left = 0
    assert wire.live_event_of(live_pb2.CallEvent(limit=notice)) == tm.LimitNotice("idle", 0)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_pieces_are_whole_milliseconds_and_lose_nothing(rate: int) -> None:
    samples = bytes(range(256)) * 700
    cut = list(pieces(samples, rate, 0.1))

    assert b"".join(piece for piece, _ in cut) == samples
    assert {round(1000 * seconds, 6) for _, seconds in cut[:-1]} == {100.0}
    assert sum(seconds for _, seconds in cut) == pytest.approx(len(samples) / 2 / rate)


def test_no_sound_is_no_piece() -> None:
    assert list(pieces(b"", 24_000, 0.1)) == []


def fill(message: Any) -> None:
    """Sets every field to something."""
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.full_name.startswith("google"):
            getattr(message, field.name).update({"key": "of a struct"})
        elif field.is_repeated and field.message_type is not None:
            fill(getattr(message, field.name).add())
        elif field.message_type is not None:
            fill(getattr(message, field.name))
        elif field.is_repeated:
            getattr(message, field.name).append(f"a {field.name}")
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, f"a {field.name}")
        else:
            setattr(message, field.name, 1)


def strings_in(message: Any) -> list[str]:
    found: list[str] = []
    for field, value in message.ListFields():
        for each in value if field.is_repeated else [value]:
            if isinstance(each, str):
                found.append(each)
            elif field.message_type is not None and "google" not in field.message_type.full_name:
                found += strings_in(each)
    return found
