"""Encoded clips in files of bounded size, with an index; and how training reads them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.errors import InvalidInput, NotFound
from training.data.footage.clip import STAGES, ClipInfo

INDEX = "index.json"
SHARD_BYTES = 256 << 20
TOKENS_PER_LATENT = 8
_PER_CLIP = ("latents", "sink", "speech", "face_mask")


@dataclass
class Footage:
    """One entry a clip, of L = 20 latent frames after its first picture.

    Named as in `LatentClips`, so far as footage knows: `latents` (L, C, h, w) float32, relative to
    the clip's sink and over `scale`; `speech` (L, 8, D) float16; keyed by clip, `sinks` (3, C, h,
    w) and `face_masks` (64,). There are no controls and no visemes: nobody measured them.
    """

    clips: list[ClipInfo] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    speech: list[Tensor] = field(default_factory=list)
    sinks: dict[str, Tensor] = field(default_factory=dict)
    face_masks: dict[str, Tensor] = field(default_factory=dict)
    scale: Tensor = field(default_factory=lambda: torch.ones(1))

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def characters(self) -> list[str]:
        """The key of each clip's sink and face mask: every clip is its own character."""
        return [clip.id for clip in self.clips]

    @property
    def mouth_boxes(self) -> list[tuple[int, int, int, int]]:
        return [clip.mouth_box for clip in self.clips]

    @property
    def held_out(self) -> list[bool]:
        return [clip.held_out for clip in self.clips]

    def is_held_out(self, index: int) -> bool:
        return self.clips[index].held_out


def write_shards(
    folder: Path,
    clips: Sequence[tuple[ClipInfo, Path]],
    about: dict[str, Any],
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """All encoded clips, in order; the index is written last, and says which file holds which.

    Shards of an index that stands are kept as long as they hold the same clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    before = json.loads(index.read_text()) if index.exists() else {}
    stored = [dict(entry) for entry in before.get("clips", [])]
    entries: list[dict[str, Any]] = []
    for number, part in enumerate(_parts(clips, shard_bytes)):
        name = f"footage-{number:05d}.safetensors"
        part_entries = [info.as_json() | {"shard": name} for info, _ in part]
        entries += json.loads(json.dumps(part_entries))
        old = [entry for entry in stored if entry["shard"] == name]
        same = before.get("weights") == about.get("weights") and [e["id"] for e in old] == [
            info.id for info, _ in part
        ]
        if same and (folder / name).exists():
            continue
        tensors = {
            f"{info.id}.{key}": tensor
            for info, path in part
            for key, tensor in load_file(path).items()
        }
        partial = folder / f"partial-{name}"
        save_file(tensors, partial)
        partial.replace(folder / name)
    partial = folder / f"partial-{INDEX}"
    partial.write_text(json.dumps(about | {"clips": entries}, indent=1) + "\n")
    partial.replace(index)
    for path in folder.glob("footage-*.safetensors"):
        if path.name not in {entry["shard"] for entry in entries}:
            path.unlink()
    return index


def read_footage(folder: Path, stage: str = "audio") -> Footage:
    """The clips of a stage: `motion`, `audio` or `silence`; see `clip.STAGES`.

    Raises:
        NotFound: No index in `folder`.
        InvalidInput: No such stage.
    """
    if stage not in STAGES:
        raise InvalidInput(f"stage {stage!r} does not exist; there are {', '.join(STAGES)}")
    if not (folder / INDEX).exists():
        raise NotFound(f"{folder / INDEX} is missing: run `python -m training.data.footage` first")
    footage, latents = Footage(), list[Tensor]()
    for info, tensors in _stored(folder, stage):
        footage.clips.append(info)
        # the first latent is the first picture, which the sink shows
        latents.append(tensors["latents"][1:].float() - tensors["sink"][:1].float())
        first = tensors["speech"].shape[0] - TOKENS_PER_LATENT * len(latents[-1])
        footage.speech.append(tensors["speech"][first:].unflatten(0, (-1, TOKENS_PER_LATENT)))
        footage.sinks[info.id] = tensors["sink"].float()
        footage.face_masks[info.id] = tensors["face_mask"].float()
    if latents:
        power = torch.cat([each.square().mean((0, 2, 3))[None] for each in latents])
        footage.scale = power.mean(0).sqrt().clamp(min=1e-6)
        footage.latents = [each / footage.scale[:, None, None] for each in latents]
    return footage


def _stored(folder: Path, stage: str) -> Iterator[tuple[ClipInfo, dict[str, Tensor]]]:
    entries = json.loads((folder / INDEX).read_text())["clips"]
    for shard in sorted({entry["shard"] for entry in entries}):
        with safe_open(folder / shard, "pt") as file:
            for entry in entries:
                if entry["shard"] == shard and stage in entry["stages"]:
                    info = ClipInfo.from_json(entry)
                    yield info, {key: file.get_tensor(f"{info.id}.{key}") for key in _PER_CLIP}


def _parts(
    clips: Sequence[tuple[ClipInfo, Path]], shard_bytes: int
) -> Iterator[list[tuple[ClipInfo, Path]]]:
    """Runs of clips whose files have at most `shard_bytes` together, or one clip."""
    part: list[tuple[ClipInfo, Path]] = []
    size = 0
    for info, path in clips:
        more = path.stat().st_size
        if part and size + more > shard_bytes:
            yield part
            part, size = [], 0
        part.append((info, path))
        size += more
    if part:
        yield part
