"""What may run a network, and where: torch on any device, or OpenVINO from an export."""

from dataclasses import dataclass
from typing import Literal

Wish = Literal["auto", "openvino", "torch"]
"""auto: whatever is fastest here and works."""

Linears = Literal["native", "fp8"]
"""In which numbers linear layers are computed: bfloat16 on a GPU, or 8 bits."""
Attention = Literal["auto", "cudnn", "flash", "efficient", "math"]
"""Which of torch's kernels attends; auto: torch chooses."""
Capture = Literal["off", "compile", "graph"]
"""Whether forwards are fused by torch.compile, or replayed as a CUDA graph."""


@dataclass(frozen=True)
class Backend:
    """What runs a network, and why it."""

    name: Literal["openvino", "torch"]
    reason: str

    def __str__(self) -> str:
        return f"backend={self.name} because {self.reason}"


TORCH = Backend("torch", "no other was asked for")


@dataclass(frozen=True)
class Running:
    """How a stage is to run its network.

    `device` is auto (a GPU where there is one), cpu, cuda or cuda:N. `slots` is for how many
    sessions at once there must be memory, `max_batch` how many of them one forward may be of.
    """

    wish: Wish = "auto"
    device: str = "auto"
    linears: Linears = "native"
    attention: Attention = "auto"
    capture: Capture = "off"
    slots: int = 1
    max_batch: int = 1


ANYHOW = Running()
"""However it goes best here."""
