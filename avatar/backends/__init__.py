"""What may run a network: torch, or OpenVINO from an export that ships beside the weights."""

from dataclasses import dataclass
from typing import Literal

Wish = Literal["auto", "openvino", "torch"]
"""auto: whatever is fastest here and works."""


@dataclass(frozen=True)
class Backend:
    """What runs a network, and why it."""

    name: Literal["openvino", "torch"]
    reason: str

    def __str__(self) -> str:
        return f"backend={self.name} because {self.reason}"


TORCH = Backend("torch", "no other was asked for")
