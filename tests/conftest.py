"""Every test module carries exactly one kind of marker, so that `make test-fast` can trust them."""

import pytest

KINDS = {"unit", "streaming", "manifests", "integration", "parity", "e2e", "gpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kinds = KINDS & {mark.name for mark in item.iter_markers()}
        if len(kinds) != 1:
            raise pytest.UsageError(f"{item.nodeid}: exactly one of {sorted(KINDS)}, got {kinds}")
