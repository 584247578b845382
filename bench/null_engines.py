"""Engines of the three compute stages that compute nothing: what is left is the system's own."""

import numpy as np

from avatar.media import AudioChunk, AudioEmbedding, FrameChunk, LatentChunk
from avatar.transport import OpenRequest

TOKENS = np.zeros((3, 1, 1), np.float32)
LATENTS = np.zeros((3, 1, 1, 1), np.float32)
FRAMES = np.zeros((12, 1, 1, 3), np.uint8)


class NullEncoder:
    def init_state(self, request: OpenRequest, /) -> None:
        return None

    def step(self, chunk: AudioChunk, state: None, /) -> tuple[AudioEmbedding, None]:
        return AudioEmbedding(chunk.stamp, TOKENS, TOKENS[:2], last=chunk.last), None


class NullPainter:
    def init_state(self, request: OpenRequest, /) -> None:
        return None

    def step(self, chunk: AudioEmbedding, state: None, /) -> tuple[LatentChunk, None]:
        return LatentChunk(chunk.stamp, LATENTS, last=chunk.last), None


class NullDecoder:
    def init_state(self, request: OpenRequest, /) -> None:
        return None

    def step(self, chunk: LatentChunk, state: None, /) -> tuple[FrameChunk, None]:
        return FrameChunk(chunk.stamp, FRAMES, last=chunk.last), None
