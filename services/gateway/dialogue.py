"""Who speaks when: a call's answers, interruptions and states; no task, no socket, no clock."""

import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from avatar.cast.characters import Character
from avatar.errors import TooLarge
from avatar.media import CUES, AudioChunk, Behaviour, CueName, TurnEvent, TurnKind
from avatar.telemetry import metrics
from avatar.timebase import ChunkClock
from services.gateway.answer import Answer, Heard, Marks, Sentence
from services.gateway.events import (
    CallState,
    CancelResponse,
    ClearOutput,
    ClientEvent,
    ClientHeartbeat,
    CreateItem,
    CreateResponse,
    Cue,
    PushToTalk,
    Say,
    Swap,
)
from services.gateway.live_timeline import LaidChunk, LiveTimeline
from services.gateway.media import PLAYED_RATE
from services.gateway.own_reply import EndReply, ReplyPiece, ReplySpeech, ReplyText
from services.gateway.playout import PlayChunk, Played, Playout

MAX_ITEMS, MAX_ITEM_CHARACTERS = 200, 40_000
"""Of the conversation, given to a caller who comes back: fits in one message of WebRTC."""

MAX_PAST = 32
"""Names of replies whose rest may still come."""

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Order:
    """What audio_llm is to be told, of epoch `epoch`."""

    kind: TurnKind
    text: str
    epoch: int


class Dialogue:
    """Takes what audio_llm and the caller say, in order; owns the answer, its speech, its playout.

    `order` tells audio_llm something, `tell` the caller; both return at once. All calls come from
    one thread, each with the instant `now` in seconds of one clock.
    """

    def __init__(
        self,
        clock: ChunkClock,
        character: Character,
        order: Callable[[Order], None],
        tell: Callable[[str, Fields], None],
        max_reply_s: float,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:16],
        caller_answers: bool = False,
    ) -> None:
        """`caller_answers`: what the caller says is answered by the caller's own program."""
        self.timeline = LiveTimeline(clock)
        self.playout = Playout(clock)
        self.state: CallState = "idle"
        self.epoch = 0
        self.items: list[dict[str, str]] = []
        self.models: tuple[str, ...] = ()
        self.num_turns = 0
        self._character = character
        self._order, self._tell = order, tell
        self._max_reply = round(max_reply_s * PLAYED_RATE)
        self._new_id = new_id
        self._caller_answers = caller_answers
        self._is_asked_of_caller = False  # and the caller's program has not begun to answer
        self._answer: Answer | None = None
        self._typed: list[str] = []
        self._item_id = ""
        self._is_caller_speaking = False
        self._own_reply: str | None = None  # the caller's name of its reply, which is not complete
        self._past_replies: deque[str] = deque(maxlen=MAX_PAST)
        self._cues: list[CueName] = ["smile"]  # to begin with: somebody has come

    # What audio_llm says

    def hear(self, piece: TurnEvent | AudioChunk, now: float) -> None:
        """Take in what audio_llm says; an answer of an older epoch is dropped."""
        if isinstance(piece, AudioChunk):
            self._on_speech(piece, now)
            return
        match piece.kind:
            case "speech_started":
                self._is_caller_speaking = True
                self._item_id = self._new_id()
                self._tell("input_audio_buffer.speech_started", {"item_id": self._item_id})
            case "speech_ignored":
                # a cough while an answer is awaited is not the turn that the answer is for
                is_about_turn, self._is_caller_speaking = not self._is_caller_speaking, False
                if is_about_turn and self._answer is not None and not self._answer.sentences:
                    self._drop("cancelled", "silence was asked for")
                self._tell("avatar.speech_ignored", {"item_id": self._item_id})
            case "caption":
                name = "conversation.item.input_audio_transcription.delta"
                self._tell(name, {"item_id": self._item_id, "transcript": piece.text})
            case "speech_stopped":
                self._is_caller_speaking = False
                if self._answer is not None and self._answer.is_callers:
                    self.interrupt(now)
                self._tell("input_audio_buffer.speech_stopped", {"item_id": self._item_id})
                marks = Marks(now - piece.seconds)
                marks.reach("end of turn", now)
                self._expect_answer(marks)
                self._is_asked_of_caller = self._caller_answers
            case "transcript":
                if self._answer is not None and self._answer.marks is not None:
                    self._answer.marks.reach("recognition", now)
                self._remember("user", piece.text)
                name = "conversation.item.input_audio_transcription.completed"
                self._tell(name, {"item_id": self._item_id, "transcript": piece.text})
            case "barge_in":
                if self.interrupt(now) is None:  # it was over by then; audio_llm waits all the same
                    self._send("interrupt")
            case "reply" | "end_of_reply" | "failed":
                if piece.stamp.epoch >= self.epoch:
                    self._on_reply(piece)
            case _:
                pass  # kinds that only audio_llm is told; the edge's own checks are elsewhere
        self._set_state()

    def _on_speech(self, piece: AudioChunk, now: float) -> None:
        answer = self._answer
        if piece.stamp.epoch < self.epoch or answer is None or not answer.sentences:
            return
        if self.timeline.num_pushed >= self._max_reply:
            return  # the answer is cut at its limit; it still ends in order
        if self.timeline.num_pushed == 0 and answer.marks is not None:
            answer.marks.reach("chat and voice", now)
        self.timeline.push(piece.samples, piece.sample_rate)

    def _on_reply(self, piece: TurnEvent) -> None:
        answer = self._answer or self._expect_answer(None)
        match piece.kind:
            case "reply":
                if not answer.sentences:
                    self.timeline.begin()
                    self.playout.begin_reply()
                start = self.timeline.num_pushed
                answer.add(Sentence(start, piece.text, piece.words, piece.cues))
            case "end_of_reply":
                self.models = tuple(piece.text.splitlines()) or self.models
                answer.is_complete = True
                self.timeline.finish()
                if self.timeline.num_pushed == 0:
                    self._drop("failed", "there was nothing to say")
            case _:
                self._tell("error", {"error": _error("server_error", "turn_failed", piece.text)})
                answer.failure = piece.text or "the answer failed"
                self.timeline.finish()
                if self.timeline.num_pushed == 0:
                    self._drop("failed", answer.failure)

    # What the caller does

    def handle(self, event: ClientEvent, now: float) -> None:
        match event:
            case CreateItem(item=item):
                text = " ".join(part.text for part in item.content).strip()
                if text:
                    self._typed.append(text)
            case CreateResponse():
                self._answer_typed(now)
            case CancelResponse() | ClearOutput():
                self.interrupt(now)
            case PushToTalk(pressed=pressed):
                if pressed:
                    self.interrupt(now)
                self._is_caller_speaking = pressed
                self._send("hold_turn" if pressed else "end_of_question")
            case Say(text=text):
                self.interrupt(now)
                self._expect_answer(Marks(now))
                self._send("text", text)
            case Cue(name=name):
                if name not in self._cues:  # asked for twice in one chunk, it is shown once
                    self._cues.append(name)
            case Swap():
                pass  # the session's: its edges are opened anew
            case ClientHeartbeat(n=n):
                self._tell("avatar.heartbeat", {"n": n})
        self._set_state()

    def _answer_typed(self, now: float) -> None:
        text, self._typed = " ".join(self._typed), []
        if not text:
            message = "there is nothing to answer: send conversation.item.create first"
            self._tell("error", {"error": _error("invalid_request_error", "no_input", message)})
            return
        self.interrupt(now)
        self._remember("user", text)
        content = [{"type": "input_text", "text": text}]
        item = {"id": self._new_id(), "type": "message", "role": "user", "content": content}
        self._tell("conversation.item.created", {"item": item})
        self._expect_answer(Marks(now))
        self._send("prompt", text)

    def reply(self, piece: ReplyPiece, now: float) -> None:
        """The caller's own reply, whose sound is laid as an answer's is.

        It begins with its first piece and interrupts another; once it is interrupted the rest of
        it is dropped.

        Raises:
            TooLarge: It is longer than an answer may be; the rest is dropped.
        """
        if self._own_reply != piece.reply_id:
            if piece.reply_id in self._past_replies:
                return  # it was on its way when another one began
            self._begin_own_reply(piece.reply_id, now)
        answer = self._answer
        if answer is not None and answer.is_callers and not answer.is_complete:
            self._take_piece(answer, piece, now)
        if isinstance(piece, EndReply):
            self._forget_own_reply()
        self._set_state()

    def _begin_own_reply(self, reply_id: str, now: float) -> None:
        if self._answer is not None and (self._answer.sentences or not self._is_asked_of_caller):
            self.interrupt(now)
        answer = self._answer or self._expect_answer(None)
        answer.is_callers, self._is_asked_of_caller = True, False
        self._forget_own_reply()
        self._own_reply = reply_id
        self.timeline.begin()
        self.playout.begin_reply()

    def _forget_own_reply(self) -> None:
        if self._own_reply:
            self._past_replies.append(self._own_reply)
        self._own_reply = None

    def _take_piece(self, answer: Answer, piece: ReplyPiece, now: float) -> None:
        match piece:
            case ReplyText(text=text, words=words):
                answer.spread(self.timeline.num_pushed)
                answer.add(Sentence(self.timeline.num_pushed, text, words))
            case ReplySpeech(samples=samples, sample_rate=rate):
                if self.timeline.num_pushed == 0 and answer.marks is not None:
                    answer.marks.reach("chat and voice", now)
                if self.timeline.num_pushed >= self._max_reply:
                    answer.is_complete = True
                    self.timeline.finish()
                    raise TooLarge(
                        f"the reply is longer than {self._max_reply / PLAYED_RATE:g} s; its rest "
                        "is dropped: end it, and begin another"
                    )
                self.timeline.push(samples, rate)
            case EndReply():
                self.timeline.finish()
                answer.spread(self.timeline.num_pushed)
                answer.is_complete = True
                if self.timeline.num_pushed == 0:
                    self._drop("failed", "the reply had no sound")

    def interrupt(self, now: float) -> Heard | None:
        """Be silent from the next 20 ms on; None where there was nothing to interrupt."""
        answer = self._answer
        if answer is None:
            return None
        if answer.is_callers:
            answer.spread(self.timeline.num_pushed)
        position = self.playout.position if answer.is_heard else 0
        heard = answer.heard(position) if answer.is_heard else ""
        metrics.interruptions_total.inc()
        self.epoch += 1
        self.playout.interrupt(self.epoch)
        self.timeline.begin()
        self._send("interrupt", heard)
        if answer.is_heard:
            self._remember("assistant", heard)
            self._tell("output_audio_buffer.cleared", {"response_id": answer.id})
            position_ms = _ms(position)
            truncated = {"item_id": answer.id, "audio_end_ms": position_ms, "text": heard}
            self._tell("conversation.item.truncated", truncated)
            self._finished(answer, position_ms, heard, interrupted=True)
        self._done(answer, "cancelled", "interrupted")
        self._set_state()
        return Heard(answer.id, heard, position / PLAYED_RATE)

    # What is laid and played

    @property
    def is_first_sentence_whole(self) -> bool:
        """Whether all of the answer's first sentence is here: there is no use in waiting."""
        if self._answer is None or not self._answer.sentences:
            return False
        words = self._answer.sentences[0].words
        return bool(words) and words[-1].end_s * PLAYED_RATE <= self.timeline.num_pushed

    def laid(self, chunk: LaidChunk, now: float) -> tuple[Behaviour, tuple[CueName, ...]]:
        """A chunk is sent into the graph now; what the face does in it, and begins with it."""
        self._reach(chunk, "next chunk", now)
        cues, self._cues = self._cues, []
        if self._answer is not None:
            cues += self._answer.take_cues(chunk)
        return self._behaviour(chunk), tuple(dict.fromkeys(cues))

    def _behaviour(self, chunk: LaidChunk) -> Behaviour:
        """Of a chunk that is heard later: the call's state is what is heard now."""
        is_begun = self._answer is not None and self.timeline.has_begun
        if chunk.num_spoken or (is_begun and not self.timeline.has_ended):
            return "speaking"
        if self._is_caller_speaking:
            return "listening"
        return "thinking" if self._answer is not None and not is_begun else "idle"

    def arrived(self, chunk: PlayChunk, laid: LaidChunk, now: float) -> None:
        """It has come back with its frames."""
        self._reach(laid, "generation", now)
        self.playout.push(chunk)

    def _reach(self, laid: LaidChunk, stage: str, now: float) -> None:
        if laid.starts_reply and self._answer is not None and self._answer.marks is not None:
            self._answer.marks.reach(stage, now)

    def advance(self, now: float) -> Played:
        """The next 20 ms of the call, and what they mean."""
        played = self.playout.advance()
        answer = self._answer
        if answer is None:
            return played
        if played.speaks and not answer.is_heard:
            answer.is_heard = True
            self._started(answer, now)
        if played.speaks:
            for sentence in answer.begun(played.position):
                self._caption(answer, sentence, 0.0)
        if played.ended_reply and answer.is_heard:
            self._ended(answer, played.position)
        return played

    def become(self, character: Character, now: float) -> None:
        """Another character goes on with the conversation; it does not end the other's sentence."""
        self.interrupt(now)
        self._character = character
        self._cues = ["smile"]
        self._send("character", character.id)

    def resume(self) -> None:
        """A caller has just come back: tell again what sounds now, as far as it was heard."""
        answer = self._answer
        if answer is None:
            return
        self._tell("response.created", {"response": {"id": answer.id}})
        if answer.is_heard:
            self._tell("output_audio_buffer.started", {"response_id": answer.id})
            self._tell("avatar.playback.started", {"response_id": answer.id})
            for sentence in answer.sentences[: answer.num_announced]:
                self._caption(
                    answer, sentence, (self.playout.position - sentence.start) / PLAYED_RATE
                )

    def _caption(self, answer: Answer, sentence: Sentence, heard_s: float) -> None:
        """Tell a sentence that began to sound `heard_s` ago; what was heard has times below 0."""
        words = [
            {
                "text": word.text,
                "start_ms": _ms_of(word.start_s - heard_s),
                "end_ms": _ms_of(word.end_s - heard_s),
            }
            for word in sentence.words
        ]
        delta = {"response_id": answer.id, "delta": sentence.text, "words": words}
        self._tell("response.output_audio_transcript.delta", delta)

    def _started(self, answer: Answer, now: float) -> None:
        self._send("playback_started")
        self._set_state()
        self._tell("output_audio_buffer.started", {"response_id": answer.id})
        self._tell("avatar.playback.started", {"response_id": answer.id})
        if answer.marks is not None:
            answer.marks.reach("playout", now)
            for name, ms in answer.marks.stages_ms():
                metrics.turn_stage_seconds.labels(name).observe(ms / 1000)
            stages = [{"name": n, "ms": round(ms, 1)} for n, ms in answer.marks.stages_ms()]
            total = 1000 * (now - answer.marks.speech_end)
            latency = {"response_id": answer.id, "total_ms": round(total, 1), "stages": stages}
            self._tell("avatar.latency", latency)

    def _ended(self, answer: Answer, position: int) -> None:
        self._send("playback_finished", answer.text if answer.is_callers else "")
        self._remember("assistant", answer.text)
        self._tell("output_audio_buffer.stopped", {"response_id": answer.id})
        done = {"response_id": answer.id, "transcript": answer.text}
        self._tell("response.output_audio_transcript.done", done)
        self._finished(answer, _ms(position), answer.text, interrupted=False)
        self._done(answer, "failed" if answer.failure else "completed", answer.failure)
        self._set_state()

    # Bookkeeping

    def greeting(self) -> Fields:
        """What a caller is told who has just connected."""
        session = {
            "avatar": self._character.id,
            "models": list(self.models),
            "cues": list(CUES),
        }
        return {"session": session, "items": list(self.items), "state": self.state}

    def _expect_answer(self, marks: Marks | None) -> Answer:
        if self._answer is not None:  # audio_llm goes on to a new turn without a word about this
            self._drop("cancelled", "another turn began")
        self.num_turns += 1
        self._is_asked_of_caller = False
        self._answer = Answer(self._new_id(), self.epoch, marks)
        self._tell("response.created", {"response": {"id": self._answer.id}})
        return self._answer

    def _finished(self, answer: Answer, position_ms: int, heard: str, interrupted: bool) -> None:
        finished = {
            "response_id": answer.id,
            "position_ms": position_ms,
            "interrupted": interrupted,
            "text_heard": heard,
        }
        self._tell("avatar.playback.finished", finished)

    def _drop(self, status: str, reason: str) -> None:
        assert self._answer is not None
        self._done(self._answer, status, reason)

    def _done(self, answer: Answer, status: str, reason: str) -> None:
        response: dict[str, object] = {
            "id": answer.id,
            "status": status,
            "models": list(self.models),
        }
        if reason:
            response["reason"] = reason
        self._answer = None
        self._tell("response.done", {"response": response})

    def _send(self, kind: TurnKind, text: str = "") -> None:
        self._order(Order(kind, text, self.epoch))

    def _remember(self, role: str, text: str) -> None:
        if text:
            self.items.append({"role": role, "text": text})
            del self.items[:-MAX_ITEMS]
            while sum(len(item["text"]) for item in self.items) > MAX_ITEM_CHARACTERS:
                del self.items[0]

    def _set_state(self) -> None:
        state: CallState = "idle"
        if self._answer is not None:
            state = "speaking" if self._answer.is_heard else "thinking"
        elif self._is_caller_speaking:
            state = "listening"
        if state != self.state:
            self.state = state
            self._tell("avatar.state", {"state": state})


def _error(type: str, code: str, message: str) -> Fields:
    return {"type": type, "code": code, "message": message}


def _ms(samples: int) -> int:
    return round(1000 * samples / PLAYED_RATE)


def _ms_of(seconds: float) -> int:
    return round(1000 * seconds)
