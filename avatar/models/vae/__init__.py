"""The default avatar's causal video VAE: 4x in time, 8x8 in space."""

from avatar.models.vae.model import VAE, DecoderState, EncoderState, VAEConfig
from avatar.models.vae.seam import VideoDecoder

__all__ = ["VAE", "DecoderState", "EncoderState", "VAEConfig", "VideoDecoder"]
