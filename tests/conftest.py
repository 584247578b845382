"""Every test module carries exactly one kind of marker, so that `make test-fast` can trust them."""

from collections.abc import Iterator

import pytest

KINDS = {"unit", "streaming", "manifests", "integration", "parity", "e2e", "gpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kinds = KINDS & {mark.name for mark in item.iter_markers()}
        if len(kinds) != 1:
            raise pytest.UsageError(f"{item.nodeid}: exactly one of {sorted(KINDS)}, got {kinds}")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Toy networks are slower with more: threads wait for one another at every small product."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
