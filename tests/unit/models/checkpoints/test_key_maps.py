"""Key maps at full size: every tensor of ours has one of theirs, and every one of theirs a use."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from avatar.models.checkpoints import PRESETS, preset_of
from avatar.models.checkpoints.convert import pieces_of, shapes_of
from avatar.models.checkpoints.names import key_map, same_name, wan_name
from avatar.models.dit import CONFIGS, DiT

pytestmark = pytest.mark.unit

Shapes = dict[str, tuple[int, ...]]


def public_shapes(name: str, layout: int = 0) -> Shapes:
    """What a public file must hold, as the key map of preset `name` says."""
    preset = preset_of(name)
    config = preset.config()
    shapes = shapes_of(preset, config)
    pieces = pieces_of(shapes, preset.layouts[layout], config)
    return {piece.name: piece.whole(shapes[ours]) for ours, piece in pieces.items()}


def billions(shapes: Shapes) -> float:
    return sum(math.prod(shape) for shape in shapes.values()) / 1e9


@pytest.mark.parametrize(
    ("name", "tensors", "size"),
    [
        ("wan2.1-t2v-1.3b", 825, 1.42),
        ("wan2.1-t2v-14b", 1095, 14.29),
        ("wan2.1-i2v-14b", 1303, 16.39),
        ("infinitetalk", 1633, 18.88),
        ("wan2.2-s2v-14b", 1260, 16.30),
        ("realvideo", 1260, 16.30),
        ("liveavatar", 1260, 16.30),
        ("umt5-xxl", 242, 5.68),
        ("wav2vec2-base", 210, 0.094),
        ("wav2vec2-large-xlsr", 421, 0.315),
        ("wan2.1-vae", 194, 0.127),
    ],
)
def test_a_public_model_has_its_public_size(name: str, tensors: int, size: float) -> None:
    shapes = public_shapes(name)
    assert len(shapes) == tensors
    assert billions(shapes) == pytest.approx(size, abs=0.006)


def test_tm_18b_is_wan_i2v_and_an_audio_module_of_the_papers_size() -> None:
    preset = preset_of("tm-18b")
    shapes = shapes_of(preset, preset.config())
    module = {name: each for name, each in shapes.items() if name.startswith("audio_projection")}
    base = {name: each for name, each in shapes.items() if "audio" not in name}
    assert 17.5 <= billions(shapes) <= 19.0
    assert 1.0 <= billions(module) <= 1.4
    assert base == shapes_of(preset_of("wan2.1-i2v-14b"), CONFIGS["wan2.1-i2v-14b"]())


def infinitetalk_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """InfiniteTalk's tensors as its own code names them, written down by hand."""
    d, ffn, text, clip, speech = 5120, 13824, 4096, 1280, 12 * 768
    yield from layer("patch_embedding", (d, 36, 1, 2, 2))
    yield from layer("time_embedding.0", (d, 256))
    yield from layer("time_embedding.2", (d, d))
    yield from layer("time_projection.1", (6 * d, d))
    yield from layer("text_embedding.0", (d, text))
    yield from layer("text_embedding.2", (d, d))
    yield from layer("img_emb.proj.0", (clip,))
    yield from layer("img_emb.proj.1", (clip, clip))
    yield from layer("img_emb.proj.3", (d, clip))
    yield from layer("img_emb.proj.4", (d,))
    yield "head.modulation", (1, 2, d)
    yield from layer("head.head", (64, d))
    yield from layer("audio_proj.proj1", (512, 5 * speech))
    yield from layer("audio_proj.proj1_vf", (512, 8 * speech))
    yield from layer("audio_proj.proj2", (512, 512))
    yield from layer("audio_proj.proj3", (32 * 768, 512))
    yield from layer("audio_proj.norm", (768,))
    for n in range(40):
        block = f"blocks.{n}"
        yield f"{block}.modulation", (1, 6, d)
        for part in ("self_attn", "cross_attn"):
            for kind in "qkvo":
                yield from layer(f"{block}.{part}.{kind}", (d, d))
            yield f"{block}.{part}.norm_q.weight", (d,)
            yield f"{block}.{part}.norm_k.weight", (d,)
        yield from layer(f"{block}.cross_attn.k_img", (d, d))
        yield from layer(f"{block}.cross_attn.v_img", (d, d))
        yield f"{block}.cross_attn.norm_k_img.weight", (d,)
        yield from layer(f"{block}.norm3", (d,))
        yield from layer(f"{block}.ffn.0", (ffn, d))
        yield from layer(f"{block}.ffn.2", (d, ffn))
        yield from layer(f"{block}.norm_x", (d,))
        yield from layer(f"{block}.audio_cross_attn.q_linear", (d, d))
        yield from layer(f"{block}.audio_cross_attn.kv_linear", (2 * d, 768))
        yield from layer(f"{block}.audio_cross_attn.proj", (d, d))


def layer(name: str, weight: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def test_infinitetalks_map_is_of_its_1633_tensors() -> None:
    listed = dict(infinitetalk_shapes())
    assert len(listed) == 1633
    assert public_shapes("infinitetalk") == listed


@pytest.mark.parametrize("name", ["wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.1-i2v-14b"])
def test_diffusers_own_converter_says_the_same_of_every_name(name: str) -> None:
    """Its names are ours: what it makes of Wan's names must be what we call them."""
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    shapes = shapes_of(preset_of(name), CONFIGS[name]())
    names = key_map(shapes, wan_name)
    theirs: dict[str, Any] = convert_wan_transformer_to_diffusers(
        {public: ours for ours, public in names.items()}
    )
    assert theirs == {ours: ours for ours in shapes}


@pytest.mark.parametrize("name", ["wan2.1-t2v-1.3b", "wan2.1-i2v-14b"])
def test_diffusers_model_has_our_names_and_shapes(name: str) -> None:
    from diffusers import WanTransformer3DModel

    c = CONFIGS[name]()
    with torch.device("meta"):
        theirs = WanTransformer3DModel(
            num_attention_heads=c.num_heads,
            attention_head_dim=c.head_dim,
            in_channels=c.latent_channels + c.condition_channels,
            out_channels=c.latent_channels,
            text_dim=c.text_dim,
            ffn_dim=c.ffn_dim,
            num_layers=c.num_layers,
            image_dim=c.image_dim,
            added_kv_proj_dim=c.dim if c.image_dim else None,
        )
        ours = DiT(c)
    assert tensors_of(theirs) == tensors_of(ours)


def test_diffusers_own_converter_says_the_same_of_the_vaes_names() -> None:
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    preset = preset_of("wan2.1-vae")
    shapes = shapes_of(preset, preset.config())
    pieces = pieces_of(shapes, preset.layouts[0], preset.config())
    theirs = convert_wan_vae_to_diffusers({each.name: ours for ours, each in pieces.items()})
    assert theirs == {ours: ours for ours in shapes}


@pytest.mark.parametrize("name", ["wav2vec2-base", "wav2vec2-large-xlsr"])
def test_transformers_speech_recogniser_holds_ours_and_what_is_ignored(name: str) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    preset = preset_of(name)
    c = preset.config()
    with torch.device("meta"):
        theirs = Wav2Vec2ForCTC(
            Wav2Vec2Config(
                vocab_size=32,
                hidden_size=c.dim,
                intermediate_size=c.ffn_dim,
                num_hidden_layers=c.num_layers,
                num_attention_heads=c.num_heads,
                do_stable_layer_norm=c.stable,
                feat_extract_norm="layer" if c.stable else "group",
                conv_bias=c.stable,
            )
        )
    public = {n.removeprefix("wav2vec2."): s for n, s in tensors_of(theirs).items()}
    unused = {n for n in public if n.startswith("lm_head") or n == "masked_spec_embed"}
    assert public_shapes(name) == {n: s for n, s in public.items() if n not in unused}


def test_every_preset_names_its_licence_and_where_it_is() -> None:
    for preset in PRESETS.values():
        assert preset.licence
        assert preset.licence_url.startswith("https://")
        assert preset.where.startswith("https://")


def test_two_names_of_ours_for_one_of_theirs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.weight and b\.weight are both c"):
        key_map(["a.weight", "b.weight"], lambda _: "c")
    assert key_map(["a", "b"], same_name) == {"a": "a", "b": "b"}


def tensors_of(model: nn.Module) -> Shapes:
    return {name: tuple(each.shape) for name, each in model.state_dict().items()}
