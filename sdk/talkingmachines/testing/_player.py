"""Plays the answers of a mock avatar, one after the other, in a thread of its own."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from talkingmachines.testing import _play
from talkingmachines.testing._desk import Desk, MockSession
from talkingmachines.testing._outlet import Outlet
from talkingmachines_api.v1 import live_pb2, media_pb2, session_pb2

Part = str | bytes
"""A sentence that begins, or a block of sound."""
Told = Callable[[session_pb2.Heard | None], None]


@dataclass(eq=False)
class Answer:
    """What is to be played, in parts; None ends them."""

    id: str
    epoch: int
    is_own: bool
    parts: "queue.Queue[Part | None]" = field(default_factory=queue.Queue)
    remainder: bytes = b""

    def add_text(self, text: str) -> None:
        """A sentence with its sound."""
        self.parts.put(text)
        for _ in range(_play.BLOCKS_A_WORD * len(text.split())):
            self.parts.put(_play.tone())

    def add_sound(self, samples: bytes) -> None:
        """16-bit at 48 kHz, any length."""
        self.remainder += samples
        while len(self.remainder) >= _play.BLOCK_BYTES:
            self.parts.put(self.remainder[: _play.BLOCK_BYTES])
            self.remainder = self.remainder[_play.BLOCK_BYTES :]

    def end(self) -> None:
        if self.remainder:
            self.parts.put(self.remainder.ljust(_play.BLOCK_BYTES, b"\0"))
        self.parts.put(None)


class Player:
    """Goes on as fast as it is read; stands still where the desk holds it."""

    def __init__(
        self, desk: Desk, session: MockSession, opening: live_pb2.TalkOpen, outlet: Outlet
    ) -> None:
        self._desk, self._session, self._outlet = desk, session, outlet
        self._face = _play.face(opening.pictures)
        self._is_opus = opening.sound == live_pb2.SOUND_FORMAT_OPUS
        self._answers: queue.Queue[Answer | None] = queue.Queue()
        self._active: list[Answer] = []
        self._interrupts: list[Told] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin(self, is_own: bool) -> Answer:
        """A new answer, which ends the one before."""
        with self._desk.changed:
            self._cut()
            answer = Answer(f"response-{next(self._session.numbers)}", self._session.epoch, is_own)
            self._active.append(answer)
            self._desk.changed.notify_all()
        self._answers.put(answer)
        return answer

    def interrupt(self, tell: Told) -> None:
        """Silence; `tell` is told what was heard of the answer, None where there was none."""
        with self._desk.changed:
            is_playing = bool(self._active)
            if is_playing:
                self._interrupts.append(tell)
            self._cut()
            self._desk.changed.notify_all()
        if not is_playing:
            tell(None)

    def close(self) -> None:
        """Nobody listens any more."""
        self._answers.put(None)
        with self._desk.changed:
            self._cut()
            self._desk.changed.notify_all()
        self._thread.join()

    def _cut(self) -> None:
        self._session.epoch += 1
        for answer in self._active:
            answer.parts.put(None)  # its own end may never come

    def _run(self) -> None:
        while (answer := self._answers.get()) is not None:
            self._play(answer)

    def _play(self, answer: Answer) -> None:
        outlet, num_blocks = self._outlet, 0
        words: list[str] = []
        outlet.tell(response_created=live_pb2.ResponseCreated(response_id=answer.id))
        while (part := answer.parts.get()) is not None:
            if not self._may_play(answer, num_blocks // _play.BLOCKS_A_WORD):
                break
            if isinstance(part, str):
                words += part.split()
                outlet.tell(sentence=_sentence(answer, part))
                continue
            if not num_blocks:
                outlet.set_state(media_pb2.BEHAVIOUR_SPEAKING)
                outlet.tell(playback_started=live_pb2.PlaybackStarted(response_id=answer.id))
            self._play_block(part, num_blocks)
            num_blocks += 1
            if answer.is_own:
                outlet.grant(_play.BLOCK_MS)
        self._finish(answer, words, num_blocks)

    def _may_play(self, answer: Answer, num_words: int) -> bool:
        """Waits while playback is held; where it will be, an interruption counts only there."""
        desk = self._desk
        with desk.changed:
            while not self._outlet.gone.is_set():
                is_there = desk.hold_after is not None and num_words >= desk.hold_after
                is_stale = self._session.epoch != answer.epoch
                if is_stale and (is_there or desk.hold_after is None):
                    return False
                if not is_there:
                    return True
                desk.changed.wait()
        return False

    def _play_block(self, samples: bytes, number: int) -> None:
        pts = self._session.at
        content = _play.OPUS_SILENCE if self._is_opus else samples
        self._outlet.put(live_pb2.TalkResponse(sound=live_pb2.SoundPiece(pts=pts, content=content)))
        if self._face is not None and number % _play.BLOCKS_A_PICTURE == 0:
            picture = live_pb2.PicturePiece(pts=pts, content=self._face, is_key=True)
            self._outlet.put(live_pb2.TalkResponse(picture=picture))
        self._session.at += _play.BLOCK_SAMPLES

    def _finish(self, answer: Answer, words: list[str], num_blocks: int) -> None:
        outlet, is_cut = self._outlet, self._session.epoch != answer.epoch
        if is_cut:
            words = words[: num_blocks // _play.BLOCKS_A_WORD]
            self._throw_away(answer)
        heard = session_pb2.Heard(
            response_id=answer.id,
            text=" ".join(words),
            position_seconds=num_blocks * _play.BLOCK_MS / 1000,
        )
        with self._desk.changed:
            self._active.remove(answer)
            waiting, self._interrupts = self._interrupts, []
        if num_blocks:
            self._session.items.append(("assistant", heard.text))
            finished = live_pb2.PlaybackFinished(heard=heard, interrupted=is_cut)
            outlet.tell(playback_finished=finished)
        done = live_pb2.ResponseDone(
            response_id=answer.id,
            status="cancelled" if is_cut else "completed",
            reason="interrupted" if is_cut else "",
            models=["chat: scripted"],
        )
        outlet.tell(response_done=done)
        outlet.set_state(media_pb2.BEHAVIOUR_IDLE)
        for tell in waiting:
            tell(heard if is_cut else None)

    def _throw_away(self, answer: Answer) -> None:
        """What is not played needs no room."""
        while not answer.parts.empty():
            if isinstance(answer.parts.get(), bytes) and answer.is_own:
                self._outlet.grant(_play.BLOCK_MS)


def _sentence(answer: Answer, text: str) -> live_pb2.SpokenSentence:
    words = [
        media_pb2.Word(
            text=word, start_seconds=n * _play.WORD_S, end_seconds=(n + 1) * _play.WORD_S
        )
        for n, word in enumerate(text.split())
    ]
    return live_pb2.SpokenSentence(response_id=answer.id, text=text, words=words)
