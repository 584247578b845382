"""Renders training clips: a character speaking, with everything that made the picture.

A clip is two files: `00012.frames.npy`, (T, 256, 256, 3) uint8, made to be memory-mapped, and
`00012.npz` with `audio` (float32, 16 kHz), `mouth` (T, 5), `controls` (T, 11) and `motion`
(T, 32, 32, 2), written last. `clips.json` in the folder of all says how they were made, and how
fast.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import CAST, Character, character_of
from avatar.cast.motion import MOTION_FPS
from avatar.telemetry.logging import configure, get_logger
from training.data.acoustics import EVERYDAY
from training.data.corpus import HELD_OUT, TRAIN
from training.data.engines import load_engines
from training.data.looks import LOOKS
from training.data.motions import draw_controls
from training.data.renderer import PortraitRenderer, portrait_by
from training.data.speech import SAMPLE_RATE, SpeechEngine, utterance
from training.data.visemes import mouth_curves
from training.portrait.scene import MOTION_CELLS, PICTURE

log = get_logger("training.data.clips")  # also when it runs as the main module


@dataclass(frozen=True)
class Clip:
    frames: NDArray[np.uint8]
    """(T, 256, 256, 3) RGB."""
    audio: NDArray[np.float32]
    """T * 640 samples at 16 kHz."""
    mouth: NDArray[np.float32]
    """(T, 5), see `MOUTH_NAMES`."""
    controls: NDArray[np.float32]
    """(T, 11), see `CONTROL_NAMES`; the last is the breath."""
    motion: NDArray[np.float16]
    """(T, 32, 32, 2) pixels, see `PortraitRenderer.motion`."""


def make_clips(
    out_dir: Path,
    character: Character,
    num_clips: int,
    seconds: float,
    seed: int,
    engines: Sequence[SpeechEngine],
    *,
    sentences: Sequence[str] = TRAIN,
    renderer: PortraitRenderer | None = None,
    on_clip: Callable[[int, float], None] = lambda _index, _ms_per_frame: None,
) -> Path:
    """Render clips 0 to `num_clips` - 1 into `out_dir`/<character id>; finished ones are kept.

    The reference picture is saved beside them as `portrait.npy`. Clip i depends on
    (seed, character, i) only. `renderer` None draws the member of the
    cast. `on_clip` hears of each new clip and its time a frame.

    Returns:
        The character's folder.
    """
    folder = out_dir / character.id
    folder.mkdir(parents=True, exist_ok=True)
    renderer = renderer or PortraitRenderer(LOOKS[character.id])
    np.save(folder / "portrait.npy", portrait_by(renderer))
    for index in range(num_clips):
        done = folder / f"{index:05d}.npz"
        if done.exists():
            continue
        began = time.perf_counter()
        rng = np.random.default_rng([seed, character.seed, index])
        clip = make_clip(character, renderer, seconds, rng, engines, sentences)
        np.save(folder / f"{index:05d}.frames.npy", clip.frames)
        partial = folder / f"{index:05d}.partial.npz"
        np.savez(
            partial,
            audio=clip.audio,
            mouth=clip.mouth,
            controls=clip.controls,
            motion=clip.motion,
        )
        partial.rename(done)
        on_clip(index, 1000.0 * (time.perf_counter() - began) / len(clip.frames))
    return folder


def make_clip(
    character: Character,
    renderer: PortraitRenderer,
    seconds: float,
    rng: np.random.Generator,
    engines: Sequence[SpeechEngine],
    sentences: Sequence[str] = TRAIN,
) -> Clip:
    """One clip of exactly round(seconds * 25) frames.

    Half of the clips speak with the character's own voice and half with any: what moves the lips
    is what is said, not who says it.
    """
    num_frames = round(seconds * MOTION_FPS)
    voice = character.voice if rng.random() < 0.5 else None
    spoken = utterance(rng, seconds, engines, voice=voice, sentences=sentences, acoustics=EVERYDAY)
    mouth = mouth_curves(spoken.phonemes, spoken.duration_s)[:num_frames]
    movement = draw_controls(rng, character.temperament, num_frames)
    frames = np.empty((num_frames, PICTURE, PICTURE, 3), np.uint8)
    motion = np.empty((num_frames, MOTION_CELLS, MOTION_CELLS, 2), np.float16)
    for i, (shape, control) in enumerate(zip(mouth, movement, strict=True)):
        frames[i], motion[i] = renderer.frame(shape, control), renderer.motion()
    audio = spoken.samples[: num_frames * SAMPLE_RATE // MOTION_FPS]
    return Clip(frames, audio, mouth, movement, motion)


def finished_clips(folder: Path) -> Iterator[Clip]:
    """The clips in a character's folder, in order, their frames memory-mapped."""
    for path in sorted(folder.glob("[0-9]*.npz")):
        if path.name.endswith(".partial.npz"):
            continue
        frames = np.load(path.with_name(f"{path.stem}.frames.npy"), mmap_mode="r")
        with np.load(path) as arrays:
            yield Clip(
                frames, arrays["audio"], arrays["mouth"], arrays["controls"], arrays["motion"]
            )


@dataclass(frozen=True)
class Order:
    """A whole data set: everything that decides what is in it."""

    characters: tuple[str, ...] = tuple(character.id for character in CAST)
    clips: int = 60
    """For each character."""
    seconds: float = 5.76
    """A whole number of chunks of 12 frames."""
    seed: int = 0
    engines: tuple[str, ...] = ("hibari", "hibari", "espeak")
    """piper and flite are never heard in training: they are for measuring."""
    held_out: bool = False
    """Speak the held-out sentences."""


QUICK = Order(clips=2, seconds=1.92)


def make_data(out_dir: Path, order: Order, jobs: int = 1) -> None:
    """All clips of an order, by `jobs` processes; finished clips are kept, so it can be resumed."""
    began, before = time.perf_counter(), _num_frames(out_dir)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(_make_one, out_dir, order, name) for name in order.characters]
        for done in as_completed(work):
            log.info("character_done", character=done.result(), seconds=_since(began))
    about = asdict(order) | {
        "made_frames": _num_frames(out_dir) - before,
        "made_in_s": _since(began),
        "jobs": jobs,
    }
    (out_dir / "clips.json").write_text(json.dumps(about, indent=1) + "\n")


def _make_one(out_dir: Path, order: Order, character_id: str) -> str:
    configure(logging.INFO, sys.stderr)

    def report(index: int, ms_per_frame: float) -> None:
        progress = f"{index + 1}/{order.clips}"
        log.info("clip", character=character_id, clip=progress, ms_a_frame=round(ms_per_frame, 1))

    make_clips(
        out_dir,
        character_of(character_id),
        order.clips,
        order.seconds,
        order.seed,
        _engines(order.engines),
        sentences=HELD_OUT if order.held_out else TRAIN,
        on_clip=report,
    )
    return character_id


@cache
def _engines(names: tuple[str, ...]) -> list[SpeechEngine]:
    """Loaded once a process."""
    return load_engines(names)


def _num_frames(folder: Path) -> int:
    return sum(len(clip.mouth) for each in folder.glob("*/") for clip in finished_clips(each))


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Render training clips of the cast.")
    parser.add_argument("--out", type=Path, default=Path("runs/face"))
    parser.add_argument("--quick", action="store_true", help="two short clips of each character")
    parser.add_argument("--clips", type=int, help="clips for each character")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--characters", nargs="+", choices=[each.id for each in CAST])
    parser.add_argument("--engines", nargs="+")
    parser.add_argument("--held-out", action="store_true", help="speak the held-out sentences")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    configure(logging.INFO, sys.stderr)
    order = replace(QUICK if args.quick else Order(), held_out=args.held_out)
    for name in ("clips", "seconds", "seed"):
        if (value := getattr(args, name)) is not None:
            order = replace(order, **{name: value})
    order = replace(
        order,
        characters=tuple(args.characters or order.characters),
        engines=tuple(args.engines or order.engines),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    make_data(args.out, order, args.jobs)


if __name__ == "__main__":
    main()
