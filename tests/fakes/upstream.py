"""The public implementations in tests/parity/requirements.txt, where they are installed."""

import importlib
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

FOLDER = Path(sys.prefix) / "parity"
"""Where `make test-parity` puts them: not among the packages that the product sees."""
SHELLS = {
    "wan": ("wan", "wan.modules", "wan.modules.s2v", "wan.modules.animate", "wan.distributed"),
    "diffsynth": ("diffsynth", "diffsynth.core", "diffsynth.models"),
}
"""Packages whose own __init__ asks for what a comparison does not need."""


UNUSED = {
    "wan.modules.t5": ("wan.modules.tokenizers",),
    "wan.modules.animate.clip": (
        "torchvision",
        "torchvision.transforms",
        "wan.modules.tokenizers",
    ),
}
"""What a module imports and no comparison calls."""


class Anything(types.ModuleType):
    """A module of which everything can be imported."""

    def __getattr__(self, name: str) -> None:
        return None


def upstream(name: str) -> Any:
    """Module `name` of wan22 or diffsynth; without them the test is not run, in CI it fails."""
    package = name.split(".")[0]
    if not (FOLDER / package).is_dir():
        reason = f"{package} is not in {FOLDER}: `make test-parity` installs it"
        if os.getenv("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    for each in SHELLS[package]:
        if each not in sys.modules:
            shell = types.ModuleType(each)
            shell.__path__ = [str(FOLDER.joinpath(*each.split(".")))]
            sys.modules[each] = shell
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # torch's words about how they call it
        patch.setattr("torch.cuda.current_device", lambda: "cpu")  # asked for by an import
        for absent in UNUSED.get(name, ()):
            patch.setitem(sys.modules, absent, Anything(absent))
        module: Any = importlib.import_module(name)
    if hasattr(module, "flash_attention") and package == "wan":
        module.flash_attention = attention  # theirs is for CUDA alone
    return module


def attention(q: Tensor, k: Tensor, v: Tensor, **_: object) -> Tensor:
    """(B, L, H, D): what flash-attn computes where nothing is padded."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
