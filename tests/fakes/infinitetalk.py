"""InfiniteTalk, plainly: a public image-to-video network and, by hand, how it hears.

Neither package of `tests/parity` has it. What is added here follows its description, under its
tensors' names, one latent, one head and one frame after the other.
"""

from typing import Any

import torch
from torch import Tensor, nn

from avatar.models.dit import DiTConfig
from tests.fakes.public_twins import diffsynth_i2v

WINDOW, FRAMES_PER_LATENT = 5, 4


def infinitetalk(config: DiTConfig) -> nn.Module:
    """Image-to-video with the tensors of InfiniteTalk's hearing; deaf until `hear` is called."""
    speech = config.frame_audio
    assert speech is not None
    model: Any = diffsynth_i2v(config)
    hidden, context = speech.hidden_dim, speech.context_dim
    model.audio_proj = nn.ModuleDict(
        {
            "proj1": nn.Linear(WINDOW * speech.dim, hidden),
            "proj1_vf": nn.Linear((WINDOW + FRAMES_PER_LATENT - 1) * speech.dim, hidden),
            "proj2": nn.Linear(hidden, hidden),
            "proj3": nn.Linear(hidden, speech.context_tokens * context),
            "norm": nn.LayerNorm(context),
        }
    )
    for block in model.blocks:
        block.norm_x = nn.LayerNorm(config.dim, config.eps)
        block.audio_cross_attn = nn.ModuleDict(
            {
                "q_linear": nn.Linear(config.dim, config.dim),
                "kv_linear": nn.Linear(context, 2 * config.dim),
                "proj": nn.Linear(config.dim, config.dim),
            }
        )
    made: nn.Module = model
    return made


def hear(model: Any, speech: Tensor, num_heads: int) -> None:
    """From now on every block hears speech (frames + 4, dim), two frames more on either side.

    After its attention to text and picture, and before its feed-forward.
    """
    tokens = tokens_of(model.audio_proj, speech)
    for block in model.blocks:
        before: list[Tensor] = []

        def keep(_: nn.Module, given: tuple[Tensor], before: list[Tensor] = before) -> None:
            before[:] = given

        def add(
            _: nn.Module,
            given: tuple[Tensor, ...],
            seen: Tensor,
            block: Any = block,
            before: list[Tensor] = before,
        ) -> Tensor:
            x = before[0] + seen  # what the block has once it has looked at text and picture
            return seen + heard(block.audio_cross_attn, block.norm_x(x), tokens, num_heads)

        block.norm3.register_forward_pre_hook(keep)
        block.cross_attn.register_forward_hook(add)


def tokens_of(project: Any, speech: Tensor) -> list[Tensor]:
    """(tokens, context_dim) for each latent: the first of one frame, the others of four."""
    windows = [speech[frame : frame + WINDOW] for frame in range(len(speech) - WINDOW + 1)]
    middle = WINDOW // 2
    hidden = [project["proj1"](windows[0].flatten())]
    for first in range(1, len(windows), FRAMES_PER_LATENT):
        frames = windows[first : first + FRAMES_PER_LATENT]
        # of the first frame what comes before it, of the last what comes after, of each itself
        parts = [frames[0][: middle + 1]]
        parts += [frame[middle : middle + 1] for frame in frames[1:-1]]
        parts += [frames[-1][middle:]]
        hidden.append(project["proj1_vf"](torch.cat(parts).flatten()))
    found = []
    for each in hidden:
        code = torch.relu(project["proj2"](torch.relu(each)))
        size = project["norm"].normalized_shape[0]
        found.append(project["norm"](project["proj3"](code).view(-1, size)))
    return found


def heard(attend: Any, x: Tensor, tokens: list[Tensor], num_heads: int) -> Tensor:
    """What speech adds to x (1, L, dim), whose tokens lie latent after latent."""
    answers = []
    for part, context in zip(x[0].chunk(len(tokens)), tokens, strict=True):
        query, keys_values = attend["q_linear"](part), attend["kv_linear"](context)
        keys, values = keys_values.split(query.shape[-1], -1)
        size = query.shape[-1] // num_heads
        heads = []
        for each in range(num_heads):
            own = slice(each * size, (each + 1) * size)
            scores = query[:, own] @ keys[:, own].T / size**0.5
            heads.append(scores.softmax(-1) @ values[:, own])
        answers.append(attend["proj"](torch.cat(heads, -1)))
    return torch.cat(answers)[None]
