"""When a turn begins, pauses and is over, from given probabilities."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.speech.turns import (
    WINDOW_S,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDetector,
    TurnOver,
    TurnState,
    TurnStep,
    windows_in,
)

pytestmark = pytest.mark.unit

RULES = TurnDetector()
PROBABILITIES = st.lists(st.floats(0.0, 1.0), max_size=120)


def run(
    probabilities: list[float], patience_s: float = math.inf, state: TurnState | None = None
) -> tuple[list[TurnStep], TurnState]:
    state, steps = state or TurnState(), []
    for probability in probabilities:
        step, state = RULES.step(probability, state, patience_s)
        if step is not None:
            steps.append(step)
    return steps, state


def test_a_turn_has_a_beginning_a_pause_and_an_end() -> None:
    steps, state = run([0.1] * 5 + [0.9] * 20 + [0.1] * 10, patience_s=0.32)
    assert steps == [SpeechStarted(5), SpeechPaused(25), TurnOver(25)]
    assert state == TurnState(index=35)


def test_a_pause_that_speech_follows_does_not_end_the_turn() -> None:
    steps, state = run([0.9] * 10 + [0.0] * 8 + [0.9] * 10, patience_s=0.32)
    assert steps == [SpeechStarted(0), SpeechPaused(10), SpeechResumed(8)]
    assert state.phase == "speaking"


@pytest.mark.parametrize("length", [1, 2])
def test_clicks_begin_no_turn(length: int) -> None:
    assert run(([0.9] * length + [0.1]) * 10)[0] == []


@pytest.mark.parametrize("length", [1, 2])
def test_the_closure_of_a_consonant_is_no_pause(length: int) -> None:
    assert run(([0.9] * 5 + [0.0] * length) * 5)[0] == [SpeechStarted(0)]


def test_speech_that_fades_is_still_speech() -> None:
    assert run([0.9] * 5 + [0.4] * 20)[0] == [SpeechStarted(0)]
    assert run([0.4] * 20)[0] == []


def test_a_window_that_may_begin_a_word_is_waited_for() -> None:
    probabilities = [0.9] * 5 + [0.0] * 9
    assert isinstance(run([*probabilities, 0.0], 0.32)[0][-1], TurnOver)
    assert isinstance(run([*probabilities, 0.9, 0.9], 0.32)[0][-1], SpeechResumed)


def test_with_no_patience_known_no_silence_ends_a_turn() -> None:
    steps, state = run([0.9] * 5 + [0.0] * 500)
    assert steps == [SpeechStarted(0), SpeechPaused(5)]
    assert state.silence_s == pytest.approx(500 * WINDOW_S)


def test_after_a_turn_was_cut_in_a_word_the_rest_of_it_is_not_heard() -> None:
    _, state = run([0.9] * 10)
    state = RULES.ended(state)
    assert run([0.9] * 20, state=state)[0] == []
    assert run([0.9] * 20 + [0.0] + [0.9] * 5, state=state)[0] == [SpeechStarted(31)]


@given(PROBABILITIES, st.floats(0.1, 2.0))
def test_steps_always_come_in_order(probabilities: list[float], patience_s: float) -> None:
    steps, _ = run(probabilities, patience_s)
    follows: dict[type | None, tuple[type, ...]] = {
        None: (SpeechStarted,),
        SpeechStarted: (SpeechPaused,),
        SpeechPaused: (SpeechResumed, TurnOver),
        SpeechResumed: (SpeechPaused,),
        TurnOver: (SpeechStarted,),
    }
    before: type | None = None
    for step in steps:
        assert isinstance(step, follows[before])
        before = type(step)


@given(PROBABILITIES, st.floats(0.1, 2.0))
def test_a_turn_ends_only_after_its_patience(probabilities: list[float], patience_s: float) -> None:
    state = TurnState()
    for probability in probabilities:
        step, after = RULES.step(probability, state, patience_s)
        if isinstance(step, TurnOver):
            assert (after.index - step.at) * WINDOW_S >= patience_s - WINDOW_S
            assert after.index - step.at >= RULES.offset
        state = after


@settings(max_examples=50)
@given(PROBABILITIES, PROBABILITIES)
def test_a_state_is_a_value(first: list[float], second: list[float]) -> None:
    _, state = run(first, 0.5)
    again = run(second, 0.5, state)
    assert run(second, 0.5, state) == again


def test_seconds_are_rounded_to_windows() -> None:
    assert [windows_in(s) for s in (0.0, 0.032, 0.3, 1.0)] == [0, 1, 9, 31]
