"""A talk with a mock avatar: what a caller does in it, and what comes of that."""

import queue
from collections.abc import Iterator
from typing import Final

from talkingmachines.testing import _play
from talkingmachines.testing._desk import Desk, MockSession
from talkingmachines.testing._faults import Fault
from talkingmachines.testing._outlet import Outlet
from talkingmachines.testing._player import Answer, Player
from talkingmachines_api.v1 import live_pb2, media_pb2, session_pb2

TURN_S: Final = 2.0
"""So much of the microphone is a turn, where the talk button is not used."""


class Connection:
    """One Talk call."""

    def __init__(self, desk: Desk, session: MockSession, opening: live_pb2.TalkOpen) -> None:
        self._desk, self._session = desk, session
        self._outlet = Outlet(session)
        self._player = Player(desk, session, opening, self._outlet)
        self._own: Answer | None = None
        self._own_id: str | None = None
        self._mic_s = 0.0
        self._is_held_down = False
        items = [live_pb2.ConversationItem(role=r, text=t) for r, t in session.items]
        credit = self._outlet.credit().reply_credit
        about = describe(session, connected=True)
        opened = live_pb2.TalkOpened(session=about, reply_credit=credit, items=items)
        self._outlet.put(live_pb2.TalkResponse(opened=opened))

    def responses(self) -> Iterator[live_pb2.TalkResponse | Fault]:
        return self._outlet.responses()

    def end(self, reason: str) -> None:
        self._outlet.tell(ended=live_pb2.Ended(reason=reason))
        self._outlet.put(None)

    def break_off(self, fault: Fault) -> None:
        self._outlet.put(fault)

    def part(self) -> None:
        """The caller is gone."""
        self._outlet.close()

    def close(self) -> None:
        self._outlet.close()
        self._player.close()

    def interrupt(self) -> session_pb2.Heard | None:
        """Silence; what was heard."""
        told: queue.Queue[session_pb2.Heard | None] = queue.Queue()
        self._player.interrupt(told.put)
        return told.get()

    def hear(self, request: live_pb2.TalkRequest) -> None:
        match request.WhichOneof("message"):
            case "say":
                self._say(request.say.text)
            case "ask":
                self._ask(request.ask.text)
            case "reply":
                self._hear_reply(request.reply)
            case "microphone":
                self._hear_microphone(seconds_of(request.microphone))
            case "push_to_talk":
                self._hold_down(request.push_to_talk.pressed)
            case "interrupt":
                self._interrupt(request.interrupt.request_id)
            case "swap":
                self.swap(request.swap.avatar_id)
            case _:
                pass  # cues show nothing here

    def _interrupt(self, request_id: str) -> None:
        def tell(heard: session_pb2.Heard | None) -> None:
            told = live_pb2.Interrupted(request_id=request_id, heard=heard)
            self._outlet.put(live_pb2.TalkResponse(interrupted=told))

        self._player.interrupt(tell)

    def _say(self, text: str) -> None:
        answer = self._player.begin(is_own=False)
        answer.add_text(text)
        answer.end()

    def _ask(self, text: str) -> None:
        self._session.num_turns += 1
        self._session.items.append(("user", text))
        if self._session.answers != session_pb2.ANSWERS_CLIENT:
            self._say(self._desk.reply)

    def _hear_reply(self, piece: live_pb2.ReplyPiece) -> None:
        what = piece.WhichOneof("piece")
        if self._own_id != piece.reply_id and what != "end":
            self._own, self._own_id = self._player.begin(is_own=True), piece.reply_id
        is_dropped = self._own is None or self._own.epoch != self._session.epoch
        if what == "speech":
            self._hear_speech(piece.speech, None if is_dropped else self._own)
        elif self._own is not None and what == "sentence":
            self._own.parts.put(piece.sentence.text)
        elif what == "end":
            if self._own is not None:
                self._own.end()
            self._own, self._own_id = None, None

    def _hear_speech(self, speech: live_pb2.PcmPiece, answer: Answer | None) -> None:
        milliseconds = round(1000 * seconds_of(speech))
        if not self._outlet.has_room(milliseconds):
            self._outlet.put(Fault("CREDIT_EXCEEDED", "More reply audio than was granted."))
        elif answer is None:  # it was interrupted
            self._outlet.grant(milliseconds)
        else:
            answer.add_sound(_play.at_played_rate(speech.samples, speech.sample_rate_hertz))

    def _hear_microphone(self, seconds: float) -> None:
        if not self._mic_s and not self._is_held_down:
            self._outlet.tell(user_speech=live_pb2.UserSpeech(speaking=True))
        self._mic_s += seconds
        if self._mic_s >= TURN_S and not self._is_held_down:
            self._end_turn()

    def _hold_down(self, pressed: bool) -> None:
        self._is_held_down = pressed
        if pressed:
            self._outlet.tell(user_speech=live_pb2.UserSpeech(speaking=True))
        else:
            self._end_turn()

    def _end_turn(self) -> None:
        self._mic_s = 0.0
        text = self._desk.transcript
        self._outlet.tell(user_speech=live_pb2.UserSpeech(speaking=False))
        self._outlet.tell(user_transcript=live_pb2.UserTranscript(text=text, is_final=True))
        self._ask(text)

    def swap(self, avatar: str) -> None:
        if avatar not in self._desk.avatar_ids():
            refusal = live_pb2.Refusal(reason="NOT_FOUND", message=f"No avatar {avatar!r}.")
            self._outlet.tell(refusal=refusal)
            return
        self._session.avatar = avatar
        self._outlet.tell(swapped=live_pb2.Swapped(avatar_id=avatar))


def seconds_of(piece: live_pb2.PcmPiece) -> float:
    return len(piece.samples) / 2 / piece.sample_rate_hertz


def describe(session: MockSession, connected: bool) -> session_pb2.Session:
    return session_pb2.Session(
        id=session.id,
        avatar_id=session.avatar,
        state=media_pb2.BEHAVIOUR_IDLE,
        connected=connected,
        rung="full",
        turns=session.num_turns,
        epoch=session.epoch,
        media_seconds=session.at / _play.RATE,
        models=["chat: scripted"],
        limits=session_pb2.SessionLimits(idle_seconds=300, grace_seconds=30, session_seconds=3600),
        profile=session_pb2.VideoProfile(frame_rate=25, chunk_seconds=0.48, width=96, height=96),
        answers=session_pb2.Answers.ValueType(session.answers),
    )
