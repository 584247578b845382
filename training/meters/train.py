"""Trains the networks that measure: `python -m training.meters.train --clips runs/face`.

The clips are those of `python -m training.data.clips`. Beside them it draws single poses for the
reader of controls. Both readers land in `--out`, with their figures on clips never learnt from;
`--ship` then puts them where the benchmarks look for them, in half precision.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from avatar.cast.characters import CAST
from avatar.telemetry.logging import configure, get_logger
from training.data.clips import Clip, finished_clips
from training.data.dataset import CastClip, read_clips
from training.data.looks import LOOKS
from training.data.renderer import PortraitRenderer
from training.meters import READERS, control_reader, mouth_reader
from training.meters.control_reader import (
    LEFT,
    SIDE,
    TOP,
    ControlReaderTask,
    Poses,
    controls_read,
    draw_poses,
)
from training.meters.mouth_reader import MouthReaderTask, crop_mouth
from training.train import train
from training.trainer import Schedule

log = get_logger("training.meters.train")  # also when it runs as the main module
MOUTH = Schedule(steps=2500, learning_rate=2e-3)
CONTROLS = Schedule(steps=4000, learning_rate=2e-3)
CLIP_STEP = 4
"""Every so many frames of a clip are learnt from, beside the single poses."""
HELD_OUT = 2
"""Clips of each character that are only looked at."""


def train_mouth_reader(clips: Path, out: Path, schedule: Schedule = MOUTH) -> None:
    found = read_clips(clips)
    crops = torch.cat([crop_mouth(clip.frames, clip.mouth_box) for clip in found.train])
    curves = torch.cat([torch.from_numpy(clip.curves) for clip in found.train])
    task = MouthReaderTask(crops, curves)

    def figures() -> dict[str, float]:
        told = mouth_reader.validate(task.model, found.held_out)
        return told | worst_opening(task.model, found.held_out)

    train(task, schedule, out, "mouth_reader", figures)


def worst_opening(reader: mouth_reader.MouthReader, clips: list[CastClip]) -> dict[str, float]:
    """The character whose mouth is read worst."""
    by_character: dict[str, list[CastClip]] = {}
    for clip in clips:
        by_character.setdefault(clip.character, []).append(clip)
    read = {name: mouth_reader.validate(reader, own)["open"] for name, own in by_character.items()}
    name = min(read, key=lambda each: read[each])
    return {f"open_worst_{name}": read[name]}


def train_control_reader(
    clips: Path, out: Path, poses_a_character: int, schedule: Schedule = CONTROLS
) -> None:
    """Learns from single poses and from frames of speech."""
    found = [list(finished_clips(clips / each.id)) for each in CAST]
    held_out = [clip for own in found for clip in own[-HELD_OUT:]]
    poses = poses_of_everyone(out / "poses.npz", poses_a_character)
    moving = [poses_of(clip) for own in found for clip in own[:-HELD_OUT]]
    crops, controls = (np.concatenate(parts) for parts in zip(poses, *moving, strict=True))
    task = ControlReaderTask(Poses(crops, controls))
    train(
        task,
        schedule,
        out,
        "control_reader",
        lambda: control_reader.validate(task.model, held_out),
    )


def poses_of(clip: Clip) -> Poses:
    frames = clip.frames[::CLIP_STEP, TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    return Poses(np.ascontiguousarray(frames), controls_read(clip.controls)[::CLIP_STEP])


def poses_of_everyone(path: Path, count: int) -> Poses:
    """Read from `path`, or drawn and kept there."""
    if not path.exists():
        drawn = []
        for each in CAST:
            rng = np.random.default_rng([31, each.seed])
            drawn.append(draw_poses(PortraitRenderer(LOOKS[each.id]), count, rng))
            log.info("poses", character=each.id, count=count)
        crops, controls = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        partial = path.with_name("partial.npz")
        np.savez(partial, crops=crops, controls=controls)
        partial.rename(path)
    with np.load(path) as stored:
        return Poses(stored["crops"], stored["controls"])


def ship(out: Path, folder: Path = READERS) -> None:
    """Copy both readers and their figures to where they are kept with the code."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("mouth_reader", "control_reader"):
        tensors = load_file(out / f"{name}.safetensors")
        save_file(
            {key: each.half().contiguous() for key, each in tensors.items()},
            folder / f"{name}.safetensors",
        )
        shutil.copyfile(out / f"{name}.json", folder / f"{name}.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=Path("runs/face"))
    parser.add_argument("--out", type=Path, default=Path("runs/readers"))
    parser.add_argument("--poses", type=int, default=400, help="single pictures a character")
    parser.add_argument("--only", choices=["mouth", "controls"])
    parser.add_argument("--ship", action="store_true", help=f"copy them to {READERS.name}/")
    args = parser.parse_args()
    configure(logging.INFO, sys.stderr)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.only != "controls":
        train_mouth_reader(args.clips, args.out)
    if args.only != "mouth":
        train_control_reader(args.clips, args.out, args.poses)
    if args.ship:
        ship(args.out)


if __name__ == "__main__":
    main()
