"""What is known of an avatar without a model: who it is, its pictures, the size of its video."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from avatar.cast.avatars import everyone, has_file, is_shipped, own_file
from avatar.cast.characters import Character
from services.settings import AppConfig


async def everybody(avatars: Path) -> Sequence[Character]:
    """Who can be called; every file of every own avatar is looked at meanwhile."""
    return await asyncio.to_thread(everyone, avatars)


def about(character: Character) -> dict[str, str]:
    """Who it is, in the words of all interfaces."""
    return {
        "id": character.id,
        "display_name": character.display_name,
        "description": character.description,
    }


def has_picture(config: AppConfig, avatar: str, file: str) -> bool:
    """Whether it has portrait.png or preview.mp4."""
    if is_shipped(avatar):
        return (config.model.folder / avatar / file).is_file()
    return has_file(config.avatars_dir, avatar, file)


def picture_of(config: AppConfig, avatar: str, file: str) -> Path | None:
    """Where portrait.png or preview.mp4 is; None where it has none.

    Raises:
        CorruptFile: It is the user's own, and not whole.
    """
    if not has_picture(config, avatar, file):
        return None
    if is_shipped(avatar):
        return config.model.folder / avatar / file
    return own_file(config.avatars_dir, avatar, file)


def video_profile(config: AppConfig) -> dict[str, float]:
    """What the video will be."""
    model = config.model
    return {
        "fps": model.clock.fps,
        "chunk_s": model.clock.chunk_s,
        "width": model.width,
        "height": model.height,
    }
