"""Clips as the DiT sees them: latents relative to the portrait, speech tokens, controls."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.models.audio_encoder import AudioEncoder
from avatar.models.vae import VAE, EncoderState
from avatar.models.vae.model import GROUP, MOTION
from avatar.telemetry.logging import get_logger
from training.data.dataset import ClipSet
from training.tasks.vae import to_signed

log = get_logger(__name__)
SAMPLES_PER_LATENT = 2560
MOTION_WEIGHT = 3.0
"""Of the motion channels: an error there moves everything."""
SINK_FRAMES = 9
STEP = 12 * GROUP
"""Frames encoded at a time."""
_PER_CLIP = ("latents", "speech", "controls", "visemes")


@dataclass
class LatentClips:
    """One entry a clip, each of L latent frames.

    `latents` (L, C, h, w) float16, `speech` (L, 8, D) float16, `controls` (L, 40) float32,
    `visemes` (L, 4, 4) float32; for each character `sinks` (3, C, h, w). `scale` (C,) is the
    spread of latents before they were divided by it, `importance` (C,) what an error counts.
    """

    latents: list[Tensor] = field(default_factory=list)
    speech: list[Tensor] = field(default_factory=list)
    controls: list[Tensor] = field(default_factory=list)
    visemes: list[Tensor] = field(default_factory=list)
    mouth_boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    characters: list[str] = field(default_factory=list)
    held_out: list[bool] = field(default_factory=list)
    sinks: dict[str, Tensor] = field(default_factory=dict)
    scale: Tensor = field(default_factory=lambda: torch.ones(1))
    importance: Tensor = field(default_factory=lambda: torch.ones(1))

    def __len__(self) -> int:
        return len(self.latents)

    def is_held_out(self, index: int) -> bool:
        return self.held_out[index]


@torch.no_grad()
def encode_clips(clips: ClipSet, vae: VAE, encoder: AudioEncoder, path: Path) -> LatentClips:
    """Encode every clip as serving will see it: after the still portrait, chunk after chunk."""
    if path.exists():
        return read_latents(path)
    result = LatentClips()
    everything = [(clip, False) for clip in clips.train] + [(c, True) for c in clips.held_out]
    for number, (clip, held_out) in enumerate(everything):
        still = to_signed(np.broadcast_to(clip.portrait, (SINK_FRAMES, 256, 256, 3)).copy())[None]
        sink, state = vae.encode(still, EncoderState(), torch.zeros(1, SINK_FRAMES, 2, 32, 32))
        result.sinks[clip.character] = sink[0]
        num_latents = len(clip.curves) // GROUP
        frames = to_signed(clip.frames[: num_latents * GROUP])[None]
        pieces = []
        flow = clip.flow(0, num_latents * GROUP)[None]
        for piece, way in zip(frames.split(STEP, 1), flow.split(STEP, 1), strict=True):
            latents, state = vae.encode(piece, state, way)
            pieces.append(latents[0])
        result.latents.append((torch.cat(pieces) - sink[0, 0]).half())
        samples = torch.from_numpy(clip.samples[: num_latents * SAMPLES_PER_LATENT]).float()[None]
        tokens, _ = encoder(samples, encoder.init_state())
        result.speech.append(tokens[0].unflatten(0, (num_latents, -1)).half())
        result.controls.append(
            torch.from_numpy(clip.controls[: num_latents * GROUP]).reshape(num_latents, -1)
        )
        result.visemes.append(
            torch.from_numpy(clip.curves[: num_latents * GROUP, :4]).reshape(num_latents, GROUP, 4)
        )
        result.mouth_boxes.append(clip.mouth_box)
        result.characters.append(clip.character)
        result.held_out.append(held_out)
        if number % 20 == 0:
            log.info("clip_encoded", number=number, of=len(everything))
    moved = torch.cat(
        [x.float().square().mean((0, 2, 3), keepdim=False)[None] for x in result.latents]
    )
    result.scale = moved.mean(0).sqrt()
    result.importance = importance(vae, result.scale)
    for i, latents in enumerate(result.latents):
        result.latents[i] = (latents.float() / result.scale[:, None, None]).half()
    write_latents(result, path)
    return result


def importance(vae: VAE, scale: Tensor) -> Tensor:
    """(C,) weights, mean 1: the spread that a channel gives to pixels, and more for the motion.

    Its square would be the squared error of pixels, and leave fine detail out.
    """
    spread = vae.linear_decode.weight.norm(dim=0) * vae.std[MOTION:] * scale[MOTION:]
    shown = spread / spread.mean()
    return torch.cat([torch.full((MOTION,), MOTION_WEIGHT), shown])


def write_latents(clips: LatentClips, path: Path) -> None:
    tensors = {"scale": clips.scale, "importance": clips.importance} | {
        f"sink.{k}": v for k, v in clips.sinks.items()
    }
    for i in range(len(clips)):
        tensors |= {f"{name}.{i}": getattr(clips, name)[i] for name in _PER_CLIP}
    about = {
        "mouth_boxes": clips.mouth_boxes,
        "characters": clips.characters,
        "held_out": clips.held_out,
    }
    partial = path.with_suffix(".partial")
    contiguous = {k: v.contiguous() for k, v in tensors.items()}
    save_file(contiguous, partial, metadata={"about": json.dumps(about)})
    partial.replace(path)


def read_latents(path: Path) -> LatentClips:
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        count = len(about["characters"])
        lists = {name: [file.get_tensor(f"{name}.{i}") for i in range(count)] for name in _PER_CLIP}
        sinks = {c: file.get_tensor(f"sink.{c}") for c in set(about["characters"])}
        return LatentClips(
            **lists,
            mouth_boxes=[tuple(box) for box in about["mouth_boxes"]],
            characters=about["characters"],
            held_out=about["held_out"],
            sinks=sinks,
            scale=file.get_tensor("scale"),
            importance=file.get_tensor("importance"),
        )
