"""A tiny decoder of Wan's latents, streamed: a small part of the VAE's work and memory."""

from avatar.models.taehv.config import TAEW_2_1, TAEHVConfig, toy
from avatar.models.taehv.model import TAEHV, TAEHVState

__all__ = ["TAEHV", "TAEW_2_1", "TAEHVConfig", "TAEHVState", "toy"]
