"""A small streaming speech encoder: 16 kHz samples to 50 Hz tokens, strictly causal."""

from avatar.models.audio_encoder.model import AudioEncoder, AudioEncoderConfig

__all__ = ["AudioEncoder", "AudioEncoderConfig"]
