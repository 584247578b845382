"""Trains the shipped face networks: `python -m training.data.footage.face_recipe --run runs/faces`.

Drawn faces only. Both networks are measured on two characters that they never saw.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avatar.models.weights import save_model
from avatar.telemetry.logging import configure, get_logger
from training.data.footage.detector import (
    WEIGHTS,
    NetFaceDetector,
    finding_quality,
)
from training.data.footage.drawn_faces import DrawnFaces, make_drawn_faces
from training.data.footage.face_net import FaceNet, FaceNetConfig
from training.data.footage.face_tasks import FinderTask, MouthTask, mouth_correlation
from training.trainer import Schedule, fit

log = get_logger("training.data.footage.face_recipe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/faces"))
    parser.add_argument("--per-look", type=int, default=40, help="pictures of each look")
    parser.add_argument("--mixed", type=int, default=40, help="strangers mixed of known features")
    parser.add_argument("--finder-steps", type=int, default=5000)
    parser.add_argument("--reader-steps", type=int, default=1600)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    configure(logging.INFO, sys.stderr)
    torch.set_num_threads(1)
    paths = []
    for path in make_drawn_faces(args.run / "faces", args.per_look, args.mixed, seed=1):
        log.info("drawn", look=path.stem)
        paths.append(path)
    known = joined([path for path in paths if not path.stem.startswith("held-")])
    strangers = joined([path for path in paths if path.stem.startswith("held-")])
    torch.manual_seed(1)
    net = FaceNet(FaceNetConfig())
    reading = MouthTask(known, net.config)
    schedule = Schedule(args.reader_steps, 2e-3, weight_decay=1e-3, ema_decay=0.995)
    net.reader.load_state_dict(fit(reading, schedule, args.run / "reader"))
    finding = FinderTask(known, net.config)
    schedule = Schedule(args.finder_steps, 2e-3, weight_decay=1e-3, ema_decay=0.995)
    net.finder.load_state_dict(fit(finding, schedule, args.run / "finder"))
    net.eval()
    detector = NetFaceDetector(net.finder)
    figures: dict[str, object] = {
        "steps": {"reader": args.reader_steps, "finder": args.finder_steps},
        "mouth_known": mouth_correlation(net.reader, known),
        "mouth_strangers": mouth_correlation(net.reader, strangers),
        "finding_known": finding_quality(detector, known),
        "finding_strangers": finding_quality(detector, strangers),
    }
    save_model(net, net.config, args.out)
    args.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    log.info("saved", path=str(args.out), figures=json.dumps(figures))


def joined(paths: Sequence[Path]) -> DrawnFaces:
    parts = [DrawnFaces.load(path) for path in paths]
    return DrawnFaces(
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.mouths for part in parts]),
        np.concatenate([part.places for part in parts]),
    )


if __name__ == "__main__":
    main()
