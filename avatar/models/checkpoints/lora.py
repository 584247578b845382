"""Low-rank changes to a base, as peft writes them: merged while the base is converted."""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from avatar.errors import CorruptFile
from avatar.models.checkpoints.source import Entry

_HALF = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")


def merged(entries: Mapping[str, Entry], scale: float) -> dict[str, Entry]:
    """`entries` without their pairs of A (rank, in) and B (out, rank): W + scale B A instead.

    Raises:
        CorruptFile: No pair at all, a half without the other, a pair without its base, shapes that
            do not fit.
    """
    halves: dict[str, dict[str, Entry]] = {}
    base: dict[str, Entry] = {}
    for name, entry in entries.items():
        match = _HALF.fullmatch(name)
        if match is None:
            base[name] = entry
        else:
            halves.setdefault(f"{match[1]}.weight", {})[match[2]] = entry
    if not halves:  # the base alone is another model than was asked for
        raise CorruptFile(
            "no change of low rank (lora_A, lora_B) is in any --src: name its file after the base"
        )
    for name, pair in halves.items():
        base[name] = _changed(name, pair, base.get(name), scale)
    return base


def _changed(name: str, pair: Mapping[str, Entry], base: Entry | None, scale: float) -> Entry:
    given = next(iter(pair.values()))
    if base is None:
        raise CorruptFile(
            f"{given.path.name} changes {name}, which is not there: the base has to be a --src "
            "before it"
        )
    if len(pair) == 1:
        raise CorruptFile(f"{given.path.name} has half a change of {name}: {', '.join(pair)} alone")
    a, b = pair["A"], pair["B"]
    if (b.shape[0], a.shape[1]) != base.shape or a.shape[0] != b.shape[1]:
        raise CorruptFile(
            f"{a.path.name}: a change of {b.shape} and {a.shape} does not fit {name}, {base.shape}"
        )

    def read() -> Tensor:
        # float32: the sum of a large and a small number loses the small one in half precision
        change = b.read().float() @ a.read().float()
        return (base.read().float() + scale * change).to(base.dtype)

    return replace(base, read=read)
