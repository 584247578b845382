"""A recipe whose avatar is made as soon as the test opens its gate; a command of its own."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WRONG = "wrong"
FAILING = "failing"


@dataclass(frozen=True)
class GatedRecipe:
    """`gate` is a file: until it is there the avatar is half made."""

    gate: Path

    def check(self, path: Path) -> list[str]:
        return [sys.executable, __file__, "check", str(path)]

    def make(self, path: Path, runs: Path, avatars: Path) -> list[str]:
        places = [str(path), str(runs), str(avatars), str(self.gate)]
        return [sys.executable, __file__, "make", *places]


def tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main(command: str, path: Path, *places: str) -> int:
    said = path.read_bytes()
    if command == "check":
        sys.stdout.write("a line that is no JSON\n")
        if WRONG.encode() in said:
            tell(error={"reason": "INVALID_INPUT", "message": f"{path}: look: this is wrong"})
            return 1
        return 0
    runs, avatars, gate = map(Path, places)
    run = runs / path.stem
    run.mkdir(parents=True, exist_ok=True)
    begun = run / "begun"
    tell(line="going on" if begun.exists() else "begun", done=None, left_s=None)
    begun.touch()
    tell(line="clips drawn: 6 of 12", done=0.5, left_s=30.0)
    while not gate.exists():
        time.sleep(0.01)
    if FAILING.encode() in said:
        tell(error={"reason": "UNAVAILABLE", "message": "the disk is full"})
        return 1
    from tests.fakes.avatars import write_own

    write_own(avatars, path.stem)
    tell(line="made", done=1.0, left_s=0.0)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
    except KeyboardInterrupt:
        sys.exit(130)
