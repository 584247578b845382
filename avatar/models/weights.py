"""Weight files: safetensors with the architecture in their metadata, checked against a manifest."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from avatar.errors import CorruptFile, NotFound

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)

MANIFEST = "manifest.json"
SMALL_BYTES = 1 << 30


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path) -> None:
    """List every file of `folder` with its sha256 in `manifest.json`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    entries = {p.relative_to(folder).as_posix(): sha256_of(p) for p in files}
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n")


def enter_in_manifest(folder: Path, name: str, digest: str) -> bool:
    """List a file of `folder` beside what is listed there; whether it replaced another content.

    Raises:
        CorruptFile: The manifest is none.
    """
    path = folder / MANIFEST
    try:
        listed = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise CorruptFile(
            f"{path} is damaged: remove it, and convert into {folder} anew"
        ) from error
    before = listed.get(name, digest)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(dict(sorted((listed | {name: digest}).items())), indent=1) + "\n")
    partial.replace(path)
    return bool(before != digest)


GIT_FIX = "restore it with `git checkout`"
CONVERT_FIX = "convert it anew, see docs/checkpoints.md"


def check_file(folder: Path, name: str, fix: str = GIT_FIX) -> Path:
    """Path of `name` in `folder`, once its content is what the manifest says.

    `fix` is what mends a file that is not.

    Raises:
        NotFound: No such file, or no manifest.
        CorruptFile: The checksum differs.
    """
    path = folder / name
    try:
        expected = json.loads((folder / MANIFEST).read_text())[name]
        actual = sha256_of(path)
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename} is missing; {fix}") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise CorruptFile(f"{folder / MANIFEST} does not list {name}") from error
    if actual != expected:
        raise CorruptFile(
            f"{path} is damaged: sha256 {actual[:12]}…, expected {expected[:12]}…; {fix}"
        )
    return path


def save_model(
    model: nn.Module, config: object, path: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write weights as safetensors, with the architecture (a frozen dataclass) as metadata.

    Half precision halves what ships; the models run in float32.
    """
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    metadata = {"config": json.dumps(dataclasses.asdict(config))}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def read_model(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and architecture fields of a file written by `save_model`."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        return tensors, json.loads(metadata["config"])
    except FileNotFoundError as error:
        raise NotFound(f"{path} is missing; restore it with `git checkout`") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CorruptFile(f"{path} is no weight file of this project: {error}") from error


@dataclass(frozen=True)
class Header:
    """What a weight file says of itself: architecture, and each tensor's type and shape."""

    path: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    preset: str = ""


def read_header(path: Path) -> Header:
    """Raises NotFound without the file, CorruptFile where it is none of this project."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        return Header(path, json.loads(metadata["config"]), shapes, metadata.get("preset", ""))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is missing") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CorruptFile(f"{path} is no weight file of this project: {error}") from error


def describes(kind: type[Any], header: Header) -> bool:
    """Whether the header's architecture has exactly the fields of this dataclass."""
    return {field.name for field in dataclasses.fields(kind)} == header.config.keys()


def config_of(kind: type[Config], header: Header) -> Config:
    """The header's architecture as `kind`, a frozen dataclass that may hold others.

    Raises:
        CorruptFile: It is that of another network, or of another version.
    """
    given, known = header.config.keys(), {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(given - known):
        raise CorruptFile(f"{header.path}: {kind.__name__} has no {', '.join(unknown)}")
    try:
        return TypeAdapter(kind).validate_python(header.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or kind.__name__
        raise CorruptFile(f"{header.path}: {where}: {first['msg']}") from error


def building_site(path: Path) -> torch.device:
    """Where to build the model that `place_into` fills: without memory, unless it is small.

    What torch imports for tensors without memory takes 80 MB by itself.
    """
    return torch.device("meta" if path.stat().st_size > SMALL_BYTES else "cpu")


def place_into(
    model: Model,
    path: Path,
    device: torch.device,
    numbers: Callable[[str], torch.dtype],
    finish: Callable[[str, nn.Module], nn.Module] | None = None,
) -> Model:
    """Fill a model from `building_site`, tensor by tensor, right on its own device.

    `numbers` says for each tensor's name in which numbers it is kept there. On a GPU no more
    than one is in the CPU's memory at a time. `finish` is given each module, by its place, as soon
    as its own tensors are there: what it answers with stands there before more is read.

    Raises:
        CorruptFile: A tensor is missing, unexpected, or of another shape.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    with safe_open(path, "pt") as file:
        check_names(shapes, dict.fromkeys(file.keys()), path)
        for place, names in groupby(shapes, key=lambda name: name.rpartition(".")[0]):
            placed = {}
            for name in names:
                tensor, wanted = file.get_tensor(name), shapes[name]
                if tensor.shape != wanted:
                    raise CorruptFile(_odd_shape(path, name, tensor.shape, wanted))
                # no view of the mapped file
                placed[name.rpartition(".")[2]] = tensor.to(device, numbers(name), copy=True)
            module = model.get_submodule(place)
            module.load_state_dict(placed, strict=False, assign=True)
            if finish is not None and (finished := finish(place, module)) is not module:
                model.set_submodule(place, finished)
    # what is no weight was made here, with real numbers
    return model.to(device).eval().requires_grad_(False)


def check_names(own: Mapping[str, object], given: Mapping[str, object], path: Path) -> None:
    """Raises CorruptFile that names a few of what is missing or unexpected."""
    missing, unexpected = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or unexpected:
        raise CorruptFile(
            f"{path}: {len(missing)} tensors missing {missing[:5]}, "
            f"{len(unexpected)} unexpected {unexpected[:5]}"
        )


def load_into(model: Model, tensors: dict[str, torch.Tensor], path: Path) -> Model:
    """Copy tensors into the model, refusing what is missing, unexpected or of another shape."""
    own = model.state_dict()
    check_names(own, tensors, path)
    for key, tensor in tensors.items():
        if own[key].shape != tensor.shape:
            raise CorruptFile(_odd_shape(path, key, tensor.shape, own[key].shape))
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})
    return model.eval().requires_grad_(False)


def _odd_shape(path: Path, name: str, given: torch.Size, expected: torch.Size) -> str:
    return f"{path}: {name} has shape {tuple(given)}, expected {tuple(expected)}"
