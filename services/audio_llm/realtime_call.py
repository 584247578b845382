"""A live conversation with a speech-to-speech model: what either side says, and what follows."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from openai.types import realtime as protocol
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent

from avatar.audio.resample import StreamResampler
from avatar.errors import InvalidInput
from avatar.media import SPEECH_RATE, TurnEvent
from avatar.speech.remote import ModelServer
from avatar.telemetry.logging import get_logger
from services.audio_llm.backend import Outbound
from services.audio_llm.realtime_answer import Answer
from services.audio_llm.realtime_answers import Answers
from services.audio_llm.realtime_history import History, asked, said
from services.audio_llm.realtime_protocol import (
    PCM_RATE,
    PREFIX_MS,
    SILENCE_MS,
    detection,
    encoded,
    persona_settings,
)

log = get_logger(__name__)

Send = Callable[[RealtimeClientEventParam], None]
MIN_QUESTION_S: Final = 0.1
"""The protocol takes no shorter one; the button was only touched."""


class RealtimeCall:
    """One caller and one character; every method returns at once."""

    def __init__(self, server: ModelServer, out: Outbound, max_reply_s: float) -> None:
        self.history = History()
        self._server, self._out = server, out
        self._send: Send | None = None
        self._answers = Answers(server, out, self._tell, max_reply_s)
        self._awaits_interrupt = False
        self._cut_into: Answer | None = None
        """`barge_in` was said of it; how much of it was heard is not known yet."""
        self._is_speaking = self._is_held = False
        self._held_since_s = 0.0
        self._captions: dict[str, str] = {}
        """By the server's items, of which the caller said so much."""
        self._begin_sound()

    # The connection

    @property
    def is_connected(self) -> bool:
        return self._send is not None

    def connected(self, send: Send) -> None:
        """The server listens, and knows nothing yet of what was said."""
        self._begin_sound()
        self._send = send
        for event in self.history.items():
            send(event)
        self._answers.connected()

    def lost(self) -> None:
        """The server is gone; what was told of an answer still sounds."""
        self._send = None
        self._captions.clear()
        if self._is_speaking:
            self._is_speaking = self._is_held = False
            self._out.tell("speech_ignored")
        self._answers.lost(
            f"the connection to {self._server.label} was lost: please try again",
            is_question_known=self.history.ends_with_question,
        )
        if self._cut_into is not None:
            self._cut_into.forget_items()

    def unreachable(self, trouble: str) -> bool:
        """No connection can be had now; returns whether an answer waited for one."""
        return self._answers.unreachable(trouble)

    def unanswerable(self, event: TurnEvent, trouble: str) -> None:
        """A turn while the server is gone: it is remembered, and has no answer."""
        if event.kind == "prompt":
            self.history.asked(event.text)
        self._out.tell("failed", trouble, epoch=self._out.epoch)

    def close(self) -> None:
        self._send = None
        self._answers.close()

    def become(self, persona: str) -> None:
        """Answer as somebody else; the voice stays, which the protocol lets nobody change."""
        self._tell(persona_settings(persona))

    # What the gateway says

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The next (S,) samples of the microphone at SPEECH_RATE."""
        if self._send is None:
            return
        sound = self._resampler.push(samples)
        if sound.size:
            self._heard_s += sound.size / PCM_RATE
            self._tell({"type": "input_audio_buffer.append", "audio": encoded(sound)})

    def handle(self, event: TurnEvent) -> None:
        """Raises InvalidInput for what audio_llm is not told."""
        match event.kind:
            case "prompt":
                self.history.asked(event.text)
                self._tell(asked(event.text))
                self._answers.ask(self._answers.expect(), {})
            case "text":
                self._say(event.text)
            case "hold_turn":
                self._hold()
            case "end_of_question":
                self._release()
            case "playback_started":
                pass
            case "playback_finished":
                answer = self._answers.current
                if answer is not None and answer.is_told:
                    self._answers.drop_current()
                    self._was_heard(answer, answer.text)
            case "interrupt":
                self._interrupted(event)
            case kind:
                raise InvalidInput(f"audio_llm says {kind}, it is not told it")

    def _say(self, text: str) -> None:
        instructions = (
            "Say the following text exactly as it stands, word for word, in its language. "
            f"Add nothing, leave nothing out, do not answer it:\n\n{text}"
        )
        # beside the conversation, so that the model does not take it for a question
        answer = self._answers.expect(is_spoken_only=True)
        self._answers.ask(
            answer, {"conversation": "none", "input": [], "instructions": instructions}
        )

    def _hold(self) -> None:
        if self._is_held:
            return
        self._is_held = True
        self._tell(detection(is_on=False))
        if not self._is_speaking:
            self._is_speaking = True
            self._tell({"type": "input_audio_buffer.clear"})
            self._out.tell("speech_started")
        self._barge_in()
        self._held_since_s = self._heard_s

    def _release(self) -> None:
        if not self._is_held:
            return
        self._is_held = self._is_speaking = False
        if self._heard_s - self._held_since_s < MIN_QUESTION_S:
            self._tell({"type": "input_audio_buffer.clear"})
            self._out.tell("speech_ignored")
        else:
            self._out.tell("speech_stopped")
            self._tell({"type": "input_audio_buffer.commit"})
            self._answers.ask(self._answers.expect(), {})
        self._tell(detection(is_on=True))

    def _interrupted(self, event: TurnEvent) -> None:
        answers = self._answers
        if self._awaits_interrupt:
            self._awaits_interrupt, answers.may_be_told = False, True
            cut_into, self._cut_into = self._cut_into, None
            if cut_into is not None:
                self._was_heard(cut_into, event.text)
            if answers.current is not None:
                answers.current.open()
        # one that was on its way when this answer began is meant for the answer before
        elif answers.current is not None and event.stamp.epoch > answers.current.epoch:
            answer = answers.current
            answers.drop_current()
            self._was_heard(answer, event.text)

    def _was_heard(self, answer: Answer, text: str) -> None:
        """So much of an answer was heard, and no more of it will be."""
        self.history.heard(text)
        if not answer.is_spoken_only:
            for event in answer.cut(text):
                self._tell(event)
        elif text:
            self._tell(said(text))

    # What the server says

    def take(self, event: RealtimeServerEvent) -> None:
        match event:
            case protocol.InputAudioBufferSpeechStartedEvent():
                self._speech_started((event.audio_start_ms + PREFIX_MS) / 1000)
            case protocol.InputAudioBufferSpeechStoppedEvent():
                self._speech_stopped((event.audio_end_ms - SILENCE_MS) / 1000)
            case protocol.InputAudioBufferCommittedEvent():
                self.history.spoken(event.item_id)
            case protocol.ConversationItemInputAudioTranscriptionDeltaEvent():
                caption = self._captions.get(event.item_id, "") + (event.delta or "")
                self._captions[event.item_id] = caption
                self._out.tell("caption", caption.strip())
            case protocol.ConversationItemInputAudioTranscriptionCompletedEvent():
                self._captions.pop(event.item_id, None)
                if text := event.transcript.strip():
                    self.history.understood(event.item_id, text)
                    self._out.tell("transcript", text)
            case protocol.ConversationItemInputAudioTranscriptionFailedEvent():
                self._captions.pop(event.item_id, None)
                log.warning("question_not_transcribed", code=event.error.code)
            case _:
                self._answers.take(event)

    def _speech_started(self, at_s: float) -> None:
        if self._is_held:
            return
        self._is_speaking = True
        self._out.tell("speech_started", seconds=self._heard_s - at_s)
        self._barge_in()

    def _speech_stopped(self, at_s: float) -> None:
        if self._is_held:  # decided before the server knew of the button
            self._answers.drop_next()
            return
        self._is_speaking = False
        self._out.tell("speech_stopped", seconds=self._heard_s - at_s)
        self._answers.expect(by_server=True)

    def _barge_in(self) -> None:
        """The caller speaks: whatever is being answered or said is over."""
        answer = self._answers.drop_current()
        if answer is not None and not self._awaits_interrupt:
            self._awaits_interrupt, self._answers.may_be_told = True, False
            self._cut_into = answer
            self._out.tell("barge_in")

    def _begin_sound(self) -> None:
        self._resampler = StreamResampler(SPEECH_RATE, PCM_RATE)
        self._heard_s = 0.0  # by the server, since the connection

    def _tell(self, event: RealtimeClientEventParam) -> None:
        if self._send is not None:
            self._send(event)
