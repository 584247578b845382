"""Small tensors made on the CPU, brought to where a network computes."""

from torch import Tensor


def brought(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the numbers and on the device of `like`, after whatever is queued there.

    From memory that may be moved a copy to a GPU first waits for all work that is queued; the next
    forward would be queued only once the one before is over.
    """
    if like.device.type != "cuda" or tensor.device == like.device:
        return tensor.to(like)
    return tensor.to(like.dtype).contiguous().pin_memory().to(like.device, non_blocking=True)
