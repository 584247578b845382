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


@dataclass(frozen=True)
class VadState:
    """What the network remembers between windows, and the end of the window before."""

    h: NDArray[np.float32]
    c: NDArray[np.float32]
    context: NDArray[np.float32]


class Detector(Protocol):
    def trimmed(self, samples: NDArray[np.float32], /) -> NDArray[np.float32]:
        """(S,) 16 kHz samples from the first speech to the last; empty where nobody speaks."""
        ...

    def init_state(self) -> VadState:
        """State before the first window of a microphone."""
        ...

    def step(self, window: NDArray[np.float32], state: VadState, /) -> tuple[float, VadState]:
        """How probably somebody speaks in a window of (512,) 16 kHz samples."""
        ...


class VoiceDetector:
    """Silero VAD v6, from the package faster-whisper. Safe to call from several threads.

    All windows of a recording go through the network at once: 1.4 ms of CPU for a second of
    sound. A microphone's go one by one, with the same result.
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
        padded = np.pad(samples, (0, num_windows * WINDOW - len(samples)))
        speech, _ = self._run(padded, self.init_state())
        return speech

    def init_state(self) -> VadState:
        start = np.zeros((1, 1, _HIDDEN), np.float32)
        return VadState(start, start, np.zeros(_CONTEXT, np.float32))

    def step(self, window: NDArray[np.float32], state: VadState, /) -> tuple[float, VadState]:
        speech, state = self._run(window, state)
        return float(speech[0]), state

    def _run(
        self, samples: NDArray[np.float32], state: VadState
    ) -> tuple[NDArray[np.float32], VadState]:
        """Probabilities of whole windows, (N * 512,) samples as (N,)."""
        # each window is preceded by the end of the one before it
        joined = np.concatenate([state.context, samples])
        windows = np.lib.stride_tricks.sliding_window_view(joined, _CONTEXT + WINDOW)[::WINDOW]
        speech, h, c = self._session.run(
            None, {"input": np.ascontiguousarray(windows), "h": state.h, "c": state.c}
        )
        after = VadState(h, c, joined[-_CONTEXT:].copy())
        return np.asarray(speech, np.float32).reshape(len(windows)), after

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
