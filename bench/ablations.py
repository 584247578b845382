"""What does each part of the recipe do? Every row changes one, and is trained and measured anew."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree

import torch

from avatar.errors import InvalidInput
from bench.ablations_judge import judge_row
from bench.ablations_rows import BRIEF, BRIEF_ROWS, ROWS, USUAL, Budget
from bench.ablations_table import section, with_section
from bench.ablations_train import Ground, check_run, load_ground, train_row
from bench.machine import ROOT, describe_commit, say
from bench.options import Options
from bench.results import Values

KEPT = ROOT / "var" / "ablations"
"""Finished rows, and the checkpoints of those under way."""
WEIGHTS = ("dit", "teacher", "vae", "audio_encoder", "latent_reader", "mouth_reader")


def measure(options: Options) -> Values:
    """Make the rows that are missing, or those that are named, two or more at a time."""
    budget = BRIEF if options.brief else USUAL
    check_run(options.run)
    folder = KEPT / key(options.run, budget)
    names = options.rows or (BRIEF_ROWS if options.brief else tuple(ROWS))
    if unknown := set(names) - ROWS.keys():
        raise InvalidInput(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if options.rows:  # named: again
        for name in names:
            kept(folder, name).unlink(missing_ok=True)
    make_rows(options.run, budget, folder, [n for n in names if not kept(folder, n).exists()])
    values = {"budget": asdict(budget), "rows": finished(folder)}
    write_card(options.model_card, values)
    return values


def report(values: Values) -> str:
    return section(values)


def key(run: Path, budget: Budget) -> str:
    """Of the weights that rows start from and are measured with, and of the budget."""
    digest = hashlib.sha256(json.dumps(asdict(budget)).encode())
    for name in WEIGHTS:
        digest.update((run / f"{name}.safetensors").read_bytes())
    return digest.hexdigest()[:12]


def kept(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def finished(folder: Path) -> Values:
    return {
        name: json.loads(kept(folder, name).read_text())
        for name in ROWS
        if kept(folder, name).exists()
    }


def make_rows(run: Path, budget: Budget, folder: Path, names: Sequence[str]) -> None:
    """A process for each core, a thread each."""
    jobs = [(run, budget, folder, name) for name in names]
    if not jobs:
        return
    cores = min(len(os.sched_getaffinity(0)), len(jobs))
    with get_context("spawn").Pool(cores, maxtasksperchild=1) as pool:
        for done, name in enumerate(pool.imap_unordered(_make, jobs, chunksize=1)):
            say(f"ablations: {name}, {done + 1} of {len(jobs)} rows")


def _make(job: tuple[Path, Budget, Path, str]) -> str:
    run, budget, folder, name = job
    torch.set_num_threads(1)
    values = make_row(load_ground(run), name, budget, folder / name)
    partial = kept(folder, name).with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1))
    partial.replace(kept(folder, name))
    rmtree(folder / name, ignore_errors=True)
    return name


def make_row(ground: Ground, name: str, budget: Budget, folder: Path) -> Values:
    """Train and judge; `folder` is where the training's checkpoint goes."""
    rule = ROWS[name].rule
    folder.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    trained = train_row(ground, rule, budget, folder)
    between = time.process_time()
    found = judge_row(ground, trained.model, rule, budget)
    found["cost"] |= {
        "training_tflop": trained.flop / 1e12,
        "training_s": between - began,
        "judging_s": time.process_time() - between,
    }
    made = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": describe_commit()}
    return {"rule": asdict(rule)} | found | made


def write_card(path: Path, values: Values) -> None:
    """Put the section into the model's card, between its marks."""
    text = path.read_text() if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(with_section(text, section(values)))
