"""A run that was stopped goes on as if it had not been."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.trainer import Schedule, fit

pytestmark = pytest.mark.unit


class LineTask:
    """Fit y = 3x with a little random data."""

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.stop_at = stop_at

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        if step == self.stop_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.normal(size=(8, 1))).float()
        return (self.model(x + 0.01 * torch.randn(8, 1)) - 3 * x).square().mean(), {}


SCHEDULE = Schedule(
    steps=30, learning_rate=0.5, warmup_steps=2, ema_decay=0.5, save_every_s=0.0, log_every=10
)


def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path: Path) -> None:
    whole = fit(LineTask(), SCHEDULE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(LineTask(stop_at=17), SCHEDULE, tmp_path / "stopped")
    resumed = fit(LineTask(), SCHEDULE, tmp_path / "stopped")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_training_learns(tmp_path: Path) -> None:
    averaged = fit(LineTask(), SCHEDULE, tmp_path)
    assert abs(averaged["weight"].item() - 3) < 0.3


def test_the_rate_warms_up_and_falls() -> None:
    rates = [SCHEDULE.rate(step) for step in range(30)]
    assert rates[0] < rates[1]
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] > 0
