"""flite as a data source: four voices with the end of every segment, kept for measuring."""

# ruff: noqa: RUF001  # IPA letters are meant

import io
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avatar.cast.characters import Voice
from avatar.errors import Unavailable
from avatar.speech.phonemes import TimedPhoneme
from training.data.speech import Utterance, at_16_khz

VOICES = ("slt", "rms", "awb", "kal16")

# The phones of CMU's lexicon, in IPA.
_IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "ð", "eh": "ɛ", "er": "ɜ", "ey": "eɪ", "f": "f", "g": "g",
    "hh": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n",
    "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t",
    "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip  # IPA letters are meant


class FliteEngine:
    """Runs the program `flite` once a sentence."""

    def __init__(self) -> None:
        found = shutil.which("flite")
        if found is None:
            raise Unavailable("flite is not installed: `apt-get install flite`, or leave it out")
        self._program = found

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance:
        """The speaker is always drawn; `voice` sets rate and, by resampling, pitch."""
        speed = voice.speed if voice else rng.uniform(0.85, 1.2)
        pitch = voice.pitch if voice else rng.uniform(0.85, 1.15)
        speaker = VOICES[int(rng.integers(len(VOICES)))]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            stretch = f"duration_stretch={pitch / speed:.3f}"
            command = [self._program, "-voice", speaker, "--setf", stretch, "-psdur"]
            said = subprocess.run(
                [*command, "-t", text, "-o", str(path)], capture_output=True, text=True, check=True
            )
            samples, rate = _read(path.read_bytes())
        resampled = at_16_khz(samples, rate, pitch)
        return Utterance(resampled, tuple(_timed(said.stdout, pitch)))


def _read(content: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(content)) as file:
        whole = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return whole.astype(np.float32) / 32768.0, file.getframerate()


def _timed(printed: str, pitch: float) -> Iterator[TimedPhoneme]:
    """Segments from "name:end name:end ..."; the times begin anew with each sentence."""
    start = offset = 0.0
    for word in printed.split():
        name, _, end_text = word.partition(":")
        end = offset + float(end_text) / pitch
        if end < start:
            offset = start
            end = offset + float(end_text) / pitch
        if name in _IPA:
            yield TimedPhoneme(_IPA[name], start, end)
        start = end
