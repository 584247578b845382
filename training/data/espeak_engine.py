"""espeak-ng as a data source: a robotic voice in many accents, with exact phoneme times."""

import ctypes
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Voice
from avatar.errors import Unavailable
from avatar.speech.phonemes import TimedPhoneme
from training.data.speech import Utterance, at_16_khz

LIBRARY = "libespeak-ng.so.1"

ACCENTS = (
    "en-us",
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-029",
    "en-us-nyc",
    "en-gb-x-gbcwmd",
)
VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m7")

_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8 = 2, 1, 1
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class EspeakEngine:
    """Wraps the C library, whose state is global: make one a process."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise Unavailable(
                f"{LIBRARY} is not installed: `apt-get install libespeak-ng1`, "
                "or leave espeak out of the engines"
            ) from error
        self._sample_rate = int(
            self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        )
        if self._sample_rate <= 0:
            raise Unavailable("espeak-ng finds no data: `apt-get install espeak-ng-data`")
        self._sounds: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._callback = _Callback(self._receive)  # kept: C holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance:
        """Accent and timbre are always drawn; `voice` sets rate and pitch."""
        self._sounds.clear()
        self._events.clear()
        speed = voice.speed if voice else rng.uniform(0.75, 1.25)
        pitch = 50 * voice.pitch if voice else rng.uniform(15, 85)
        name = str(rng.choice(ACCENTS)) + str(rng.choice(VARIANTS))
        self._library.espeak_SetVoiceByName(name.encode())
        for parameter, value in (
            (_RATE, 160 * speed),
            (_PITCH, pitch),
            (_RANGE, rng.uniform(30, 80)),
        ):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._sounds:
            raise Unavailable(
                f"espeak-ng made no sound with voice {name!r}; is its data installed?"
            )
        samples = np.concatenate(self._sounds).astype(np.float32) / 32768.0
        resampled = at_16_khz(samples, self._sample_rate)
        return Utterance(resampled, tuple(self._timed(len(samples) / self._sample_rate)))

    def _timed(self, duration_s: float) -> Iterator[TimedPhoneme]:
        ends = [start for start, _ in self._events[1:]] + [duration_s]
        for (start, symbol), end in zip(self._events, ends, strict=True):
            # "_" and "_:" are pauses, as is the empty mnemonic.
            if symbol and not symbol.startswith("_"):
                yield TimedPhoneme(symbol, start, end)

    def _receive(self, wave: object, num_samples: int, events: object) -> int:
        if num_samples > 0:
            self._sounds.append(np.ctypeslib.as_array(wave, (num_samples,)).copy())
        index = 0
        while (event := events[index]).type != _EVENT_END:  # type: ignore[index]  # a ctypes pointer
            if event.type == _EVENT_PHONEME:
                symbol = event.id.string.decode("utf-8", "ignore")
                self._events.append((event.audio_position / 1000.0, symbol))
            index += 1
        return 0
