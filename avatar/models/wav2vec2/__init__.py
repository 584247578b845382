"""wav2vec2 features of speech that is still coming in, by the recipes of the public checkpoints."""

from avatar.models.wav2vec2.config import (
    BASE,
    LARGE,
    Recipe,
    Wav2Vec2Config,
    multitalk,
    native,
    s2v,
    toy_base,
    toy_large,
)
from avatar.models.wav2vec2.features import SpeechFeatures, SpeechState
from avatar.models.wav2vec2.model import Wav2Vec2

__all__ = [
    "BASE",
    "LARGE",
    "Recipe",
    "SpeechFeatures",
    "SpeechState",
    "Wav2Vec2",
    "Wav2Vec2Config",
    "multitalk",
    "native",
    "s2v",
    "toy_base",
    "toy_large",
]
