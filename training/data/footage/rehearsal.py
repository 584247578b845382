"""Rendered footage with known answers: who speaks in it, and how far off the sound is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from avatar.cast.characters import Character, character_of
from training.data.acoustics import EVERYDAY
from training.data.corpus import HELD_OUT
from training.data.footage.collage import ground
from training.data.footage.video import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from training.data.looks import LOOKS
from training.data.motions import draw_controls
from training.data.renderer import PortraitRenderer
from training.data.speech import SpeechEngine, utterance
from training.data.visemes import mouth_curves

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
WIDTH, HEIGHT = 640, 360
_SIDES = (190, 340)
"""Pixels of a portrait in the picture: faces of 100 to 180."""


@dataclass(frozen=True)
class Take:
    """One character for a while; `sound` is silent where it only chews or keeps its mouth shut."""

    character: str
    frames: Frames
    sound: Samples


def speak(
    character: Character, num_frames: int, rng: np.random.Generator, engines: Sequence[SpeechEngine]
) -> Take:
    """Says sentences that no training hears, by any voice."""
    said = utterance(rng, num_frames / FPS, engines, sentences=HELD_OUT, acoustics=EVERYDAY)
    mouth = mouth_curves(said.phonemes, said.duration_s)[:num_frames]
    sound = said.samples[: num_frames * SAMPLES_PER_FRAME]
    return Take(character.id, _drawn(character, mouth, rng), sound)


def chew(character: Character, num_frames: int, rng: np.random.Generator) -> Take:
    """Opens and shuts its mouth about as often as a speaker does, to no words."""
    phase = 2 * np.pi * np.cumsum(rng.uniform(1.2, 2.6) + rng.normal(0, 1.5, num_frames)) / FPS
    mouth = np.zeros((num_frames, 5), np.float32)
    mouth[:, 0] = np.clip(0.3 + 0.35 * np.sin(phase), 0.0, 1.0)
    mouth[:, 2] = 0.2
    return Take(character.id, _drawn(character, mouth, rng), _silence(num_frames))


def keep_shut(character: Character, num_frames: int, rng: np.random.Generator) -> Take:
    mouth = np.zeros((num_frames, 5), np.float32)
    return Take(character.id, _drawn(character, mouth, rng), _silence(num_frames))


def side_by_side(left: Take, right: Take, rng: np.random.Generator) -> Frames:
    """(T, 360, 640, 3): both on one ground, each at its own size and height."""
    canvas = Image.fromarray((ground(rng) * 255).astype(np.uint8)).resize((WIDTH, HEIGHT))
    picture = np.repeat(np.asarray(canvas)[None], len(left.frames), axis=0)
    for take, middle in ((left, WIDTH // 4), (right, 3 * WIDTH // 4)):
        side = int(rng.integers(_SIDES[0], min(_SIDES[1], WIDTH // 2)))
        x = middle - side // 2 + int(rng.integers(-6, 7)) * (side < 300)
        y = int(rng.integers(0, HEIGHT - side + 1))
        for index, frame in enumerate(take.frames):
            small = Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR)
            picture[index, y : y + side, x : x + side] = np.asarray(small)
    return picture


def moved(sound: Samples, frames: int) -> Samples:
    """The sound `frames` later, or earlier if negative; silence comes in."""
    by = frames * SAMPLES_PER_FRAME
    quiet = np.zeros(abs(by), np.float32)
    return np.concatenate([quiet, sound[:-by]]) if by > 0 else np.concatenate([sound[-by:], quiet])


def write_film(
    path: Path,
    frames: Frames,
    sound: Samples | None,
    times: Sequence[float] | None = None,
    codecs: tuple[str, str] = ("libx264", "aac"),
) -> Path:
    """A video file; its suffix names the container.

    Args:
        path: Where to.
        frames: (T, H, W, 3) RGB.
        sound: Mono at 16 kHz; None leaves the track out.
        times: Seconds at which each frame comes on, in milliseconds; evenly 25 a second if None.
        codecs: Of picture and sound.
    """
    with av.open(str(path), "w") as file:
        video = file.add_stream(codecs[0], rate=FPS)
        assert isinstance(video, VideoStream)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        base = Fraction(1, FPS if times is None else 1000)
        video.codec_context.time_base = base
        if codecs[0] == "libx264":
            video.options = {"preset": "veryfast", "crf": "23"}
        audio: AudioStream | None = None
        if sound is not None:
            added = file.add_stream(codecs[1], rate=SAMPLE_RATE, layout="mono")
            assert isinstance(added, AudioStream)
            audio = added
        for index, picture in enumerate(frames):
            shown = VideoFrame.from_ndarray(picture, format="rgb24")
            shown.pts = index if times is None else round(1000 * times[index])
            shown.time_base = base
            file.mux(video.encode(shown))
        file.mux(video.encode(None))
        if audio is not None and sound is not None:
            heard = AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts = SAMPLE_RATE, 0
            heard.time_base = Fraction(1, SAMPLE_RATE)
            # each codec takes samples of its own kind
            resampler = av.AudioResampler(format=audio.format, layout="mono")
            for each in resampler.resample(heard):
                file.mux(audio.encode(each))
            file.mux(audio.encode(None))
    return path


def _drawn(character: Character, mouth: NDArray[np.float32], rng: np.random.Generator) -> Frames:
    temperament = replace(character.temperament, sway=character.temperament.sway * 1.2)
    movement = draw_controls(rng, temperament, len(mouth))
    renderer = _renderer(character.id)
    return np.stack([renderer.frame(m, c) for m, c in zip(mouth, movement, strict=True)])


@cache
def _renderer(character_id: str) -> PortraitRenderer:
    return PortraitRenderer(LOOKS[character_of(character_id).id])


def _silence(num_frames: int) -> Samples:
    return np.zeros(num_frames * SAMPLES_PER_FRAME, np.float32)
