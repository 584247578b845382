"""hibari-tts as a data source: the voice that the avatar speaks with, and its phoneme times."""

import numpy as np

from avatar.cast.characters import Voice
from avatar.speech.hibari_tts import HibariSynthesizer
from training.data.speech import Utterance, at_16_khz


class HibariEngine:
    def __init__(self) -> None:
        self._tts = HibariSynthesizer()

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance:
        voice = voice or Voice(rng.uniform(0.85, 1.2), rng.uniform(0.72, 1.15))
        speech = self._tts.synthesize(text, voice)
        return Utterance(at_16_khz(speech.samples, speech.sample_rate), speech.phonemes)
