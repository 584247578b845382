"""The recordings that are measured with: held-out sentences and spoken questions."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.machine import ROOT
from training.meters.lip_sync import SpokenClip, read_spoken_clips

HELD_OUT = ROOT / "tests" / "data" / "held_out"
QUESTIONS = ROOT / "tests" / "data" / "questions"
VOICES = ("hibari", "piper")


@dataclass(frozen=True)
class Question:
    path: Path
    text: str


def questions() -> list[Question]:
    listed = json.loads((QUESTIONS / "questions.json").read_text())["questions"]
    return [Question(QUESTIONS / each["file"], each["text"]) for each in listed]


def clips(voice: str, at_most: int) -> list[SpokenClip]:
    return read_spoken_clips(HELD_OUT, voice)[:at_most]


def speech(seconds: float) -> NDArray[np.float32]:
    """(S,) float32 at 16 kHz: held-out sentences one after the other, again from the start."""
    samples = np.concatenate([clip.samples for clip in clips("", 99)])
    return np.resize(samples, round(seconds * 16_000))
