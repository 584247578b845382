"""Renders training clips: a character speaking, with everything that made the picture.

A clip is two files: `00012.frames.npy`, (T, 256, 256, 3) uint8, made to be memory-mapped, and
`00012.npz` with `audio` (float32, 16 kHz), `mouth` (T, 5) and `controls` (T, 10), written last.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import CAST, Character
from avatar.cast.motion import MOTION_FPS, controls
from training.data.corpus import HELD_OUT, TRAIN
from training.data.looks import LOOKS
from training.data.renderer import PortraitRenderer, portrait
from training.data.speech import SAMPLE_RATE, SpeechEngine, utterance
from training.data.visemes import mouth_curves

_FIRST_FRAME_RANGE = 1_000_000


@dataclass(frozen=True)
class Clip:
    frames: NDArray[np.uint8]
    """(T, 256, 256, 3) RGB."""
    audio: NDArray[np.float32]
    """T * 640 samples at 16 kHz."""
    mouth: NDArray[np.float32]
    """(T, 5), see `MOUTH_NAMES`."""
    controls: NDArray[np.float32]
    """(T, 10), see `CONTROL_NAMES`."""


def make_clips(
    out_dir: Path,
    character: Character,
    num_clips: int,
    seconds: float,
    seed: int,
    engines: Sequence[SpeechEngine],
    *,
    sentences: Sequence[str] = TRAIN,
    on_clip: Callable[[int, float], None] = lambda _index, _ms_per_frame: None,
) -> Path:
    """Render clips 0 to `num_clips` - 1 into `out_dir`/<character id>; finished ones are kept.

    The reference picture is saved beside them as `portrait.npy`. Clip i depends on
    (seed, character, i) only. `on_clip` hears of each new clip and its time a frame.

    Returns:
        The character's folder.
    """
    folder = out_dir / character.id
    folder.mkdir(parents=True, exist_ok=True)
    look = LOOKS[character.id]
    np.save(folder / "portrait.npy", portrait(look))
    renderer = PortraitRenderer(look)
    for index in range(num_clips):
        done = folder / f"{index:05d}.npz"
        if done.exists():
            continue
        began = time.perf_counter()
        rng = np.random.default_rng([seed, character.seed, index])
        clip = make_clip(character, renderer, seconds, rng, engines, sentences)
        np.save(folder / f"{index:05d}.frames.npy", clip.frames)
        partial = folder / f"{index:05d}.partial.npz"
        np.savez(partial, audio=clip.audio, mouth=clip.mouth, controls=clip.controls)
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
    """One clip of exactly round(seconds * 25) frames."""
    num_frames = round(seconds * MOTION_FPS)
    spoken = utterance(rng, seconds, engines, voice=character.voice, sentences=sentences)
    mouth = mouth_curves(spoken.phonemes, spoken.duration_s)[:num_frames]
    first_frame = int(rng.integers(_FIRST_FRAME_RANGE))
    movement = controls(character.seed, first_frame, num_frames, character.temperament)
    frames = np.stack([renderer.frame(m, c) for m, c in zip(mouth, movement, strict=True)])
    audio = spoken.samples[: num_frames * SAMPLE_RATE // MOTION_FPS]
    return Clip(frames, audio, mouth, movement)


def finished_clips(folder: Path) -> Iterator[Clip]:
    """The clips in a character's folder, in order, their frames memory-mapped."""
    for path in sorted(folder.glob("[0-9]*.npz")):
        if path.name.endswith(".partial.npz"):
            continue
        frames = np.load(path.with_name(f"{path.stem}.frames.npy"), mmap_mode="r")
        with np.load(path) as arrays:
            yield Clip(frames, arrays["audio"], arrays["mouth"], arrays["controls"])


def load_engines(names: Sequence[str]) -> list[SpeechEngine]:
    """Engines by name: hibari, espeak, piper; a name given twice is heard twice as often."""
    made: dict[str, SpeechEngine] = {}
    for name in names:
        if name not in made:
            made[name] = _engine(name)
    return [made[name] for name in names]


def _engine(name: str) -> SpeechEngine:
    # Imported when asked for: each engine needs packages or libraries of its own.
    if name == "hibari":
        from training.data.hibari_engine import HibariEngine

        return HibariEngine()
    if name == "espeak":
        from training.data.espeak_engine import EspeakEngine

        return EspeakEngine()
    if name == "piper":
        from training.data.piper_engine import PiperEngine

        return PiperEngine()
    raise ValueError(f"no engine {name!r}; there are hibari, espeak and piper")


def main() -> None:
    parser = argparse.ArgumentParser(description="Render training clips of the cast.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, required=True, help="clips for each character")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--characters", nargs="+", default=[character.id for character in CAST])
    parser.add_argument(
        "--engines", nargs="+", default=["hibari", "hibari", "hibari", "espeak", "piper"]
    )
    parser.add_argument("--held-out", action="store_true", help="speak the held-out sentences")
    args = parser.parse_args()
    engines = load_engines(args.engines)
    for character in CAST:
        if character.id not in args.characters:
            continue

        def report(index: int, ms_per_frame: float, name: str = character.id) -> None:
            line = f"\r{name} {index + 1}/{args.clips}  {ms_per_frame:.1f} ms/frame "
            sys.stderr.write(line)

        make_clips(
            args.out,
            character,
            args.clips,
            args.seconds,
            args.seed,
            engines,
            sentences=HELD_OUT if args.held_out else TRAIN,
            on_clip=report,
        )
        sys.stderr.write("\n")


if __name__ == "__main__":
    main()
