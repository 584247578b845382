"""What waits to be written, what may be sent, and how events are told over gRPC."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from avatar.errors import CreditExceeded, InvalidInput
from services.gateway.rpc import events
from services.gateway.rpc.credit import STEP_MS, WINDOW_MS, ReplyCredit
from services.gateway.rpc.events import SILENT, call_event
from services.gateway.rpc.outbox import MAX_OTHERS, MAX_PICTURES, MAX_SOUNDS, Outbox
from services.gateway.rpc.pieces import Ears, samples_of
from talkingmachines_api.v1 import live_pb2, media_pb2

pytestmark = pytest.mark.unit

GATEWAY = Path(events.__file__).parents[1]


class Watched:
    """An outbox, and what it asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outbox = Outbox(
            lambda: self.asked.append("whole"), lambda: self.asked.append("overflow")
        )

    async def rest(self) -> list[live_pb2.TalkResponse]:
        self.outbox.close()
        return [message async for message in self.outbox.messages()]


def sound(at: int) -> live_pb2.SoundPiece:
    return live_pb2.SoundPiece(pts=at)


def picture(at: int, is_key: bool = False) -> live_pb2.PicturePiece:
    return live_pb2.PicturePiece(pts=at, is_key=is_key)


def event(at: int) -> live_pb2.TalkResponse:
    return live_pb2.TalkResponse(event=live_pb2.CallEvent(time_milliseconds=at))


async def test_messages_come_in_order() -> None:
    watched = Watched()
    watched.outbox.put(event(0))
    watched.outbox.put_sound(sound(1))
    watched.outbox.put_picture(picture(2, is_key=True))
    watched.outbox.put_picture(picture(3))
    kinds = [message.WhichOneof("message") for message in await watched.rest()]
    assert kinds == ["event", "sound", "picture", "picture"]
    assert watched.asked == []


async def test_of_sound_the_newest_second_is_kept() -> None:
    watched = Watched()
    for at in range(MAX_SOUNDS + 7):
        watched.outbox.put_sound(sound(at))
    assert [message.sound.pts for message in await watched.rest()] == list(range(7, MAX_SOUNDS + 7))
    assert watched.outbox.num_dropped["sound"] == 7


async def test_pictures_go_all_at_once_and_begin_again_with_a_whole_one() -> None:
    watched = Watched()
    watched.outbox.put_picture(picture(0))  # builds on what nobody has
    watched.outbox.put_picture(picture(1, is_key=True))
    for at in range(2, MAX_PICTURES + 1):
        watched.outbox.put_picture(picture(at))
    assert watched.asked == []
    watched.outbox.put_picture(picture(100))
    assert watched.asked == ["whole"]
    watched.outbox.put_picture(picture(101))
    watched.outbox.put_picture(picture(102, is_key=True))
    watched.outbox.put_picture(picture(103))
    assert [message.picture.pts for message in await watched.rest()] == [102, 103]
    assert watched.outbox.num_dropped["picture"] == MAX_PICTURES + 3


async def test_no_event_is_dropped_and_too_many_are_told_of() -> None:
    watched = Watched()
    for at in range(MAX_OTHERS):
        watched.outbox.put(event(at))
    assert watched.asked == []
    watched.outbox.put(event(MAX_OTHERS))
    assert watched.asked == ["overflow"]
    assert len(await watched.rest()) == MAX_OTHERS


async def test_sound_of_an_interrupted_answer_does_not_come_any_more() -> None:
    watched = Watched()
    watched.outbox.put_sound(sound(0))
    watched.outbox.put(event(1))
    watched.outbox.drop_sound()
    watched.outbox.put_sound(sound(2))
    messages = await watched.rest()
    assert [message.WhichOneof("message") for message in messages] == ["event", "sound"]
    assert messages[1].sound.pts == 2


async def test_nothing_is_put_after_the_end() -> None:
    watched = Watched()
    watched.outbox.close()
    watched.outbox.put_sound(sound(0))
    assert await watched.rest() == []


def test_credit_is_a_window_ahead_of_what_is_played() -> None:
    credit = ReplyCredit()
    credit.take(WINDOW_MS / 1000)
    with pytest.raises(CreditExceeded):
        credit.take(0.001)
    assert not credit.grow(backlog_s=2.0)
    assert not credit.grow(backlog_s=2.0 - (STEP_MS - 1) / 1000)
    assert credit.grow(backlog_s=1.5)
    assert credit.granted_ms == WINDOW_MS + 500
    assert not credit.grow(backlog_s=2.0)  # it never falls
    assert credit.granted_ms == WINDOW_MS + 500
    credit.take(0.5)


def test_pieces_count_in_whole_milliseconds() -> None:
    credit = ReplyCredit()
    for _ in range(WINDOW_MS):
        credit.take(1 / 48_000)
    with pytest.raises(CreditExceeded):
        credit.take(1 / 48_000)


def test_a_whole_number_of_milliseconds_is_not_rounded_up() -> None:
    credit = ReplyCredit()
    for _ in range(WINDOW_MS // 20):
        credit.take(960 / 48_000)
    with pytest.raises(CreditExceeded):
        credit.take(0.001)


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"type": "avatar.state", "state": "speaking"}, "state"),
        ({"type": "input_audio_buffer.speech_stopped", "item_id": "i"}, "user_speech"),
        ({"type": "avatar.limit", "limit": "idle", "seconds_left": None}, "limit"),
        ({"type": "avatar.ladder", "rung": "still", "reason": "late"}, "ladder"),
        ({"type": "error", "error": {"code": "too_large", "message": "m"}}, "refusal"),
        ({"type": "avatar.quality", "fps": 25.0, "stalls": 0}, "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_has_its_message(told: Mapping[str, Any], what: str) -> None:
    message = call_event({"event_id": "e", "session_id": "s", "t_ms": 40, **told})
    assert message is not None
    assert message.WhichOneof("what") == what
    assert (message.event_id, message.time_milliseconds) == ("e", 40)


def test_events_say_what_they_said() -> None:
    limit = call_event({"type": "avatar.limit", "limit": "idle", "seconds_left": None})
    assert limit is not None
    assert not limit.limit.HasField("seconds_left")
    refusal = call_event({"type": "error", "error": {"code": "too_large", "message": "m"}})
    assert refusal is not None
    assert refusal.refusal.reason == "TOO_LARGE"
    other = call_event({"type": "avatar.quality", "fps": 25.0, "event_id": "e"})
    assert other is not None
    assert (other.other.type, dict(other.other.fields)) == ("avatar.quality", {"fps": 25.0})
    state = call_event({"type": "avatar.state", "state": "thinking"})
    assert state is not None
    assert state.state.state == media_pb2.BEHAVIOUR_THINKING


def test_every_name_that_has_a_message_is_one_that_sessions_tell() -> None:
    source = "".join(path.read_text() for path in GATEWAY.glob("*.py"))
    for name in SILENT | events._MAKERS.keys():
        assert f'"{name}"' in source, name


@pytest.mark.parametrize("size", [0, 1, 32_002])
def test_half_samples_nothing_and_too_much_are_no_sound(size: int) -> None:
    with pytest.raises(InvalidInput):
        samples_of(live_pb2.PcmPiece(samples=bytes(size), sample_rate_hertz=16_000))


def test_a_microphone_that_changes_its_rate_is_heard_on() -> None:
    ears = Ears()
    for rate in (48_000, 16_000, 8000):
        piece = live_pb2.PcmPiece(samples=bytes(2 * rate), sample_rate_hertz=rate)
        assert 15_000 < ears.push(piece).size <= 16_000
