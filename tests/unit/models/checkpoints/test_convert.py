"""Public weights become ours, whole and exact, or an error names what disagrees."""

import json
import pickle
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from avatar.__main__ import main
from avatar.errors import CorruptFile, InvalidInput, NotFound, Unavailable
from avatar.models.checkpoints import PRESETS, Preset, convert, preset_of
from avatar.models.checkpoints.names import same_name, wan_name
from avatar.models.checkpoints.write import Slot, write_safetensors
from avatar.models.dit import Condition, DiT, SelfContext
from avatar.models.weights import MANIFEST, check_file, read_model
from tests.fakes.public_files import public_tensors, wan_config, write_folder
from tests.fakes.tiny_wan import tiny_wan, tiny_wan_config

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("one_thread")]


def weights(name: str, seed: int = 0) -> dict[str, Tensor]:
    return dict(tiny_wan(name, seed).state_dict())


def original(folder: Path, name: str, shards: int = 1) -> Path:
    """A toy of configuration `name` as Wan's own files."""
    tensors = public_tensors(weights(name), wan_name)
    return write_folder(folder, tensors, wan_config(tiny_wan_config(name)), shards)


def assert_same_tensors(path: Path, expected: dict[str, Tensor]) -> None:
    tensors, _ = read_model(path)
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    "name",
    ["wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.1-i2v-14b", "infinitetalk", "wan2.2-s2v-14b"],
)
def test_the_original_layout_becomes_ours(name: str, shards: int, tmp_path: Path) -> None:
    source = original(tmp_path / "src", name, shards)
    done = convert(preset_of(name), [source], tmp_path / "dst")
    assert done.config == tiny_wan_config(name)
    assert done.layout == "original"
    assert done.added == ()
    assert_same_tensors(done.path, weights(name))


@pytest.mark.parametrize("name", ["wan2.1-t2v-14b", "wan2.1-i2v-14b"])
def test_the_diffusers_layout_becomes_ours(name: str, tmp_path: Path) -> None:
    c = tiny_wan_config(name)
    public = {
        "_class_name": "WanTransformer3DModel",
        "attention_head_dim": c.head_dim, "num_attention_heads": c.num_heads,
        "ffn_dim": c.ffn_dim, "freq_dim": c.frequency_dim, "num_layers": c.num_layers,
        "in_channels": c.latent_channels + c.condition_channels, "out_channels": c.latent_channels,
        "text_dim": c.text_dim, "image_dim": c.image_dim, "patch_size": [1, 2, 2],
    }  # fmt: skip
    source = write_folder(tmp_path / "src", public_tensors(weights(name), same_name), public)
    done = convert(preset_of(name), [source], tmp_path / "dst")
    assert (done.config, done.layout) == (c, "diffusers")
    assert_same_tensors(done.path, weights(name))


def test_realvideos_pickle_is_read_as_tensors_alone(tmp_path: Path) -> None:
    name = "wan2.2-s2v-14b"
    held = public_tensors(weights(name), wan_name)
    source = tmp_path / "src" / "model.pt"
    source.parent.mkdir()
    torch.save({"generator": {f"model.{key}": each for key, each in held.items()}}, source)
    (source.parent / "config.json").write_text(json.dumps(wan_config(tiny_wan_config(name))))
    done = convert(preset_of("realvideo"), [source], tmp_path / "dst")
    assert_same_tensors(done.path, weights(name))


class Explosive:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("code in a weight file was run",))


def test_a_pickle_with_code_in_it_is_refused_unread(tmp_path: Path) -> None:
    source = tmp_path / "model.pt"
    torch.save({"generator": Explosive()}, source, pickle_module=pickle)
    with pytest.raises(CorruptFile, match="cannot be read as tensors alone"):
        convert(preset_of("realvideo"), [source], tmp_path / "dst")


def test_infinitetalk_is_laid_over_its_base(tmp_path: Path) -> None:
    public = public_tensors(weights("infinitetalk"), wan_name)
    audio = {key: each for key, each in public.items() if "audio" in key or "norm_x" in key}
    base = {key: each for key, each in public.items() if key not in audio}
    audio["head.head.bias"] = base["head.head.bias"]
    base["head.head.bias"] = torch.zeros_like(base["head.head.bias"])  # the later one counts
    source = write_folder(tmp_path / "base", base, wan_config(tiny_wan_config("infinitetalk")))
    over = tmp_path / "over" / "infinitetalk.safetensors"
    over.parent.mkdir()
    save_file(audio, over)
    done = convert(preset_of("infinitetalk"), [source, over], tmp_path / "dst")
    assert_same_tensors(done.path, weights("infinitetalk"))


def lora(rank: int = 3) -> dict[str, Tensor]:
    """A change of two layers, as peft names it."""
    g = torch.Generator().manual_seed(4)
    of = "base_model.model.{}.lora_{}.weight"
    found = {}
    for name, shape in (("blocks.0.ffn.0", (160, 96)), ("audio_injector.injector.1.q", (96, 96))):
        found[of.format(name, "A")] = torch.randn(rank, shape[1], generator=g)
        found[of.format(name, "B")] = torch.randn(shape[0], rank, generator=g)
    return found


def live_avatar(folder: Path, change: dict[str, Tensor]) -> list[Path]:
    base, path = original(folder / "base", "wan2.2-s2v-14b"), folder / "liveavatar.safetensors"
    save_file(change, path)
    return [base, path]


def test_liveavatars_change_is_merged_into_its_base(tmp_path: Path) -> None:
    change = lora()
    done = convert(preset_of("liveavatar"), live_avatar(tmp_path, change), tmp_path / "dst")
    expected = weights("wan2.2-s2v-14b")
    halves = list(change.values())
    expected["blocks.0.ffn.net.0.proj.weight"] += 0.5 * halves[1] @ halves[0]
    expected["audio_injector.injector.1.to_q.weight"] += 0.5 * halves[3] @ halves[2]
    tensors, _ = read_model(done.path)
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("half", r"half a change of blocks\.0\.ffn\.0\.weight: B alone"),
        ("base", r"changes blocks\.7\.ffn\.0\.weight, which is not there"),
        ("shape", r"does not fit blocks\.0\.ffn\.0\.weight, \(160, 96\)"),
    ],
)
def test_a_change_that_does_not_fit_its_base_is_refused(
    mistake: str, message: str, tmp_path: Path
) -> None:
    change = lora()
    first = next(iter(change))
    if mistake == "half":
        del change[first]
    elif mistake == "base":
        change = {name.replace("blocks.0", "blocks.7"): each for name, each in change.items()}
    else:
        change[first] = torch.zeros(3, 95)
    with pytest.raises(CorruptFile, match=message):
        convert(preset_of("liveavatar"), live_avatar(tmp_path, change), tmp_path / "dst")


def test_a_base_without_its_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="no change of low rank"):
        convert(preset_of("liveavatar"), [original(tmp_path, "wan2.2-s2v-14b")], tmp_path / "dst")


def test_a_change_where_the_preset_has_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="no place in wan2"):
        convert(preset_of("wan2.2-s2v-14b"), live_avatar(tmp_path, lora()), tmp_path / "dst")


def tm_source(folder: Path) -> Path:
    """A toy of Wan2.1-I2V whose config.json says what audio layers to add."""
    base = public_tensors(weights("wan2.1-i2v-14b"), wan_name)
    return write_folder(folder, base, wan_config(tiny_wan_config("tm-18b")))


def test_tm_18b_is_its_base_and_silent_audio_layers(tmp_path: Path) -> None:
    done = convert(preset_of("tm-18b"), [tm_source(tmp_path / "src")], tmp_path / "dst")
    tensors, _ = read_model(done.path)
    assert done.added
    assert all("audio" in name for name in done.added)
    assert {name for name in tensors if name not in done.added} == weights("wan2.1-i2v-14b").keys()
    base, grown = tiny_wan("wan2.1-i2v-14b"), DiT(tiny_wan_config("tm-18b")).eval()
    grown.load_state_dict(tensors)
    g = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 3, 16, 8, 8, generator=g)
    given = Condition(
        torch.randn(1, 3, 20, 8, 8, generator=g),
        fixed=base.project_fixed(
            torch.randn(1, 7, 48, generator=g), torch.randn(1, 5, 40, generator=g)
        ),
    )
    with torch.no_grad():
        heard = grown.project_audio(torch.randn(1, 7, 4, 12, generator=g))
        assert heard.std() > 0.1  # speech reaches the blocks, and they add nothing of it
        speaking = replace(given, audio=heard, face_mask=torch.ones(1, 16))
        time, places = torch.tensor([600.0]), (0, 1, 2)
        silent, _ = base(latents, time, given, SelfContext(), places)
        spoken, _ = grown(latents, time, speaking, SelfContext(), places)
    assert torch.equal(silent, spoken)


def test_added_layers_are_the_same_each_time_and_differ_from_block_to_block(
    tmp_path: Path,
) -> None:
    source = tm_source(tmp_path / "src")
    one, other = (
        read_model(convert(preset_of("tm-18b"), [source], tmp_path / each).path)[0]
        for each in ("a", "b")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    key = "blocks.{}.attn2.audio_k_proj.weight"
    assert not torch.equal(one[key.format(0)], one[key.format(1)])


def changed(source: Path, change: dict[str, Tensor | None]) -> Path:
    """A toy folder with some tensors replaced, or taken away (None)."""
    path = next(source.glob("*.safetensors"))
    tensors = {name: each.clone() for name, each in read_plain(path).items()}
    for name, tensor in change.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, path)
    return source


def read_plain(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_a_missing_tensor_is_named_as_the_public_file_calls_it(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b")
    changed(source, {"blocks.1.self_attn.q.weight": None})
    with pytest.raises(CorruptFile, match=r"1 of 96 tensors .* blocks\.1\.self_attn\.q\.weight"):
        convert(preset_of("wan2.1-t2v-14b"), [source], tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


def test_an_added_layer_that_is_half_there_is_refused(tmp_path: Path) -> None:
    tensors = public_tensors(weights("tm-18b"), same_name)
    del tensors["blocks.0.attn2.audio_k_proj.weight"]
    config = wan_config(tiny_wan_config("tm-18b"))
    source = write_folder(tmp_path / "src", tensors, config)
    with pytest.raises(CorruptFile, match=r"blocks\.0\.attn2\.audio_k_proj\.weight"):
        convert(preset_of("tm-18b"), [source], tmp_path / "dst")


def test_a_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b")
    changed(source, {"blocks.0.memory_proj_k.weight": torch.zeros(2)})
    with pytest.raises(CorruptFile, match=r"no place in wan2\.1-t2v-14b: blocks\.0\.memory_proj_k"):
        convert(preset_of("wan2.1-t2v-14b"), [source], tmp_path / "dst")


def test_an_odd_shape_is_refused_with_the_line_of_the_configuration(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b")
    changed(source, {"blocks.0.ffn.0.weight": torch.zeros(161, 96)})
    with pytest.raises(CorruptFile, match=r"is \(161, 96\).* has \(160, 96\): .*ffn_dim = 160"):
        convert(preset_of("wan2.1-t2v-14b"), [source], tmp_path / "dst")


def test_a_toy_without_its_configuration_is_no_full_size_model(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b")
    (source / "config.json").unlink()
    with pytest.raises(CorruptFile, match="999 of 1095 tensors"):
        convert(preset_of("wan2.1-t2v-14b"), [source], tmp_path / "dst")


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b", shards=3)
    next(source.glob("*-00002-of-*")).unlink()
    with pytest.raises(NotFound, match="00002-of-00003"):
        convert(preset_of("wan2.1-t2v-14b"), [source], tmp_path / "dst")


def test_another_presets_weights_are_refused(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-i2v-14b")
    with pytest.raises(CorruptFile, match="no place in wan2"):
        convert(preset_of("wan2.1-t2v-14b"), [source], tmp_path / "dst")


def test_weights_for_no_commercial_use_need_a_word(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b")
    preset: Preset = replace(
        preset_of("wan2.1-t2v-14b"), non_commercial=True, licence="CC BY-NC-SA 4.0"
    )
    with pytest.raises(InvalidInput, match=r"CC BY-NC-SA 4\.0.*--accept-noncommercial"):
        convert(preset, [source], tmp_path / "dst")
    convert(preset, [source], tmp_path / "dst", accept_noncommercial=True)


def test_what_is_written_says_whose_it_is_and_stands_in_the_manifest(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.2-s2v-14b")
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst" / MANIFEST).write_text(json.dumps({"vae.safetensors": "0" * 64}))
    done = convert(preset_of("realvideo"), [source], tmp_path / "dst")
    from safetensors import safe_open

    with safe_open(done.path, "pt") as file:
        metadata = file.metadata()
    assert (metadata["preset"], metadata["licence"]) == ("realvideo", "MIT")
    assert metadata["from"] == "src"
    assert check_file(tmp_path / "dst", "dit.safetensors") == done.path
    assert "vae.safetensors" in json.loads((tmp_path / "dst" / MANIFEST).read_text())


def test_numbers_may_be_written_narrower(tmp_path: Path) -> None:
    source = original(tmp_path / "src", "wan2.1-t2v-14b")
    preset = preset_of("wan2.1-t2v-14b")
    done = convert(preset, [source], tmp_path / "dst", dtype=torch.bfloat16)
    expected = {name: each.bfloat16() for name, each in weights("wan2.1-t2v-14b").items()}
    assert_same_tensors(done.path, expected)


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def read() -> Tensor:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        tensor = torch.ones(1000)
        alive.append(weakref.ref(tensor))
        return tensor

    slots = [Slot(f"layer.{i}", (1000,), torch.float32, read) for i in range(20)]
    write_safetensors(tmp_path / "x.safetensors", slots, {})
    assert len(alive) == 20
    assert most == 0


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path: Path) -> None:
    def broken() -> Tensor:
        raise OSError("the disk with the shards is gone")

    slots = [Slot("a", (2,), torch.float32, lambda: torch.ones(2))]
    slots.append(Slot("b", (2,), torch.float32, broken))
    with pytest.raises(OSError, match="is gone"):
        write_safetensors(tmp_path / "x.safetensors", slots, {})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    slots = [Slot("a", (10**15,), torch.float32, lambda: torch.ones(1))]
    with pytest.raises(Unavailable, match=r"4000000\.0 GB needed"):
        write_safetensors(tmp_path / "x.safetensors", slots, {})


def test_the_command_converts_and_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = original(tmp_path / "src", "wan2.2-s2v-14b")
    arguments = ["--preset", "realvideo", "--src", str(source), "--dst", str(tmp_path / "dst")]
    assert command(monkeypatch, *arguments, "--dtype", "bfloat16") == 0
    said = capsys.readouterr().out
    assert "dit.safetensors: " in said
    assert "licence MIT" in said
    tensors, _ = read_model(tmp_path / "dst" / "dit.safetensors")
    assert {each.dtype for each in tensors.values()} == {torch.bfloat16}


def test_the_command_names_what_is_missing_and_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(monkeypatch, "--preset", "realvideo") == 1
    assert "--src and --dst are needed" in capsys.readouterr().err
    absent = ["--src", str(tmp_path / "none"), "--dst", str(tmp_path / "dst")]
    assert command(monkeypatch, "--preset", "realvideo", *absent) == 1
    assert "neither a file nor a folder" in capsys.readouterr().err
    assert command(monkeypatch, "--preset", "sora", *absent) == 1
    assert "there are wan2.1-t2v-1.3b" in capsys.readouterr().err
    assert not (tmp_path / "dst").exists()


def test_the_command_lists_every_preset_with_its_licence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(monkeypatch, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all("https://" in line for line in lines)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["avatar", "convert", *arguments])
    return main()
