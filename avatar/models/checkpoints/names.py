"""What our tensors are called in the public files: one rule a line, ours on the left.

Ours are diffusers' names for everything that diffusers has. Each rule renames one tensor of ours;
a name that no rule matches is the same in both.
"""

import re
from collections.abc import Callable, Iterable

Rename = Callable[[str], str]
"""From our name of a tensor to the public file's."""

_ATTENTION = {
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o", "norm_q": "norm_q", "norm_k": "norm_k",
    "add_k_proj": "k_img", "add_v_proj": "v_img", "norm_added_k": "norm_k_img",
}  # fmt: skip
_OUTSIDE = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "proj_out": "head.head",
}
_WITHIN_BLOCK = {"norm2": "norm3", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"}

_BLOCK = re.compile(r"(blocks\.\d+)\.(.+?)(?:\.(weight|bias))?")
_INJECTOR = re.compile(r"(audio_injector\.injector\.\d+)\.(.+)\.(weight|bias)")


def wan_name(ours: str) -> str:
    """In Wan's own files, and in those made from its code: InfiniteTalk's, Wan-S2V's."""
    if ours == "scale_shift_table":
        return "head.modulation"
    if match := _INJECTOR.fullmatch(ours):
        return f"{match[1]}.{_ATTENTION[match[2]]}.{match[3]}"
    if match := _BLOCK.fullmatch(ours):
        block, within, kind = match[1], match[2], match[3]
        if within == "scale_shift_table":
            return f"{block}.modulation"
        return f"{block}.{_within_block(within)}.{kind}"
    layer, _, kind = ours.rpartition(".")
    return f"{_OUTSIDE.get(layer, layer)}.{kind}" if layer else ours


def _within_block(within: str) -> str:
    attention, _, part = within.partition(".")
    if attention == "attn1":
        return f"self_attn.{_ATTENTION[part]}"
    if attention == "attn2" and part in _ATTENTION:
        return f"cross_attn.{_ATTENTION[part]}"
    return _WITHIN_BLOCK.get(within, within)


def same_name(ours: str) -> str:
    """Where the public file has the very names."""
    return ours


def key_map(ours: Iterable[str], rename: Rename) -> dict[str, str]:
    """Our name to the public one, for every tensor.

    Raises:
        ValueError: Two of ours have one name there.
    """
    pairs = {name: rename(name) for name in ours}
    back: dict[str, str] = {}
    for name, theirs in pairs.items():
        if theirs in back:
            raise ValueError(f"{back[theirs]} and {name} are both {theirs} in the public file")
        back[theirs] = name
    return pairs
