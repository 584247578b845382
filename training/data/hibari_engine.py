"""hibari-tts as a data source: a neural voice whose phoneme durations are read from its graph."""

# ruff: noqa: RUF001  # IPA letters are meant

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # no type marker
from hibari import Hibari  # type: ignore[import-untyped]  # hibari-tts has no type marker

from avatar.cast.characters import Voice
from avatar.speech.phonemes import TimedPhoneme
from training.data.speech import SAMPLE_RATE, Utterance, at_16_khz

_DURATIONS_OUTPUT = "/Round_output_0"
_DURATION_UNIT_S = 0.025
_LATENESS_S = 0.055
"""How late the durations place a sound, by correlation with band energies of 40 sentences:
50 to 60 ms for voiced sounds and for sibilants alike, at three speeds."""

IPA_OF_MISAKI = {"A": "eɪ", "I": "aɪ", "W": "aʊ", "Y": "ɔɪ", "O": "oʊ", "Q": "əʊ"}
"""hibari writes diphthongs as capitals, which mean other sounds in espeak-ng."""


class HibariEngine:
    def __init__(self) -> None:
        self._tts = Hibari()
        model = onnx.load(self._tts.model_path)
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(_DURATIONS_OUTPUT, onnx.TensorProto.FLOAT, None)
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance:
        voice = voice or Voice(rng.uniform(0.85, 1.2), rng.uniform(0.72, 1.15))
        sounds: list[np.ndarray] = []
        phonemes: list[TimedPhoneme] = []
        now = 0.0
        for sentence in self._tts.phonemize(text):
            samples, durations = self._synthesize(sentence, voice.speed / voice.pitch, rng)
            resampled = at_16_khz(samples, self._tts.sample_rate, voice.pitch)
            known = [symbol for symbol in sentence if symbol in self._tts.vocab]
            model_time = np.cumsum([0.0, *durations]) * _DURATION_UNIT_S - _LATENESS_S
            edges = now + np.maximum(model_time, 0.0) / voice.pitch
            # The first and the last id are padding: silence.
            for symbol, start, end in zip(known, edges[1:-2], edges[2:-1], strict=True):
                phonemes.append(
                    TimedPhoneme(IPA_OF_MISAKI.get(symbol, symbol), float(start), float(end))
                )
            now += len(resampled) / SAMPLE_RATE
            sounds.append(resampled)
        return Utterance(np.concatenate(sounds), tuple(phonemes))

    def _synthesize(
        self, sentence: str, speed: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        from hibari import dsp

        inputs = {
            "ids": np.array([self._tts.ids(sentence)], np.int64),
            "speed": np.array([speed], np.float32),
        }
        *spectra, durations = self._session.run(None, inputs)
        samples = dsp.synth(*(spectrum[0] for spectrum in spectra), rng)
        return samples, np.asarray(durations, np.float64).reshape(-1)
