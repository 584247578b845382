"""Lip sync of generated video against the mouth that the speech should have made."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.cast.profile import load_appearance
from avatar.cast.profiles import PROFILES
from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, render_chunks
from training.meters.mouth_pixels import mouth_area
from training.meters.mouth_reader import MouthReader, read_mouth
from training.meters.sync import FPS, Curve, correlation, frames_at_rest, measure_sync

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels."""
STILL_S = 2


@dataclass(frozen=True)
class SpokenClip:
    """A held-out sentence: (S,) float32 at 16 kHz, its (T, 5) mouth, and where somebody speaks."""

    name: str
    samples: NDArray[np.float32]
    curves: Curve
    speaking: NDArray[np.bool_]


@dataclass(frozen=True)
class MouthReading:
    """What is seen of the mouth in the video of a clip, by two methods that share nothing.

    `shape` is (T, 5) as the network reads it, `closed` the opening that it reads of the same
    character with nobody speaking; `area` is (T,), see `mouth_area`.
    """

    shape: Curve
    area: Curve
    closed: float


@dataclass(frozen=True)
class LipSync:
    """Means over clips, the lag's median, and the worst clip.

    `while_speaking` is the correlation at the best lag with the pauses left out, and so is
    `amplitude_ratio`. So is `shuffled`, the correlation at no lag with other sentences' curves:
    pauses of two recordings coincide by chance, and two true curves of this set correlate by up
    to 0.5 through them alone. `by_pixels` is the correlation of the second method with the truth,
    `agreement` that of both methods.
    """

    correlation: float
    worst_correlation: float
    lag_ms: float
    largest_lag_ms: float
    width: float
    rounding: float
    amplitude_ratio: float
    while_speaking: float
    shuffled: float
    rest_share: float
    by_pixels: float
    agreement: float
    num_clips: int


def read_spoken_clips(folder: Path, voice: str = "") -> list[SpokenClip]:
    """The clips `<voice>-<n>.flac` of a folder, with the `.npz` beside each."""
    clips = []
    for path in sorted(folder.glob(f"{voice}*.flac")):
        with np.load(path.with_suffix(".npz")) as truth:
            samples = decode(path.read_bytes(), SPEECH_RATE)
            clips.append(SpokenClip(path.stem, samples, truth["curves"], truth["speaking"]))
    return clips


def then_silent(clip: SpokenClip, seconds: float) -> SpokenClip:
    """The clip with silence after it, in which a mouth has to come to rest."""
    frames = round(seconds * FPS)
    return SpokenClip(
        clip.name,
        np.pad(clip.samples, (0, frames * SPEECH_RATE // FPS)),
        np.pad(clip.curves, ((0, frames), (0, 0))),
        np.pad(clip.speaking, (0, frames)),
    )


def measure_lip_sync(
    pipeline: Pipeline, reader: MouthReader, boxes: dict[str, Box], clips: Sequence[SpokenClip]
) -> LipSync:
    """Render every clip with one of the avatars in turn, and read its mouth."""
    avatars = sorted(boxes)
    readings = []
    for i, clip in enumerate(clips):
        avatar = avatars[i % len(avatars)]
        portrait = load_appearance(pipeline.score.profile, avatar).portrait
        shown = show(pipeline, clip.samples, avatar, seed=i)
        still = show(pipeline, np.zeros(SPEECH_RATE * STILL_S, np.float32), avatar)
        closed = closed_mouth(reader, still, boxes[avatar])
        readings.append(
            see_mouth(reader, shown[: len(clip.curves)], portrait, boxes[avatar], closed)
        )
    return judge(readings, clips)


def show(
    pipeline: Pipeline, samples: NDArray[np.float32], avatar: str, *, seed: int = 0
) -> NDArray[np.uint8]:
    """(T, H, W, 3): the avatar saying it, to the end of the last chunk."""
    return np.concatenate([c.frames for c in render_chunks(pipeline, samples, avatar, seed=seed)])


def see_mouth(
    reader: MouthReader,
    frames: NDArray[np.uint8],
    portrait: NDArray[np.uint8],
    box: Box,
    closed: float,
) -> MouthReading:
    """Read a video, (T, H, W, 3), by both methods."""
    return MouthReading(read_mouth(reader, frames, box), mouth_area(frames, portrait, box), closed)


def closed_mouth(reader: MouthReader, still: NDArray[np.uint8], box: Box) -> float:
    """The opening that the reader sees in a video in which nobody speaks."""
    return float(np.median(read_mouth(reader, still, box)[:, 0]))


def judge(readings: Sequence[MouthReading], clips: Sequence[SpokenClip]) -> LipSync:
    """Compare the mouths seen in videos of the clips with the true ones.

    Raises:
        ValueError: There is no clip, or not one reading for each.
    """
    if not clips or len(readings) != len(clips):
        raise ValueError(f"{len(readings)} readings given, {len(clips)} expected by the clips")
    pairs = list(zip(readings, clips, strict=True))
    whole = [measure_sync(r.shape[:, 0], c.curves[:, 0]) for r, c in pairs]
    spoken = [
        measure_sync(r.shape[:, 0], c.curves[:, 0], where=c.speaking[: len(c.curves)])
        for r, c in pairs
    ]
    others = [
        _with_another(r.shape[:, 0], own, other)
        for r, own in pairs
        for other in clips
        if other is not own
    ]

    def dimension(index: int) -> float:
        return _mean(
            measure_sync(r.shape[:, index], c.curves[:, index]).correlation for r, c in pairs
        )

    return LipSync(
        correlation=_mean(s.correlation for s in whole),
        worst_correlation=min(s.correlation for s in whole),
        lag_ms=float(np.median([s.lag_ms for s in whole])),
        largest_lag_ms=max(abs(s.lag_ms) for s in whole),
        width=dimension(1),
        rounding=dimension(2),
        amplitude_ratio=_mean(s.amplitude_ratio for s in spoken),
        while_speaking=_mean(s.correlation for s in spoken),
        shuffled=_mean(others) if others else 0.0,
        rest_share=rest_share(pairs),
        by_pixels=_mean(measure_sync(r.area, c.curves[:, 0]).correlation for r, c in pairs),
        agreement=_mean(correlation(r.area, r.shape[:, 0]) for r, _ in pairs),
        num_clips=len(clips),
    )


def rest_share(pairs: Sequence[tuple[MouthReading, SpokenClip]]) -> float:
    """Opening away from speech as a share of that in speech, both net of the closed mouth.

    Not a number where nobody ever rests, or the mouth never opens.
    """
    rest, speaking = [], []
    for reading, clip in pairs:
        opening = reading.shape[:, 0] - reading.closed
        rest.append(opening[frames_at_rest(clip.speaking)[: len(opening)]])
        speaking.append(opening[clip.speaking[: len(opening)]])
    resting, spoken = np.concatenate(rest), np.concatenate(speaking)
    if not resting.size or not spoken.size or spoken.mean() <= 0:
        return float("nan")
    return float(np.abs(resting).mean() / spoken.mean())


def _with_another(measured: Curve, own: SpokenClip, other: SpokenClip) -> float:
    """Correlation at no lag over the frames in which both recordings speak."""
    length = min(len(measured), len(other.curves))
    both = own.speaking[:length] & other.speaking[:length]
    return correlation(measured[:length][both], other.curves[:length, 0][both])


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def read_boxes() -> dict[str, Box]:
    """Mouth boxes of the shipped cast, in pixels: x0, y0, x1, y1."""
    stored = json.loads((PROFILES["tiny"].folder / "mouth_boxes.json").read_text())
    return {name: (box[0], box[1], box[2], box[3]) for name, box in stored.items()}
