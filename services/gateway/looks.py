"""What is known of an avatar's picture without a model: its portrait, and the size of its video."""

from avatar.cast.avatars import has_file, is_shipped, own_file
from services.settings import AppConfig


def portrait_of(config: AppConfig, avatar: str) -> bytes:
    """Its portrait, PNG; b"" where there is none.

    Raises:
        CorruptFile: It is the user's own, and not whole.
    """
    if is_shipped(avatar):
        path = config.model.folder / avatar / "portrait.png"
        return path.read_bytes() if path.is_file() else b""
    if not has_file(config.avatars_dir, avatar, "portrait.png"):
        return b""
    return own_file(config.avatars_dir, avatar, "portrait.png").read_bytes()


def video_profile(config: AppConfig) -> dict[str, float]:
    """What the video will be."""
    model = config.model
    return {
        "fps": model.clock.fps,
        "chunk_s": model.clock.chunk_s,
        "width": model.width,
        "height": model.height,
    }
