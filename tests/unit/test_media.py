"""The nouns are values, and their lists of names agree with the wire."""

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest

from avatar.media import (
    STAGES,
    AudioChunk,
    AudioEmbedding,
    Chunk,
    FrameChunk,
    LatentChunk,
    SessionId,
    StageName,
    Stamp,
    TurnEvent,
    TurnKind,
)
from talkingmachines_api.v1 import media_pb2

pytestmark = pytest.mark.unit

STAMP = Stamp(SessionId("s1"), epoch=0, seq=1, fence=2, pts=3)


def test_stages_lists_every_stage_once_in_data_order() -> None:
    assert get_args(StageName) == STAGES


def test_stamps_are_equal_by_value_and_can_be_keys() -> None:
    assert {STAMP: "here"}[dataclasses.replace(STAMP)] == "here"


@pytest.mark.parametrize("kind", get_args(Chunk), ids=lambda kind: kind.__name__)
def test_every_chunk_begins_with_its_stamp_and_cannot_be_changed(kind: type[Any]) -> None:
    names = [each.name for each in dataclasses.fields(kind)]
    assert names[0] == "stamp"
    chunk = kind(**dict.fromkeys(names, STAMP))
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.stamp = STAMP


def test_two_chunks_do_not_share_their_default_lookahead() -> None:
    first, second = (AudioChunk(STAMP, np.zeros(4, np.float32)) for _ in range(2))
    assert first.lookahead is not second.lookahead
    assert first.lookahead.shape == (0,)
    assert first.lookahead.dtype == np.float32


def test_every_kind_of_turn_event_has_its_number_on_the_wire() -> None:
    on_the_wire = {name.removeprefix("KIND_").lower() for name in media_pb2.TurnEvent.Kind.keys()}
    assert on_the_wire - {"unspecified"} == set(get_args(TurnKind))


def test_every_kind_of_chunk_has_its_body_on_the_wire() -> None:
    bodies = media_pb2.Chunk.DESCRIPTOR.oneofs_by_name["body"].fields
    names = {AudioChunk, AudioEmbedding, LatentChunk, FrameChunk, TurnEvent}
    on_the_wire = {body.message_type.name for body in bodies if body.message_type}
    assert on_the_wire == {kind.__name__ for kind in names}
    assert names == set(get_args(Chunk))
