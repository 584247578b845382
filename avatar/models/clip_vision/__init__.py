"""A picture as CLIP sees it, for the models that attend to it: 257 tokens of a ViT-H/14."""

from avatar.models.clip_vision.config import VIT_H_14, CLIPVisionConfig, toy
from avatar.models.clip_vision.model import CLIPVision

__all__ = ["VIT_H_14", "CLIPVision", "CLIPVisionConfig", "toy"]
