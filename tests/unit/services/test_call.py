"""What a call allows and when it ends, on a clock that the tests hold."""

import json
import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from avatar.errors import TooManyAttempts
from avatar.media import CUES, SessionId
from services.gateway.allowance import Allowance
from services.gateway.audience import Audience
from services.gateway.call import Call
from services.gateway.coordinator import Session
from services.gateway.events import Cue
from services.gateway.feed import Feed
from services.gateway.peer import WebRtcPeer
from services.gateway.tokens import TokenHash
from services.settings import AppConfig, Limits
from tests.fakes.calls import FakeLive, FakeSessionPart, ManualClock
from tests.fakes.live_edge import InlineExecutor

pytestmark = pytest.mark.unit

LIMITS = Limits(grace_s=30, heartbeat_s=3, idle_s=300, session_s=3600, warning_s=30, connect_s=15)


@dataclass(eq=False)
class FakeConnection:
    """Keeps what it is told."""

    events: list[dict[str, Any]] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)

    @property
    def as_peer(self) -> WebRtcPeer:
        return cast(WebRtcPeer, self)

    def tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def told(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]


class Line:
    """A call, its clock, and the connections that it let go."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock = ManualClock()
        self.left_s = math.inf
        session = cast(Session, FakeSessionPart(SessionId("s"), "mira"))
        self.live = FakeLive(session, AppConfig(limits=limits), self.clock)
        self.gone: list[Any] = []
        feed = Feed(InlineExecutor(), self.clock)
        audience = Audience(feed, limits, self.gone.append, self.clock)
        self.call = Call(
            self.live,
            TokenHash("secret"),
            limits,
            self.gone.append,
            self.clock,
            audience,
            left_s=lambda: self.left_s,
        )
        self.peer = FakeConnection()

    @property
    def attached(self) -> object:
        return self.live.peer

    def connect(self) -> FakeConnection:
        self.peer = FakeConnection()
        self.call.expect(self.peer.as_peer)
        self.call.connected(self.peer.as_peer)
        return self.peer

    def send(self, type: str, **fields: object) -> None:
        self.call.received(self.peer.as_peer, json.dumps({"type": type, **fields}))

    def say(self, text: str) -> None:
        self.send("avatar.say", text=text)

    def after(self, seconds: float) -> str:
        """Why the call has ended by then; empty while it goes on."""
        self.clock.now += seconds
        self.call.check()
        return self.live.ended


def test_a_call_waits_for_its_caller_as_long_as_its_grace() -> None:
    line = Line()
    assert line.after(29.9) == ""
    assert line.after(0.2) == "no_connection"


def test_a_caller_who_comes_back_in_time_goes_on() -> None:
    line = Line()
    first = line.connect()
    line.call.lost(first.as_peer)
    assert line.attached is None
    assert line.after(29) == ""
    second = line.connect()
    assert line.after(100) == ""
    assert line.attached is second
    assert line.gone == [first]


def test_who_comes_back_replaces_the_connection_that_was() -> None:
    line = Line()
    first = line.connect()
    second = line.connect()
    assert line.attached is second
    assert first.told("avatar.ended") == [{"type": "avatar.ended", "reason": "replaced"}]
    assert line.gone == [first]
    line.call.lost(first.as_peer)  # it closes now
    assert line.attached is second
    assert line.after(100) == ""


def test_only_the_newest_connection_is_listened_to() -> None:
    line = Line()
    first, _ = line.connect(), line.connect()
    line.call.received(first.as_peer, '{"type": "response.cancel"}')
    line.call.heard(first.as_peer, np.ones(320, np.float32))
    assert (line.live.events, line.live.heard) == ([], [])


def test_an_answer_that_nobody_follows_is_dropped() -> None:
    line = Line()
    present = line.connect()
    late = FakeConnection()
    line.call.expect(late.as_peer)
    assert line.after(14.9) == ""
    assert line.gone == []
    line.after(0.2)
    assert line.gone == [late]
    line.call.connected(late.as_peer)  # too late
    assert line.attached is present


def test_of_two_answers_the_newer_counts() -> None:
    line = Line()
    older, newer = FakeConnection(), FakeConnection()
    line.call.expect(older.as_peer)
    line.call.expect(newer.as_peer)
    line.call.connected(older.as_peer)
    assert line.attached is None
    line.call.connected(newer.as_peer)
    assert line.attached is newer
    assert older in line.gone


def test_a_heartbeat_that_stops_means_that_the_caller_is_gone() -> None:
    line = Line()
    peer = line.connect()
    for n in range(20):
        line.clock.now += 0.25
        line.send("avatar.heartbeat", n=n)
    assert line.after(2.9) == ""
    assert line.attached is peer
    line.after(0.2)
    assert line.attached is None
    assert line.gone == [peer]
    assert line.after(29.5) == ""
    assert line.after(1) == "no_connection"


def test_a_caller_that_never_beat_is_not_missed() -> None:
    line = Line()
    peer = line.connect()
    line.after(60)
    assert line.attached is peer


def test_a_call_in_which_nothing_happens_ends_and_says_so_before() -> None:
    line = Line()
    peer = line.connect()
    for n in range(4 * 269):
        line.clock.now += 0.25
        line.send("avatar.heartbeat", n=n)  # a page left open is no activity
    line.after(0.5)
    assert peer.told("avatar.limit") == []
    line.after(1)
    line.after(0.25)
    line.send("avatar.heartbeat", n=0)
    warning = {"type": "avatar.limit", "limit": "idle", "seconds_left": 30}
    assert peer.told("avatar.limit") == [warning]
    for n in range(4 * 29):
        line.clock.now += 0.25
        line.send("avatar.heartbeat", n=n)
    assert line.after(1) == "idle"


def test_a_word_in_time_takes_the_warning_back() -> None:
    line = Line()
    peer = line.connect()
    line.after(280)
    line.say("Wait!")
    line.after(1)
    assert [event["seconds_left"] for event in peer.told("avatar.limit")] == [20, None]
    assert line.after(200) == ""


@pytest.mark.parametrize("state", ["listening", "thinking", "speaking"])
def test_while_somebody_speaks_a_call_is_not_idle(state: Any) -> None:
    line = Line()
    line.connect()
    line.live.state = state
    assert line.after(400) == ""
    line.live.state = "idle"
    assert line.after(299) == ""
    assert line.after(2) == "idle"


def test_a_call_has_its_longest_time_and_the_caller_is_told_again_after_coming_back() -> None:
    line = Line(LIMITS.model_copy(update={"idle_s": 10_000}))
    line.connect()
    assert line.after(3575) == ""
    line.call.lost(line.peer.as_peer)
    back = line.connect()
    line.after(1)
    (warning,) = back.told("avatar.limit")
    assert (warning["limit"], warning["seconds_left"]) == ("time_limit", 24)
    assert line.after(24) == "time_limit"


def test_a_call_ends_when_others_have_used_up_its_keys_time() -> None:
    line = Line()
    peer = line.connect()
    line.left_s = 20.0
    assert line.after(1) == ""
    (warning,) = peer.told("avatar.limit")
    assert (warning["limit"], warning["seconds_left"]) == ("time_limit", 20)
    line.left_s = 0.0
    assert line.after(1) == "time_limit"


def test_the_reason_is_told_before_the_connection_goes() -> None:
    line = Line()
    peer = line.connect()
    line.call.end("idle")
    line.call.end("time_limit")
    line.call.leave()
    assert peer.events[-1] == {"type": "avatar.ended", "reason": "idle"}
    assert line.gone == [peer]


def test_hanging_up_ends_the_connection_and_not_the_session() -> None:
    line = Line()
    peer = line.connect()
    assert line.call.hang_up()
    assert peer.events[-1] == {"type": "avatar.ended", "reason": "hung_up"}
    assert line.attached is None
    assert line.after(29) == ""
    assert not line.call.hang_up()
    assert line.after(2) == "no_connection"


def test_a_session_that_does_not_end_is_stuck() -> None:
    line = Line()
    line.call.end("hung_up")
    line.after(4)
    assert not line.call.is_stuck
    line.after(2)
    assert line.call.is_stuck


# What a caller may do


def test_events_come_as_fast_as_people_are_and_a_burst_does_not_matter() -> None:
    line = Line()
    line.connect()
    for _ in range(100):
        line.send("response.cancel")
    assert line.live.ended == ""
    for _ in range(10):
        line.clock.now += 1
        for _ in range(50):
            line.send("response.cancel")
    assert line.live.ended == ""
    assert len(line.live.events) == 600


def test_a_flood_of_events_ends_the_call() -> None:
    line = Line()
    peer = line.connect()
    for _ in range(101):
        line.send("response.cancel")
    assert line.live.ended == "event_flood"
    assert len(line.live.events) == 100
    assert peer.events[-1] == {"type": "avatar.ended", "reason": "event_flood"}


def test_nonsense_counts_as_events_too() -> None:
    line = Line()
    peer = line.connect()
    for n in range(101):
        line.call.received(peer.as_peer, b"\0" if n % 2 else "{")
    assert line.live.ended == "event_flood"


def test_cues_count_as_events() -> None:
    line = Line()
    line.connect()
    for _ in range(101):
        line.send("avatar.cue", name="smile")
    assert line.live.ended == "event_flood"
    assert line.live.events[0] == Cue(type="avatar.cue", name="smile")


def test_an_unknown_cue_is_refused_with_the_names_of_all() -> None:
    line = Line()
    peer = line.connect()
    line.send("avatar.cue", name="laugh")
    assert line.live.events == []
    (told,) = peer.told("error")
    assert told["error"]["code"] == "invalid_input"
    assert all(name in told["error"]["message"] for name in CUES)


def test_a_flood_of_texts_ends_the_call() -> None:
    line = Line()
    line.connect()
    for _ in range(21):
        line.say("Hello.")
    assert line.live.ended == "text_flood"
    assert len(line.live.events) == 20


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b'{"type": "response.cancel"}', "invalid_input"),
        ("{", "invalid_input"),
        ("[" * 10_000, "invalid_input"),
        ('{"type": "session.update"}', "invalid_input"),
        (json.dumps({"type": "avatar.say", "text": "x" * 20_000}), "too_large"),
        (json.dumps({"type": "avatar.say", "text": "x" * 150}), "too_large"),
    ],
)
def test_what_is_no_event_is_answered_with_an_error(message: str | bytes, code: str) -> None:
    line = Line(LIMITS.model_copy(update={"text_characters": 100}))
    peer = line.connect()
    line.call.received(peer.as_peer, message)
    (error,) = peer.told("error")
    assert error["error"]["code"] == code
    assert (line.live.events, line.live.ended) == ([], "")


def test_the_texts_of_one_message_are_counted_together() -> None:
    line = Line(LIMITS.model_copy(update={"text_characters": 100}))
    peer = line.connect()
    content = [{"type": "input_text", "text": "x" * 60}] * 2
    item = {"type": "message", "role": "user", "content": content}
    line.send("conversation.item.create", item=item)
    assert peer.told("error")[0]["error"]["code"] == "too_large"


def test_a_microphone_is_heard_a_little_faster_than_time() -> None:
    line = Line()
    peer = line.connect()
    for _ in range(600):
        line.clock.now += 0.02
        line.call.heard(peer.as_peer, np.zeros(384, np.float32))  # 1.2 times as fast
    assert len(line.live.heard) == 600


def test_a_microphone_that_floods_is_cut_and_then_the_call_is() -> None:
    line = Line()
    peer = line.connect()
    for _ in range(800):  # 16 s at once
        line.call.heard(peer.as_peer, np.zeros(320, np.float32))
    assert line.live.microphone.size == 312 * 320  # 5 s at 1.25 times their speed
    assert line.live.ended == ""
    for _ in range(100):
        line.call.heard(peer.as_peer, np.zeros(320, np.float32))
    assert line.live.ended == "microphone_flood"


def test_offers_are_counted_by_the_minute() -> None:
    line = Line(LIMITS.model_copy(update={"connects_per_minute": 6}))
    for _ in range(6):
        line.call.attempt()
    with pytest.raises(TooManyAttempts) as caught:
        line.call.attempt()
    assert caught.value.retry_after_s == 10
    line.clock.now += 11
    line.call.attempt()


def test_a_failure_while_an_event_is_handled_ends_the_call_with_a_reason() -> None:
    line = Line()
    peer = line.connect()

    def fail(event: object) -> None:
        raise KeyError("a mistake of ours")

    line.live.handle = fail  # type: ignore[method-assign]
    line.send("response.cancel")
    assert peer.events[-1] == {"type": "avatar.ended", "reason": "server_error"}


def test_a_token_is_known_by_its_hash_only() -> None:
    token = TokenHash("secret")
    assert token.matches("secret")
    assert not token.matches("Secret")
    assert not token.matches("")
    assert "secret" not in str(vars(token))


def test_an_allowance_never_saves_more_than_its_burst() -> None:
    clock = ManualClock()
    allowance = Allowance(8, 2, clock)
    clock.now += 1000
    assert sum(allowance.take() for _ in range(50)) == 16
    clock.now += 0.125
    assert [allowance.take(), allowance.take()] == [True, False]
