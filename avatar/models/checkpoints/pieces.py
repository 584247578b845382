"""Where our tensor is not the whole of a public one, or has another shape."""

import re
from dataclasses import dataclass

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A public tensor's `name`, and how ours is taken of it.

    `how` is "" for the whole, "1/3" for the second of three equal parts of its first axis, "flat"
    for its numbers without axes of length one, "last" for as many as we need from its end.
    """

    name: str
    how: str = ""

    @classmethod
    def of(cls, text: str) -> "Piece":
        name, _, how = text.partition("|")
        return cls(name, how)

    def fits(self, given: Shape, wanted: Shape) -> bool:
        if self.how == "flat":
            return [n for n in given if n != 1] == [n for n in wanted if n != 1]
        if self.how == "last":
            return given[0] >= wanted[0] and given[1:] == wanted[1:]
        return given == self.whole(wanted)

    def whole(self, wanted: Shape) -> Shape:
        """The public tensor's shape by which ours would be `wanted`."""
        if match := re.fullmatch(r"(\d)/(\d)", self.how):
            return (wanted[0] * int(match[2]), *wanted[1:])
        return wanted

    def take(self, tensor: Tensor, wanted: Shape) -> Tensor:
        if match := re.fullmatch(r"(\d)/(\d)", self.how):
            return tensor.chunk(int(match[2]))[int(match[1])]
        if self.how == "last":
            return tensor[-wanted[0] :]
        return tensor.reshape(wanted)
