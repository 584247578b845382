"""What the command line asks of a benchmark."""

from dataclasses import dataclass
from pathlib import Path

from bench.machine import ROOT


@dataclass(frozen=True)
class Options:
    """`brief` proves that a benchmark works with a few repetitions; its section says so.

    `venv` is the environment whose size is told; `install` makes one anew and times that. `run` is
    the training run whose weights the ablations start from, `rows` those that are made again.
    """

    brief: bool = False
    venv: Path = ROOT / ".venv"
    install: bool = False
    run: Path = ROOT / "runs" / "tiny"
    rows: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where results go: those of a brief run never replace real ones."""
        return ROOT / "var" / "bench" if self.brief else ROOT / "bench"

    @property
    def picture(self) -> Path:
        return self.folder / "demo.png" if self.brief else ROOT / "docs" / "demo.png"

    @property
    def sheet(self) -> Path:
        return self.folder / "quality.jpg" if self.brief else ROOT / "docs" / "quality.jpg"

    @property
    def model_card(self) -> Path:
        return self.folder / "model.md" if self.brief else ROOT / "docs" / "model.md"

    def repetitions(self, usual: int, brief: int) -> int:
        return brief if self.brief else usual
