"""The errors as values."""

import pickle

import pytest

import talkingmachines as tm

pytestmark = pytest.mark.unit


def test_an_error_survives_the_way_to_another_process() -> None:
    busy = tm.Busy("Full.", retry_after_s=7.5)

    copy = pickle.loads(pickle.dumps(busy))  # noqa: S301  # our own bytes, made a line above

    assert type(copy) is tm.Busy
    assert (str(copy), copy.reason, copy.retry_after_s) == ("Full.", "NO_FREE_SLOT", 7.5)


def test_a_callers_mistake_is_a_value_error_too() -> None:
    assert issubclass(tm.InvalidInput, ValueError)
    assert issubclass(tm.TooLarge, tm.InvalidInput)
    assert issubclass(tm.NoSpeech, tm.InvalidInput)


def test_without_a_reason_of_the_server_an_error_has_its_own() -> None:
    assert tm.NotFound("No such avatar.").reason == "NOT_FOUND"
    assert tm.NotFound("No such avatar.", reason="GONE").reason == "GONE"
