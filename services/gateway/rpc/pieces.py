"""What callers send in a talk, checked: sound, pieces of replies, and events."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from avatar.audio.resample import StreamResampler
from avatar.errors import InvalidInput
from avatar.media import CUES, SPEECH_RATE, CueName, Word
from services.gateway.events import (
    ClientEvent,
    CreateItem,
    CreateResponse,
    Cue,
    InputText,
    PushToTalk,
    Say,
    Swap,
    UserMessage,
)
from services.gateway.own_reply import EndReply, ReplyPiece, ReplySpeech, ReplyText
from talkingmachines_api.v1 import live_pb2, media_pb2

RATES: Final = (8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MAX_PIECE_S: Final = 1.0
MAX_REPLY_ID: Final = 64
MAX_SENTENCE: Final = 2000
MAX_WORDS: Final = 500


def samples_of(piece: live_pb2.PcmPiece) -> NDArray[np.float32]:
    """(S,) in [-1, 1].

    Raises:
        InvalidInput: No sound, half a sample, too much, or a rate that is not taken.
    """
    rate, content = piece.sample_rate_hertz, piece.samples
    if rate not in RATES:
        raise InvalidInput(f"sound of {rate} Hz was sent; {', '.join(map(str, RATES))} are taken")
    if not content or len(content) % 2:
        raise InvalidInput(f"{len(content)} bytes are no 16-bit samples; send 2 bytes for each one")
    if len(content) > 2 * MAX_PIECE_S * rate:
        raise InvalidInput(
            f"a piece of {len(content) / 2 / rate:.1f} s was sent; at most {MAX_PIECE_S:g} s"
        )
    return np.frombuffer(content, "<i2").astype(np.float32) / np.float32(32768)


class Ears:
    """A microphone's pieces at any rate as one stream at 16 kHz; a few samples lag behind."""

    def __init__(self) -> None:
        self._rate = 0
        self._resampler = StreamResampler(SPEECH_RATE, SPEECH_RATE)

    def push(self, piece: live_pb2.PcmPiece) -> NDArray[np.float32]:
        """Raises InvalidInput as `samples_of`."""
        samples = samples_of(piece)
        if piece.sample_rate_hertz == SPEECH_RATE:
            return samples
        if piece.sample_rate_hertz != self._rate:
            self._rate = piece.sample_rate_hertz
            self._resampler = StreamResampler(self._rate, SPEECH_RATE)
        return self._resampler.push(samples)


def reply_of(piece: live_pb2.ReplyPiece) -> ReplyPiece:
    """Raises InvalidInput for what is no piece of a reply."""
    name = piece.reply_id
    if len(name) > MAX_REPLY_ID:
        raise InvalidInput(f"a reply_id of {len(name)} characters; at most {MAX_REPLY_ID}")
    match piece.WhichOneof("piece"):
        case "sentence":
            text = piece.sentence.text.strip()
            if not text or len(text) > MAX_SENTENCE:
                raise InvalidInput(f"a sentence of {len(text)} characters; 1 to {MAX_SENTENCE}")
            return ReplyText(name, text, _words(piece.sentence))
        case "speech":
            rate = piece.speech.sample_rate_hertz
            return ReplySpeech(name, samples_of(piece.speech), rate)
        case "end":
            return EndReply(name)
        case _:
            raise InvalidInput("a piece of a reply is a sentence, speech or end; none was sent")


def _words(sentence: live_pb2.ReplySentenceText) -> tuple[Word, ...]:
    if len(sentence.words) > MAX_WORDS:
        raise InvalidInput(f"{len(sentence.words)} words in a sentence; at most {MAX_WORDS}")
    words = tuple(Word(w.text[:100], w.start_seconds, w.end_seconds) for w in sentence.words)
    at = 0.0
    for word in words:
        if not at <= word.start_s <= word.end_s < 3600.0:  # nor is nan
            raise InvalidInput("the words' times must rise: start_seconds <= end_seconds <= next")
        at = word.start_s
    return words


def event_of(request: live_pb2.TalkRequest) -> list[ClientEvent]:
    """The events of a message that is neither sound, reply nor interruption.

    Raises:
        InvalidInput: It is none, or says something that may not be said.
    """
    try:
        return _event_of(request)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InvalidInput(f"{request.WhichOneof('message')}: {where}: {first['msg']}") from error


def _event_of(request: live_pb2.TalkRequest) -> list[ClientEvent]:
    match request.WhichOneof("message"):
        case "say":
            return [Say(type="avatar.say", text=request.say.text)]
        case "ask":
            return _question(request.ask.text)
        case "cue":
            return [Cue(type="avatar.cue", name=_cue(request.cue.cue))]
        case "push_to_talk":
            pressed = request.push_to_talk.pressed
            return [PushToTalk(type="avatar.push_to_talk", pressed=pressed)]
        case "swap":
            return [Swap(type="avatar.swap", avatar=request.swap.avatar_id)]
        case "open":
            raise InvalidInput("open comes once, first")
        case _:
            raise InvalidInput("an empty message was sent; set one of its fields")


def _question(text: str) -> list[ClientEvent]:
    if not text.strip():
        raise InvalidInput("the question is empty; send 1 to 2000 characters")
    content = (InputText(type="input_text", text=text),)
    message = UserMessage(type="message", role="user", content=content)
    return [
        CreateItem(type="conversation.item.create", item=message),
        CreateResponse(type="response.create"),
    ]


def _cue(cue: int) -> CueName:
    names: dict[int, CueName] = {media_pb2.Cue.Value(f"CUE_{name.upper()}"): name for name in CUES}
    if cue not in names:
        raise InvalidInput(f"cue {cue} is not known; there are {', '.join(CUES)}")
    return names[cue]
