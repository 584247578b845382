"""A sheet of what a run makes so far: held-out clips as they are, and as they are generated.

`python -m training.preview --run runs/tiny --model teacher --out sheet.png`
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from avatar.models.dit import DiT, tiny
from avatar.models.vae import VAE, DecoderState
from avatar.sampling.policy import NATIVE_2_STEP
from training.data.dataset import CastClip, read_clips
from training.data.latents import LatentClips, read_latents
from training.export import face_masks
from training.tasks.batch import Stretch, Stretches
from training.tasks.distill import rollout
from training.tasks.teacher import sample
from training.tasks.vae import to_signed
from training.train import trained_vae

SHOWN = (2, 9, 16, 24, 31, 38, 46, 53)
"""Frames of a clip that are shown."""
CHUNKS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--model", choices=["teacher", "dit", "student"], default="dit")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--characters", nargs="+")
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored, clips = read_latents(args.run / "latents.safetensors"), read_clips(args.run / "clips")
    model = load(args.run, args.model, stored)
    vae = trained_vae(args.run)
    rows = []
    for number, clip in enumerate(clips.held_out):
        index = len(clips.train) + number
        if number % 2 or (args.characters and clip.character not in args.characters):
            continue
        assert model.config.audio is not None
        stretch = Stretches(stored, face_masks(), model.config.audio.reach).cut(
            [index], [0], CHUNKS * NATIVE_2_STEP.chunk_latents
        )
        made = generate(model, stretch, args.model)
        rows += [clip.frames[list(SHOWN)], decode(vae, model, clip, stretch, made)[list(SHOWN)]]
    Image.fromarray(np.vstack([np.hstack(list(row)) for row in rows])).save(args.out)


def load(run: Path, name: str, stored: LatentClips) -> DiT:
    """The finished model, or the average so far of one that is being trained."""
    config = tiny(
        stored.latents[0].shape[1], stored.speech[0].shape[-1], stored.controls[0].shape[-1]
    )
    model = DiT(config)
    final, underway = run / f"{name}.safetensors", run / name / "checkpoint.safetensors"
    path, prefix = (final, "") if final.exists() else (underway, "ema.")
    own = prefix + ("student." if name == "student" else "")
    with safe_open(path, "pt") as file:
        model.load_state_dict({key: file.get_tensor(own + key) for key in model.state_dict()})
    return model.eval().requires_grad_(False)


def generate(model: DiT, stretch: Stretch, name: str) -> Tensor:
    """Latents (1, T, C, h, w) in the model's space."""
    torch.manual_seed(0)
    if name == "teacher":
        return sample(model, stretch, NATIVE_2_STEP)
    return rollout(model, stretch, NATIVE_2_STEP, len(NATIVE_2_STEP.sigmas) - 1)


@torch.no_grad()
def decode(
    vae: VAE, model: DiT, clip: CastClip, stretch: Stretch, made: Tensor
) -> NDArray[np.uint8]:
    """(4 T, 256, 256, 3)."""
    latents = made * model.latent_scale + stretch.sinks[:, :1]
    reference = vae.init_decoder(to_signed(clip.portrait)[None]).reference
    frames, _ = vae.decode(latents, DecoderState(stretch.sinks[:, 0], reference))
    pixels = ((frames[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return pixels.permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    main()
