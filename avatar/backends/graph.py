"""A compiled graph: arrays in, arrays out, by OpenVINO on one thread of the CPU."""

from __future__ import annotations

import platform
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from avatar.backends import Backend, Wish
from avatar.backends.batched import batched
from avatar.errors import AvatarError, CorruptFile, NotFound, Unavailable
from avatar.models.weights import check_file, sha256_of

if TYPE_CHECKING:
    import openvino  # type: ignore[import-untyped]  # has no types

FOLDER = "openvino"
"""Below a profile's folder: <network>.xml, the graph, and <network>.bin, its numbers."""
COMMAND = "python -m training.export_cpu"
ABOUT = "talkingmachines"
"""Where a graph says what it was made from."""
COMPILED = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_NUM_THREADS": 1,
    # score worker and VAE decoder would be bound to the same core
    "ENABLE_CPU_PINNING": False,
    # the same pictures on every machine; where bfloat16 is native it costs 3 % of precision a step
    "INFERENCE_PRECISION_HINT": "f32",
}


class Graph:
    """Called with float32 tensors of exactly `shapes`; holds nothing from call to call."""

    def __init__(self, model: openvino.Model) -> None:
        """Compile.

        Raises:
            Unavailable: OpenVINO cannot run this graph on this machine.
        """
        ov = import_openvino()
        self._model = model
        self.shapes = [tuple(each.shape) for each in model.inputs]
        try:
            # in a thread of its own: OpenVINO gives the thread that compiles another stack for
            # signals and takes it away with the graph, and the next Ctrl-C there would crash
            with ThreadPoolExecutor(1) as aside:
                compiling = aside.submit(ov.Core().compile_model, model, "CPU", COMPILED)
                self._request = compiling.result().create_infer_request()
        except RuntimeError as error:
            raise Unavailable(f"openvino cannot compile the graph: {last_line(error)}") from error

    def takes(self, inputs: Sequence[Tensor]) -> bool:
        return [tuple(each.shape) for each in inputs] == self.shapes

    def batched(self, size: int) -> Graph:
        """The same for `size` sessions at once; each gets what it would get alone, bit for bit."""
        return Graph(batched(self._model, size))

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = [each.contiguous().numpy() for each in inputs]
        outputs = self._request.infer(arrays, share_inputs=True)
        return [torch.from_numpy(each) for each in outputs.values()]


def choose_graph(
    wish: Wish, folder: Path, network: str, about: Mapping[str, str]
) -> tuple[Graph | None, Backend]:
    """The graph to run `network` with, or None for torch, and why.

    Raises:
        AvatarError: OpenVINO was asked for by name and cannot be had; the message says why.
    """
    if wish == "torch":
        return None, Backend("torch", "it was asked for")
    if wish == "openvino":
        try:
            return load_graph(folder, network, about), Backend("openvino", "it was asked for")
        except AvatarError as error:
            fix = "mend that, or ask for the back end auto or torch"
            raise type(error)(f"the back end openvino cannot be had: {error}; {fix}") from error
    if (machine := platform.machine()) not in ("x86_64", "AMD64"):
        return None, Backend("torch", f"the int8 export is made for x86-64, and this is {machine}")
    try:
        return load_graph(folder, network, about), Backend("openvino", "its int8 export is fastest")
    except AvatarError as error:
        return None, Backend("torch", str(error))


def load_graph(folder: Path, network: str, about: Mapping[str, str]) -> Graph:
    """The export of `<network>.safetensors` in a profile's folder.

    Args:
        folder: Of the profile.
        network: Name of its weight file.
        about: What else it must have been exported for, by name.

    Raises:
        Unavailable: OpenVINO is not installed, or cannot compile it here.
        NotFound: There is no export.
        CorruptFile: It is damaged, or of other weights.
    """
    ov = import_openvino()
    if not (folder / FOLDER / f"{network}.xml").is_file():
        raise NotFound(f"{FOLDER}/{network}.xml is missing: `{COMMAND}` makes it")
    path = check_file(folder, f"{FOLDER}/{network}.xml")
    check_file(folder, f"{FOLDER}/{network}.bin")
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise CorruptFile(f"openvino cannot read {path.name}: {last_line(error)}") from error
    for name, wanted in {**about, "source": sha256_of(folder / f"{network}.safetensors")}.items():
        place = [ABOUT, name]
        found = str(model.get_rt_info(place).value) if model.has_rt_info(place) else "nothing"
        if found != wanted:
            raise CorruptFile(
                f"{FOLDER}/{path.name} was exported for other weights ({name} is {found[:12]}, "
                f"{wanted[:12]} expected): `{COMMAND}` makes it anew"
            )
    return Graph(model)


def convert(network: nn.Module, inputs: Sequence[Tensor]) -> openvino.Model:
    """A torch module of tensors, as a graph that takes these shapes only."""
    ov = import_openvino()
    with torch.no_grad(), warnings.catch_warnings():
        # torch's own exporter uses what torch is about to take away
        warnings.simplefilter("ignore", FutureWarning)
        # copies: of a tensor that is given twice the export makes one input
        example = tuple(each.clone() for each in inputs)
        model = ov.convert_model(torch.export.export(network, example))
    model.reshape({place: tuple(each.shape) for place, each in enumerate(inputs)})
    return model


def save_graph(model: openvino.Model, folder: Path, network: str, about: Mapping[str, str]) -> None:
    """Write `<network>.xml` and `.bin`; the manifest is the caller's to renew."""
    source = sha256_of(folder / f"{network}.safetensors")
    for name, value in {**about, "source": source}.items():
        model.set_rt_info(value, [ABOUT, name])
    (folder / FOLDER).mkdir(exist_ok=True)
    # float16 as the weights it was made from, which loses nothing of them
    import_openvino().save_model(model, folder / FOLDER / f"{network}.xml", compress_to_fp16=True)


def import_openvino() -> ModuleType:
    """Raises Unavailable where it is not installed, or not for this system."""
    # it tells its maker of every import and conversion, unless this package of it is not there
    unreported: dict[str, Any] = sys.modules
    unreported.setdefault("openvino_telemetry", None)
    try:
        import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise Unavailable(f"openvino cannot be imported: {error}") from error
        raise Unavailable("openvino is not installed") from error
    except ImportError as error:
        raise Unavailable(f"openvino cannot be imported: {error}") from error
    return openvino


def last_line(error: Exception) -> str:
    """OpenVINO's messages begin with where in its source they come from."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
