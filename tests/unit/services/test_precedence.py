"""Whose chunk is next, in time and under overload."""

import pytest

from avatar.media import SessionId
from services.precedence import LAX_S, REMEMBERED, STANDBACK_S, Due, Precedence, urgency

pytestmark = pytest.mark.unit
A, B, C = (SessionId(name) for name in "abc")


def precedence() -> Precedence:
    made = Precedence()
    for session in (A, B, C):
        made.due(session, 0.0, 1.0)
    return made


def taken(dues: dict[str, Due], now: float, takes_s: float = 0.0) -> str:
    """In which order those are computed that wait at an instant."""
    key = urgency(dues.values(), now, takes_s)
    return "".join(sorted(dues, key=lambda name: key(dues[name])))


def test_while_all_are_in_time_the_earliest_deadline_comes_first() -> None:
    made = precedence()
    dues = {"a": made.due(A, 10, 3.0), "b": made.due(B, 10, 2.0), "c": made.due(C, 10, 1.0)}
    assert taken(dues, now=10.9) == "cba"


def test_where_one_is_late_who_was_there_first_comes_first() -> None:
    made = precedence()
    dues = {"a": made.due(A, 10, 1.9), "b": made.due(B, 10, 1.0), "c": made.due(C, 10, 0.0)}
    assert taken(dues, now=10.5) == "abc"


def test_where_not_all_will_be_in_time_who_was_there_first_comes_first() -> None:
    made = precedence()
    dues = {"a": made.due(A, 10, 2.5), "b": made.due(B, 10, 2.0), "c": made.due(C, 10, 1.0)}
    assert taken(dues, now=10, takes_s=0.8) == "cba"
    assert taken(dues, now=10, takes_s=0.9) == "abc"


def test_nobody_waits_for_ever() -> None:
    made = precedence()
    dues = {"c": made.due(C, 10, 0.0), "a": made.due(A, 10 + 3 * STANDBACK_S, 0.0)}
    assert taken(dues, now=10 + 4 * STANDBACK_S) == "ca"


def test_who_leaves_makes_room_in_the_order_and_has_its_place_again_after() -> None:
    made = precedence()
    made.leave(A)
    made.leave(A)
    assert [made.due(each, 10, 0.0).rank for each in (B, C)] == [0, 1]
    assert made.lax(10).rank == 2
    assert [made.due(each, 10, 0.0).rank for each in (A, B, C)] == [0, 1, 2]


def test_places_are_not_kept_without_end() -> None:
    made = precedence()
    made.leave(B)
    for number in range(REMEMBERED):
        passing = SessionId(f"s{number}")
        made.due(passing, 10, 0.0)
        made.leave(passing)
    assert [made.due(each, 10, 0.0).rank for each in (A, C, B)] == [0, 1, 2]


def test_what_nobody_waits_for_is_lax_comes_last_where_one_is_late_and_takes_no_place() -> None:
    made = precedence()
    render = made.due(SessionId("render"), 10, None)
    assert render == made.lax(10) == Due(10 + LAX_S, 3)
    assert taken({"r": render, "c": made.due(C, 10, 1.1)}, now=10.5) == "rc"
    assert taken({"r": render, "c": made.due(C, 10.5, 0.0)}, now=10.6) == "cr"
    assert made.due(SessionId("d"), 10, 0.0).rank == 3
