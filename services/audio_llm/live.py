"""A live conversation as a cascade: who speaks, what is answered, what was heard of it."""

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from avatar.cast.avatars import character_of
from avatar.cast.characters import Character
from avatar.errors import AvatarError, InvalidInput
from avatar.media import SPEECH_RATE, AudioChunk, TurnEvent
from avatar.speech.end_of_turn import EndOfTurn, TextEndOfTurn
from avatar.speech.listening import is_stop
from avatar.speech.text import speakable
from avatar.speech.vad import WINDOW
from avatar.telemetry.logging import get_logger
from avatar.transport import Inbound
from services.audio_llm.answer import Answer
from services.audio_llm.backend import Outbound
from services.audio_llm.cascade import Cascade
from services.audio_llm.judge import Judge
from services.audio_llm.listener import Listener
from services.audio_llm.memory import Memory
from services.audio_llm.recording import Turn
from services.worker import task_group

log = get_logger(__name__)

SPECULATED_S: Final = 0.7
"""Where a longer silence must follow to end the turn, it is not answered ahead of time."""
FORGOTTEN_S: Final = 2.0
"""So much of an echo is kept, lest a caller's words be looked for in all of it."""


class CascadeLive:
    """Live conversations through voice detection, recognition, chat and voice; a `LiveBackend`."""

    def __init__(
        self,
        cascade: Cascade,
        max_turn_s: float,
        policy: EndOfTurn | None = None,
        find: Callable[[str], Character] = character_of,
    ) -> None:
        """`find` knows the characters by name."""
        self._cascade = cascade
        self._find = find
        self._max_turn_s = max_turn_s
        self._policy = policy or TextEndOfTurn()

    async def start(self) -> None:
        """The cascade is warmed by its owner."""

    async def converse(
        self, inbound: Inbound, out: Outbound, character: Character, answers: bool = True, /
    ) -> None:
        async with task_group() as tasks:
            call = LiveConversation(
                self._cascade, self._policy, out, character, tasks, self._max_turn_s, answers
            )
            try:
                while (piece := await inbound.receive()) is not None:
                    match piece:
                        case AudioChunk():
                            call.hear(_window_of(piece))
                        case TurnEvent(kind="character", text=name):
                            call.become(self._find(name))
                        case TurnEvent():
                            call.handle(piece)
                        case _:
                            raise InvalidInput(
                                "a live conversation takes AudioChunk and TurnEvent, "
                                f"{type(piece).__name__} given"
                            )
            finally:
                call.close()

    async def close(self) -> None:
        """The cascade is closed by its owner."""


class LiveConversation:
    """One caller and one character; every method returns at once, and tasks do what takes time."""

    def __init__(
        self,
        cascade: Cascade,
        policy: EndOfTurn,
        out: Outbound,
        character: Character,
        tasks: asyncio.TaskGroup,
        max_turn_s: float,
        answers: bool = True,
    ) -> None:
        """Without `answers` turns are written down, and somebody else answers them."""
        self.memory = Memory()
        self._answers = answers
        self._cascade, self._policy = cascade, policy
        self._out, self._character, self._tasks = out, character, tasks
        self._listener = Listener(
            cascade.detector, cascade.understand, policy, self, tasks, max_turn_s=max_turn_s
        )
        self._judge = Judge()
        self._answer: Answer | None = None
        self._ahead: Answer | None = None
        """Made while it is not certain yet that the turn is over."""
        self._awaits_interrupt = False
        self._has_cut_in = False
        """The turn that goes on has interrupted an answer."""
        self._waiting: list[tuple[str, Callable[[], Answer] | None]] = []
        """Questions between `barge_in` and `interrupt`, and how to answer them."""

    # What the gateway says

    def hear(self, window: NDArray[np.float32]) -> None:
        """The next (512,) samples of the microphone."""
        self._listener.take(window)

    def handle(self, event: TurnEvent) -> None:
        """Raises InvalidInput for what audio_llm is not told."""
        match event.kind:
            case "prompt":
                _, chat, voice = self._cascade.labels
                self._answer_next(event.text, lambda: self._reply(event.text, chat, voice))
            case "text":
                self._answer_next("", lambda: self._say(event.text))
            case "hold_turn":
                if self.is_contested:
                    self._barge_in()
                self._listener.hold()
            case "end_of_question":
                if self.is_contested and self._listener.in_turn:
                    self._barge_in()
                self._listener.release()
            case "playback_started":
                if self._answer is None:  # the caller's own
                    self._answer = Answer.given(self._out)
                self._judge.answer_sounds(self._listener.now_s, self._answer.words)
            case "playback_finished":
                if self._answer is not None and self._answer.is_told:
                    self._was_heard(self._answer, event.text or self._answer.text)
            case "interrupt":
                self._interrupted(event)
            case kind:
                raise InvalidInput(f"audio_llm says {kind}, it is not told it")

    def become(self, character: Character) -> None:
        """Answer as this character from the next answer on."""
        self._character = character
        self._forget_ahead()

    def close(self) -> None:
        """Nobody listens any more."""
        for answer in (self._answer, self._ahead):
            if answer is not None:
                answer.drop()

    def _interrupted(self, event: TurnEvent) -> None:
        was_awaited, self._awaits_interrupt = self._awaits_interrupt, False
        self._forget_ahead()
        answer = self._answer
        # one that was on its way when this answer began is meant for the answer before
        if answer is not None and (was_awaited or event.stamp.epoch > answer.epoch):
            answer.drop()
            self._was_heard(answer, answer.own_words(event.text))
        waiting, self._waiting = self._waiting, []
        for question, make in waiting:
            self._answer_next(question, make)

    # What is heard of the caller

    @property
    def is_contested(self) -> bool:
        is_held = self._listener.is_held
        return self._answer is not None and not self._awaits_interrupt and not is_held

    def speech_started(self, ago_s: float, /) -> None:
        self._has_cut_in = False
        self._out.tell("speech_started", seconds=ago_s)
        if self._answer is not None:
            self._answer.hold(True)

    def understood(self, so_far: Turn, is_pause: bool, /) -> None:
        if self._judge.is_echo(so_far, self._listener.now_s):
            # in the middle of a word more is understood with what came before it
            if is_pause or so_far.speech_s > FORGOTTEN_S:
                self._listener.forget()
            return
        if self.is_contested and not self._judge.is_nothing(so_far):
            self._barge_in()
        if self._answer is not None and self.is_contested:
            self._answer.hold(False)
        elif speakable(so_far.text):
            self._out.tell("caption", so_far.text)
            if is_pause:
                self._answer_ahead(so_far)

    def speech_resumed(self) -> None:
        self._forget_ahead()

    def turn_over(self, turn: Turn, /) -> None:
        if not self._is_meant(turn):
            self._ignore()
            return
        if self.is_contested:  # what it cuts into began after it was understood
            self._barge_in()
        has_cut_in, self._has_cut_in = self._has_cut_in, False
        self._judge.learn(turn)
        self._out.tell("speech_stopped", seconds=turn.silence_s)
        self._out.tell("transcript", turn.text)
        if not self._answers:
            self.memory.asked(turn.text)
        elif has_cut_in and is_stop(turn.text):
            self._answer_next(turn.text, None)
        else:
            self._answer_next(turn.text, lambda: self._take_ahead(turn.text))

    def turn_lost(self, error: AvatarError, /) -> None:
        if self.is_contested:
            self._ignore()
            return
        log.warning("turn_not_understood", cause=str(error))
        self._out.tell("speech_stopped")
        self._out.tell("failed", str(error), epoch=self._out.epoch)

    def _is_meant(self, turn: Turn) -> bool:
        """Whether a turn that is over wants something of the avatar."""
        now_s = self._listener.now_s
        if turn.by_button:
            return bool(speakable(turn.text))
        if self.is_contested:
            return not (self._judge.is_nothing(turn) or self._judge.is_echo(turn, now_s))
        return self._judge.asks(turn, now_s)

    def _ignore(self) -> None:
        self._has_cut_in = False
        self._forget_ahead()
        self._out.tell("speech_ignored")
        if self._answer is not None:
            self._answer.hold(False)

    def _barge_in(self) -> None:
        assert self._answer is not None, "nothing to interrupt"
        self._answer.drop()
        self._awaits_interrupt = self._has_cut_in = True
        self._out.tell("barge_in")

    # Answers

    def _answer_next(self, question: str, make: Callable[[], Answer] | None) -> None:
        """Begin the next answer; none where the question only wanted silence."""
        if self._awaits_interrupt:  # what the caller heard of the last answer is not known yet
            self._waiting.append((question, make))
            return
        if self._answer is not None:
            self._answer.drop()
            self._answer = None
        if make is not None:
            self._answer = make()
            self._answer.hold(self._listener.in_turn)
            self._answer.release(self._out)
        else:
            self._out.tell("speech_ignored")
        self._forget_ahead()
        if question:
            self.memory.asked(question)

    def _reply(self, question: str, *models: str) -> Answer:
        asked, before = self.memory.prompt(question)
        persona, voice = self._character.persona, self._character.voice
        pieces = self._cascade.reply(asked, before, persona, voice, brisk=True)
        return self._started(Answer(question, pieces, models, self._told))

    def _say(self, text: str) -> Answer:
        pieces = self._cascade.say(text, self._character.voice)
        return self._started(Answer("", pieces, self._cascade.labels[2:], self._told))

    def _started(self, answer: Answer) -> Answer:
        answer.start(self._tasks)
        return answer

    def _told(self, answer: Answer) -> None:
        if answer is self._answer and answer.is_silent:  # nothing will be heard of it
            self._answer = None

    def _was_heard(self, answer: Answer, text: str) -> None:
        """An answer is over, and so much of it was heard."""
        self._answer = None
        self.memory.heard(text)
        self._judge.answer_ended(self._listener.now_s, text)

    def _answer_ahead(self, so_far: Turn) -> None:
        """Answer a turn that is probably over; nothing of that is told before it certainly is."""
        if not self._answers or self._awaits_interrupt:
            return
        if self._has_cut_in and is_stop(so_far.text):
            return
        if self._ahead is not None and self._ahead.question == so_far.text:
            return
        self._forget_ahead()
        is_likely = self._policy.patience_s(so_far.text, ()) <= SPECULATED_S
        if is_likely and self._judge.asks(so_far, self._listener.now_s):
            self._ahead = self._reply(so_far.text, *self._cascade.labels)

    def _take_ahead(self, question: str) -> Answer:
        """What was made ahead for the question, or an answer that begins now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.question == question:
            return ahead
        if ahead is not None:
            ahead.drop()
        return self._reply(question, *self._cascade.labels)

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.drop()
            self._ahead = None


def _window_of(piece: AudioChunk) -> NDArray[np.float32]:
    if piece.sample_rate != SPEECH_RATE or piece.samples.shape != (WINDOW,):
        raise InvalidInput(
            f"{piece.samples.shape[0]} samples at {piece.sample_rate} Hz given, "
            f"{WINDOW} at {SPEECH_RATE} Hz expected"
        )
    return piece.samples
