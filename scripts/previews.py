"""Makes each character's preview for the page, see `training.character.loop`."""

import sys
from pathlib import Path

from avatar.cast.characters import CAST
from avatar.models.weights import write_manifest
from avatar.render import Pipeline
from training.character.loop import preview

ASSETS = Path(__file__).resolve().parent.parent / "avatar" / "assets"


def main() -> None:
    profile = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    pipeline = Pipeline.load(profile)
    for character in CAST:
        path = ASSETS / profile / character.id / "preview.mp4"
        path.write_bytes(preview(pipeline, character.id))
        print(f"{path}: {path.stat().st_size} bytes")
    write_manifest(ASSETS / profile)


if __name__ == "__main__":
    main()
