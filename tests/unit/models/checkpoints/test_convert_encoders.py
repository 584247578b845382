"""VAEs, and encoders of text, pictures and speech: from their makers' files to ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from avatar.models import clip_vision, taehv, umt5, vae_wan, wav2vec2
from avatar.models.checkpoints import convert, preset_of
from avatar.models.weights import read_model
from tests.fakes.public_files import public_tensors

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("one_thread")]

VAE = vae_wan.toy()
UMT5 = umt5.toy()
CLIP = clip_vision.toy()
BASE = wav2vec2.toy_base()
TAEHV = taehv.toy()

SAID: dict[str, tuple[Any, dict[str, Any]]] = {
    "wan2.1-vae": (
        VAE, {"_class_name": "AutoencoderKLWan", "base_dim": VAE.base_dim,
              "num_res_blocks": VAE.num_res_blocks},
    ),
    "taew2.1": (TAEHV, {"_class_name": "TAEHV", "dims": list(TAEHV.dims)}),
    "umt5-xxl": (
        UMT5, {"model_type": "umt5", "d_model": UMT5.dim, "d_ff": UMT5.ffn_dim,
               "num_layers": UMT5.num_layers, "num_heads": UMT5.num_heads, "d_kv": UMT5.head_dim,
               "vocab_size": UMT5.vocabulary, "max_tokens": UMT5.max_tokens},
    ),
    "clip-vit-h-14": (
        CLIP, {"model_type": "clip_vision_model", "hidden_size": CLIP.dim,
               "intermediate_size": CLIP.ffn_dim, "num_hidden_layers": CLIP.num_layers + 1,
               "num_attention_heads": CLIP.num_heads, "image_size": CLIP.image_size},
    ),
    "wav2vec2-base": (
        BASE, {"model_type": "wav2vec2", "hidden_size": BASE.dim,
               "intermediate_size": BASE.ffn_dim, "num_hidden_layers": BASE.num_layers,
               "num_attention_heads": BASE.num_heads, "conv_dim": [BASE.conv_dim] * 7,
               "num_conv_pos_embeddings": BASE.position_kernel,
               "num_conv_pos_embedding_groups": BASE.position_groups},
    ),
}  # fmt: skip
"""A toy's configuration, and the words of `config.json` that say it."""

BESIDE: dict[tuple[str, str], dict[str, Tensor]] = {
    ("taew2.1", "original"): {"encoder.0.weight": torch.ones(3)},
    ("umt5-xxl", "transformers"): {"encoder.embed_tokens.weight": torch.ones(3)},
    ("clip-vit-h-14", "original"): {
        "log_scale": torch.ones(1), "textual.token_embedding.weight": torch.ones(3),
        "visual.post_norm.weight": torch.ones(3), "visual.head": torch.ones(3),
        "visual.transformer.2.norm1.weight": torch.ones(3),
    },
    ("clip-vit-h-14", "transformers"): {
        "encoder.layers.2.layer_norm1.weight": torch.ones(3),
        "post_layernorm.weight": torch.ones(3),
    },
    ("wav2vec2-base", "original"): {"lm_head.weight": torch.ones(3)},
    ("wav2vec2-base", "older torch"): {"quantizer.codevectors": torch.ones(3),
                                       "project_q.weight": torch.ones(3)},
}  # fmt: skip
"""What else such a file holds, and nothing needs."""

CASES = [(name, layout.name) for name in SAID for layout in preset_of(name).layouts]


def toy(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model: nn.Module = preset_of(name).build(SAID[name][0])
    return {key: torch.randn(each.shape) for key, each in model.state_dict().items()}


def write(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> Path:
    import json

    path.parent.mkdir(parents=True)
    if path.suffix == ".pth":
        torch.save(dict(tensors), path)
    else:
        save_file(dict(tensors), path)
    (path.parent / "config.json").write_text(json.dumps(dict(said)))
    return path


@pytest.mark.parametrize(("name", "layout"), CASES)
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_public_file_becomes_ours(name: str, layout: str, kind: str, tmp_path: Path) -> None:
    preset, (config, said) = preset_of(name), SAID[name]
    form = next(each for each in preset.layouts if each.name == layout)
    weights = toy(name)
    prefix = form.prefixes[0] if form.prefixes else ""
    public = {prefix + n: t for n, t in public_tensors(weights, form.names(config)).items()}
    extra = {n: each.clone() for n, each in BESIDE.get((name, layout), {}).items()}
    source = write(tmp_path / "src" / f"model.{kind}", {**public, **extra}, said)
    done = convert(preset, [source], tmp_path / "dst")
    assert (done.config, done.layout) == (config, layout)
    tensors, _ = read_model(done.path)
    assert tensors.keys() == weights.keys()
    assert all(torch.equal(tensors[each], weights[each]) for each in weights)


def test_a_config_of_another_network_in_the_same_folder_is_not_heeded(tmp_path: Path) -> None:
    """Wan's folders hold the text encoder beside the video model's config.json."""
    preset = preset_of("umt5-xxl")
    said = {"_class_name": "WanModel", "model_type": "i2v", "num_layers": 40, "num_heads": 40}
    assert preset.geometry(preset.config(), said) == preset.config()
