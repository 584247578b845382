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
from training import parallel
from training.data.dataset import CastClip, ClipSet
from training.tasks.vae import to_signed

log = get_logger(__name__)
SAMPLES_PER_LATENT = 2560
MOTION_WEIGHT = 3.0
"""Of the motion channels: an error there moves everything."""
LEAST_SCALE = 0.05
"""Of a channel's spread: where nothing moves, latents are not blown up."""
SINK_FRAMES = 9
STEP = 12 * GROUP
"""Frames encoded at a time."""
_PER_CLIP = ("latents", "speech", "controls", "visemes")


@dataclass
class LatentClips:
    """One entry a clip, each of L latent frames.

    `latents` (L, C, h, w) float16, `speech` (L, 8, D) float16, `controls` (L, 40) float32,
    `visemes` (L, 4, 4) float32; for each character `sinks` (3, C, h, w). `scale` (C, h, w) is
    the spread of latents before they were divided by it, `importance` what an error counts there.
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
def encode_clips(clips: ClipSet, vae: VAE, encoder: AudioEncoder, path: Path) -> None:
    """Write all clips as serving will see them; several processes share the work."""
    everything = [(clip, False) for clip in clips.train] + [(c, True) for c in clips.held_out]
    part = path.with_suffix(f".part{parallel.rank()}")
    mine = range(parallel.rank(), len(everything), parallel.count())
    if not path.exists():
        encoded = LatentClips()
        for done, number in enumerate(mine):
            encode_clip(*everything[number], vae, encoder, encoded)
            if done % 20 == 0:
                log.info("clip_encoded", number=done, of=len(mine))
        write_latents(encoded, part)
    parallel.wait_for_all()
    if parallel.rank() == 0 and not path.exists():
        write_latents(joined(path, len(everything), vae), path)
    parallel.wait_for_all()
    part.unlink(missing_ok=True)


def encode_clip(
    clip: CastClip, held_out: bool, vae: VAE, encoder: AudioEncoder, into: LatentClips
) -> None:
    """Encode one clip after the still portrait, relative to its first latent."""
    still = to_signed(np.broadcast_to(clip.portrait, (SINK_FRAMES, 256, 256, 3)).copy())[None]
    sink, state = vae.encode(still, EncoderState(), torch.zeros(1, SINK_FRAMES, 2, 32, 32))
    into.sinks[clip.character] = sink[0]
    num_latents = len(clip.curves) // GROUP
    num_frames = num_latents * GROUP
    frames, flow = to_signed(clip.frames[:num_frames])[None], clip.flow(0, num_frames)[None]
    pieces = []
    for piece, way in zip(frames.split(STEP, 1), flow.split(STEP, 1), strict=True):
        latents, state = vae.encode(piece, state, way)
        pieces.append(latents[0])
    into.latents.append((torch.cat(pieces) - sink[0, 0]).half())
    samples = torch.from_numpy(clip.samples[: num_latents * SAMPLES_PER_LATENT]).float()[None]
    tokens, _ = encoder(samples, encoder.init_state())
    into.speech.append(tokens[0].unflatten(0, (num_latents, -1)).half())
    into.controls.append(torch.from_numpy(clip.controls[:num_frames]).reshape(num_latents, -1))
    visemes = torch.from_numpy(clip.curves[:num_frames, :4])
    into.visemes.append(visemes.reshape(num_latents, GROUP, 4))
    into.mouth_boxes.append(clip.mouth_box)
    into.characters.append(clip.character)
    into.held_out.append(held_out)


def joined(path: Path, count: int, vae: VAE) -> LatentClips:
    """The parts of all processes in the order of the clips, scaled to unit energy everywhere."""
    parts = [read_latents(path.with_suffix(f".part{i}")) for i in range(parallel.count())]
    whole = LatentClips()
    for number in range(count):
        part, row = parts[number % len(parts)], number // len(parts)
        for name in (*_PER_CLIP, "mouth_boxes", "characters", "held_out"):
            getattr(whole, name).append(getattr(part, name)[row])
        whole.sinks |= part.sinks
    normalise(whole, vae)
    return whole


def normalise(clips: LatentClips, vae: VAE) -> None:
    """Divide latents by their spread, each channel at each place, and weigh errors by it."""
    energy = sum(x.float().square().mean(0) for x in clips.latents)
    assert isinstance(energy, Tensor)
    spread = (energy / len(clips)).sqrt()
    channel = spread.square().mean((1, 2), keepdim=True).sqrt()
    clips.scale = spread.maximum(LEAST_SCALE * channel)
    clips.importance = importance(vae, clips.scale)
    clips.latents = [(latents.float() / clips.scale).half() for latents in clips.latents]


def importance(vae: VAE, scale: Tensor) -> Tensor:
    """(C, h, w), mean 1: how much an error shows in squared pixels, and more for the motion.

    Most channels hold what a warp blurs at edges, which nothing foretells and hardly anybody sees:
    counted alike they hide the few that are a gaze or a blink.
    """
    shown = vae.linear_decode.weight.norm(dim=0) * vae.std[MOTION:]
    pixels = (shown[:, None, None] * scale[MOTION:]).square()
    motion = scale[:MOTION].square()
    motion = MOTION_WEIGHT * motion / motion.mean((1, 2), keepdim=True)
    weights = torch.cat([motion, pixels / pixels.mean()])
    return weights / weights.mean()


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
