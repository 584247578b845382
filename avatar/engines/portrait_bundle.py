"""From a photograph to an avatar's folder: who agreed to it, what was found, what a model needs."""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from avatar.backends.memory import Need, Plan
from avatar.cast.avatars import (
    APPEARANCE,
    DESCRIPTION,
    PHOTOGRAPH,
    install,
    is_shipped,
    write_manifest,
)
from avatar.cast.description import CharacterFields
from avatar.cast.faces import FaceFinder
from avatar.cast.photograph import Framed, frame, read_photograph
from avatar.cast.profile import save_appearance, weight_file, weights_of
from avatar.cast.profiles import Profile
from avatar.engines.portrait import Wanted, avatar_tensors
from avatar.errors import CorruptFile, InvalidInput, NotFound
from avatar.models.clip_vision import CLIPVision, CLIPVisionConfig
from avatar.models.dit import DiTConfig
from avatar.models.umt5 import UMT5, PromptCache, PromptTokenizer, UMT5Config, padded
from avatar.models.vae_wan import WanVAE, WanVAEConfig
from avatar.models.weights import MANIFEST, config_of, describes, place_into, read_header

CONSENT_CHARACTERS = (10, 500)
PROMPT = "A person looks into the camera and talks, moving the head a little."
PROMPTS = "prompts"
"""In a profile's folder: embeddings that were made."""

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Wish:
    """Who is to be made. `consent` says who agreed that this face is shown, and to what."""

    photograph: Path
    fields: CharacterFields
    consent: str
    prompt: str = PROMPT

    def check(self) -> None:
        """Raises InvalidInput."""
        least, most = CONSENT_CHARACTERS
        if not least <= len(self.consent.strip()) <= most:
            raise InvalidInput(
                f"consent of {len(self.consent.strip())} characters given, {least} to {most} "
                'needed: say who agreed to what, such as "I am the person shown" or "Ada Example '
                'agreed in writing on 2026-11-30 to be shown by our help desk"'
            )
        if is_shipped(self.fields.id):
            raise InvalidInput(f"{self.fields.id} is one of the shipped cast: choose another name")


def make_avatar(
    wish: Wish,
    profile: Profile,
    avatars: Path,
    now: datetime,
    device: torch.device,
    tell: Callable[[str], None] = lambda step: None,
) -> Path:
    """Make an avatar of a Wan-class profile, and put its folder into `avatars`.

    The photograph is looked at first: what is wrong with it is said before anything large is read.
    `tell` is told of each step.

    Raises:
        AvatarError: Of the photograph, of consent, or of a file of the profile; the message says
            what helps. Nothing is left half made.
    """
    framed = look(wish, profile, tell)
    config = config_of(DiTConfig, read_header(weight_file(profile, profile.dit)))
    networks = Networks(profile, device)
    wanted = Wanted.by(config, profile.policy, profile.height, profile.width)

    def text() -> Tensor:
        tell("embedding the prompt")
        return networks.text(wish.prompt)

    def image(pixels: Tensor) -> Tensor:
        tell("embedding the picture")
        return networks.image(pixels)

    tell("encoding the picture")
    tensors = avatar_tensors(framed, wanted, networks.vae(), text=text, image=image)
    with tempfile.TemporaryDirectory(prefix="portrait-") as temporary:
        folder = Path(temporary) / wish.fields.id
        folder.mkdir()
        save_appearance(tensors, folder / APPEARANCE, weights_of(profile))
        Image.fromarray(framed.pixels).save(folder / "portrait.png", optimize=True)
        (folder / DESCRIPTION).write_text(description(wish.fields), encoding="utf-8")
        record = json.dumps(record_of(wish, framed, profile, now), indent=1, ensure_ascii=False)
        (folder / PHOTOGRAPH).write_text(record + "\n", encoding="utf-8")
        write_manifest(folder)
        return install(folder, avatars)


def look(wish: Wish, profile: Profile, tell: Callable[[str], None] = lambda step: None) -> Framed:
    """The portrait that the photograph gives; raises as `make_avatar`, and makes nothing."""
    wish.check()
    Networks(profile, torch.device("cpu")).check_kind()
    tell("looking for a face")
    picture = read_photograph(wish.photograph)
    return frame(picture, FaceFinder().find(picture), profile.height, profile.width)


def record_of(wish: Wish, framed: Framed, profile: Profile, now: datetime) -> dict[str, object]:
    """What is kept of how the avatar came to be; the photograph itself is not."""
    with wish.photograph.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    x, y, height = (round(each, 1) for each in framed.face)
    return {
        "consent": wish.consent.strip(),
        "consent_recorded": now.isoformat(timespec="seconds"),
        "photograph_sha256": digest,
        "profile": profile.name,
        "prompt": wish.prompt,
        "face": {"x": x, "y": y, "height": height},
        "sharpness": round(framed.sharpness, 3),
    }


def description(fields: CharacterFields) -> str:
    """The upper part of a description file, as TOML; JSON's strings and numbers are TOML's too."""
    plain = fields.model_dump(exclude={"look"})
    tables = {name: value for name, value in plain.items() if isinstance(value, dict)}
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in plain.items()
             if k not in tables]  # fmt: skip
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


class Networks:
    """The encoders in a profile's folder, each read when it is needed and then let go."""

    def __init__(self, profile: Profile, device: torch.device) -> None:
        self._profile, self._device = profile, device

    def check_kind(self) -> None:
        """Raises InvalidInput where the profile's avatars cannot be made of photographs."""
        if not describes(WanVAEConfig, read_header(self._file("vae", "wan2.1-vae"))):
            raise InvalidInput(
                f"the profile {self._profile.name} knows a designed cast and no photographs: "
                "describe a character to be drawn instead, see docs/characters.md, or name the "
                "folder of a converted checkpoint"
            )

    def vae(self) -> WanVAE:
        path = self._file("vae", "wan2.1-vae")
        return self._placed(WanVAE, WanVAEConfig, path, torch.float32)

    def text(self, prompt: str) -> Tensor:
        """(max_tokens, dim): kept in the profile's folder, or made."""
        path = self._file("umt5", "umt5-xxl")
        config = config_of(UMT5Config, read_header(path))
        folder = self._profile.folder
        tokenizer = PromptTokenizer(folder, config.max_tokens)
        listed = json.loads((folder / MANIFEST).read_text())
        if path.name not in listed:
            raise CorruptFile(f"{folder / MANIFEST} does not list {path.name}: convert it again")
        cache = PromptCache(folder / PROMPTS, listed[path.name], tokenizer.sha256)

        def embed(text: str) -> Tensor:
            model = self._placed(UMT5, UMT5Config, path, torch.bfloat16)
            made: Tensor = model(torch.tensor([tokenizer.ids(text)], device=self._device))
            return made

        return padded(cache.get(prompt, embed), config.max_tokens)[0]

    def image(self, picture: Tensor) -> Tensor:
        """(1, tokens, dim) of a picture (1, 3, H, W)."""
        tokens: Tensor = self.clip()(picture.to(self._device))
        return tokens

    def clip(self) -> CLIPVision:
        path = self._file("clip_vision", "clip-vit-h-14")
        return self._placed(CLIPVision, CLIPVisionConfig, path, torch.float32)

    def _file(self, name: str, preset: str) -> Path:
        try:
            return weight_file(self._profile, name)
        except NotFound as error:
            raise NotFound(
                f"{self._profile.folder / name}.safetensors is missing, and this model needs it: "
                f"`python -m avatar convert --preset {preset} --src … --dst "
                f"{self._profile.folder}`, see docs/checkpoints.md"
            ) from error

    def _placed(
        self,
        build: Callable[[Config], Model],
        kind: type[Config],
        path: Path,
        dtype: torch.dtype,
    ) -> Model:
        header = read_header(path)
        config = config_of(kind, header)
        weights = dtype.itemsize * sum(math.prod(shape) for shape in header.shapes.values())
        ways = ["stop what else runs there", "make the avatar on a larger machine"]
        if self._device.type == "cuda":
            ways.append("on the CPU (--device cpu; of a server, VAE_DEVICE=cpu)")
        Plan(f"portrait ({path.stem})", self._device, [Need("weights", weights)], ways).check()
        with torch.device("meta"):
            model = build(config)
        return place_into(model, path, self._device, lambda name: dtype)
