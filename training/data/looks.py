"""How each character looks, read from the description files beside the renderer."""

from pathlib import Path

from avatar.cast.characters import CAST
from training.portrait.look import Look, read_look

FOLDER = Path(__file__).parent.parent / "portrait" / "looks"

LOOKS: dict[str, Look] = {
    character.id: read_look(FOLDER / f"{character.id}.toml") for character in CAST
}
"""Keyed by `Character.id`."""

__all__ = ["LOOKS", "Look"]
