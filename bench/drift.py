"""Is the face after a minute still the one that it was?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avatar.cast.characters import CAST
from avatar.cast.profile import PROFILES, load_appearance
from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, render_chunks
from bench.clips import clips
from bench.options import Options
from bench.results import Values, table
from training.meters.lip_sync import read_boxes
from training.meters.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from training.meters.sync import measure_sync

FPS = 25
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """Where, in seconds of a rollout, the video is looked at: 4 s each, and two stretches."""

    total_s: int = 60
    early_s: int = 5
    late_s: int = 58
    stretch_s: int = 15
    half_window_s: int = 2

    def window(self, centre_s: int) -> slice:
        start = centre_s - self.half_window_s
        return slice(start * FPS, (centre_s + self.half_window_s) * FPS)


USUAL, BRIEF = Plan(), Plan(total_s=12, early_s=3, late_s=10, stretch_s=4)


@dataclass(frozen=True)
class Look:
    """A stretch of video: its mean picture, (H, W, 3) in 0..255, and how sharp its frames are."""

    mean: Picture
    sharpness: float


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    plan = BRIEF if options.brief else USUAL
    avatars = [each.id for each in CAST[: options.repetitions(len(CAST), 1)]]
    pipeline = Pipeline.load()
    reader = load_mouth_reader(PROFILES["tiny"].folder / "mouth_reader.safetensors")
    return {
        "early_s": plan.early_s,
        "late_s": plan.late_s,
        "stretch_s": plan.stretch_s,
        "avatars": {avatar: measure_one(pipeline, reader, avatar, plan) for avatar in avatars},
    }


def measure_one(pipeline: Pipeline, reader: MouthReader, avatar: str, plan: Plan) -> Values:
    spoken = clips("", 99)
    samples = np.concatenate([clip.samples for clip in spoken])[: plan.total_s * SPEECH_RATE]
    truth = np.concatenate([clip.curves for clip in spoken])[: plan.total_s * FPS]
    box = read_boxes()[avatar]
    early, late = plan.window(plan.early_s), plan.window(plan.late_s)
    read, kept = [], {}
    for index, frames in indexed_frames(pipeline, samples, avatar):
        read.append(read_mouth(reader, frames, box))
        for number, frame in enumerate(frames, index):
            if early.start <= number < early.stop or late.start <= number < late.stop:
                kept[number] = frame
    opening = np.concatenate(read)[: len(truth), 0]
    stretch = plan.stretch_s * FPS
    first, last = (look(np.stack([kept[i] for i in range(w.start, w.stop)])) for w in (early, late))
    portraits = {
        each.id: load_appearance(pipeline.score.profile, each.id).portrait.astype(np.float32)
        for each in CAST
    }
    return {
        "distance_early": distance(first.mean, portraits[avatar]),
        "distance_late": distance(last.mean, portraits[avatar]),
        "distance_others": min(
            distance(last.mean, other) for name, other in portraits.items() if name != avatar
        ),
        "colour_change": float(np.abs(last.mean.mean((0, 1)) - first.mean.mean((0, 1))).mean()),
        "sharpness_early": first.sharpness,
        "sharpness_late": last.sharpness,
        "sharpness_portrait": look(portraits[avatar][None].astype(np.uint8)).sharpness,
        "sync_first": measure_sync(opening[:stretch], truth[:stretch, 0]).correlation,
        "sync_last": measure_sync(opening[-stretch:], truth[-stretch:, 0]).correlation,
    }


def indexed_frames(
    pipeline: Pipeline, samples: NDArray[np.float32], avatar: str
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for chunk in render_chunks(pipeline, samples, avatar):
        yield chunk.stamp.seq * len(chunk.frames), chunk.frames


def look(frames: NDArray[np.uint8]) -> Look:
    """Of (N, H, W, 3)."""
    return Look(
        frames.mean(axis=0, dtype=np.float32),
        float(np.mean([edge_energy(frame) for frame in frames])),
    )


def edge_energy(frame: NDArray[np.uint8]) -> float:
    """Mean difference, in 0..255, between neighbours of the grey picture: less is softer."""
    grey = frame.mean(axis=2, dtype=np.float32)
    return float((np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2)


def distance(a: Picture, b: Picture) -> float:
    """Mean difference of two pictures, in 0..255."""
    return float(np.abs(a - b).mean())


def report(values: Values) -> str:
    early, late, stretch = values["early_s"], values["late_s"], values["stretch_s"]
    rows = [
        (
            avatar,
            each["distance_early"],
            each["distance_late"],
            each["distance_others"],
            each["colour_change"],
            each["sharpness_early"],
            each["sharpness_late"],
            each["sharpness_portrait"],
            each["sync_first"],
            each["sync_last"],
        )
        for avatar, each in values["avatars"].items()
    ]
    head = [
        "avatar", f"identity at {early} s", f"at {late} s", "nearest other", "colour change",
        f"sharpness at {early} s", f"at {late} s", "portrait", f"mouth, first {stretch} s",
        f"last {stretch} s",
    ]  # fmt: skip
    return "\n".join(
        [
            "One unbroken rollout for each avatar, held-out sentences of both voices. Identity: "
            "mean difference of the mean picture of 4 s from the portrait, and of the late one "
            "from the nearest other portrait; colour change: of the mean colour between both; all "
            "three of 255. Sharpness: mean difference of neighbouring pixels, of 255. Mouth: "
            "correlation of the opening with the truth.\n",
            table(head, rows),
        ]
    )
