"""What the tensors of the encoders and VAEs are called in the public files.

Ours are the names of diffusers and transformers. A name may end in `|` and which piece of the
public tensor is ours: see `avatar.models.checkpoints.pieces`.
"""

import re

from avatar.models.checkpoints.names import Rename

# -- Wan2.1_VAE.pth ------------------------------------------------------------------------------

_RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3",
             "conv2": "residual.6", "conv_shortcut": "shortcut"}  # fmt: skip
_VAE_ENDS = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}


def wan_vae_names(num_res_blocks: int) -> Rename:
    """Its decoder counts residual blocks and upsamplers in one list."""
    each = num_res_blocks + 2

    def rename(ours: str) -> str:
        half, _, rest = ours.partition(".")
        if half == "quant_conv":
            return f"conv1.{rest}"
        if half == "post_quant_conv":
            return f"conv2.{rest}"
        if match := re.fullmatch(r"down_blocks\.(\d+)\.(.+)", rest):
            return f"{half}.downsamples.{match[1]}.{_residual(match[2])}"
        if match := re.fullmatch(r"up_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", rest):
            place = int(match[1]) * each + int(match[2])
            return f"{half}.upsamples.{place}.{_residual(match[3])}"
        if match := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.(.+)", rest):
            return f"{half}.upsamples.{int(match[1]) * each + each - 1}.{match[2]}"
        if match := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", rest):
            return f"{half}.middle.{2 * int(match[1])}.{_residual(match[2])}"
        if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", rest):
            return f"{half}.middle.1.{match[1]}"
        end, _, kind = rest.partition(".")
        return f"{half}.{_VAE_ENDS.get(end, end)}.{kind}"

    return rename


def _residual(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{_RESIDUAL.get(layer, layer)}.{kind}"


# -- models_t5_umt5-xxl-enc-bf16.pth -------------------------------------------------------------

_T5 = {
    "layer.0.layer_norm": "norm1", "layer.1.layer_norm": "norm2",
    "layer.0.SelfAttention.q": "attn.q", "layer.0.SelfAttention.k": "attn.k",
    "layer.0.SelfAttention.v": "attn.v", "layer.0.SelfAttention.o": "attn.o",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0", "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}  # fmt: skip


def wan_umt5_name(ours: str) -> str:
    if match := re.fullmatch(r"encoder\.block\.(\d+)\.(.+)\.weight", ours):
        return f"blocks.{match[1]}.{_T5[match[2]]}.weight"
    ends = {"shared.weight": "token_embedding.weight"}
    return ends.get(ours, "norm.weight" if ours == "encoder.final_layer_norm.weight" else ours)


# -- models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth -------------------------------------

_CLIP = {
    "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2",
}  # fmt: skip
_CLIP_ENDS = {
    "embeddings.class_embedding": "visual.cls_embedding|flat",
    "embeddings.position_embedding.weight": "visual.pos_embedding|flat",
    "embeddings.patch_embedding.weight": "visual.patch_embedding.weight",
    "pre_layrnorm.weight": "visual.pre_norm.weight",
    "pre_layrnorm.bias": "visual.pre_norm.bias",
}
_QKV = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def wan_clip_name(ours: str) -> str:
    if ours in _CLIP_ENDS:
        return _CLIP_ENDS[ours]
    match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", ours)
    if match is None:
        return ours
    layer, kind = match[2], match[3]
    if (projection := layer.removeprefix("self_attn.")) in _QKV:
        return f"visual.transformer.{match[1]}.attn.to_qkv.{kind}|{_QKV[projection]}/3"
    return f"visual.transformer.{match[1]}.{_CLIP[layer]}.{kind}"


# -- wav2vec2, taew2_1 ---------------------------------------------------------------------------


def old_wav2vec2_name(ours: str) -> str:
    """As torch named the two parts of a normalised weight before it had parametrizations."""
    normalised = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    kinds = {f"{normalised}0": "weight_g", f"{normalised}1": "weight_v"}
    if ours in kinds:
        return f"encoder.pos_conv_embed.conv.{kinds[ours]}"
    return ours


def taehv_name(ours: str) -> str:
    """Its layers in time may make more frames than are used, of which the last count."""
    return f"{ours}|last" if re.fullmatch(r"decoder\.\d+\.conv\.weight", ours) else ours
