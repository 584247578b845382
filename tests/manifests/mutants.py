"""Objects with one misspelt key each: what a strict check must refuse."""

import copy
from collections.abc import Iterator
from typing import Any

FREE_FORM = {
    "annotations", "data", "labels", "limits", "matchLabels", "nodeSelector", "rayStartParams",
    "requests", "selector",
}  # fmt: skip
"""Fields whose keys are the author's own words."""


def misspelt(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every copy of `document` in which one key is misspelt, with the key's path."""
    for path in _key_paths(document, ()):
        mutant = copy.deepcopy(document)
        parent: Any = mutant
        for step in path[:-1]:
            parent = parent[step]
        parent[f"{path[-1]}s"] = parent.pop(path[-1])
        yield ".".join(map(str, path)), mutant


def _key_paths(node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            # A worker group's `resources` are pools; a container's hold limits and requests.
            is_free = key in FREE_FORM or (key == "resources" and "limits" not in value)
            if not is_free:
                yield from _key_paths(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _key_paths(value, (*path, index))
