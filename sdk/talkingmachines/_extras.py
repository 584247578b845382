"""Packages that only some uses need."""

import importlib
from types import ModuleType


def needed(module: str, extra: str) -> ModuleType:
    """The module.

    Raises:
        ImportError: It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs {module}: pip install 'talkingmachines[{extra}]' ({error})",
            name=module,
        ) from error
