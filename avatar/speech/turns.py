"""When somebody's turn begins, pauses and is over, from voice probabilities window by window."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from avatar.media import SPEECH_RATE
from avatar.speech.vad import WINDOW

WINDOW_S = WINDOW / SPEECH_RATE
"""32 ms; all counts below are of windows."""


def windows_in(seconds: float) -> int:
    """Windows that cover `seconds`, rounded to the nearest."""
    return round(seconds / WINDOW_S)


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody speaks, since window `at`."""

    at: int


@dataclass(frozen=True)
class SpeechPaused:
    """Nobody speaks, since window `at`; the turn may go on."""

    at: int


@dataclass(frozen=True)
class SpeechResumed:
    """The turn goes on after `pause` windows of silence."""

    pause: int


@dataclass(frozen=True)
class TurnOver:
    """The silence since window `at` was long enough."""

    at: int


TurnStep = SpeechStarted | SpeechPaused | SpeechResumed | TurnOver
Phase = Literal["deaf", "quiet", "speaking", "paused"]


@dataclass(frozen=True)
class TurnState:
    """Where a microphone is in its turn."""

    index: int = 0
    """Windows heard so far."""
    phase: Phase = "quiet"
    """"deaf" until the first silence: a turn was ended in the middle of a word."""
    run: int = 0
    """Windows in a row that speak against the phase."""
    paused_at: int = 0
    """Window in which the silence of a pause began."""

    @property
    def silence_s(self) -> float:
        """How long the pause has lasted; 0 while somebody speaks."""
        return (self.index - self.paused_at) * WINDOW_S if self.phase == "paused" else 0.0


@dataclass(frozen=True)
class TurnDetector:
    """The rules; it holds no state, and knows no clock but the windows that it is given."""

    speech_from: float = 0.5
    """Probability from which a window is speech."""
    silence_below: float = 0.35
    """Probability below which speech has ended."""
    onset: int = 3
    """Windows of speech that begin a turn: clicks are shorter."""
    offset: int = 3
    """Windows of silence that make a pause: the closure of a "p" or "t" is shorter."""
    resume: int = 2
    """Windows of speech that end a pause."""

    def step(
        self, probability: float, state: TurnState, patience_s: float = math.inf
    ) -> tuple[TurnStep | None, TurnState]:
        """Take in one window.

        Args:
            probability: That somebody speaks in it.
            state: After the window before it.
            patience_s: Silence after which the turn is over; infinite while that is not known.
        """
        now = state.index
        state = replace(state, index=now + 1)
        match state.phase:
            case "deaf":
                heard = probability < self.silence_below
                return None, replace(state, phase="quiet") if heard else state
            case "quiet":
                return self._wait_for_speech(probability, state, now)
            case "speaking":
                return self._wait_for_silence(probability, state, now)
            case "paused":
                return self._wait_for_more(probability, state, patience_s)

    def ended(self, state: TurnState) -> TurnState:
        """The state after a turn that was ended from outside."""
        phase: Phase = "deaf" if state.phase == "speaking" else "quiet"
        return TurnState(state.index, phase)

    def _wait_for_speech(
        self, probability: float, state: TurnState, now: int
    ) -> tuple[TurnStep | None, TurnState]:
        run = state.run + 1 if probability >= self.speech_from else 0
        if run < self.onset:
            return None, replace(state, run=run)
        return SpeechStarted(now - run + 1), replace(state, phase="speaking", run=0)

    def _wait_for_silence(
        self, probability: float, state: TurnState, now: int
    ) -> tuple[TurnStep | None, TurnState]:
        run = state.run + 1 if probability < self.silence_below else 0
        if run < self.offset:
            return None, replace(state, run=run)
        at = now - run + 1
        return SpeechPaused(at), replace(state, phase="paused", run=0, paused_at=at)

    def _wait_for_more(
        self, probability: float, state: TurnState, patience_s: float
    ) -> tuple[TurnStep | None, TurnState]:
        run = state.run + 1 if probability >= self.speech_from else 0
        state = replace(state, run=run)
        if run >= self.resume:
            pause = state.index - run - state.paused_at
            return SpeechResumed(pause), replace(state, phase="speaking", run=0)
        # a window that may begin the next word is waited for
        if not run and state.silence_s >= patience_s - WINDOW_S / 2:
            return TurnOver(state.paused_at), TurnState(state.index)
        return None, state
