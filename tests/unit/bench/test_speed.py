"""The bars of what one chunk costs."""

from typing import Any

import pytest

from bench.speed import bar_rows, report
from bench.stats import spread

pytestmark = pytest.mark.unit

GOOD: dict[str, Any] = {
    "score": spread([0.1], 1000), "vae": spread([0.05], 1000), "together": spread([0.15], 1000),
    "score_rss_mb": 600.0, "vae_rss_mb": 400.0,
    "score_backend": "backend=openvino because", "vae_backend": "backend=torch because",
}  # fmt: skip


def missed(told: dict[str, Any]) -> list[str]:
    return [name for name, _, _, holds in bar_rows(told) if not holds]


def test_everything_at_its_bar_holds() -> None:
    assert missed(GOOD) == []
    assert "**NO**" not in report(GOOD)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"together": spread([0.16], 1000)}, "one chunk on one core, ms"),
        ({"together": spread([0.1] * 10 + [0.4], 1000)}, "p95"),
        ({"score_rss_mb": 601.0}, "both processes"),
    ],
)
def test_each_bar_can_be_missed(changed: dict[str, Any], part: str) -> None:
    found = missed(GOOD | changed)
    assert found
    assert any(part in name for name in found)
    assert "**NO**" in report(GOOD | changed)
