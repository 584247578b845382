"""Prompts as UMT5 embeds them for Wan's models, once, and kept on disk."""

from avatar.models.umt5.config import UMT5_XXL, UMT5Config, toy
from avatar.models.umt5.model import UMT5, padded
from avatar.models.umt5.prompts import PromptCache
from avatar.models.umt5.tokenizer import PromptTokenizer

__all__ = ["UMT5", "UMT5_XXL", "PromptCache", "PromptTokenizer", "UMT5Config", "padded", "toy"]
