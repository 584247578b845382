"""What does each public model need on a GPU, by its geometry? `python -m bench.gpu_memory`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from avatar.backends import Running
from avatar.backends.memory import Plan
from avatar.backends.needs import Picture, WanDecoder, decoder_plan, score_plan, speech_plan
from avatar.models.dit import DiT, DiTConfig
from avatar.models.dit.zoo import tm_18b, wan22_s2v_14b
from avatar.models.taehv import TAEHV, TAEW_2_1
from avatar.models.vae_wan import WAN_2_1, WanVAE
from avatar.models.wav2vec2 import BASE, LARGE, Recipe, Wav2Vec2, Wav2Vec2Config, native, s2v
from avatar.sampling.policy import LIVEAVATAR_4_STEP, NATIVE_2_STEP, REALVIDEO_2_STEP, Policy
from bench.results import table

GPU = torch.device("cuda", 0)
GB = 1e9


@dataclass(frozen=True)
class Row:
    """A policy by the names that docs/checkpoints.md has, and a picture that suits it."""

    names: str
    model: DiTConfig
    policy: Policy
    picture: Picture
    hears: Wav2Vec2Config
    recipe: Recipe


REALVIDEO = Row(
    "`realvideo-2step`, `-4step`", wan22_s2v_14b(), REALVIDEO_2_STEP,
    Picture(height=640, width=480), LARGE, s2v(),
)  # fmt: skip
PAPER = Row(
    "`native` (`tm-18b`)", tm_18b(), NATIVE_2_STEP, Picture(height=512, width=512), BASE, native()
)
ROWS = (
    REALVIDEO,
    Row(
        REALVIDEO.names, wan22_s2v_14b(), REALVIDEO_2_STEP,
        Picture(height=512, width=384), LARGE, s2v(),
    ),
    PAPER,
    Row(
        "`liveavatar-4step`", wan22_s2v_14b(), LIVEAVATAR_4_STEP,
        Picture(height=704, width=384), LARGE, s2v(fps=25),
    ),
)  # fmt: skip


def score(row: Row, running: Running) -> Plan:
    """Of the score worker, without a GPU."""
    with torch.device("meta"):
        model = DiT(row.model)
    return score_plan(model, row.policy, row.picture, running, GPU)


def decoder(row: Row, *, tiny: bool) -> Plan:
    with torch.device("meta"):
        model: WanDecoder = TAEHV(TAEW_2_1) if tiny else WanVAE(WAN_2_1)
    return decoder_plan(model, model.config.latent_channels, row.picture, Running(), GPU)


def speech(row: Row) -> Plan:
    with torch.device("meta"):
        weights = 4 * sum(each.numel() for each in Wav2Vec2(row.hears).state_dict().values())
    return speech_plan(row.hears, weights, row.recipe, GPU)


def score_table() -> str:
    """One session of each, bfloat16."""
    head = [
        "policy", "picture", "weights", "keys and values", "one forward", "sum, with CUDA",
        "with `LINEARS=fp8`", "with `CAPTURE=graph`",
    ]  # fmt: skip
    return table(head, [score_cells(row) for row in ROWS])


def score_cells(row: Row) -> list[str]:
    usual = score(row, Running())
    weights, kept, forward, *_ = (need.num_bytes for need in usual.needs)
    others = [score(row, Running(linears="fp8")), score(row, Running(capture="graph"))]
    sums = [usual.num_bytes, *(each.num_bytes for each in others)]
    return [row.names, size(row), *gigabytes([weights, kept, forward, *sums])]


def together_table() -> str:
    """All stages on one GPU, each in a process of its own."""
    head = [
        "policy", "picture", "score worker", "Wan's decoder", "or the tiny one", "wav2vec2",
        "sum", "with the tiny decoder",
    ]  # fmt: skip
    return table(head, [together_cells(row) for row in ROWS])


def together_cells(row: Row) -> list[str]:
    denoising, hearing = score(row, Running()).num_bytes, speech(row).num_bytes
    wan, tiny = (decoder(row, tiny=each).num_bytes for each in (False, True))
    sums = [denoising + wan + hearing, denoising + tiny + hearing]
    return [row.names, size(row), *gigabytes([denoising, wan, tiny, hearing, *sums])]


def size(row: Row) -> str:
    return f"{row.picture.width}x{row.picture.height}"


def gigabytes(num_bytes: Sequence[int]) -> list[str]:
    return [f"{each / GB:.1f} GB" for each in num_bytes]


if __name__ == "__main__":
    print(f"{score_table()}\n{together_table()}")
