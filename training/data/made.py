"""What a finished DiT makes for the clips it learned from, kept on disk for the decoder."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.models.dit import DiT
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import Portrait, RolloutState, denoise_chunk, drop_anchor
from avatar.telemetry.logging import get_logger
from training import parallel
from training.data.latents import LatentClips

log = get_logger(__name__)


def make_latents(
    model: DiT, clips: LatentClips, face_masks: dict[str, Tensor], policy: Policy, path: Path
) -> list[Tensor]:
    """Of each clip to learn from, (L, C, h, w) float16 as the VAE has them, from the cache.

    Several processes share the work; `path` and its parts are read where they are there already.
    """
    learned = [i for i in range(len(clips)) if not clips.is_held_out(i)]
    part = path.with_suffix(f".part{parallel.rank()}")
    if not part.exists():
        mine = learned[parallel.rank() :: parallel.count()]
        made = {}
        for done, index in enumerate(mine):
            made[str(index)] = roll(model, clips, face_masks, policy, index).half()
            if done % 20 == 0:
                log.info("clip_made", number=done, of=len(mine))
        save_file(made, part)
    parallel.wait_for_all()
    found: dict[str, Tensor] = {}
    for rank in range(parallel.count()):
        with safe_open(path.with_suffix(f".part{rank}"), "pt") as file:
            found |= {key: file.get_tensor(key) for key in file.keys()}
    return [found[str(index)] for index in learned]


@torch.inference_mode()
def roll(
    model: DiT, clips: LatentClips, face_masks: dict[str, Tensor], policy: Policy, index: int
) -> Tensor:
    """(L, C, h, w): a whole clip chunk by chunk, as a session would have it."""
    assert model.config.audio is not None
    reach, count = model.config.audio.reach, policy.chunk_latents
    who = clips.characters[index]
    portrait = Portrait(clips.sinks[who][None], face_masks[who][None])
    anchor, state = drop_anchor(model, portrait, policy), RolloutState()
    speech = clips.speech[index].float()
    silence = torch.zeros(reach, *speech.shape[1:])
    padded = torch.cat([silence, speech, silence])
    made = []
    for seq, start in enumerate(range(0, len(speech) - count + 1, count)):
        latents, state = denoise_chunk(
            model,
            anchor,
            padded[None, start : start + count + 2 * reach],
            clips.controls[index][None, start : start + count],
            state,
            policy,
            seed=index,
            epoch=0,
            seq=seq,
        )
        made.append(latents[0])
    return torch.cat(made)


def true_latents(clips: LatentClips) -> list[Tensor]:
    """The clips' own, as the VAE has them, of those to learn from."""
    return [
        (latents.float() * clips.scale + clips.sinks[who][0]).half()
        for latents, who, held_out in zip(
            clips.latents, clips.characters, clips.held_out, strict=True
        )
        if not held_out
    ]
