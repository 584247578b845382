"""Weight files: what is written is read, what is damaged is refused."""

import json
from pathlib import Path

import pytest
import torch

from avatar.errors import CorruptFile, NotFound
from avatar.models.vae import VAE, VAEConfig
from avatar.models.weights import (
    MANIFEST,
    check_file,
    enter_in_manifest,
    load_into,
    read_model,
    save_model,
    write_manifest,
)

pytestmark = pytest.mark.unit

SMALL = VAEConfig(encoder_dims=(4, 4, 8), decoder_dims=(8, 8, 4), reference_dim=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(VAE(SMALL), SMALL, tmp_path / "vae.safetensors")
    write_manifest(tmp_path)
    return tmp_path


def test_a_saved_model_comes_back_with_its_architecture(folder: Path) -> None:
    tensors, config = read_model(check_file(folder, "vae.safetensors"))
    for name in ("motion_dims", "encoder_dims", "decoder_dims"):
        config[name] = tuple(config[name])
    assert VAEConfig(**config) == SMALL
    torch.manual_seed(0)
    original = VAE(SMALL)
    loaded = load_into(VAE(SMALL), tensors, folder / "vae.safetensors")
    for key, value in original.state_dict().items():
        assert torch.allclose(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-6)


def test_one_flipped_bit_is_found(folder: Path) -> None:
    path = folder / "vae.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"sha256 .* expected .*restore it"):
        check_file(folder, "vae.safetensors")


def test_a_cut_file_is_refused(folder: Path) -> None:
    path = folder / "vae.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptFile):
        read_model(path)


def test_a_missing_file_says_how_to_get_it_back(folder: Path) -> None:
    (folder / "vae.safetensors").unlink()
    with pytest.raises(NotFound, match="git checkout"):
        check_file(folder, "vae.safetensors")


def test_a_file_that_is_not_listed_is_refused(folder: Path) -> None:
    (folder / "other.safetensors").write_bytes(b"x")
    with pytest.raises(CorruptFile, match="does not list other"):
        check_file(folder, "other.safetensors")


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    tensors, _ = read_model(folder / "vae.safetensors")
    with pytest.raises(CorruptFile, match=r"has shape \(.*\), expected \("):
        load_into(VAE(VAEConfig(encoder_dims=(4, 4, 16))), tensors, folder / "vae.safetensors")
    del tensors["std"]
    with pytest.raises(CorruptFile, match=r"missing \['std'\]"):
        load_into(VAE(SMALL), tensors, folder / "vae.safetensors")


def test_a_file_is_listed_beside_the_others(tmp_path: Path) -> None:
    for name, digest, replaced in (("a", "1", False), ("b", "2", False), ("a", "3", True)):
        assert enter_in_manifest(tmp_path, name, digest) is replaced
    assert json.loads((tmp_path / MANIFEST).read_text()) == {"a": "3", "b": "2"}
    assert [each.name for each in tmp_path.iterdir()] == [MANIFEST]
    (tmp_path / MANIFEST).write_text('{"a": ')
    with pytest.raises(CorruptFile, match="is damaged: remove it"):
        enter_in_manifest(tmp_path, "b", "2")
