"""The shipped cast in a profile of other weights: their drawn portraits, encoded for it."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatar.cast.avatars import APPEARANCE
from avatar.cast.characters import CAST
from avatar.cast.photograph import Framed
from avatar.cast.profile import load_appearance, save_appearance, weights_of
from avatar.cast.profiles import PROFILES, Profile
from avatar.engines.portrait import Wanted, avatar_tensors
from avatar.engines.portrait_bundle import PROMPT, Networks
from avatar.models.dit import DiTConfig
from avatar.models.weights import config_of, enter_in_manifest, read_header, sha256_of

DRAWN = PROFILES["tiny"]
"""Whose portraits they are."""


def draw_cast(profile: Profile, device: torch.device) -> Iterator[str]:
    """Write `<avatar>/avatar.safetensors` and `portrait.png` of each; answers with each name.

    They were drawn for the default avatar, and are what a first call shows; people come from
    photographs (`python -m avatar portrait`).

    Raises:
        AvatarError: An encoder is missing; the message names the preset to convert.
    """
    config = config_of(DiTConfig, read_header(profile.folder / f"{profile.dit}.safetensors"))
    wanted = Wanted.by(config, profile.policy, profile.height, profile.width)
    networks = Networks(profile, device)
    vae = networks.vae()
    words = cache(lambda: networks.text(PROMPT))  # the same for all of them
    for character in CAST:
        framed = framed_drawing(character.id, profile.height, profile.width)
        tensors = avatar_tensors(framed, wanted, vae, text=words, image=networks.image)
        folder = profile.folder / character.id
        folder.mkdir(exist_ok=True)
        save_appearance(tensors, folder / APPEARANCE, weights_of(profile))
        Image.fromarray(framed.pixels).save(folder / "portrait.png", optimize=True)
        name = f"{character.id}/{APPEARANCE}"
        enter_in_manifest(profile.folder, name, sha256_of(profile.folder / name))
        yield character.id


def framed_drawing(name: str, height: int, width: int) -> Framed:
    """The drawn portrait as large as the picture, cut at its sides or above and below."""
    drawn = load_appearance(DRAWN, name)
    scale = max(height / DRAWN.height, width / DRAWN.width)
    large = Image.fromarray(drawn.portrait).resize(
        (round(DRAWN.width * scale), round(DRAWN.height * scale)), Image.Resampling.LANCZOS
    )
    left, top = (large.width - width) // 2, (large.height - height) // 2
    pixels = np.asarray(large.crop((left, top, left + width, top + height)))
    x, y, tall = _face(drawn.model_portrait.face_mask[0].numpy())
    return Framed(pixels, (x * scale - left, y * scale - top, tall * scale), sharpness=1.0)


def _face(mask: NDArray[np.float32]) -> tuple[float, float, float]:
    """Middle x, y and height in pixels of the drawn portrait, from its tokens' mask."""
    side = round(len(mask) ** 0.5)
    rows, columns = np.nonzero(mask.reshape(side, side))
    each = DRAWN.height / side
    tall = (rows.max() - rows.min() + 1) * each
    return float((columns.mean() + 0.5) * each), float((rows.mean() + 0.5) * each), float(tall)
