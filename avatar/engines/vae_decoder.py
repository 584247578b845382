"""Latents to frames."""

import numpy as np
import torch

from avatar.backends import TORCH, Backend, Wish
from avatar.backends.graph import choose_graph
from avatar.backends.vae import OpenVinoVAE
from avatar.cast.profile import load_appearance, load_vae
from avatar.cast.profiles import Profile
from avatar.engines import SessionSpec
from avatar.errors import InvalidInput
from avatar.media import FrameChunk, LatentChunk
from avatar.models.vae import VAE, DecoderState
from avatar.models.vae.model import Reference


class VaeDecoderEngine:
    """State is the last latent and frame, and the portrait's features; the sink is not played."""

    def __init__(self, profile: Profile, model: VAE, backend: Backend = TORCH) -> None:
        self.profile, self.model, self.backend = profile, model, backend

    @classmethod
    def load(cls, profile: Profile, wish: Wish = "auto") -> "VaeDecoderEngine":
        """Raises AvatarError for damaged weights, or a back end by name that cannot be had."""
        model = load_vae(profile)
        graph, backend = choose_graph(wish, profile.folder, "vae", {})
        return cls(profile, model if graph is None else OpenVinoVAE(model, graph), backend)

    @torch.inference_mode()
    def init_state(self, request: SessionSpec) -> DecoderState:
        """Raises NotFound for an unknown avatar, CorruptFile for a damaged one."""
        appearance = load_appearance(self.profile, request.avatar)
        pixels = torch.from_numpy(appearance.portrait).permute(2, 0, 1)[None].float()
        state = self.model.init_decoder(pixels / 127.5 - 1)
        reference = state.reference
        if appearance.features:
            both = zip(reference.features, appearance.features, strict=True)
            eighth, quarter, half = (drawn + learned for drawn, learned in both)
            reference = Reference(reference.pixels, (eighth, quarter, half))
        # the sink primes the decoder: every chunk after it is whole
        return DecoderState(appearance.model_portrait.sink_latents[:, -1], reference)

    @torch.inference_mode()
    def step(self, chunk: LatentChunk, state: DecoderState) -> tuple[FrameChunk, DecoderState]:
        """Raises InvalidInput where the latents have another shape than this VAE's."""
        height, width = self.profile.height // 8, self.profile.width // 8
        expected = (self.model.config.latent_channels, height, width)
        if chunk.latents.shape[1:] != expected:
            raise InvalidInput(
                f"latents of shape {chunk.latents.shape[1:]} given, {expected} expected"
            )
        latents = torch.from_numpy(np.ascontiguousarray(chunk.latents))[None]
        parts, following = self.model.decode_parts(latents, state)
        pictures = [picture for part in parts for picture in part[0]]
        _, height, width = pictures[0].shape
        frames = torch.empty(len(pictures), height, width, 3, dtype=torch.uint8)
        for frame, picture in zip(frames, pictures, strict=True):  # one fits into the cache
            levels = torch.add(128.0, picture, alpha=127.5).clamp_(0, 255).byte()
            torch.stack(tuple(levels), -1, out=frame)
        return FrameChunk(chunk.stamp, frames.numpy(), chunk.last), following
