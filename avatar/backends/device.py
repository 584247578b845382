"""A stage's device and its queue of work there; copies to and fro run beside it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from avatar.backends import Attention, Running
from avatar.errors import Unavailable

KERNELS: dict[Attention, list[SDPBackend]] = {
    "auto": [],
    "cudnn": [SDPBackend.CUDNN_ATTENTION],
    "flash": [SDPBackend.FLASH_ATTENTION],
    "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    "math": [SDPBackend.MATH],
}
"""torch's kernels by our names; auto leaves the choice to torch."""


def choose_device(wish: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU where there is none.

    Raises:
        Unavailable: There is no such device here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        wish = "cuda:0" if count else "cpu"
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise Unavailable(f"device {wish!r}: auto, cpu, cuda or cuda:N expected") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda" or not count:
        raise Unavailable(
            f"device {wish!r} was asked for, but torch finds no CUDA GPU here; "
            "use auto or cpu, or install a torch with CUDA"
        )
    index = device.index or 0
    if index >= count:
        raise Unavailable(f"device {wish!r}: this machine has cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", index)


class Lane:
    """What one stage does on its device, in order; two lanes of one device overlap.

    On a GPU work and copies are in streams of their own and nothing but `Landing.wait` waits for
    them: the next kernel is queued while the one before runs. On the CPU all of it is at once.

    `half` is what products are computed in where it is not float32; norms, sums and what is
    handed on stay float32. `attention` names one of torch's kernels.
    """

    def __init__(
        self,
        device: torch.device,
        half: torch.dtype | None = None,
        attention: Attention = "auto",
    ) -> None:
        self.device, self.half = device, half
        self._kernels = KERNELS[attention]
        is_gpu = device.type == "cuda"
        self._work = torch.cuda.Stream(device) if is_gpu else None
        self._copies = torch.cuda.Stream(device) if is_gpu else None

    @contextmanager
    def open(self) -> Iterator[None]:
        """What is computed within goes into this lane."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._work is not None:
                stack.enter_context(torch.cuda.stream(self._work))
            if self.half is not None:
                stack.enter_context(torch.autocast(self.device.type, self.half))
            if self._kernels:
                stack.enter_context(sdpa_kernel(self._kernels))
            yield

    def take(self, array: Tensor | NDArray[np.generic]) -> Tensor:
        """Bring an array here, beside the work that goes on."""
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
        if self._work is None or tensor.device == self.device:
            return tensor.to(self.device)
        # memory that may be moved must be copied before the call returns, and waits for the lane
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def send(self, tensors: Sequence[Tensor]) -> "Landing":
        """Begin to copy results to the CPU as soon as they are computed."""
        if self._work is None or self._copies is None:
            return Landing([each.cpu() for each in tensors], None)
        self._copies.wait_stream(self._work)
        landed = []
        with torch.cuda.stream(self._copies):
            for each in tensors:
                there = torch.empty(each.shape, dtype=each.dtype, pin_memory=True)
                there.copy_(each, non_blocking=True)
                each.record_stream(self._copies)  # its memory is not given away before
                landed.append(there)
            over = torch.cuda.Event()
            over.record(self._copies)
        return Landing(landed, over)


def lane_of(running: Running, device: torch.device) -> Lane:
    """A lane for networks in half precision, on a GPU.

    Raises:
        Unavailable: The attention kernel is asked for by name and cannot run there.
    """
    check_attention(running.attention, device)
    half = torch.bfloat16 if device.type == "cuda" else None
    return Lane(device, half, running.attention)


def check_attention(name: Attention, device: torch.device) -> None:
    """Raises Unavailable where this kernel cannot run on the device."""
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    query = torch.zeros(1, 1, 8, 64, dtype=half, device=device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells each kernel that does not fit, and why
            kernels = sdpa_kernel(KERNELS[name]) if KERNELS[name] else nullcontext()
            with kernels:
                scaled_dot_product_attention(query, query, query)
    except RuntimeError as error:
        raise Unavailable(
            f"ATTENTION={name} cannot run on {device}: {error}; use ATTENTION=auto"
        ) from error


class Landing:
    """Tensors on their way to the CPU."""

    def __init__(self, tensors: Sequence[Tensor], over: "torch.cuda.Event | None") -> None:
        self._tensors, self._over = tensors, over

    def wait(self) -> Sequence[Tensor]:
        """Them, once they are there."""
        if self._over is not None:
            self._over.synchronize()
        return self._tensors
