"""A recipe runs from clips to weights that serve; a toy one, with every stage of the real one."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from avatar.errors import CorruptFile, InvalidInput, NotFound
from avatar.models.dit import Condition, DiT, SelfContext
from avatar.models.weights import load_into
from avatar.sampling.rollout import Portrait, RolloutState, denoise_chunk, drop_anchor
from tests.fakes.scale import batches, in_processes, telling_weights, write_toy_clips
from training import parallel
from training.recipes.tm_18b import LargeRecipe, tm_18b_lora, toy
from training.scale.__main__ import REFUSED, main
from training.scale.checkpoint import load
from training.scale.clips import Mix, ShardedClips
from training.scale.load import fill, sharded_model
from training.scale.lora import adapter_state, add_lora, merge_lora
from training.scale.run import begins_with, run_recipe
from training.scale.shard import mesh_of_all
from training.scale.trainer import optimizer_of

pytestmark = [
    pytest.mark.unit,
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module", "ignore:DTensor random operators"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two of them wait for each other longer than such small networks take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_clips(tmp_path_factory.mktemp("clips"))


def adapted() -> LargeRecipe:
    """Two short stages of the toy recipe, with adapters where `tm_18b_lora` has them."""
    ways = {stage.name: stage.trained for stage in tm_18b_lora().stages}
    stages = [
        replace(stage, trained=ways[stage.name], schedule=replace(stage.schedule, steps=2))
        for stage in toy().stages
        if stage.name in ("audio", "causal")
    ]
    return replace(toy(), stages=tuple(stages))


def run_adapted(rank: int, folder: Path, shards: Path, base: Path) -> None:
    run_recipe(adapted(), shards, folder, base=base, say=False)


@pytest.fixture(scope="module")
def adapted_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of it, and beside it the base."""
    folder = tmp_path_factory.mktemp("adapted")
    in_processes(2, run_adapted, folder, shards, telling_weights(folder / "base.safetensors"))
    return folder


def test_a_recipe_goes_from_clips_to_chunks(shards: Path, tmp_path: Path) -> None:
    recipe = replace(toy(), bfloat16=True)  # as at size
    parallel.alone()
    try:
        run_recipe(recipe, shards, tmp_path, from_scratch=True, say=False)
        before = (tmp_path / "causal.safetensors").stat().st_mtime_ns
        run_recipe(recipe, shards, tmp_path, say=False)  # nothing is left to do
    finally:
        parallel.leave()
    assert (tmp_path / "causal.safetensors").stat().st_mtime_ns == before
    path = tmp_path / "student.safetensors"
    model = load_into(DiT(toy().model), load_file(path), path)
    clip = batches(shards, toy().stage("causal")).clips.draw(_rng(), 1, 3)
    portrait = Portrait(clip.sinks, clip.masks, clip.image_channels)
    anchor = drop_anchor(model, portrait, toy().policy, text=clip.text, image=clip.image)
    latents, _ = denoise_chunk(
        model, anchor, clip.speech, None, RolloutState(), toy().policy, seed=0, epoch=0, seq=0
    )
    assert latents.shape == clip.clean.shape
    assert latents.isfinite().all()


def test_stages_move_what_they_are_to_move(adapted_run: Path) -> None:
    names = ("base", *(stage.name for stage in adapted().stages))
    weights = [load_file(adapted_run / f"{name}.safetensors") for name in names]
    assert all(each.keys() == weights[0].keys() for each in weights)  # adapters are merged
    moved = [
        {name for name in one if not torch.equal(one[name], other[name])}
        for one, other in zip(weights, weights[1:], strict=False)
    ]
    assert moved[0]
    assert all("audio" in name for name in moved[0])
    for after in moved[1:]:
        assert "blocks.1.attn1.to_q.weight" in after
        assert all(name.endswith("weight") and "norm" not in name for name in after)
        assert not any("audio" in name for name in after)


def test_merged_weights_of_a_run_are_its_averaged_adapters(adapted_run: Path) -> None:
    run, stage = adapted_run, adapted().stage("causal")
    began = load_file(run / "audio.safetensors")
    model = add_lora(DiT(toy().model), *adapted().lora)
    average = {name: each.detach().clone() for name, each in adapter_state(model).items()}
    load(run / "causal", model, optimizer_of(model, stage.schedule, {}), average)
    model.load_state_dict(began | average)
    merged, written = merge_lora(model).state_dict(), load_file(run / "causal.safetensors")
    assert all((merged[name] - each).abs().max() <= 1e-6 for name, each in written.items())
    moved = {name: (each - began[name]).abs().max() for name, each in written.items()}
    assert moved["blocks.1.ffn.net.2.weight"] > 1e-4


def test_random_weights_have_to_be_asked_for(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--recipe", "toy", "--shards", str(shards), "--run", str(tmp_path)]
    assert main(command) == REFUSED
    said = capsys.readouterr()
    assert "the stage audio has nothing to begin with" in said.err
    assert "--base" in said.err
    assert "--from-scratch" in said.err
    assert main([*command, "--base", str(tmp_path)]) == REFUSED
    assert "dit.safetensors is missing" in capsys.readouterr().err
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "dit.safetensors")
    assert main([*command, "--base", str(tmp_path)]) == REFUSED
    assert "1 tensors have no place in this recipe's model" in capsys.readouterr().err
    assert main([*command, "--base", str(tmp_path), "--together", "2"]) == REFUSED
    assert "1 processes do not divide into groups of 2" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["dit.safetensors"]


def refused(rank: int, folder: Path, shards: Path, base: Path) -> None:
    """The base is there for the first process alone."""
    try:
        run_recipe(toy(), shards, folder, base=folder / "none" if rank else base, say=False)
    except parallel.Refused as error:
        (folder / f"{rank}.txt").write_text(str(error))


def test_what_one_process_lacks_all_refuse(shards: Path, tmp_path: Path) -> None:
    in_processes(2, refused, tmp_path, shards, telling_weights(tmp_path / "base.safetensors"))
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert said[0].startswith("process 1: ")
    assert "none is missing" in said[0]


def test_a_base_is_named_by_its_folder_or_its_file(tmp_path: Path) -> None:
    path = tmp_path / "dit.safetensors"
    path.touch()
    stage = toy().stages[0]
    assert begins_with(stage, tmp_path, tmp_path, False) == path
    assert begins_with(stage, path, tmp_path, False) == path


def test_a_student_without_a_teacher_is_refused(shards: Path, tmp_path: Path) -> None:
    parallel.alone()
    try:
        with pytest.raises(
            parallel.Refused, match=r"teacher\.safetensors .* run the stage teacher first"
        ):
            run_recipe(toy(), shards, tmp_path, from_scratch=True, only="student", say=False)
    finally:
        parallel.leave()


def test_clips_are_drawn_by_stage_and_the_same_again(shards: Path) -> None:
    clips = ShardedClips(
        shards, toy().model, Mix(motion=0, audio=0, silence=1), torch.device("cpu")
    )
    assert [info.id for info, _ in clips.groups[2]] == ["clip-3"]
    one, other = (clips.draw(_rng(), 2, 9) for _ in range(2))
    assert torch.equal(one.clean, other.clean)
    assert one.speech.shape == (2, 9 + 4, 4, 6)
    assert one.image_channels is not None
    assert one.image_channels.shape == (2, 21, 8, 8, 8)


def test_data_that_is_missing_is_named(shards: Path, tmp_path: Path) -> None:
    cpu, config = torch.device("cpu"), toy().model
    with pytest.raises(NotFound, match=r"training\.data\.footage"):
        ShardedClips(tmp_path, config, Mix(), cpu)
    index = json.loads((shards / "index.json").read_text())
    index["clips"] = [each for each in index["clips"] if each["kind"] == "speaking"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidInput, match="no clip of stage 'silence'"):
        ShardedClips(tmp_path, config, Mix(silence=0.5), cpu)
    clips = ShardedClips(shards, config, Mix(), cpu)
    with pytest.raises(InvalidInput, match="20 latents, 30"):
        clips.draw(_rng(), 1, 30)
    shard = shards / index["clips"][0]["shard"]
    bare = {name: each for name, each in load_file(shard).items() if not name.endswith(".text")}
    save_file(bare, tmp_path / shard.name)
    index["clips"] = [each for each in index["clips"] if each["shard"] == shard.name]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidInput, match="has no 'text'"):
        ShardedClips(tmp_path, config, Mix(), cpu).draw(_rng(), 1, 9)


def test_a_base_without_audio_layers_fits_and_another_model_does_not(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    model = DiT(toy().model)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if "audio" not in k}
    save_file(tensors, path)
    missing = fill(model, path)
    assert missing
    assert all("audio" in name for name in missing)
    save_file({k: v for k, v in tensors.items() if "ffn" not in k}, path)
    with pytest.raises(CorruptFile, match=r"lacks 8 tensors, blocks\.0\.ffn"):
        fill(model, path)
    save_file(tensors | {"proj_out.bias": torch.zeros(3)}, path)
    with pytest.raises(CorruptFile, match=r"proj_out\.bias has shape"):
        fill(model, path)
    save_file(tensors | {"audio_proj.proj1.weight": torch.zeros(3)}, path)
    with pytest.raises(CorruptFile, match=r"1 tensors have no place .* audio_proj\.proj1\.weight"):
        fill(model, path)
    with pytest.raises(NotFound, match="avatar convert"):
        fill(model, tmp_path / "nothing.safetensors")


def test_audio_layers_that_a_base_lacks_begin_silent(tmp_path: Path) -> None:
    whole = load_file(telling_weights(tmp_path / "whole.safetensors"))
    path = tmp_path / "base.safetensors"
    save_file({name: each for name, each in whole.items() if "audio" not in name}, path)
    g = torch.Generator().manual_seed(3)
    parallel.alone()
    try:
        model = sharded_model(toy().model, mesh_of_all(), weights=path)
        with torch.no_grad():
            heard = model.project_audio(torch.randn(1, 7, 4, 6, generator=g))
            given = Condition(
                torch.randn(1, 3, 8, 8, 8, generator=g),
                face_mask=torch.ones(1, 16),
                text=torch.randn(1, 7, 10, generator=g),
                image=torch.randn(1, 5, 14, generator=g),
            )
            latents = torch.randn(1, 3, 4, 8, 8, generator=g)
            silent, spoken = (
                model(latents, torch.tensor([500.0]), each, SelfContext(), (0, 1, 2))[0]
                for each in (given, replace(given, audio=heard))
            )
    finally:
        parallel.leave()
    assert heard.std() > 0.1  # there is something to hear
    assert torch.equal(silent, spoken)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
