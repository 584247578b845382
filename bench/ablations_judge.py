"""Judges one row of the ablation table by the meters: held-out clips, a long rollout, and cost."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.models.dit import DiT
from avatar.models.vae import DecoderState
from avatar.models.vae.model import GROUP
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import (
    Portrait,
    RolloutState,
    denoise_chunk,
    drop_anchor,
    from_model_space,
)
from avatar.sampling.schedule import chunk_noise
from bench.ablations_rows import Budget, Rule
from bench.ablations_train import Ground, counting
from bench.results import Values
from training.data.dataset import CastClip
from training.meters.identity import Likeness, cells
from training.meters.mouth_reader import read_mouth
from training.meters.picture import compare_videos
from training.meters.rollout import Tally, measure_drift
from training.meters.sync import FPS, measure_sync
from training.tasks.batch import Stretch, Stretches
from training.tasks.teacher import sample
from training.tasks.vae import to_signed

WARM_UP = 2
"""Chunks whose time does not count: the first has no past, and memory is cold."""


@dataclass(frozen=True)
class Made:
    """Latents (1, T, C, h, w) in the VAE's space; processor seconds of each chunk or stretch."""

    latents: Tensor
    seconds: list[float]


@torch.inference_mode()
def judge_row(ground: Ground, model: DiT, rule: Rule, budget: Budget) -> Values:
    """Plain numbers: of every clip, of the rollout (none by the teacher), and cost."""
    order = [*range(0, len(ground.held_out), 2), *range(1, len(ground.held_out), 2)]
    clips, costs = [], []
    for number in order[: budget.clips]:
        figures, cost = judge_clip(ground, model, rule, number, budget.clip_latents)
        clips.append(figures)
        costs.append(cost)
    return {
        "clips": clips,
        "drift": None if rule.stage == "teacher" else drift(ground, model, rule, budget),
        "cost": mean_cost(costs, rule) | {"gflop_a_second": gflop_a_second(ground, model, rule)},
    }


def judge_clip(
    ground: Ground, model: DiT, rule: Rule, number: int, num_latents: int
) -> tuple[Values, Values]:
    """One held-out clip, generated beside its real render."""
    clip = ground.held_out[number]
    made = generate(ground, model, rule, number, num_latents)
    began = time.process_time()
    stretch = stretch_of(ground, rule, number, 1)
    frames = decode(ground, clip, made.latents[:, :num_latents], stretch.sinks[:, 0])
    decode_s = (time.process_time() - began) / num_latents
    real = clip.frames[: len(frames)]
    opening = read_mouth(ground.mouth_reader, frames, clip.mouth_box)[:, 0]
    sync = measure_sync(opening, clip.curves[: len(frames), 0])
    look = compare_videos(frames, real, clip.mouth_box, rule.made_at_once * GROUP)
    figures = {
        "character": clip.character,
        "opening": sync.correlation,
        "lag_ms": sync.lag_ms,
        "amplitude": sync.amplitude_ratio,
        "eyes": look.eyes,
        "mouth": look.mouth,
        "flicker": look.flicker - look.flicker_real,
        "border": look.border,
        "inside": look.inside,
        "border_real": look.border_real,
        "inside_real": look.inside_real,
    }
    return figures, {"score_s": made.seconds, "decode_s": decode_s}


def generate(ground: Ground, model: DiT, rule: Rule, number: int, num_latents: int) -> Made:
    """At least so many latents of a held-out clip: whole chunks, or whole stretches."""
    count = -(-num_latents // rule.made_at_once) * rule.made_at_once
    if rule.stage == "teacher":
        return by_stretches(ground, model, rule, number, count)
    stretch = stretch_of(ground, rule, number, count)
    return roll(model, rule.policy, stretch.portrait, stretch.speech, stretch.controls, seed=number)


def by_stretches(ground: Ground, model: DiT, rule: Rule, number: int, count: int) -> Made:
    """Bidirectional stretches, each for itself."""
    latents, seconds = [], []
    for seq, start in enumerate(range(0, count, rule.made_at_once)):
        stretch = stretch_of(ground, rule, number, rule.made_at_once, start)
        noise = chunk_noise(tuple(stretch.clean.shape), number, 0, seq, 0)
        began = time.process_time()
        made = sample(model, stretch, rule.policy, noise=noise)
        seconds.append(time.process_time() - began)
        latents.append(from_model_space(model, made, stretch.portrait.reference))
    return Made(torch.cat(latents, 1), seconds)


def roll(
    model: DiT, policy: Policy, portrait: Portrait, speech: Tensor, controls: Tensor, *, seed: int
) -> Made:
    """Chunk after chunk as serving makes them, for all of the controls (1, T, K)."""
    F, reach = policy.chunk_latents, (speech.shape[1] - controls.shape[1]) // 2
    anchor, state = drop_anchor(model, portrait, policy), RolloutState()
    latents, seconds = [], []
    for seq, start in enumerate(range(0, controls.shape[1], F)):
        began = time.process_time()
        made, state = denoise_chunk(
            model,
            anchor,
            speech[:, start : start + F + 2 * reach],
            controls[:, start : start + F],
            state,
            policy,
            seed=seed,
            epoch=0,
            seq=seq,
        )
        seconds.append(time.process_time() - began)
        latents.append(made)
    return Made(torch.cat(latents, 1), seconds)


def drift(ground: Ground, model: DiT, rule: Rule, budget: Budget) -> Values:
    """One clip again and again without a break: the last time against the second.

    The first does not count, because its first chunk has no past.
    """
    clip, period, reach = ground.held_out[0], budget.clip_latents, rule.audio_window // 2
    index = held_out_index(ground, 0)
    count = -(-period * budget.passes // rule.chunk) * rule.chunk
    around = np.arange(-reach, count + reach) % period
    speech = ground.clips.speech[index].float()[around][None]
    controls = ground.clips.controls[index][np.arange(count) % period][None]
    stretch = stretch_of(ground, rule, 0, 1)
    made = roll(model, rule.policy, stretch.portrait, speech, controls, seed=0)
    minutes = []
    for number in (1, budget.passes - 1):
        start = number * period
        part = made.latents[:, start : start + period]
        frames = decode(ground, clip, part, made.latents[:, start - 1])
        tally = Tally()
        opening = read_mouth(ground.mouth_reader, frames, clip.mouth_box)[:, 0]
        tally.add(frames, opening, clip.mouth_box)
        minutes.append(tally.minute())
    truth = clip.curves[: period * GROUP, 0]
    found = asdict(measure_drift(minutes, likeness(ground.held_out, 0, period), truth))
    return found | {"seconds": count * GROUP / FPS}


def likeness(clips: Sequence[CastClip], number: int, period: int) -> Likeness:
    """The clip's mean real picture, and those of all other characters."""
    pictures = {
        clip.character: cells(np.mean(clip.frames[: period * GROUP], axis=0))
        for clip in [*clips[::-1], clips[number]]
    }
    own = pictures.pop(clips[number].character)
    return Likeness(own, pictures, clips[number].mouth_box)


def decode(ground: Ground, clip: CastClip, latents: Tensor, before: Tensor) -> NDArray[np.uint8]:
    """(4 T, 256, 256, 3): latents (1, T, C, h, w) after the latent `before` (1, C, h, w)."""
    reference = ground.vae.init_decoder(to_signed(clip.portrait)[None]).reference
    frames, _ = ground.vae.decode(latents, DecoderState(before, reference))
    pixels = ((frames[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return pixels.permute(0, 2, 3, 1).numpy()


def stretch_of(ground: Ground, rule: Rule, number: int, length: int, start: int = 0) -> Stretch:
    """Of a held-out clip."""
    stretches = Stretches(ground.clips, ground.masks, rule.audio_window // 2)
    return stretches.cut([held_out_index(ground, number)], [start], length)


def held_out_index(ground: Ground, number: int) -> int:
    return [i for i in range(len(ground.clips)) if ground.clips.is_held_out(i)][number]


def mean_cost(costs: Sequence[Values], rule: Rule) -> Values:
    """Milliseconds of processor time of what is made at once.

    `delay_ms` is from the first sound of a chunk, as it is spoken, to the first picture of it: the
    chunk has to be over before it can be made.
    """
    skipped = WARM_UP if rule.stage != "teacher" else 0
    seconds = [s for cost in costs for s in (cost["score_s"][skipped:] or cost["score_s"])]
    score_ms = 1000 * float(np.median(seconds))
    decode_ms = 1000 * rule.made_at_once * float(np.median([cost["decode_s"] for cost in costs]))
    video_s = rule.made_at_once * GROUP / FPS
    return {
        "video_s": video_s,
        "score_ms": score_ms,
        "decode_ms": decode_ms,
        "delay_ms": 1000 * video_s + score_ms + decode_ms,
    }


def gflop_a_second(ground: Ground, model: DiT, rule: Rule) -> float:
    """Of video: what a second chunk, or stretch, adds to the first; without the VAE."""
    flop = []
    for count in (1, 2):
        with counting() as counter:
            generate(ground, model, rule, 0, count * rule.made_at_once)
        flop.append(counter.get_total_flops())
    return (flop[1] - flop[0]) / (rule.made_at_once * GROUP / FPS) / 1e9
