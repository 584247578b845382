"""The public checkpoints that can be converted: whose they are, and what is in them."""

from collections.abc import Callable
from typing import Any

from avatar.errors import NotFound
from avatar.models.checkpoints.encoders import ENCODERS
from avatar.models.checkpoints.geometry import dit_geometry
from avatar.models.checkpoints.names import same_name, wan_name
from avatar.models.checkpoints.preset import APACHE, Layout, Preset
from avatar.models.dit import CONFIGS, DiT, DiTConfig

ORIGINAL = Layout("original", lambda _: wan_name, ("model.diffusion_model.", "model."))
DIFFUSERS = Layout("diffusers", lambda _: same_name, ("transformer.",))


def _dit(
    name: str,
    where: str,
    *,
    layouts: tuple[Layout, ...] = (ORIGINAL,),
    of: str = "",
    licence: tuple[str, str] = APACHE,
    **more: Any,
) -> Preset:
    config: Callable[[], DiTConfig] = CONFIGS[of or name]
    return Preset(name, "dit", config, DiT, layouts, *licence, where, geometry=dit_geometry, **more)


_WAN = "https://huggingface.co/Wan-AI"
DITS = (
    _dit("wan2.1-t2v-1.3b", f"{_WAN}/Wan2.1-T2V-1.3B", layouts=(ORIGINAL, DIFFUSERS)),
    _dit("wan2.1-t2v-14b", f"{_WAN}/Wan2.1-T2V-14B", layouts=(ORIGINAL, DIFFUSERS)),
    _dit("wan2.1-i2v-14b", f"{_WAN}/Wan2.1-I2V-14B-480P", layouts=(ORIGINAL, DIFFUSERS)),
    _dit(
        "tm-18b",
        f"{_WAN}/Wan2.1-I2V-14B-480P",
        layouts=(ORIGINAL, DIFFUSERS),
        added="audio",
        policies=("native",),
    ),
    _dit("infinitetalk", "https://huggingface.co/MeiGen-AI/InfiniteTalk"),
    _dit("wan2.2-s2v-14b", f"{_WAN}/Wan2.2-S2V-14B"),
    _dit(
        "realvideo",
        "https://huggingface.co/zai-org/RealVideo",
        of="wan2.2-s2v-14b",
        licence=("MIT", "https://huggingface.co/zai-org/RealVideo"),
        policies=("realvideo-2step", "realvideo-4step"),
    ),
    _dit(
        "liveavatar",
        "https://huggingface.co/Quark-Vision/Live-Avatar",
        of="wan2.2-s2v-14b",
        policies=("liveavatar-4step",),
        lora_scale=64 / 128,  # alpha and rank; the file does not say them
    ),
)

PRESETS = {preset.name: preset for preset in (*DITS, *ENCODERS)}


def preset_of(name: str) -> Preset:
    """Raises NotFound, naming the presets there are."""
    if name not in PRESETS:
        raise NotFound(f"preset {name!r} does not exist; there are {', '.join(PRESETS)}")
    return PRESETS[name]
