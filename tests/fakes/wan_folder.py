"""A profile's folder by the way of a download: toy files in public layout, converted, with a card.

The networks have a few hundred thousand random weights.
"""

import shutil
from pathlib import Path

from avatar.cast.profiles import Profile
from avatar.engines.profile_card import Chosen, make_card
from avatar.models.checkpoints import convert, preset_of
from training.toy_checkpoint import write_toy


def converted_toy(name: str, folder: Path) -> Profile:
    """Of `training.toy_checkpoint.TOYS`; `folder` is made, and one beside it for the downloads."""
    downloads = folder.with_name(f"{folder.name}-downloads")
    toy = write_toy(name, downloads)
    for file in toy.files:
        source = downloads / file.path
        convert(preset_of(file.preset), [source if source.suffix else source.parent], folder)
    shutil.copy(downloads / "google" / "umt5-xxl" / "tokenizer.json", folder)
    return make_card(folder, Chosen(toy.policy, toy.height, toy.width))
