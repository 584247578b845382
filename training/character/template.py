"""Commented description files to begin with, one for each kind of character."""

from pathlib import Path

from training.character.description import Kind

PARTS = Path(__file__).parent / "templates"


def template(name: str, kind: Kind, seed: int) -> str:
    """The text of a description file of this kind."""
    head, body, rest = (
        (PARTS / f"{part}.toml").read_text(encoding="utf-8") for part in ("head", kind, "backdrop")
    )
    title = name.replace("_", " ").title()
    for key, value in {"id": name, "name": title, "seed": str(seed), "kind": kind}.items():
        head = head.replace("{" + key + "}", value)
    return "\n".join([head, body, rest])
