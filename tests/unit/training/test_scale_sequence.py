"""Processes that share every chunk's tokens make what one makes, and learn what one learns."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from avatar.backends.memory import GIB
from avatar.errors import InvalidInput
from avatar.models.dit import DiT
from avatar.parallel.sequence import WHOLE
from bench.denoise_profiles import PROFILES
from tests.fakes.networks import small_dit
from tests.fakes.scale import in_processes, loaded, telling_weights, write_toy_clips
from tests.fakes.scale_work import WAYS, drawn, way_loss
from tests.fakes.sequence_work import rolled, shared
from training.recipes.tm_18b import tm_18b, toy
from training.scale.plan import plan
from training.scale.shard import split_of

pytestmark = pytest.mark.unit

TOLERANCE = 1e-5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two of them wait for each other longer than such small networks take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequence")
    shards = write_toy_clips(folder)
    weights = telling_weights(folder / "weights.safetensors")
    in_processes(2, shared, folder, shards, weights)
    return folder


def values(path: Path) -> dict[str, float]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["values"])


def test_chunks_through_shared_caches_are_those_of_one_process(folder: Path) -> None:
    alone, cached = rolled()
    together = load_file(folder / "rolled.safetensors")
    for name, chunk in alone.items():
        assert (together[name] - chunk).abs().max() <= TOLERANCE * chunk.abs().max(), name
    # each keeps its heads only
    assert values(folder / "rolled.safetensors")["cached"] * 2 == cached


@pytest.mark.parametrize("way", WAYS)
def test_loss_and_gradients_are_those_of_one_process(folder: Path, way: str) -> None:
    model = loaded(DiT(toy().model), folder / "weights.safetensors")
    loss = way_loss(way, model, *drawn(folder / "shards"))
    loss.backward()
    path = folder / f"shared-{way}.safetensors"
    found = load_file(path)
    assert abs(values(path)["loss"] - loss.item()) <= TOLERANCE
    own = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert own.keys() == found.keys()
    for name, grad in own.items():
        assert (found[name] - grad).abs().max() <= TOLERANCE * grad.abs().max().clamp(min=1.0), name


def test_what_cannot_be_split_is_refused() -> None:
    class Three:
        size = 3

    with pytest.raises(ValueError, match="2 heads do not divide by 3"):
        small_dit().split_tokens(Three())  # type: ignore[arg-type]
    with torch.device("meta"):
        model = DiT(PROFILES["toy-realvideo"].model)
    with pytest.raises(ValueError, match="Wan-S2V"):
        model.split_tokens(WHOLE)
    with pytest.raises(InvalidInput, match="1 processes do not divide into groups of 2"):
        split_of(2)


def test_processes_that_share_a_batch_hold_less_of_it() -> None:
    recipe = tm_18b()
    stage = recipe.stage("teacher")
    alone, two = (plan(recipe, stage, 8, 80 * GIB, together=each).items for each in (1, 2))
    assert two["inputs of blocks"] * 2 == alone["inputs of blocks"]
    assert two["parameters"] == alone["parameters"]
