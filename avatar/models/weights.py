"""Weight files: safetensors with the architecture in their metadata, checked against a manifest."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from avatar.errors import CorruptFile, NotFound

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)

MANIFEST = "manifest.json"


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


def check_file(folder: Path, name: str) -> Path:
    """Path of `name` in `folder`, once its content is what the manifest says.

    Raises:
        NotFound: No such file, or no manifest.
        CorruptFile: The checksum differs.
    """
    path = folder / name
    try:
        expected = json.loads((folder / MANIFEST).read_text())[name]
        actual = sha256_of(path)
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename} is missing; restore it with `git checkout`") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise CorruptFile(f"{folder / MANIFEST} does not list {name}") from error
    if actual != expected:
        raise CorruptFile(
            f"{path} is damaged: sha256 {actual[:12]}…, expected {expected[:12]}…; "
            "restore it with `git checkout` or train anew with `make train`"
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


def load_into(model: Model, tensors: dict[str, torch.Tensor], path: Path) -> Model:
    """Copy tensors into the model, refusing what is missing, unexpected or of another shape."""
    own = model.state_dict()
    missing, unexpected = own.keys() - tensors.keys(), tensors.keys() - own.keys()
    if missing or unexpected:
        raise CorruptFile(f"{path}: missing {sorted(missing)}, unexpected {sorted(unexpected)}")
    for key, tensor in tensors.items():
        if own[key].shape != tensor.shape:
            raise CorruptFile(
                f"{path}: {key} has shape {tuple(tensor.shape)}, expected {tuple(own[key].shape)}"
            )
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})
    return model.eval().requires_grad_(False)
