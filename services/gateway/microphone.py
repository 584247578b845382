"""A caller's microphone: from decoded WebRTC sound to the graph's mono 16 kHz."""

import av
import numpy as np
from av import AudioFrame
from numpy.typing import NDArray

from avatar.media import SPEECH_RATE


class Microphone:
    """Resamples one track piece by piece; the pieces joined are the whole resampled at once."""

    def __init__(self) -> None:
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE)
        self._rate = 0

    def push(self, frame: AudioFrame) -> NDArray[np.float32]:
        """The next sound, (S,) float32 in [-1, 1] at 16 kHz; `frame` is packed int16, any rate.

        A few samples lag behind. Stereo is averaged: a voice is as loud as on one of its channels.
        """
        if frame.sample_rate != self._rate:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE)
            self._rate = frame.sample_rate
        channels = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
        sound = channels.mean(axis=1, dtype=np.float32) / np.float32(32768)
        mono = AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        mono.sample_rate = frame.sample_rate
        # no pts: after a loss the sound goes on where it stopped
        pieces = [piece.to_ndarray()[0] for piece in self._resampler.resample(mono)]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
