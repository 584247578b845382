"""Two queues of work on one device, without the host waiting between: no more than is measured.

The served stages have `avatar.backends.device.Lane`, whose results come to the host.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Beside:
    """Two queues of work on one device, of which the second begins where the first has got to.

    On a GPU they are streams: a chunk is decoded in one while the next is denoised in the other.
    On the CPU there is one queue, and all is done at once.
    """

    def __init__(self, device: torch.device, *, overlapped: bool = True) -> None:
        self._first: torch.cuda.Stream | None = None
        self._second: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._first = torch.cuda.Stream(device)
            # the same stream twice: one after the other
            self._second = torch.cuda.Stream(device) if overlapped else self._first

    @contextmanager
    def first(self) -> Iterator[None]:
        with torch.cuda.stream(self._first):  # of None: nothing changes
            yield

    @contextmanager
    def second(self) -> Iterator[None]:
        with torch.cuda.stream(self._second):
            yield

    def hand_over(self, tensor: Tensor) -> Tensor:
        """What the first has queued the second will see: call it before the second's work."""
        if self._first is not None and self._second is not None:
            self._second.wait_stream(self._first)
            tensor.record_stream(self._second)  # its memory is not given away before
        return tensor

    def join(self) -> None:
        """The first waits for the second, so that one event after it marks the end of both."""
        if self._first is not None and self._second is not None:
            self._first.wait_stream(self._second)

    def mark(self) -> "torch.cuda.Event | None":
        """A moment on the device, as the first queue comes to it."""
        if self._first is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(self._first)
        return event
