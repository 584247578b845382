"""Wan2.1's causal video VAE, streamed: 4x in time, 8x8 in space, 16 channels."""

from avatar.models.vae_wan.config import WAN_2_1, WanVAEConfig, toy
from avatar.models.vae_wan.model import WanDecoderState, WanEncoderState, WanVAE

__all__ = ["WAN_2_1", "WanDecoderState", "WanEncoderState", "WanVAE", "WanVAEConfig", "toy"]
