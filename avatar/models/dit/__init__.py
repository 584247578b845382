"""The diffusion transformer: one class at every size, driven by speech."""

from avatar.models.dit.attention import KeyValue
from avatar.models.dit.config import AudioConfig, DiTConfig, tiny, tm_18b
from avatar.models.dit.context import CachedContext, ChunkParallelContext, SelfContext
from avatar.models.dit.estimate import linear_estimate
from avatar.models.dit.model import Condition, DiT

__all__ = [
    "AudioConfig",
    "CachedContext",
    "ChunkParallelContext",
    "Condition",
    "DiT",
    "DiTConfig",
    "KeyValue",
    "SelfContext",
    "linear_estimate",
    "tiny",
    "tm_18b",
]
