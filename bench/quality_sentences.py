"""Held-out sentences, generated and drawn: lips, controls and looks beside the truth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from avatar.errors import Unavailable
from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, speech_chunks
from bench.clips import clips
from bench.machine import ROOT, say
from bench.options import Options
from bench.quality_cast import Avatar, Readers, movement
from bench.quality_sheet import Row, telling_row
from bench.results import Values
from training.data.held_out import write_clips
from training.meters.control_reader import controls_read, read_controls
from training.meters.lip_sync import (
    STILL_S,
    MouthReading,
    SpokenClip,
    closed_mouth,
    judge,
    read_spoken_clips,
    see_mouth,
    show,
    then_silent,
)
from training.meters.movement import measure_following
from training.meters.picture import Look, compare_videos, mean_look
from training.meters.sync import Curve

TRAINED = {"hibari": 12, "espeak": 8}
"""Engines heard in training, and how many sentences of each."""
UNHEARD = {"piper": 10, "flite": 10}
"""Engines never used in training."""
SECONDS = 8.0
SILENCE_S = 1.5
"""After each clip, for the mouth to come to rest in."""
SPOKEN = ROOT / "var" / "held_out"


def sentences(options: Options) -> dict[str, list[SpokenClip]]:
    """By engine; an engine that is not installed is left out.

    They are made when first asked for. A brief run takes the short ones of the tests.
    """
    if options.brief:
        found = {voice: clips(voice, 2) for voice in ("hibari", "piper")}
    else:
        found = {}
        for engine, count in (TRAINED | UNHEARD).items():
            try:
                write_clips(SPOKEN, engine, count, SECONDS)
            except Unavailable as error:
                say(f"quality: without {engine}: {error}")
                continue
            found[engine] = read_spoken_clips(SPOKEN, f"{engine}-")[:count]
    return {
        engine: [then_silent(clip, SILENCE_S) for clip in spoken]
        for engine, spoken in found.items()
    }


@dataclass
class Seen:
    """What is kept of all clips: readings of the generated and the real video, and a few frames."""

    clips: list[SpokenClip] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    shown: list[MouthReading] = field(default_factory=list)
    real: list[MouthReading] = field(default_factory=list)
    controls: list[tuple[Curve, Curve]] = field(default_factory=list)
    controls_real: list[tuple[Curve, Curve]] = field(default_factory=list)
    looks: dict[str, list[Look]] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)


def watch(
    pipeline: Pipeline,
    readers: Readers,
    avatars: dict[str, Avatar],
    spoken: dict[str, list[SpokenClip]],
) -> Seen:
    """Generate and draw every clip, with the avatars in turn."""
    seen, closed = Seen(), dict[str, tuple[float, float]]()
    numbered = [(engine, clip) for engine, own in spoken.items() for clip in own]
    for number, (engine, clip) in enumerate(numbered):
        avatar = list(avatars.values())[number % len(avatars)]
        if avatar.name not in closed:
            closed[avatar.name] = closed_mouths(pipeline, readers, avatar)
        _watch_clip(seen, pipeline, readers, avatar, engine, clip, number + 1, closed[avatar.name])
        say(f"quality: {number + 1} of {len(numbered)} clips")
    return seen


def closed_mouths(pipeline: Pipeline, readers: Readers, avatar: Avatar) -> tuple[float, float]:
    """Opening read where nobody speaks: generated, and drawn."""
    silence = np.zeros(SPEECH_RATE * STILL_S, np.float32)
    still = show(pipeline, silence, avatar.name)
    moved = movement(avatar.name, 0, speech_chunks(silence, pipeline.clock))
    drawn = avatar.render(np.zeros((len(still), 5), np.float32), moved)
    return (
        closed_mouth(readers.mouth, still, avatar.box),
        closed_mouth(readers.mouth, drawn, avatar.box),
    )


def _watch_clip(
    seen: Seen,
    pipeline: Pipeline,
    readers: Readers,
    avatar: Avatar,
    engine: str,
    clip: SpokenClip,
    seed: int,
    closed: tuple[float, float],
) -> None:
    shown = show(pipeline, clip.samples, avatar.name, seed=seed)[: len(clip.curves)]
    moved = movement(avatar.name, seed, speech_chunks(clip.samples, pipeline.clock))
    real = avatar.render(clip.curves, moved)
    true = controls_read(moved[: len(clip.curves)])
    seen.clips.append(clip)
    seen.engines.append(engine)
    for frames, mouths, moves, shut in (
        (shown, seen.shown, seen.controls, closed[0]),
        (real, seen.real, seen.controls_real, closed[1]),
    ):
        mouths.append(see_mouth(readers.mouth, frames, avatar.portrait, avatar.box, shut))
        moves.append((read_controls(readers.controls, frames), true))
    look = compare_videos(shown, real, avatar.box, pipeline.clock.frames_per_chunk)
    seen.looks.setdefault(avatar.name, []).append(look)
    if avatar.name not in seen.rows:
        seen.rows[avatar.name] = telling_row(shown, real, clip.curves, true)


def judged(seen: Seen) -> Values:
    """Plain numbers: lips by engine, following of the controls, looks by avatar and of all."""
    engines = sorted(set(seen.engines), key=seen.engines.index)
    lips = {engine: _lips(seen, seen.shown, [engine]) for engine in engines}
    lips["trained"] = _lips(seen, seen.shown, list(TRAINED))
    lips["real"] = _lips(seen, seen.real, engines)
    looks = [look for own in seen.looks.values() for look in own]
    return {
        "lips": lips,
        "following": asdict(measure_following(seen.controls)),
        "following_real": asdict(measure_following(seen.controls_real)),
        "looks": {name: told(mean_look(own)) for name, own in seen.looks.items()},
        "look": told(mean_look(looks)),
    }


def told(look: Look) -> Values:
    return asdict(look) | {"seam": look.seam, "seam_real": look.seam_real}


def _lips(seen: Seen, readings: Sequence[MouthReading], engines: Sequence[str]) -> Values:
    chosen = [i for i, engine in enumerate(seen.engines) if engine in engines]
    return asdict(judge([readings[i] for i in chosen], [seen.clips[i] for i in chosen]))
