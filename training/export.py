"""From a finished run to the files that ship: weights, portraits, boxes, figures, manifest."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from avatar.cast.characters import CAST
from avatar.cast.profiles import PROFILES
from avatar.models.audio_encoder import AudioEncoder
from avatar.models.dit import DiT
from avatar.models.vae import VAE, EncoderState
from avatar.models.weights import save_model, write_manifest
from training.data.latents import SINK_FRAMES
from training.data.looks import LOOKS
from training.data.renderer import face_mask, mouth_box, portrait
from training.tasks.vae import to_signed


def face_masks(tokens: int = 8) -> dict[str, Tensor]:
    """For each character (tokens * tokens,): 1 where a token touches the face."""
    masks = {}
    for member in CAST:
        pixels = torch.from_numpy(np.asarray(face_mask(LOOKS[member.id]), np.float32))
        share = F.adaptive_avg_pool2d(pixels[None, None], tokens)[0, 0]
        masks[member.id] = (share > 0.08).float().flatten()
    return masks


@torch.no_grad()
def export_assets(run: Path, encoder: AudioEncoder, dit: DiT, vae: VAE) -> None:
    """Write the profile's folder; its manifest seals what is in it."""
    folder = PROFILES["tiny"].folder
    save_model(encoder, encoder.config, folder / "audio_encoder.safetensors")
    save_model(vae, vae.config, folder / "vae.safetensors")
    save_model(dit, dit.config, folder / "dit.safetensors")
    shutil.copyfile(run / "mouth_reader.safetensors", folder / "mouth_reader.safetensors")
    masks = face_masks()
    boxes = {}
    for member in CAST:
        picture = portrait(LOOKS[member.id])
        still = to_signed(np.broadcast_to(picture, (SINK_FRAMES, *picture.shape)).copy())[None]
        sink, _ = vae.encode(still, EncoderState(), torch.zeros(1, SINK_FRAMES, 2, 32, 32))
        (folder / member.id).mkdir(parents=True, exist_ok=True)
        save_file(
            {
                "sink_latents": sink[0].contiguous(),
                "face_mask": masks[member.id].byte(),
                "portrait": torch.from_numpy(picture.copy()),
            },
            folder / member.id / "avatar.safetensors",
        )
        Image.fromarray(picture).save(folder / member.id / "portrait.png", optimize=True)
        boxes[member.id] = [int(v) for v in mouth_box(LOOKS[member.id])]
    (folder / "mouth_boxes.json").write_text(json.dumps(boxes, indent=1) + "\n")
    figures = {path.stem: json.loads(path.read_text()) for path in sorted(run.glob("*.json"))}
    (folder / "training.json").write_text(json.dumps(figures, indent=1) + "\n")
    write_manifest(folder)
