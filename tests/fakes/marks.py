"""The marker profile without a graph, and the codecs of a call without a call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.codecs.vpx import Vp8Decoder, Vp8Encoder, vp8_depayload
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

from avatar.cast.profiles import Profile
from avatar.engines.marker import MARKER, MarkerAudioEncoder, MarkerScore, MarkerVaeDecoder
from avatar.media import AudioChunk
from avatar.render import speech_chunks

RATE = 48_000
BLOCK = 960
OPUS_DELAY_S = 0.0065
"""Opus looks ahead: what it decodes is this much later than what it was given."""


@dataclass(frozen=True)
class Spec:
    avatar: str = "mira"
    seed: int = 0


def marker_frames(
    chunks: Sequence[AudioChunk],
    sleep: Callable[[float], None] = lambda seconds: None,
    profile: Profile = MARKER,
) -> NDArray[np.uint8]:
    """(N, H, W, 3): what the three engines make of these chunks, one after the other."""
    encoder, score = MarkerAudioEncoder(sleep, profile), MarkerScore(sleep, profile)
    decoder = MarkerVaeDecoder(sleep, profile)
    heard = encoder.init_state(Spec())
    score.init_state(Spec())
    decoder.init_state(Spec())
    frames = []
    for chunk in chunks:
        embedding, heard = encoder.step(chunk, heard)
        latents, _ = score.step(embedding, None)
        frames.append(decoder.step(latents, None)[0].frames)
    return np.concatenate(frames)


def marker_video(
    speech: NDArray[np.float32],
    sleep: Callable[[float], None] = lambda seconds: None,
    profile: Profile = MARKER,
) -> NDArray[np.uint8]:
    """`marker_frames` of (S,) speech at 16 kHz."""
    return marker_frames(list(speech_chunks(speech, profile.clock)), sleep, profile)


def through_opus(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S,) at 48 kHz as the other side of a call decodes it, delayed by OPUS_DELAY_S."""
    encoder, decoder, out = OpusEncoder(), OpusDecoder(), []
    pcm = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    for start in range(0, len(pcm) - BLOCK + 1, BLOCK):
        frame = AudioFrame.from_ndarray(pcm[None, start : start + BLOCK], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        for payload in encoder.encode(frame)[0]:
            for decoded in decoder.decode(JitterFrame(payload, start)):
                assert isinstance(decoded, AudioFrame)
                pcm_out = decoded.to_ndarray().astype(np.float32).reshape(-1, 2)
                out.append(pcm_out[:, 0] / 32767)
    return np.concatenate(out)


def through_vp8(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Frames as the other side decodes them, at the bit rate that a call begins with: luma."""
    encoder, decoder, out = Vp8Encoder(), Vp8Decoder(), []
    for index, pixels in enumerate(frames):
        frame = VideoFrame.from_ndarray(pixels, "rgb24")
        frame.pts, frame.time_base = index * 3600, Fraction(1, 90_000)
        data = b"".join(vp8_depayload(each) for each in encoder.encode(frame)[0])
        for decoded in decoder.decode(JitterFrame(data, index * 3600)):
            assert isinstance(decoded, VideoFrame)
            out.append(decoded.to_ndarray(format="gray").astype(np.uint8, copy=False))
    return out
