"""What is known of an avatar's picture without a model: its files, and the size of its video."""

from pathlib import Path
from typing import Final

from PIL import Image

from avatar.cast.avatars import is_shipped, own_file
from services.settings import AppConfig

PORTRAITS: Final = Path(__file__).resolve().parents[2] / "avatar" / "assets"


def portrait_path(config: AppConfig, avatar: str) -> Path:
    """Where its portrait is, or would be.

    Raises:
        CorruptFile: It is the user's own, and not whole.
    """
    if is_shipped(avatar):
        return PORTRAITS / config.profile / avatar / "portrait.png"
    return own_file(config.avatars_dir, avatar, "portrait.png")


def portrait_of(config: AppConfig, avatar: str) -> bytes:
    """Its portrait, PNG; b"" where there is none.

    Raises:
        CorruptFile: It is the user's own, and not whole.
    """
    path = portrait_path(config, avatar)
    return path.read_bytes() if path.is_file() else b""


def video_profile(config: AppConfig, avatar: str) -> dict[str, float]:
    """What the video will be; its size is that of the avatar's portrait, where there is one."""
    clock = config.clock
    profile: dict[str, float] = {"fps": clock.fps, "chunk_s": clock.chunk_s}
    path = portrait_path(config, avatar)
    if path.is_file():
        with Image.open(path) as portrait:  # reads the header only
            profile |= {"width": portrait.width, "height": portrait.height}
    return profile
