"""Toy checkpoints through what real ones go through, to a folder that serves."""

import shutil
from itertools import islice
from pathlib import Path

import torch

from avatar.cast.characters import CAST
from avatar.cast.profiles import Profile
from avatar.engines.cast_portraits import draw_cast
from avatar.engines.profile_card import Chosen, make_card
from avatar.models.checkpoints import convert, preset_of
from training.toy_checkpoint import TOKENIZER, write_toy


def toy_profile(name: str, folder: Path, num_portraits: int = len(CAST)) -> Profile:
    """Download (written here), convert, make it a profile: as the commands do, in this process.

    With portraits of the first few of the cast only, where a test wants no more.
    """
    files, weights = folder / "files", folder / name
    toy = write_toy(name, files)
    for file in toy.files:
        source = files / file.path
        convert(preset_of(file.preset), [source if source.suffix else source.parent], weights)
    shutil.copy(files / TOKENIZER, weights)
    profile = make_card(weights, Chosen(height=toy.height, width=toy.width))
    drawn = islice(draw_cast(profile, torch.device("cpu")), num_portraits)
    assert len(list(drawn)) == num_portraits
    return profile
