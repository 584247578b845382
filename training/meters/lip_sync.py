"""Lip sync of generated video against the mouth that the speech should have made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.cast.profile import PROFILES
from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, render_chunks
from training.meters.mouth_reader import MouthReader, read_mouth
from training.meters.sync import frames_at_rest, measure_sync

Curve = NDArray[np.float32]
FRAMES_PER_SAMPLE = 25 / SPEECH_RATE


@dataclass(frozen=True)
class SpokenClip:
    """A held-out sentence: (S,) float32 at 16 kHz, its (T, 5) mouth, and where somebody speaks."""

    name: str
    samples: NDArray[np.float32]
    curves: Curve
    speaking: NDArray[np.bool_]


@dataclass(frozen=True)
class LipSync:
    """Means over clips.

    `while_speaking` leaves the pauses out. So does `shuffled`, the correlation with other
    sentences' curves: pauses of two recordings coincide by chance, and two true curves of this
    set correlate by up to 0.5 through them alone.
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
    num_clips: int


def read_spoken_clips(folder: Path, voice: str = "") -> list[SpokenClip]:
    """The clips `<voice>-<n>.flac` of a folder, with the `.npz` beside each."""
    clips = []
    for path in sorted(folder.glob(f"{voice}*.flac")):
        with np.load(path.with_suffix(".npz")) as truth:
            samples = decode(path.read_bytes(), SPEECH_RATE)
            clips.append(SpokenClip(path.stem, samples, truth["curves"], truth["speaking"]))
    return clips


def measure_lip_sync(
    pipeline: Pipeline,
    reader: MouthReader,
    boxes: dict[str, tuple[int, int, int, int]],
    clips: Sequence[SpokenClip],
) -> LipSync:
    """Render every clip with one of the avatars in turn, and read its mouth."""
    avatars = sorted(boxes)
    read, closed = [], []
    for i, clip in enumerate(clips):
        avatar = avatars[i % len(avatars)]
        frames = np.concatenate(
            [c.frames for c in render_chunks(pipeline, clip.samples, avatar, seed=i)]
        )
        read.append(read_mouth(reader, frames[: len(clip.curves)], boxes[avatar]))
        # the closed mouth as this meter reads it: the character at rest with nobody speaking
        still = np.concatenate(
            [
                c.frames
                for c in render_chunks(pipeline, np.zeros(SPEECH_RATE * 2, np.float32), avatar)
            ]
        )
        closed.append(float(np.median(read_mouth(reader, still, boxes[avatar])[:, 0])))
    return judge(read, closed, clips)


def judge(read: Sequence[Curve], closed: Sequence[float], clips: Sequence[SpokenClip]) -> LipSync:
    """Compare the mouths read from videos of the clips, (T, 5) each, with the true ones.

    `closed` is the opening that the reader sees in each video when nobody speaks.
    """
    syncs = [measure_sync(r[:, 0], c.curves[:, 0]) for r, c in zip(read, clips, strict=True)]
    speech_only = [
        [_while_speaking(r[:, 0], own.speaking, other) for other in clips]
        for r, own in zip(read, clips, strict=True)
    ]
    matched = [row[i] for i, row in enumerate(speech_only)]
    shuffled = [x for i, row in enumerate(speech_only) for j, x in enumerate(row) if i != j]
    rest, speaking = [], []
    for r, c, base in zip(read, clips, closed, strict=True):
        opening = r[:, 0] - base
        rest.append(opening[frames_at_rest(c.speaking)])
        speaking.append(opening[c.speaking])

    def other_dimension(index: int) -> float:
        return float(
            np.mean(
                [
                    measure_sync(r[:, index], c.curves[:, index]).correlation
                    for r, c in zip(read, clips, strict=True)
                ]
            )
        )

    return LipSync(
        correlation=float(np.mean([s.correlation for s in syncs])),
        worst_correlation=min(s.correlation for s in syncs),
        lag_ms=float(np.median([s.lag_ms for s in syncs])),
        largest_lag_ms=max(abs(s.lag_ms) for s in syncs),
        width=other_dimension(1),
        rounding=other_dimension(2),
        amplitude_ratio=float(np.mean([s.amplitude_ratio for s in syncs])),
        while_speaking=float(np.mean(matched)),
        shuffled=float(np.mean(shuffled)) if shuffled else 0.0,
        rest_share=float(np.abs(np.concatenate(rest)).mean() / np.concatenate(speaking).mean()),
        num_clips=len(clips),
    )


def _while_speaking(measured: Curve, speaking: NDArray[np.bool_], truth: SpokenClip) -> float:
    """Correlation at lag 0 over the frames in which both recordings speak."""
    length = min(len(measured), len(truth.curves))
    both = speaking[:length] & truth.speaking[:length]
    return float(np.corrcoef(measured[:length][both], truth.curves[:length, 0][both])[0, 1])


def read_boxes() -> dict[str, tuple[int, int, int, int]]:
    """Mouth boxes of the shipped cast, in pixels: x0, y0, x1, y1."""
    import json

    stored = json.loads((PROFILES["tiny"].folder / "mouth_boxes.json").read_text())
    return {name: (box[0], box[1], box[2], box[3]) for name, box in stored.items()}
