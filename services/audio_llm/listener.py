"""One caller's microphone: when they speak, what is understood, when their turn is over."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avatar.errors import AvatarError
from avatar.speech.end_of_turn import EndOfTurn
from avatar.speech.turns import (
    WINDOW_S,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDetector,
    TurnOver,
    TurnState,
    windows_in,
)
from avatar.speech.vad import Detector
from avatar.telemetry.logging import get_logger
from services.audio_llm.recording import Recording, Turn

log = get_logger(__name__)

Understand = Callable[[NDArray[np.float32]], Awaitable[str]]
"""The words in (S,) 16 kHz samples; raises AvatarError."""

PRE_ROLL = windows_in(0.3)
"""Windows before the first that sounds like speech: soft beginnings belong to the word."""
FIRST_LOOK, NEXT_LOOK = windows_in(0.6), windows_in(0.5)
"""Windows of speech after which it is transcribed while an answer sounds, to judge it."""
CAPTION = windows_in(1.5)
"""Windows of speech from one caption to the next, besides those at pauses."""
CAPTION_SHARE = 8
"""So many times as long as a transcription takes is waited before the next caption."""
SETTLED = windows_in(10.0)
"""A longer turn is not transcribed from its beginning again after its next pause."""
SAME_TURN = windows_in(1.2)
"""Who speaks again this soon after their turn was over had only paused."""
KEPT_PAUSES = 16
UNHEARD_S = 0.7
"""Silence that ends a turn which the recogniser failed to understand."""


class Hearing(Protocol):
    """What follows from what is heard; every call returns at once."""

    @property
    def is_contested(self) -> bool:
        """Whether the caller speaks into an answer, so that speech is judged early."""
        ...

    def speech_started(self, ago_s: float, /) -> None: ...

    def understood(self, so_far: Turn, is_pause: bool, /) -> None:
        """The turn up to now; at a pause its text is all that was said."""
        ...

    def speech_resumed(self) -> None:
        """The turn goes on after a pause."""
        ...

    def turn_over(self, turn: Turn, /) -> None: ...

    def turn_lost(self, error: AvatarError, /) -> None:
        """The turn is over, and the recogniser failed."""
        ...


class Listener:
    """Takes in a microphone window by window; its only clock is their number."""

    def __init__(
        self,
        detector: Detector,
        understand: Understand,
        policy: EndOfTurn,
        hearing: Hearing,
        tasks: asyncio.TaskGroup,
        *,
        max_turn_s: float,
    ) -> None:
        self._detector, self._understand, self._policy = detector, understand, policy
        self._hearing, self._tasks = hearing, tasks
        self._max_windows = windows_in(max_turn_s)
        self._rules = TurnDetector()
        self._vad = detector.init_state()
        self._state = TurnState()
        self._before: deque[NDArray[np.float32]] = deque(maxlen=PRE_ROLL + self._rules.onset)
        self._pauses_s: deque[float] = deque(maxlen=KEPT_PAUSES)
        self._over_at = self._paused_at = -SAME_TURN  # of the turn before
        self._is_held = False
        self._is_busy = False
        self._took = 0  # windows that the last transcription took
        self._turn = Recording()

    @property
    def now_s(self) -> float:
        """How much was heard so far."""
        return self._state.index * WINDOW_S

    @property
    def in_turn(self) -> bool:
        """Whether the caller has begun to speak."""
        return self._turn.has_speech

    @property
    def is_held(self) -> bool:
        """Whether the talk button is down."""
        return self._is_held

    def take(self, window: NDArray[np.float32]) -> None:
        """Take in the next (512,) samples."""
        probability, self._vad = self._detector.step(window, self._vad)
        patience_s = math.inf if self._is_held else self._turn.patience_s
        step, self._state = self._rules.step(probability, self._state, patience_s)
        if self._turn.is_on:
            self._turn.add(window)
        else:
            self._before.append(window)
        match step:
            case SpeechStarted(at):
                self._start(at)
            case SpeechPaused():
                self._turn.pause()
                self._look()
            case SpeechResumed(pause):
                self._pauses_s.append(pause * WINDOW_S)
                self._turn.resume(SETTLED, keep=min(PRE_ROLL, pause) + self._rules.resume)
                self._hearing.speech_resumed()
            case TurnOver(at):
                self._over_at, self._paused_at = self._state.index, at
                self._end(silence_s=(self._state.index - at) * WINDOW_S)
                return
            case None:
                pass
        if self._state.phase == "speaking":
            self._turn.speak(window, probability)
            if self._turn.since_look >= self._next_look() and not self._is_busy:
                self._look()
        if self._turn.num_windows >= self._max_windows:
            self.release()

    def hold(self) -> None:
        """The talk button is down: from now on all belongs to one turn, until `release`."""
        self._is_held = True
        self._turn.begin(self._before)

    def release(self) -> None:
        """The turn is over now, whatever the silence."""
        self._is_held = False
        turn, silence_s = self._turn, self._state.silence_s
        if turn.is_understood or not turn.has_speech:
            self._end(silence_s, by_button=True)
        else:
            self._reset()
            ended_at = self._state.index - silence_s / WINDOW_S
            self._tasks.create_task(self._understand_rest(turn, ended_at))

    def forget(self) -> None:
        """What was heard so far of this turn was not the caller."""
        self._turn.forget(keep=PRE_ROLL)

    def _start(self, at: int) -> None:
        if at - self._over_at <= SAME_TURN:
            self._pauses_s.append((at - self._paused_at) * WINDOW_S)
        self._turn.begin(self._before)
        self._turn.has_speech = True
        self._turn.since_look = self._state.index - at
        self._hearing.speech_started((self._state.index - at) * WINDOW_S)

    def _next_look(self) -> int:
        if not self._hearing.is_contested:
            # a slow recogniser is kept free for the end of the turn
            return max(CAPTION, CAPTION_SHARE * self._took)
        return NEXT_LOOK if self._turn.was_judged else FIRST_LOOK

    def _end(self, silence_s: float, *, by_button: bool = False) -> None:
        turn = self._turn
        self._reset()
        if turn.error is not None:
            self._hearing.turn_lost(turn.error)
        else:
            self._hearing.turn_over(turn.so_far(silence_s, by_button=by_button))

    def _reset(self) -> None:
        self._turn = Recording()
        self._before.clear()
        self._state = self._rules.ended(self._state)

    def _look(self) -> None:
        """Transcribe the turn so far, as soon as the transcription before it is done."""
        self._turn.since_look = 0
        self._turn.was_judged = self._hearing.is_contested
        self._turn.wants_text = True
        if not self._is_busy:
            self._is_busy = True
            self._tasks.create_task(self._transcribe())

    async def _transcribe(self) -> None:
        while (turn := self._turn).wants_text:
            turn.wants_text = False
            serial, asked_at = turn.serial, self._state.index
            try:
                text, error = await self._words_of(turn), None
            except AvatarError as failure:
                text, error = turn.text, failure
            self._took = self._state.index - asked_at
            if turn is not self._turn:
                continue  # ended from outside
            turn.text = text
            is_pause = turn.is_paused and serial == turn.serial
            if is_pause:
                turn.error = error
                turn.patience_s = (
                    UNHEARD_S if error else self._policy.patience_s(text, self._pauses_s)
                )
            if error is None:
                self._hearing.understood(turn.so_far(self._state.silence_s), is_pause)
        self._is_busy = False

    async def _understand_rest(self, turn: Recording, ended_at: float) -> None:
        """Transcribe a turn that was ended before that."""
        try:
            turn.text = await self._words_of(turn)
        except AvatarError as error:
            self._hearing.turn_lost(error)
            return
        silence_s = (self._state.index - ended_at) * WINDOW_S
        self._hearing.turn_over(turn.so_far(silence_s, by_button=True))

    async def _words_of(self, turn: Recording) -> str:
        settled, samples = turn.samples()
        return f"{settled} {await self._understand(samples)}".strip()
