"""Latents to frames."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from avatar.backends import ANYHOW, TORCH, Backend, Running
from avatar.backends.device import Lane, choose_device, joined
from avatar.backends.needs import WanDecoder
from avatar.backends.vae import OpenVinoVAE
from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.cast.profile import Appearance, load_decoder, load_vae
from avatar.cast.profiles import Profile
from avatar.cast.wardrobe import Wardrobe
from avatar.engines import REHEARSED, Rehearsal, SessionSpec
from avatar.engines.choice import graph_or_torch
from avatar.errors import InvalidInput
from avatar.media import FrameChunk, LatentChunk
from avatar.models.taehv import TAEHVState
from avatar.models.vae import VAE, DecoderState
from avatar.models.vae.model import Reference
from avatar.models.vae_wan import WanDecoderState

State = DecoderState | WanDecoderState | TAEHVState
Decode = Callable[[Tensor, State], tuple[list[Tensor], State]]


class VaeDecoderEngine:
    """The sink primes the decoder and is not played: every chunk after it is whole.

    State is what the model keeps of the past: of the default avatar's the last latent and the
    portrait's features.
    """

    def __init__(
        self,
        profile: Profile,
        model: VAE | WanDecoder,
        backend: Backend = TORCH,
        lane: Lane | None = None,
    ) -> None:
        self.profile, self.model, self.backend = profile, model, backend
        self._lane = lane or Lane(torch.device("cpu"))
        self._wardrobe = Wardrobe(profile)

    @classmethod
    def load(cls, profile: Profile, running: Running = ANYHOW) -> "VaeDecoderEngine":
        """Raises AvatarError for damaged weights, a back end or a device that cannot be had."""
        graph, backend = graph_or_torch(running, profile, "vae", {})
        if graph is not None:
            return cls(profile, OpenVinoVAE(load_vae(profile), graph), backend)
        device = choose_device(running.device)
        model = load_decoder(profile, running, device)
        # these networks are kept in half precision themselves: no autocast
        return cls(profile, model, backend, Lane(device))

    @property
    def avatars(self) -> tuple[str, ...]:
        """Whose appearance is in memory."""
        return self._wardrobe.names

    def rehearsal(self) -> Rehearsal[LatentChunk]:
        """What to try it with before the first caller comes."""
        num_latents = self.profile.clock.latents_per_chunk
        latents = np.zeros((num_latents, *self._latent_shape()), np.float32)
        chunk = LatentChunk(REHEARSED, latents)
        return Rehearsal(DEFAULT_CHARACTER.id, chunk, device=str(self._lane.device))

    def init_state(self, request: SessionSpec) -> State:
        """Raises NotFound for an unknown avatar, CorruptFile for a damaged one."""
        appearance = self._wardrobe.take(request.avatar)
        with self._lane.open():
            if isinstance(self.model, VAE):
                return self._with_features(self.model, appearance)
            return self.model.primed_decoder(
                self._lane.take(appearance.model_portrait.sink_latents)
            )

    def _with_features(self, model: VAE, appearance: Appearance) -> DecoderState:
        take = self._lane.take
        pixels = take(torch.from_numpy(appearance.portrait)).permute(2, 0, 1)[None].float()
        state = model.init_decoder(pixels / 127.5 - 1)
        reference = state.reference
        if appearance.features:
            both = zip(reference.features, map(take, appearance.features), strict=True)
            eighth, quarter, half = (drawn + learned for drawn, learned in both)
            reference = Reference(reference.pixels, (eighth, quarter, half))
        return DecoderState(take(appearance.model_portrait.sink_latents[:, -1]), reference)

    def step(self, chunk: LatentChunk, state: State) -> tuple[FrameChunk, State]:
        """On a GPU frames are under way when this returns, and so may the latents still be.

        Raises:
            InvalidInput: The latents have another shape than this VAE's.
        """
        expected = self._latent_shape()
        if chunk.given.shape[1:] != expected:
            raise InvalidInput(
                f"latents of shape {chunk.given.shape[1:]} given, {expected} expected"
            )
        with self._lane.open():
            latents = self._lane.take(chunk.given)[None]
            decode: Decode = self.model.decode_parts  # type: ignore[assignment]  # its own state
            parts, following = decode(latents, state)
            # a part is on its way to the CPU while the next is still being decoded
            frames = joined([self._lane.send(as_bytes(part[0])) for part in parts])
        return FrameChunk(chunk.stamp, frames, chunk.last), following

    def _latent_shape(self) -> tuple[int, int, int]:
        height, width = self.profile.height // 8, self.profile.width // 8
        return self.model.config.latent_channels, height, width


def as_bytes(pictures: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) uint8."""
    count, _, height, width = pictures.shape
    frames = torch.empty(count, height, width, 3, dtype=torch.uint8, device=pictures.device)
    for frame, picture in zip(frames, pictures, strict=True):  # one fits into a CPU's cache
        levels = torch.add(128.0, picture.float(), alpha=127.5).clamp_(0, 255).byte()
        torch.stack(tuple(levels), -1, out=frame)
    return frames
