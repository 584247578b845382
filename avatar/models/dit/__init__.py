"""The diffusion transformer: one class at every size, driven by speech."""

from avatar.models.dit.attention import KeyValue
from avatar.models.dit.config import AudioConfig, DiTConfig, FrameAudioConfig, S2VConfig, tiny
from avatar.models.dit.context import CachedContext, ChunkParallelContext, SelfContext
from avatar.models.dit.estimate import linear_estimate
from avatar.models.dit.model import Condition, DiT
from avatar.models.dit.zoo import CONFIGS, tm_18b

__all__ = [
    "CONFIGS",
    "AudioConfig",
    "CachedContext",
    "ChunkParallelContext",
    "Condition",
    "DiT",
    "DiTConfig",
    "FrameAudioConfig",
    "KeyValue",
    "S2VConfig",
    "SelfContext",
    "linear_estimate",
    "tiny",
    "tm_18b",
]
