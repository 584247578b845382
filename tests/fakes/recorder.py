"""Stands for CUDA graphs where there is no GPU."""

from collections.abc import Callable

from torch import Tensor

from avatar.backends.capture import Run


class OnTheSameMemory:
    """As a graph: reads where it read at first, writes where it wrote at first."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, run: Run) -> Callable[[], list[Tensor]]:
        self.count += 1
        results = run()

        def replay() -> list[Tensor]:
            for place, result in zip(results, run(), strict=True):
                place.copy_(result)
            return results

        return replay
