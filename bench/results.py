"""results.json, and RESULTS.md made of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.machine import QUIET_CORES, is_quiet

HEAD = """# Results

Written by `make bench` from [results.json](results.json), which holds the same numbers and more; do
not edit. Each section says when, where and under which conditions it was measured, and is replaced
when its benchmark runs again (`python -m bench --only NAME`). "Must hold" is what the project asks
of itself on two cores without a GPU.
"""

Values = dict[str, Any]


class Results:
    """One entry a benchmark, in a JSON file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "results.json"
        self.entries: dict[str, Values] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, name: str, conditions: Values, values: Values) -> None:
        self.entries[name] = {"conditions": conditions, "values": values}

    def write(self, order: Sequence[str], sections: Mapping[str, str]) -> None:
        """Both files; `sections` holds the Markdown of each entry below its title."""
        self.entries = {name: self.entries[name] for name in order if name in self.entries}
        _replace(self._folder / "results.json", json.dumps(self.entries, indent=1) + "\n")
        text = [HEAD]
        for name, entry in self.entries.items():
            text += [
                f"## {name}\n",
                f"{told(entry['conditions'])}\n",
                sections[name].strip() + "\n",
            ]
        _replace(self._folder / "RESULTS.md", "\n".join(text))


def _replace(path: Path, content: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content)
    partial.replace(path)


def told(conditions: Values) -> str:
    """One paragraph: command, date, commit, hardware, load."""
    machine = conditions["machine"]
    flags = " ".join(machine["flags"]) or "no vector flags of note"
    others = f"other processes used {conditions['others_cores']:.2f} cores"
    quiet = (
        f"nothing else was running ({others} at the most)"
        if is_quiet(conditions)
        else f"**the machine was busy** ({others}, {QUIET_CORES} would be quiet): read times as "
        "upper bounds"
    )
    brief = "; **brief run, few repetitions**" if conditions["brief"] else ""
    nice = f", niceness {conditions['nice']}" if conditions["nice"] else ""
    return (
        f"`{conditions['command']}`{nice}, {conditions['date']}, commit {conditions['commit']}, "
        f"{conditions['took_s']:.0f} s. {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {flags}; {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}. Load average {conditions['load_average']}; {quiet}{brief}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, the others, numbers mostly, to the right."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    lines += [_line([cell(each) for each in row]) for row in rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cell(value: object) -> str:
    """Three digits that count for a float, the words themselves for anything else."""
    if isinstance(value, bool):
        return "yes" if value else "**NO**"
    if isinstance(value, float):
        if value == 0:
            return "0"
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value).replace("|", "\\|")


def bars(rows: Sequence[tuple[str, object, str, bool]]) -> str:
    """What was measured beside what must hold: name, value, bar, whether it holds."""
    return table(["", "measured", "must hold", "holds"], rows)
