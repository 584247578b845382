"""Writes the held-out sentences of the meters: `python -m training.data.held_out`."""

import argparse
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from avatar.cast.characters import Voice
from training.data.corpus import HELD_OUT
from training.data.engines import load_engines
from training.data.speech import SAMPLE_RATE, SpeechEngine, utterance
from training.data.visemes import mouth_curves

FPS = 25


def write_clips(folder: Path, name: str, count: int, seconds: float) -> None:
    """Clips 0 to `count` - 1 by the engine of this name, each `seconds` or longer.

    Those that are there already are kept.

    Raises:
        Unavailable: The engine needs something that is not installed.
    """
    missing = [i for i in range(count) if not (folder / f"{name}-{i}.npz").exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (engine,) = load_engines([name])
    for index in missing:
        write_clip(folder, f"{name}-{index}", engine, index, seconds)


def write_clip(folder: Path, name: str, engine: SpeechEngine, seed: int, seconds: float) -> None:
    """One FLAC with its mouth curves and where somebody speaks."""
    rng = np.random.default_rng((77, seed))
    spoken = utterance(rng, seconds, [engine], voice=Voice(1.0, 1.0), sentences=HELD_OUT)
    num_frames = int(spoken.duration_s * FPS)
    samples = spoken.samples[: num_frames * SAMPLE_RATE // FPS]
    curves = mouth_curves(spoken.phonemes, spoken.duration_s)[:num_frames]
    frames = samples.reshape(num_frames, -1)
    # by level, not by the engine's own timing: what is heard is what is spoken
    loud = np.sqrt((frames**2).mean(1)) > 10 ** (-50 / 20)
    write_flac(folder / f"{name}.flac", samples)
    np.savez_compressed(folder / f"{name}.npz", curves=curves, speaking=loud)


def write_flac(path: Path, samples: NDArray[np.float32]) -> None:
    with av.open(str(path), "w", format="flac") as file:
        stream = file.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        whole = np.clip(samples * 32767, -32768, 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/data/held_out"))
    parser.add_argument("--engines", nargs="+", default=["hibari", "piper"])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    for engine in args.engines:
        write_clips(args.out, engine, args.clips, args.seconds)


if __name__ == "__main__":
    main()
