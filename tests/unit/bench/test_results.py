"""Tables, and the two files that hold all results."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.results import Results, bars, cell, table, told

pytestmark = pytest.mark.unit

CONDITIONS: dict[str, Any] = {
    "command": "make bench",
    "brief": False,
    "date": "2026-01-02 03:04 UTC",
    "commit": "abc1234",
    "took_s": 12.3,
    "load_average": 0.5,
    "others_cores": 0.02,
    "nice": 0,
    "machine": {
        "cpu": "Some CPU",
        "cores": 2,
        "memory_gib": 8.0,
        "flags": ["avx2"],
        "system": "Linux 6",
        "python": "3.11.7",
        "torch": "2.13.0",
    },
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (7, "7"),
        (True, "yes"),
        (False, "**NO**"),
        ("a|b", "a\\|b"),
    ],
)
def test_a_cell_shows_the_digits_that_count(value: object, text: str) -> None:
    assert cell(value) == text


def test_a_table_has_as_many_columns_in_every_line() -> None:
    lines = table(["stage", "ms"], [("score", 1.5), ("vae", 2.0)]).splitlines()
    assert lines == ["| stage | ms |", "| --- | ---: |", "| score | 1.5 |", "| vae | 2 |"]


def test_a_missed_bar_stands_out() -> None:
    assert "| rate | 1.1 | ≥ 1.3 | **NO** |" in bars([("rate", 1.1, "≥ 1.3", False)])


def test_a_busy_machine_is_told() -> None:
    assert "nothing else was running" in told(CONDITIONS)
    assert "**the machine was busy**" in told(CONDITIONS | {"others_cores": 1.2})


def test_command_commit_and_hardware_are_told() -> None:
    words = told(CONDITIONS)
    for part in ("`make bench`", "abc1234", "2026-01-02", "Some CPU", "2 cores", "8.0 GiB", "avx2"):
        assert part in words


def test_running_one_benchmark_again_replaces_only_its_section(tmp_path: Path) -> None:
    first = Results(tmp_path)
    first.put("stages", CONDITIONS, {"ms": 1})
    first.put("hops", CONDITIONS, {"ms": 2})
    first.write(("stages", "hops"), {"stages": "one", "hops": "two"})
    second = Results(tmp_path)
    second.put("stages", CONDITIONS | {"commit": "def5678"}, {"ms": 3})
    second.write(("stages", "hops"), {"stages": "three", "hops": "two"})
    text = (tmp_path / "RESULTS.md").read_text()
    assert "one" not in text.splitlines()
    assert text.index("## stages") < text.index("three") < text.index("## hops")
    assert text.index("def5678") < text.index("abc1234")
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [each["values"] for each in stored.values()] == [{"ms": 3}, {"ms": 2}]


def test_sections_stand_in_the_order_of_the_benchmarks(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put("hops", CONDITIONS, {})
    results.put("stages", CONDITIONS, {})
    results.write(("stages", "hops"), {"stages": "", "hops": ""})
    assert list(results.entries) == ["stages", "hops"]
