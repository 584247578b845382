"""Clips out of shards, read when they are drawn: a data set need not fit into memory."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from avatar.errors import InvalidInput, NotFound
from avatar.models.dit import DiTConfig
from training.data.footage.clip import STAGES, ClipInfo
from training.data.footage.shards import INDEX
from training.tasks.batch import Stretch

COMMAND = "python -m training.data.footage"


@dataclass(frozen=True)
class Mix:
    """Shares of the clips of each stage in a batch; see `training.data.footage.clip.STAGES`."""

    motion: float = 0.0
    audio: float = 1.0
    silence: float = 0.0


class ShardedClips:
    """Draws stretches of clips as the pipeline for footage leaves them.

    Each clip holds `latents` (L + 1, C, h, w), the first being its first picture, `sink` (3, C, h,
    w), `speech` (tokens, dim), `face_mask` (tokens,), and, for models that look at them, `text`
    (L, text_dim), `image` (L, image_dim) and `image_channels` (places, condition_channels, h, w),
    see `avatar.sampling.rollout.Portrait`.
    """

    def __init__(self, folder: Path, config: DiTConfig, mix: Mix, device: torch.device) -> None:
        self.folder, self.config, self.device = folder, config, device
        assert config.audio is not None
        self.audio = config.audio
        if not (folder / INDEX).exists():
            raise NotFound(f"{folder / INDEX} is missing: run `{COMMAND}` first")
        entries = json.loads((folder / INDEX).read_text())["clips"]
        self.groups: list[list[tuple[ClipInfo, str]]] = []
        shares = {name: getattr(mix, name) for name in STAGES}
        for stage, share in shares.items():
            found = [
                (ClipInfo.from_json(each), each["shard"])
                for each in entries
                if stage in each["stages"] and not each["held_out"]
            ]
            if share and not found:
                raise InvalidInput(
                    f"{folder} has no clip of stage {stage!r}, which is to be {share:.0%} of a "
                    f"batch: add footage (`{COMMAND}`) or set its share to 0"
                )
            self.groups.append(found)
        total = sum(shares.values())
        self.shares = [share / total for share in shares.values()]

    def draw(self, rng: np.random.Generator, count: int, length: int) -> Stretch:
        """`count` stretches of `length` latents, anywhere in any clip."""
        rows = []
        for group in rng.choice(len(self.groups), count, p=self.shares):
            chosen = self.groups[group]
            info, shard = chosen[int(rng.integers(len(chosen)))]
            rows.append(self._cut(info, shard, rng, length))
        first = rows[0]
        whole = {name: torch.stack([row[name] for row in rows]).to(self.device) for name in first}
        size, channels = whole["clean"].shape[-2:], whole["clean"].shape[2]
        return Stretch(
            clean=whole["clean"],
            speech=whole["speech"],
            controls=whole["clean"].new_zeros(count, length, 0),
            visemes=whole["clean"].new_zeros(count, length, 0, 4),
            sinks=whole["sinks"],
            masks=whole["masks"],
            weight=whole["clean"].new_ones(count, *size),
            importance=whole["clean"].new_ones(channels, 1, 1),
            boxes=(),
            text=whole.get("text"),
            image=whole.get("image"),
            image_channels=whole.get("image_channels"),
        )

    def _cut(
        self, info: ClipInfo, shard: str, rng: np.random.Generator, length: int
    ) -> dict[str, Tensor]:
        with safe_open(self.folder / shard, "pt") as file:
            names = set(file.keys())

            def read(key: str) -> Tensor:
                if f"{info.id}.{key}" not in names:
                    raise InvalidInput(
                        f"clip {info.id} in {shard} has no {key!r}, which this model looks at: "
                        "encode the footage anew for its profile"
                    )
                return file.get_tensor(f"{info.id}.{key}").float()

            latents, sink, tokens = read("latents")[1:], read("sink"), read("speech")
            found = {"sinks": sink, "masks": read("face_mask")}
            if self.config.text_dim is not None:
                found["text"] = read("text")
            if self.config.image_dim is not None:
                found["image"] = read("image")
                found["image_channels"] = read("image_channels")
        if len(latents) < length:
            raise InvalidInput(
                f"clip {info.id} has {len(latents)} latents, {length} in a stretch of this recipe"
            )
        start, reach = int(rng.integers(len(latents) - length + 1)), self.audio.reach
        # the tokens of the first picture, which come first, belong to the sink
        speech = tokens[-self.audio.tokens_per_latent * len(latents) :]
        speech = speech.unflatten(0, (len(latents), -1))
        padded = F.pad(speech, (0, 0, 0, 0, reach, reach))
        found["speech"] = padded[start : start + length + 2 * reach]
        origin = sink[:1] if self.config.residual else torch.zeros_like(sink[:1])
        found["clean"] = latents[start : start + length] - origin
        return found
