"""Rollouts of many minutes: does the face stay, do the lips, and how does it move all the while?"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.media import LOOKAHEAD_LATENTS, SPEECH_RATE, AudioChunk, SessionId, Stamp
from avatar.render import Pipeline, render_stream
from avatar.timebase import ChunkClock
from bench.clips import clips
from bench.machine import ROOT, say
from bench.quality_cast import Avatar, Readers, likeness, movement
from bench.results import Values
from training.meters import READERS
from training.meters.control_reader import controls_read, read_controls
from training.meters.mouth_reader import read_mouth
from training.meters.movement import compare, measure_movement
from training.meters.rollout import Minute, Tally, measure_drift
from training.meters.sync import Curve

SEED = 7
DRAWN = 500
"""About so many frames of a rollout are drawn, to see what the reader sees in real renders."""
KEPT = ROOT / "var" / "quality"
"""Finished rollouts, so that a run that was stopped goes on."""


@dataclass(frozen=True)
class Plan:
    """How long: a minute is what comes round again, the same speech each time."""

    minute_s: float = 60.0
    minutes: int = 10
    endless_s: float = 10_000.0
    avatars: int = 99


USUAL = Plan()
BRIEF = Plan(minute_s=4.8, minutes=2, endless_s=14.4, avatars=1)


def measure_rollouts(
    pipeline: Pipeline, readers: Readers, avatars: dict[str, Avatar], plan: Plan
) -> tuple[Values, dict[str, NDArray[np.uint8]]]:
    """Every avatar for `plan.minutes`, the first one for `plan.endless_s`; and last frames."""
    names = list(avatars)[: plan.avatars]
    endless = int(plan.endless_s // plan.minute_s)
    values, last = dict[str, Values](), dict[str, NDArray[np.uint8]]()
    for name in names:
        values[name], last[name] = _kept(
            pipeline, readers, avatars, name, plan.minute_s, plan.minutes
        )
    values["endless"], _ = _kept(pipeline, readers, avatars, names[0], plan.minute_s, endless)
    return values, last


def _kept(
    pipeline: Pipeline,
    readers: Readers,
    avatars: dict[str, Avatar],
    name: str,
    minute_s: float,
    minutes: int,
) -> tuple[Values, NDArray[np.uint8]]:
    """From an earlier run with the same weights and readers, or measured now."""
    path = KEPT / f"{_key(pipeline)}-{name}-{minutes}x{minute_s:g}.json"
    picture = path.with_suffix(".npy")
    if not path.exists():
        values, frame = measure_one(pipeline, readers, avatars, name, minute_s, minutes)
        KEPT.mkdir(parents=True, exist_ok=True)
        np.save(picture, frame)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(values))
        partial.replace(path)
    return json.loads(path.read_text()), np.load(picture)


def _key(pipeline: Pipeline) -> str:
    """Of what makes and reads the pictures; how the weights were trained may be told anew."""
    folder = pipeline.score.profile.folder
    files = [
        path
        for path in (*folder.rglob("*"), *READERS.glob("*.safetensors"))
        if path.suffix in (".safetensors", ".xml", ".bin")
    ]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measure_one(
    pipeline: Pipeline,
    readers: Readers,
    avatars: dict[str, Avatar],
    name: str,
    minute_s: float,
    minutes: int,
) -> tuple[Values, NDArray[np.uint8]]:
    """Drift and movement of one rollout, and its last frame."""
    avatar, clock = avatars[name], pipeline.clock
    samples, opening = minute_of_speech(minute_s, clock.fps)
    chunks_a_minute = round(minute_s / clock.chunk_s)
    chunks = endless_chunks(samples, clock, minutes * chunks_a_minute)
    done, tally, read = list[Minute](), Tally(), list[Curve]()
    frames = np.empty(0, np.uint8)
    for chunk in render_stream(pipeline, chunks, name, seed=SEED):
        frames = chunk.frames
        tally.add(frames, read_mouth(readers.mouth, frames, avatar.box)[:, 0], avatar.box)
        read.append(read_controls(readers.controls, frames))
        if tally.num_frames == chunks_a_minute * clock.frames_per_chunk:
            done.append(tally.minute())
            tally = Tally()
            say(f"quality: {name}, {len(done)} of {minutes} minutes")
    seen = np.concatenate(read)
    asked_of = endless_chunks(samples, clock, minutes * chunks_a_minute)
    controls = movement(name, SEED, asked_of)
    moved, asked = measure_movement([seen]), measure_movement([controls_read(controls)])
    return {
        "drift": asdict(measure_drift(done, likeness(avatars, name), opening)),
        "movement": asdict(moved),
        "movement_true": asdict(asked),
        "movement_ratio": compare(moved, asked),
        "reader_ratio": reader_ratio(readers, avatar, controls),
    }, frames[-1]


def reader_ratio(readers: Readers, avatar: Avatar, controls: Curve) -> Values:
    """What the reader makes of real renders of these movements, as a ratio to the movements.

    It sees the eyes of some characters turn a third more than they do: a generated face is to be
    held against a drawn one that was read alike. Blinks are too short for pictures so far apart.
    """
    some = controls[:: max(1, len(controls) // DRAWN)]
    drawn = read_controls(
        readers.controls, avatar.render(np.zeros((len(some), 5), np.float32), some)
    )
    ratios = compare(measure_movement([drawn]), measure_movement([controls_read(some)]))
    return {name: ratios[name] for name in ("head_spread", "gaze_spread")}


def minute_of_speech(seconds: float, fps: float) -> tuple[NDArray[np.float32], Curve]:
    """Held-out sentences of both voices one after the other: (S,) at 16 kHz, the (T,) opening."""
    spoken = clips("", 99)
    samples = np.concatenate([clip.samples for clip in spoken])
    opening = np.concatenate([clip.curves[:, 0] for clip in spoken])
    return (
        np.resize(samples, round(seconds * SPEECH_RATE)),
        np.resize(opening, round(seconds * fps)),
    )


def endless_chunks(
    samples: NDArray[np.float32], clock: ChunkClock, count: int
) -> Iterator[AudioChunk]:
    """`count` chunks of speech that begins again at its end, without ever being held whole."""
    whole = clock.samples_per_chunk(SPEECH_RATE)
    ahead = LOOKAHEAD_LATENTS * clock.samples_per_latent(SPEECH_RATE)
    for seq in range(count):
        at = np.arange(seq * whole, (seq + 1) * whole + ahead)
        heard = np.take(samples, at, mode="wrap")
        yield AudioChunk(
            Stamp(SessionId("rollout"), 0, seq, 0, clock.pts(seq)),
            heard[:whole],
            lookahead=heard[whole:],
            last=seq == count - 1,
            behaviour="speaking",
        )
