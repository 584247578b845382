"""Public weights become a file of ours, or an error that names the tensor that disagrees."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar.errors import CorruptFile, InvalidInput
from avatar.models.checkpoints.lora import merged
from avatar.models.checkpoints.names import key_map
from avatar.models.checkpoints.pieces import Piece
from avatar.models.checkpoints.preset import Layout, Preset
from avatar.models.checkpoints.source import Entry, Source, config_of
from avatar.models.checkpoints.write import Slot, write_safetensors
from avatar.models.weights import enter_in_manifest

Shapes = dict[str, tuple[int, ...]]
PROFILE = "profile.json"
"""The card that `python -m avatar profile` writes."""
NAMED = 5
"""Tensors that an error names before it counts the rest."""


@dataclass(frozen=True)
class Conversion:
    """What was written, and from what."""

    path: Path
    config: Any
    layout: str
    num_tensors: int
    num_parameters: int
    num_bytes: int
    added: tuple[str, ...]
    """Tensors that the source has not, and that begin anew."""
    ended_profile: bool = False
    """The folder was a profile, checked and with portraits made by the weights before these."""


def convert(
    preset: Preset,
    sources: Sequence[Path],
    destination: Path,
    *,
    accept_noncommercial: bool = False,
    dtype: torch.dtype | None = None,
) -> Conversion:
    """Write the weights of `sources` as `<destination>/<preset.file>.safetensors`.

    Later sources replace tensors of earlier ones. One tensor is in memory at a time.

    Args:
        preset: What they are.
        sources: Files, or folders of shards.
        destination: A folder; its manifest is brought up to date.
        accept_noncommercial: Needed for weights whose licence forbids commercial use.
        dtype: Of the floating-point numbers written; None keeps each as it is.

    Raises:
        InvalidInput: The licence was not accepted.
        NotFound: A source is not there.
        CorruptFile: A tensor is missing, odd, or of another shape than the preset's.
        Unavailable: The disk is too small.
    """
    if preset.non_commercial and not accept_noncommercial:
        raise InvalidInput(
            f"{preset.name} is under {preset.licence} ({preset.licence_url}), which forbids "
            "commercial use: say --accept-noncommercial if that is your use"
        )
    public, config_path = config_of(sources)
    config = preset.geometry(preset.config(), public)
    with Source(sources) as source:
        shapes = shapes_of(preset, config)
        layout, entries = fitting(preset, config, shapes, source)
        pieces = pieces_of(shapes, layout, config)
        anew = plan(preset, config, shapes, pieces, entries, layout)
        slots = [_slot(name, shapes, pieces[name], entries, dtype, preset.name) for name in shapes]
        path = destination / f"{preset.file}.safetensors"
        metadata = {
            "config": json.dumps(dataclasses.asdict(config)),
            "preset": preset.name,
            "licence": preset.licence,
            "licence_url": preset.licence_url,
            "from": ", ".join(str(each.name) for each in sources),
            "geometry": config_path.name if config_path else "the preset's",
        }
        digest = write_safetensors(path, slots, metadata)
    is_replaced = enter_in_manifest(destination, path.name, digest)
    return Conversion(
        path,
        config,
        layout.name,
        len(slots),
        sum(math.prod(shape) for shape in shapes.values()),
        sum(slot.num_bytes for slot in slots),
        tuple(anew),
        is_replaced and _ended(destination / PROFILE),
    )


def shapes_of(preset: Preset, config: Any) -> Shapes:
    """Our tensors' names and shapes; on the meta device, so at no cost of memory."""
    with torch.device("meta"):
        model = preset.build(config)
    return {name: tuple(each.shape) for name, each in model.state_dict().items()}


def pieces_of(shapes: Iterable[str], layout: Layout, config: Any) -> dict[str, Piece]:
    """Where each of our tensors is in the public file."""
    names = key_map(shapes, layout.names(config))
    return {ours: Piece.of(theirs) for ours, theirs in names.items()}


def fitting(
    preset: Preset, config: Any, shapes: Iterable[str], source: Source
) -> tuple[Layout, dict[str, Entry]]:
    """The layout of the preset that shares most names with the source, and the source's names."""
    best: tuple[int, Layout, dict[str, Entry]] | None = None
    for layout in preset.layouts:
        entries = source.without(layout.prefixes)
        if preset.lora_scale is not None:
            entries = merged(entries, preset.lora_scale)
        expected = {each.name for each in pieces_of(shapes, layout, config).values()}
        shared = len(expected & entries.keys())
        if best is None or shared > best[0]:
            best = (shared, layout, entries)
    assert best is not None
    return best[1], best[2]


def plan(
    preset: Preset,
    config: Any,
    shapes: Shapes,
    pieces: Mapping[str, Piece],
    entries: Mapping[str, Entry],
    layout: Layout,
) -> list[str]:
    """Check that every tensor has its source, and every source its use.

    Returns:
        Our names of tensors that begin anew.

    Raises:
        CorruptFile: Of what is missing, unexpected, or of another shape.
    """
    absent = [name for name in shapes if pieces[name].name not in entries]
    anew = [name for name in absent if preset.added is not None and preset.added in name]
    expected_anew = [name for name in shapes if preset.added is not None and preset.added in name]
    if anew != expected_anew:  # part of them is there: then all of them must be
        anew = []
    if missing := [pieces[name].name for name in absent if name not in anew]:
        raise CorruptFile(
            f"{len(missing)} of {len(shapes)} tensors that {preset.name} needs are missing "
            f"({layout.name} names): {_some(missing)}; is every shard there, and is it this preset?"
        )
    used = {each.name for each in pieces.values()}
    ignored = layout.ignored(config)
    odd = [
        name
        for name in entries
        if name not in used and not any(re.fullmatch(each, name) for each in ignored)
    ]
    if odd:
        where = entries[odd[0]].path.name
        raise CorruptFile(f"{len(odd)} tensors of {where} have no place in {preset.name}: "
                          f"{_some(odd)}; is it this preset?")  # fmt: skip
    for name, shape in shapes.items():
        piece = pieces[name]
        entry = entries.get(piece.name)
        if entry is not None and not piece.fits(entry.shape, shape):
            expected = piece.whole(shape)
            raise CorruptFile(
                f"{entry.path.name}: {piece.name} is {entry.shape}, {preset.name} has {expected}: "
                f"{_lines(config, entry.shape, expected)}"
            )
    return anew


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def _lines(config: Any, given: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Which lines of the configuration say what the file does not."""
    odd = {value for value in expected if value not in given} or set(expected)
    flat = _flat(dataclasses.asdict(config))
    lines = [f"{name} = {value}" for name, value in flat.items() if value in odd]
    where = "the configuration says " + ", ".join(lines) if lines else "by its configuration"
    return f"{where}; a config.json beside the weights would say otherwise"


def _flat(fields: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{before}{name}."))
        elif isinstance(value, int) and not isinstance(value, bool):
            found[before + name] = value
    return found


def _slot(
    name: str,
    shapes: Shapes,
    piece: Piece,
    entries: Mapping[str, Entry],
    dtype: torch.dtype | None,
    seed: str,
) -> Slot:
    shape, entry = shapes[name], entries.get(piece.name)
    if entry is None:
        return Slot(name, shape, dtype or torch.float32, lambda: fresh(name, shapes, seed))
    wanted = dtype if dtype is not None and entry.dtype.is_floating_point else entry.dtype
    return Slot(name, shape, wanted, lambda: piece.take(entry.read(), shape))


def fresh(name: str, shapes: Mapping[str, tuple[int, ...]], seed: str) -> Tensor:
    """An added layer's first numbers, from its name alone: the values' at zero, so it is silent."""
    layer, _, kind = name.rpartition(".")
    weight = shapes[f"{layer}.weight"]
    if "audio_v_proj" in name:
        return torch.zeros(shapes[name])
    if len(weight) == 1:
        return torch.ones(shapes[name]) if kind == "weight" else torch.zeros(shapes[name])
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()[:7]
    generator = torch.Generator().manual_seed(int.from_bytes(key, "big"))
    reach = math.prod(weight[1:]) ** -0.5
    return (torch.rand(shapes[name], generator=generator) * 2 - 1) * reach


def _ended(card: Path) -> bool:
    there = card.is_file()
    card.unlink(missing_ok=True)
    return there
