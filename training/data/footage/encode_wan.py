"""A clip as a Wan-class model sees it: its VAE's latents, wav2vec2's features, text and image."""

import hashlib
import json

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.backends.device import choose_device
from avatar.cast.profile import load_speech_features, weight_file
from avatar.cast.profiles import Profile
from avatar.engines.portrait import Wanted, encoded, image_channels, latents_of
from avatar.engines.portrait_bundle import PROMPT, Networks
from avatar.errors import InvalidInput
from avatar.models.dit import DiTConfig
from avatar.models.weights import MANIFEST, config_of, read_header
from training.data.footage.video import FPS, SAMPLES_PER_FRAME

CHUNKS_BEFORE = 2
"""Chunks of sound that end with the clip's first picture: pauses and levels are then known."""


class WanEncoders:
    """Reads each network once; the prompt is the same for all clips.

    Speech is embedded chunk by chunk as in a call: chunks begin after the clip's first picture.
    """

    def __init__(self, profile: Profile, device: str = "auto") -> None:
        """Raises AvatarError: a network is missing, or the model cannot learn from footage."""
        config = config_of(DiTConfig, read_header(weight_file(profile, profile.dit)))
        if config.audio is None or profile.clock.fps != FPS or profile.height != profile.width:
            raise InvalidInput(
                f"the profile {profile.name} is no square picture at {FPS} frames a second with "
                "audio layers of this project's recipe: clips are made for tm-18b and its kin"
            )
        self._device = choose_device(device)
        self._chunk = profile.clock.frames_per_chunk
        self._sink = max(len(profile.policy.sink_positions), 1)
        wanted = Wanted.by(config, profile.policy, profile.height, profile.width)
        self._wants_channels, self.tokens = wanted.image_channels, wanted.grid[0]
        networks = Networks(profile, self._device)
        self._vae, self._speech = networks.vae(), load_speech_features(profile, self._device)
        self._clip = networks.clip() if wanted.image_dim is not None else None
        self._text = networks.text(PROMPT) if wanted.text_dim is not None else None
        self.name = f"encoded-{_digest(profile)}"

    @property
    def samples_before(self) -> int:
        """The first picture's own frame is the last of these chunks."""
        return (CHUNKS_BEFORE * self._chunk - 1) * SAMPLES_PER_FRAME

    @property
    def frames_after(self) -> int:
        """To the end of the last chunk of 80 frames."""
        return -80 % self._chunk

    @torch.inference_mode()
    def encode(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> dict[str, Tensor]:
        """`latents` (21, C, h, w), `sink` (S, C, h, w), `speech` (81, D), one token a frame, and
        `text`, `image`, `image_channels` where the model sees them; all float16.
        """
        video = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 127.5 - 1.0
        picture = video[:, 0]
        heard = torch.from_numpy(samples).to(self._device)
        features, _, _ = self._speech.embed(heard, heard[:0], self._speech.init_state())
        first = CHUNKS_BEFORE * self._chunk - 1
        found = {
            "latents": encoded(self._vae, video),
            "sink": latents_of(self._vae, picture, 1 + 4 * (self._sink - 1)),
            "speech": features[first : first + len(frames)],
        }
        if self._wants_channels:
            found["image_channels"] = image_channels(self._vae, picture)
        if self._text is not None:
            found["text"] = self._text
        if self._clip is not None:
            found["image"] = self._clip(picture.to(self._device))[0]
        return {name: tensor.half().cpu().contiguous() for name, tensor in found.items()}


def _digest(profile: Profile) -> str:
    """Of the weights' checksums, as converting noted them, and of the prompt."""
    listed = (profile.folder / MANIFEST).read_text()
    own = [json.loads(listed).get(f"{each}.safetensors", "") for each in ("vae", "audio_encoder")]
    return hashlib.sha256("".join([*own, PROMPT]).encode()).hexdigest()[:12]
