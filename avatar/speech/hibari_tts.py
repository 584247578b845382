"""hibari-tts on this machine, with the time of each phoneme."""

from dataclasses import replace

import numpy as np
from hibari import Hibari, dsp  # type: ignore[import-untyped]  # has no types
from numpy.typing import NDArray

from avatar.errors import InvalidInput
from avatar.speech.model_files import packaged
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.spoken_words import aligned_words
from avatar.speech.text import checked, sentences, speakable
from avatar.speech.tts import SPEEDS, Speech, Voice, joined, with_pitch


class HibariSynthesizer:
    """hibari-tts with the durations that its network predicts for each phoneme.

    The same text and voice give the same samples. Safe to call from several threads.
    """

    label = "hibari-tts, voice heart (local)"

    def __init__(self, threads: int = 1) -> None:
        """Load the model.

        Raises:
            Unavailable: hibari-tts is not installed whole.
            CorruptFile: Its model is not the one this project was tested with.
        """
        path = packaged("hibari", "assets/hibari.onnx", _HIBARI_SHA256, install="hibari-tts==0.2.1")
        self._hibari = Hibari(model=path.read_bytes() + _ONE_MORE_OUTPUT, threads=threads)
        self._hibari.g2p("Hello.")  # loads the lexicon now, not at the first sentence

    def synthesize(self, text: str, voice: Voice, /) -> Speech:
        spoken = [speakable(sentence) for sentence in sentences(checked(text))]
        parts = [self._speak(phonemes, voice) for each in spoken for phonemes in self.read(each)]
        if not parts:
            raise InvalidInput("there is no English word to speak in this text")
        speech = joined(parts)
        return replace(speech, words=aligned_words(text, speech.phonemes, self._num_spoken))

    def close(self) -> None:
        """Nothing is open."""

    def read(self, sentence: str) -> list[str]:
        """Phoneme strings in the model's alphabet, none without a sound."""
        strings = (
            "".join(char for char in phonemes if char in self._hibari.vocab)
            for phonemes in self._hibari.phonemize(sentence)
        )
        return [phonemes for phonemes in strings if any(char not in _MARKS for char in phonemes)]

    def _num_spoken(self, word: str) -> int:
        """How many words are heard of one that is written."""
        return sum(
            any(char not in _MARKS for char in heard)
            for phonemes in self.read(word)
            for heard in phonemes.split(" ")
        )

    def _speak(self, phonemes: str, voice: Voice) -> Speech:
        # resampling by `pitch` changes the tempo too: ask for the opposite tempo
        speed = float(np.clip(voice.speed / voice.pitch, *SPEEDS))
        spectrum, durations_s = self.spectrum(phonemes, speed)
        samples = dsp.synth(*spectrum, np.random.default_rng(0))
        sounds = timed(phonemes, durations_s, samples)
        return with_pitch(trimmed(Speech(samples, dsp.SR, sounds)), voice.pitch)

    def spectrum(
        self, phonemes: str, speed: float
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """What the vocoder, `hibari.dsp.synth`, makes sound of, and each phoneme's duration.

        Returns:
            Five spectra (601, F) and the pitch (F,) in hertz, 80 frames a second; durations in
            seconds, one for each phoneme and one before and after.
        """
        *parts, units = self._hibari.sess.run(
            [*_SPECTRUM, _DURATIONS],
            {
                "ids": np.asarray([self._hibari.ids(phonemes)], np.int64),
                "speed": np.asarray([speed], np.float32),
            },
        )
        return [part[0] for part in parts], units.ravel() * _UNIT_S


_HIBARI_SHA256 = "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8"
_SPECTRUM = ("lh", "theta", "ln", "lr", "phi", "f0")
_DURATIONS = "/Round_output_0"
_UNIT_S = 0.025


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


_ONE_MORE_OUTPUT = _field(7, _field(12, _field(1, _DURATIONS.encode())))
"""ModelProto{graph{output{name}}}: the published graph keeps its durations to itself.

Protobuf merges a message with one appended to it, so no onnx package is needed to name an output.
"""


def timed(
    phonemes: str, durations_s: NDArray[np.float32], samples: NDArray[np.float32]
) -> tuple[TimedPhoneme, ...]:
    """When each sound is heard; pauses, word boundaries and punctuation are gaps.

    Args:
        phonemes: In hibari's alphabet; one IPA symbol a sound comes out.
        durations_s: One for each phoneme, and one before and after for the silence around.
        samples: What was spoken, at 24 kHz.
    """
    ends = np.cumsum(durations_s)[:-1] - _HEARD_EARLIER_S
    sounds: list[TimedPhoneme] = []
    start, begins_word = max(0.0, float(ends[0])), True
    for index, (char, end) in enumerate(zip(phonemes, ends[1:].tolist(), strict=True)):
        if char in _STRESS:
            continue  # its time is the beginning of the vowel after it
        if char == " ":
            begins_word = True
        if char not in _MARKS:
            following = phonemes[index + 1 : index + 2]
            heard = end if following not in _PAUSES else _last_heard(samples, start, end)
            sounds.append(TimedPhoneme(_IPA.get(char, char), start, heard, begins_word))
            begins_word = False
        start = end
    return tuple(sounds)


_HEARD_EARLIER_S = 0.045
"""Sounds come this much before the sum of the durations says: median over the edges of 43
sibilants in 8 sentences, by their energy above 4.5 kHz."""
_STRESS = "ˈˌ"
_PAUSES = frozenset(["", *";:,.!?—…"])
_MARKS = frozenset('"()“” ' + _STRESS).union(_PAUSES)
_IPA = {
    "A": "eɪ",  # noqa: RUF001  IPA
    "I": "aɪ",  # noqa: RUF001  IPA
    "O": "oʊ",
    "Q": "əʊ",
    "W": "aʊ",
    "Y": "ɔɪ",
    "T": "ɾ",
    "ᵊ": "ə",
    "ʣ": "dz",
    "ʦ": "ts",
}
"""Letters of hibari's alphabet that stand for something else in IPA."""


def _last_heard(samples: NDArray[np.float32], start_s: float, end_s: float) -> float:
    """When the sound from `start_s` fades: the model draws the last one out into the pause."""
    hop = dsp.SR // 200
    sound = np.abs(samples[round(start_s * dsp.SR) : round(end_s * dsp.SR)])
    level = np.maximum.reduceat(sound, np.arange(0, len(sound), hop)) if len(sound) else sound
    loud = np.flatnonzero(level > 0.02 * np.max(np.abs(samples), initial=0.0))
    if not len(loud):
        return end_s
    return min(end_s, max(start_s + _UNIT_S, start_s + (int(loud[-1]) + 1) * hop / dsp.SR))


def trimmed(speech: Speech, lead_in_s: float = 0.1) -> Speech:
    """Without the silence that hibari puts before the first sound, but for `lead_in_s` of it."""
    cut = round(max(0.0, speech.phonemes[0].start_s - lead_in_s) * speech.sample_rate)
    shift = cut / speech.sample_rate
    sounds = (replace(p, start_s=p.start_s - shift, end_s=p.end_s - shift) for p in speech.phonemes)
    return Speech(speech.samples[cut:], speech.sample_rate, tuple(sounds))
