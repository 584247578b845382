"""What the lip sync meter says of videos made with the true mouth: the best that can be."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from avatar.cast.characters import character_of
from avatar.cast.profile import load_appearance
from avatar.cast.sampler import init_state, step
from avatar.media import LatentChunk, SessionId, Stamp
from avatar.models.vae import EncoderState
from avatar.render import Pipeline
from bench.stages import Spec
from training.data.looks import LOOKS
from training.data.renderer import PortraitRenderer
from training.meters.lip_sync import LipSync, SpokenClip, judge, read_boxes
from training.meters.mouth_reader import MouthReader, read_mouth
from training.tasks.vae import to_signed

Frames = NDArray[np.uint8]
Show = Callable[[str, int, NDArray[np.float32]], Frames]
"""A video of an avatar, by its movements' seed and its (T, 5) mouth."""


def ceilings(
    pipeline: Pipeline, reader: MouthReader, spoken: Sequence[SpokenClip]
) -> dict[str, LipSync]:
    """Of real renders, and of what the VAE makes of them."""
    return {
        "real": ceiling(reader, spoken, render),
        "vae": ceiling(reader, spoken, partial(reconstruct, pipeline)),
    }


def ceiling(reader: MouthReader, spoken: Sequence[SpokenClip], show: Show) -> LipSync:
    """As `measure_lip_sync`, of other videos."""
    boxes = read_boxes()
    avatars = sorted(boxes)
    read, closed = [], []
    for i, clip in enumerate(spoken):
        avatar = avatars[i % len(avatars)]
        frames = show(avatar, i, clip.curves)
        read.append(read_mouth(reader, frames[: len(clip.curves)], boxes[avatar]))
        still = show(avatar, 0, np.zeros((48, 5), np.float32))
        closed.append(float(np.median(read_mouth(reader, still, boxes[avatar])[:, 0])))
    return judge(read, closed, spoken)


def render(avatar: str, seed: int, mouth: NDArray[np.float32]) -> Frames:
    """Drawn, with the movements of a face that speaks."""
    renderer = PortraitRenderer(LOOKS[avatar])
    start = init_state(seed, character_of(avatar).temperament)
    movement, _ = step(start, "speaking", (), len(mouth))
    return np.stack([renderer.frame(m, c) for m, c in zip(mouth, movement, strict=True)])


@torch.inference_mode()
def reconstruct(pipeline: Pipeline, avatar: str, seed: int, mouth: NDArray[np.float32]) -> Frames:
    """Drawn, encoded, and decoded as the VAE decoder does, whole chunks only."""
    engine, clock = pipeline.decoder, pipeline.clock
    missing = -len(mouth) % clock.frames_per_chunk
    frames = render(avatar, seed, np.pad(mouth, ((0, missing), (0, 0)), mode="edge"))
    still = to_signed(load_appearance(pipeline.decoder.profile, avatar).portrait)
    encoding, decoding = EncoderState(still[None]), engine.init_state(Spec(avatar, seed))
    shown = []
    for seq, piece in enumerate(np.split(frames, len(frames) // clock.frames_per_chunk)):
        latents, encoding = engine.model.encode(to_signed(piece)[None], encoding)
        stamp = Stamp(SessionId("bench"), 0, seq, 0, clock.pts(seq))
        decoded, decoding = engine.step(LatentChunk(stamp, latents[0].numpy()), decoding)
        shown.append(decoded.frames)
    return np.concatenate(shown)
