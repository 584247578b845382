"""Public weight files: what they are called inside, whose they are, and how they become ours."""

from avatar.models.checkpoints.convert import Conversion, convert, plan
from avatar.models.checkpoints.preset import Preset
from avatar.models.checkpoints.presets import PRESETS, preset_of

__all__ = ["PRESETS", "Conversion", "Preset", "convert", "plan", "preset_of"]
