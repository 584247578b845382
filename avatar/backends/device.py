"""A stage's device and its queue of work there; copies to and fro run beside it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from avatar.backends import Attention, Running
from avatar.errors import Unavailable
from avatar.media import Underway, on_host

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
    them: the next kernel is queued while the one before runs. What one lane made another takes
    without the host: its stream waits for the moment when that was made. On the CPU all of it is
    at once.

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
        self._begun: torch.cuda.Event | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """What is computed within goes into this lane."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._work is not None:
                stack.enter_context(torch.cuda.stream(self._work))
                self._begin(self._work)
            if self.half is not None:
                stack.enter_context(torch.autocast(self.device.type, self.half))
            if self._kernels:
                stack.enter_context(sdpa_kernel(self._kernels))
            yield

    def take(self, given: "Tensor | NDArray[np.generic] | Underway") -> Tensor:
        """Bring an array here, beside the work that goes on; what is under way stays on a GPU."""
        if self._work is not None and isinstance(given, Landing) and given.ready is not None:
            return self._taken_over(given.made, given.ready, self._work)
        array = given if isinstance(given, Tensor) else on_host(given)
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
        if self._work is None or tensor.device == self.device:
            return tensor.to(self.device)
        # memory that may be moved must be copied before the call returns, and waits for the lane
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def send(self, tensor: Tensor) -> "NDArray[Any] | Landing":
        """Begin to copy a result to the CPU as soon as it is computed; on the CPU it is there."""
        if self._work is None or self._copies is None:
            return tensor.cpu().numpy()
        ready = _marked(self._work, timed=True)
        there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._copies.wait_event(ready)
        with torch.cuda.stream(self._copies):
            there.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._copies)  # its memory is not given away before
        return Landing(tensor, there, self._begun, ready, _marked(self._copies))

    def _taken_over(
        self, made: Tensor, ready: "torch.cuda.Event", work: "torch.cuda.Stream"
    ) -> Tensor:
        """What another lane, of this device or another, will have made."""
        # copies between devices run in the present stream of the one that has it
        reads = work if made.device == self.device else torch.cuda.current_stream(made.device)
        reads.wait_event(ready)
        made.record_stream(reads)  # its memory is not given away before
        taken = made.to(self.device, non_blocking=True)
        self._begin(work)  # its time is not ours
        return taken

    def _begin(self, work: "torch.cuda.Stream") -> None:
        self._begun = _marked(work, timed=True)


def _marked(stream: "torch.cuda.Stream", *, timed: bool = False) -> "torch.cuda.Event":
    """The moment when all that is queued there by now is done; who waits for it sleeps."""
    event = torch.cuda.Event(enable_timing=timed, blocking=True)
    event.record(stream)
    return event


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


@dataclass(frozen=True)
class Landing:
    """A tensor that a lane makes, and its copy on the way to the CPU: an `Underway`."""

    made: Tensor
    there: Tensor
    begun: "torch.cuda.Event | None"
    ready: "torch.cuda.Event | None"
    over: "torch.cuda.Event | None"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.there.shape)

    def wait(self) -> NDArray[Any]:
        if self.over is not None:
            self.over.synchronize()
        return self.there.numpy()

    def took_s(self) -> float:
        if self.begun is None or self.ready is None:
            return 0.0
        self.ready.synchronize()
        return self.begun.elapsed_time(self.ready) / 1000


@dataclass(frozen=True)
class Joined:
    """Parts that land one after the other, each a piece of the first axis: an `Underway`."""

    parts: Sequence[Landing]

    @property
    def shape(self) -> tuple[int, ...]:
        _, *rest = self.parts[0].shape
        return sum(each.shape[0] for each in self.parts), *rest

    def wait(self) -> NDArray[Any]:
        return np.concatenate([each.wait() for each in self.parts])

    def took_s(self) -> float:
        return self.parts[-1].took_s()


def joined(parts: "Sequence[NDArray[Any] | Landing]") -> "NDArray[Any] | Joined":
    """Of one lane's `send`."""
    coming = [each for each in parts if isinstance(each, Landing)]
    return Joined(coming) if coming else np.concatenate([on_host(each) for each in parts])
