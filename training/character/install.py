"""An avatar's folder: written whole beside its place, then put there at once."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from avatar.cast.avatars import APPEARANCE, DESCRIPTION, write_manifest
from avatar.cast.profile import FEATURES, save_appearance, weights_of
from avatar.cast.profiles import Profile
from avatar.models.vae import VAE, EncoderState
from training.character.description import Description
from training.data.latents import SINK_FRAMES
from training.data.renderer import face_mask, mouth_box
from training.portrait.look import Look
from training.tasks.vae import to_signed

TOKENS = 8
"""Of the model along one side of the picture."""
ON_FACE = 0.08
"""A token whose cell shows more of the face than this hears the speech."""


def token_mask(look: Look) -> Tensor:
    """(TOKENS * TOKENS,): 1 where a token touches the face."""
    pixels = torch.from_numpy(np.asarray(face_mask(look), np.float32))
    share = F.adaptive_avg_pool2d(pixels[None, None], TOKENS)[0, 0]
    return (share > ON_FACE).byte().flatten()


@torch.no_grad()
def write_avatar(
    folder: Path,
    described: Description,
    portrait: NDArray[np.uint8],
    vae: VAE,
    profile: Profile,
    features: tuple[Tensor, ...] = (),
) -> None:
    """Write everything but the preview, and seal it; `features` as `Appearance` has them."""
    still = to_signed(np.broadcast_to(portrait, (SINK_FRAMES, *portrait.shape)).copy())[None]
    height, width = profile.height // 8, profile.width // 8
    sink, _ = vae.encode(still, EncoderState(), torch.zeros(1, SINK_FRAMES, 2, height, width))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "sink_latents": sink[0],
        "face_mask": token_mask(described.look),
        "portrait": torch.from_numpy(portrait.copy()),
    }
    added = {name: each.half() for name, each in zip(FEATURES, features, strict=False)}
    save_appearance(tensors | added, folder / APPEARANCE, weights_of(profile))
    Image.fromarray(portrait).save(folder / "portrait.png", optimize=True)
    (folder / DESCRIPTION).write_text(described.content, encoding="utf-8")
    box = [int(each) for each in mouth_box(described.look)]
    (folder / "mouth_box.json").write_text(json.dumps(box) + "\n")
    write_manifest(folder)
