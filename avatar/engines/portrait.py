"""A framed picture as a model sees an avatar: latents, mask, and what text and image say of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.cast.faces import face_tokens
from avatar.cast.photograph import Framed
from avatar.models.dit import DiTConfig
from avatar.models.vae_wan import WanVAE
from avatar.models.vae_wan.model import GROUP, STRIDE
from avatar.sampling.policy import Policy

IMAGE_PLACES = 21
"""Places in time for which Wan I2V was taught what stands beside the noise: 81 frames."""
MASK_CHANNELS = 4
MOTION_FRAMES = 73
"""That Wan-S2V sees as the past: 19 latents."""
AFTER_A_FRAME = 5
"""Frames of which LiveAvatar takes the second latent as its reference."""


@dataclass(frozen=True)
class Wanted:
    """What a model takes of an avatar besides the picture and where its face is."""

    sink_latents: int
    grid: tuple[int, int]
    """Rows and columns of tokens."""
    image_channels: bool
    motion: bool
    text_dim: int | None
    image_dim: int | None

    @classmethod
    def by(cls, config: DiTConfig, policy: Policy, height: int, width: int) -> "Wanted":
        """Raises ValueError where the picture is no whole number of tokens."""
        side = config.patch * STRIDE
        if height % side or width % side:
            raise ValueError(f"{width} x {height} pixels given, multiples of {side} expected")
        return cls(
            sink_latents=max(len(policy.sink_positions), 1),
            grid=(height // side, width // side),
            image_channels=config.condition_channels == MASK_CHANNELS + config.latent_channels,
            motion=policy.sink_motion,
            text_dim=config.text_dim,
            image_dim=config.image_dim,
        )


@torch.inference_mode()
def avatar_tensors(
    framed: Framed,
    wanted: Wanted,
    vae: WanVAE,
    *,
    text: Callable[[], Tensor] | None = None,
    image: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """What an avatar's file holds, see `avatar.cast.profile.save_appearance`.

    Args:
        framed: The picture, in the profile's size.
        wanted: What the model takes.
        vae: Encodes pictures.
        text: Gives the prompt's embedding, (L, text_dim); needed where the model attends to text.
        image: Of a picture (1, 3, H, W) in [-1, 1] gives (1, tokens, image_dim); likewise.

    Returns:
        `portrait` (H, W, 3) uint8, `face_mask` (tokens,), `sink_latents` (S, C, h, w); where they
        are wanted `image_channels` (places, 4 + C, h, w), `motion_latents` (19, C, h, w), `text`
        (L, text_dim), `image` (tokens, image_dim).

    Raises:
        ValueError: An encoder that is needed was not given, or makes another width.
    """
    picture = signed(framed.pixels)
    still = latents_of(vae, picture, 1 + GROUP * (wanted.sink_latents - 1))
    mask = face_tokens(framed.face, framed.pixels.shape[:2], wanted.grid)
    tensors = {
        "portrait": torch.from_numpy(framed.pixels.copy()),
        "face_mask": torch.from_numpy(mask.astype(np.uint8).ravel()),
        "sink_latents": still,
    }
    if wanted.motion:
        # such a sink is one latent, of what follows a frame and not of a first frame
        tensors["sink_latents"] = latents_of(vae, picture, AFTER_A_FRAME)[1:]
        tensors["motion_latents"] = latents_of(vae, picture, MOTION_FRAMES)
    if wanted.image_channels:
        tensors["image_channels"] = image_channels(vae, picture)
    if wanted.text_dim is not None:
        tensors["text"] = _checked("text", text and text(), wanted.text_dim).to(torch.bfloat16)
    if wanted.image_dim is not None:
        tensors["image"] = _checked("image", image and image(picture)[0], wanted.image_dim)
    return {name: each.cpu().contiguous() for name, each in tensors.items()}


def latents_of(vae: WanVAE, picture: Tensor, num_frames: int) -> Tensor:
    """(F, C, h, w) of a video in which the picture (1, 3, H, W) stands still."""
    video = picture[:, None].expand(-1, num_frames, -1, -1, -1)
    return encoded(vae, video)


def image_channels(vae: WanVAE, picture: Tensor) -> Tensor:
    """(places, 4 + C, h, w) as Wan I2V sees its image, place by place in time.

    Mask, which is 1 for the frames that are given, and latents of a video whose first frame is the
    picture and whose others are grey.
    """
    grey = torch.zeros_like(picture)[:, None].expand(-1, GROUP * (IMAGE_PLACES - 1), -1, -1, -1)
    latents = encoded(vae, torch.cat([picture[:, None], grey], 1))
    mask = torch.zeros_like(latents[:, :MASK_CHANNELS])
    mask[0] = 1
    return torch.cat([mask, latents], 1)


def encoded(vae: WanVAE, video: Tensor) -> Tensor:
    """(1, T, 3, H, W) -> (F, C, h, w), group after group: a long video at once would not fit."""
    state, latents = vae.init_encoder(), []
    for frames in video.split([1] + [GROUP] * (video.shape[1] // GROUP), dim=1):
        latent, state = vae.encode(frames.to(vae.quant_conv.weight.device), state)
        latents.append(latent[0].float())
    return torch.cat(latents)


def signed(pixels: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def _checked(name: str, embedding: Tensor | None, dim: int) -> Tensor:
    if embedding is None:
        raise ValueError(f"this model takes {name}, and no encoder of it was given")
    if embedding.shape[-1] != dim:
        raise ValueError(f"{name} of width {embedding.shape[-1]} given, {dim} expected")
    return embedding
