"""Avatars of a user's own on disk, whole or damaged, without any drawing."""

from pathlib import Path

from PIL import Image

from avatar.cast.avatars import APPEARANCE, DESCRIPTION, write_manifest

DESCRIBED = """
id = "{id}"
display_name = "{title}"
description = "A test."
persona = "You are {title}."
seed = 5
[temperament]
sway = 0.2
"""


def write_own(folder: Path, name: str) -> Path:
    """An avatar that is whole, but for its appearance, which is no such file."""
    own = folder / name
    own.mkdir(parents=True)
    described = DESCRIBED.format(id=name, title=name.title())
    (own / DESCRIPTION).write_text(described)
    (own / APPEARANCE).write_bytes(b"latents")
    Image.new("RGB", (64, 64), "red").save(own / "portrait.png")
    (own / "preview.mp4").write_bytes(b"video")
    write_manifest(own)
    return own
