"""A clip as the models see it: latents of its pictures, tokens of its speech, its face mask."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from avatar.cast.profile import load_audio_encoder, load_vae
from avatar.cast.profiles import load_profile
from avatar.models.audio_encoder import AudioEncoder
from avatar.models.vae import VAE, EncoderState
from avatar.models.weights import sha256_of
from training.data.footage.clip import ClipInfo
from training.data.footage.crop import Square, face_tokens, in_square
from training.data.footage.settings import Settings
from training.data.footage.stages import Source, load_sound, sound_of
from training.data.footage.tracks import FaceTrack
from training.data.footage.video import FPS, read_frames

SINK_FRAMES = 9
"""Frames of the still picture before a clip: what the models begin with."""
TOKENS = 8
"""Along one side of the DiT's grid."""
_SILENT = ("listening", "silent")


class Encoders(Protocol):
    """What makes tensors of a clip's pictures and sound."""

    @property
    def name(self) -> str:
        """Tells the weights apart: clips encoded by others are encoded anew."""
        ...

    @property
    def tokens(self) -> int:
        """Along one side of the DiT's grid."""
        ...

    @property
    def samples_before(self) -> int:
        """Of sound that was heard before the clip."""
        ...

    @property
    def frames_after(self) -> int:
        """Frames of which sound after the clip is heard."""
        ...

    def encode(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> dict[str, Tensor]:
        """Of frames (T, H, W, 3) RGB, T = 1 + 4k, and the sound before, of and after them."""
        ...


@dataclass(frozen=True)
class OwnEncoders:
    """The default avatar's."""

    name: str
    vae: VAE
    audio_encoder: AudioEncoder
    tokens: int = TOKENS
    frames_after: int = 0

    @property
    def samples_before(self) -> int:
        return self.audio_encoder.history

    def encode(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> dict[str, Tensor]:
        return encode(frames, samples, self)


def load_encoders(profile_name: str) -> Encoders:
    """Of a profile by name, or of a folder of converted weights.

    Raises:
        AvatarError: There is none, or its clips cannot be made of footage.
    """
    profile = load_profile(profile_name)
    if profile.hearing != "own":
        # here: the default avatar needs none of it
        from training.data.footage.encode_wan import WanEncoders

        return WanEncoders(profile)
    digest = hashlib.sha256()
    for file in ("vae.safetensors", "audio_encoder.safetensors"):
        digest.update(sha256_of(profile.folder / file).encode())
    vae, audio_encoder = load_vae(profile), load_audio_encoder(profile)
    return OwnEncoders(f"encoded-{digest.hexdigest()[:12]}", vae, audio_encoder)


def encode_clips(
    source: Source,
    tracks: list[FaceTrack],
    clips: list[ClipInfo],
    folder: Path,
    settings: Settings,
    encoders: Encoders,
) -> list[Path]:
    """One file a clip; those that stand are kept."""
    sound = load_sound(folder, source)
    (folder / encoders.name).mkdir(exist_ok=True)
    paths = []
    for info in clips:
        path = folder / encoders.name / f"{info.id}.safetensors"
        paths.append(path)
        if path.exists():
            continue
        start = round(info.start_s * FPS)
        places = tracks[info.track].during(start, start + settings.num_frames)
        inside = in_square(places, Square(*info.square), settings.size)
        frames = np.stack(list(read_frames(folder / f"{info.id}.mkv")))
        heard = settings.num_frames + encoders.frames_after
        samples = sound_of(sound, start, heard, info, before=encoders.samples_before)
        tensors = encoders.encode(frames, samples)
        if info.kind in _SILENT:
            # whatever is heard is not this face's: the zero embedding means a shut mouth
            tensors["speech"] = torch.zeros_like(tensors["speech"])
        tensors["face_mask"] = torch.from_numpy(face_tokens(inside, settings.size, encoders.tokens))
        partial = path.with_name(f"partial-{path.name}")
        save_file(tensors, partial)
        partial.replace(path)
    return paths


@torch.no_grad()
def encode(
    frames: NDArray[np.uint8], samples: NDArray[np.float32], encoders: OwnEncoders
) -> dict[str, Tensor]:
    """`latents` (21, C, h, w) of the clip as a stream of its own, `sink` (3, C, h, w) of its first
    picture standing still, `speech` (2 T, D) tokens at 50 Hz; all float16.

    Args:
        frames: (T, H, W, 3) RGB, T = 1 + 4k.
        samples: What was heard before, as long as the audio encoder's history, then T * 640.
        encoders: The profile's.
    """
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    latents, _ = encoders.vae.encode(pixels[None], EncoderState())
    still = pixels[:1].expand(SINK_FRAMES, -1, -1, -1)
    sink, _ = encoders.vae.encode(still[None], EncoderState())
    heard = torch.from_numpy(samples)[None]
    history = encoders.audio_encoder.history
    tokens, _ = encoders.audio_encoder(heard[:, history:], heard[:, :history])
    found = {"latents": latents[0], "sink": sink[0], "speech": tokens[0]}
    return {name: tensor.half().contiguous() for name, tensor in found.items()}
