"""`python -m training.export_cpu`: the shipped networks as int8 graphs for OpenVINO.

They go beside the weights, with the figures of how near they stay to torch, and the manifest is
renewed. The speech they are calibrated with is made here, by the voice that training hears most.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.backends.dit import ChunkForward, chunk_inputs, slots
from avatar.backends.graph import FOLDER, convert, import_openvino, save_graph
from avatar.backends.vae import GroupDecode, group_inputs
from avatar.cast.profiles import Profile
from avatar.engines import Spec
from avatar.errors import InvalidInput
from avatar.media import LatentChunk
from avatar.models.dit import DiT
from avatar.models.vae import VAE, DecoderState
from avatar.models.weights import write_manifest
from avatar.render import Pipeline
from avatar.telemetry.logging import configure, get_logger
from training.meters import READERS
from training.meters.agreement import Agreement, latents_of, measure_agreement
from training.meters.lip_sync import read_boxes
from training.meters.mouth_reader import load_mouth_reader

if TYPE_CHECKING:
    import openvino  # type: ignore[import-untyped]  # has no types

log = get_logger(__name__)

CALIBRATION_CHUNKS = 5
"""Of each avatar, from which the range of every activation is learnt."""
MEASURED_S = 9.6
"""Of each recording that the result is judged by: 20 chunks."""
SEED = 11

FEW_ROWS = 3
"""A product of one for each latent of the chunk, or of one for the chunk, is a condition's."""

Inputs = list[Tensor]


@dataclass(frozen=True)
class Calibration:
    """What both graphs are given in rollouts."""

    forwards: list[Inputs]
    groups: list[Inputs]


@dataclass(frozen=True)
class InFloat:
    """What is not quantized: operations by name, and all of a type."""

    names: list[str]
    types: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--f32", action="store_true", help="do not quantize")
    args = parser.parse_args()
    configure(logging.INFO, sys.stderr)
    torch.set_num_threads(1)
    agreement = export(args.profile, quantized=not args.f32)
    log.info("exported", **asdict(agreement))


def export(profile: str, *, quantized: bool = True) -> Agreement:
    """Write both graphs, their figures and the manifest."""
    true = Pipeline.load(profile, wish="torch")
    folder, policy = true.score.profile.folder, true.score.profile.policy
    decoder = decoder_of(true)
    rng = np.random.default_rng(SEED)
    seen = record(true, [recording(rng, 3.0) for _ in avatars(true.score.profile)])
    dit = convert(ChunkForward(true.score.model, policy), seen.forwards[0])
    vae = convert(GroupDecode(decoder), seen.groups[0])
    if quantized:
        dit = quantize(dit, seen.forwards, float_in_dit(dit, true.score.model))
        vae = quantize(vae, seen.groups, float_in_vae(vae, decoder))
    save_graph(dit, folder, "dit", {"positions": slots(policy)})
    save_graph(vae, folder, "vae", {})
    write_manifest(folder)
    figures = judge(profile, true, [recording(rng, MEASURED_S) for _ in range(3)])
    (folder / FOLDER / "agreement.json").write_text(json.dumps(asdict(figures), indent=1) + "\n")
    write_manifest(folder)
    return figures


def decoder_of(pipeline: Pipeline) -> VAE:
    """Raises InvalidInput for a profile with another decoder: only ours is made a graph."""
    model = pipeline.decoder.model
    if not isinstance(model, VAE):
        raise InvalidInput(
            f"profile {pipeline.score.profile.name} decodes with {type(model).__name__}, which is "
            "not exported: give a profile with the default avatar's decoder, such as tiny"
        )
    return model


def judge(profile: str, true: Pipeline, speech: Sequence[NDArray[np.float32]]) -> Agreement:
    """What is written, against the torch pipeline that it was made of."""
    reader = load_mouth_reader(READERS / "mouth_reader.safetensors")
    boxes = {name: box for name, box in read_boxes().items() if name in avatars(true.score.profile)}
    ours = Pipeline.load(profile, wish="openvino")
    return measure_agreement(ours, true, reader, boxes, speech)


def recording(rng: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    from training.data.acoustics import EVERYDAY, SAMPLE_RATE
    from training.data.engines import load_engines
    from training.data.speech import utterance

    said = utterance(rng, seconds, load_engines(["hibari"]), acoustics=EVERYDAY)
    return said.samples[: round(seconds * SAMPLE_RATE)]


def avatars(profile: Profile) -> list[str]:
    return sorted(path.parent.name for path in profile.folder.glob("*/avatar.safetensors"))


# -- calibration --------------------------------------------------------------------------------


def record(pipeline: Pipeline, speech: Sequence[NDArray[np.float32]]) -> Calibration:
    """Let every avatar say one of the recordings, and keep what its networks are given."""
    seen = Calibration([], [])

    def keep(_model: nn.Module, args: tuple[object, ...]) -> None:
        noisy, timestep, condition, context, _ = args
        inputs = chunk_inputs(noisy, timestep, condition, context)  # type: ignore[arg-type]  # as DiT.forward
        if inputs is not None:
            seen.forwards.append(inputs)

    hook = pipeline.score.model.register_forward_pre_hook(keep)
    for number, avatar in enumerate(avatars(pipeline.score.profile)):
        spec = Spec(avatar, number)
        # one more: the first has no past, it is no forward of the graph
        latents = list(islice(latents_of(pipeline, speech[number], spec), CALIBRATION_CHUNKS + 1))
        seen.groups.extend(_groups(pipeline, latents, spec))
    hook.remove()
    return seen


def _groups(pipeline: Pipeline, chunks: Sequence[LatentChunk], spec: Spec) -> Iterator[Inputs]:
    state = pipeline.decoder.init_state(spec)
    assert isinstance(state, DecoderState)
    assert state.last_latent is not None
    previous = state.last_latent
    for chunk in chunks:
        for latent in torch.from_numpy(chunk.latents)[:, None]:
            yield group_inputs(latent, previous, state.reference)
            previous = latent


# -- int8 ---------------------------------------------------------------------------------------


def quantize(
    model: openvino.Model, calibration: Sequence[Inputs], in_float: InFloat
) -> openvino.Model:
    """Matrix products and convolutions in int8, but those `in_float`."""
    import_openvino()  # before nncf, which would report to its maker otherwise
    import nncf  # type: ignore[import-untyped]  # has no types

    arrays = [[each.contiguous().numpy() for each in inputs] for inputs in calibration]
    quantized: openvino.Model = nncf.quantize(
        model,
        nncf.Dataset(arrays),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,  # smooths the outliers of modulated norms
        subset_size=len(arrays),
        ignored_scope=nncf.IgnoredScope(names=in_float.names, types=in_float.types),
    )
    return quantized


def float_in_dit(model: openvino.Model, dit: DiT) -> InFloat:
    """What costs little and is felt everywhere, or shows in the latents at once.

    The conditions have a few rows only, and every token is multiplied by what they become. RoPE's
    exchange of each pair of features is a product with 0 and 1.
    """
    conditions = [name for name, (_, num_rows) in _products(model).items() if num_rows <= FEW_ROWS]
    side = dit.config.head_dim
    shapes = (dit.patch_embedding.weight.flatten(1).shape, dit.proj_out.weight.shape, (side, side))
    names = [name for shape in shapes for name in _using(model, tuple(shape))]
    return InFloat(conditions + names, ["ScaledDotProductAttention"])


def float_in_vae(model: openvino.Model, vae: VAE) -> InFloat:
    """What reads or enlarges the motion, and the linear way to pixels."""
    layers = (vae.decoder8_in, vae.linear_decode)
    names = [name for each in layers for name in _using(model, tuple(each.weight.shape))]
    learned = {tuple(each.shape) for each in vae.parameters()}
    grown = [name for name, (shape, _) in _products(model).items() if shape not in learned]
    return InFloat(names + grown, ["Interpolate"])


def _using(model: openvino.Model, shape: tuple[int, ...]) -> list[str]:
    """Names of the products and convolutions with a weight of this shape.

    Raises:
        ValueError: There is none: the graph is not what this was written for.
    """
    found = [name for name, (weight, _) in _products(model).items() if weight == shape]
    if not found:
        raise ValueError(f"no product or convolution with a weight of shape {shape}")
    return found


def _products(model: openvino.Model) -> dict[str, tuple[tuple[int, ...], int]]:
    """Of each product and convolution the weight's shape, and how many rows it is applied to."""
    return {
        op.get_friendly_name(): (
            tuple(op.input_value(1).get_shape()),
            math.prod(op.get_output_shape(0)[:-1]),
        )
        for op in model.get_ops()
        if op.get_type_name() in ("MatMul", "Convolution")
    }


if __name__ == "__main__":
    main()
