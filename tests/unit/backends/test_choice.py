"""Which back end runs a network: OpenVINO if its export is whole and fits, else torch, and why."""

import ctypes
import platform
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from avatar.backends import graph as graphs
from avatar.backends.graph import FOLDER, choose_graph, convert, load_graph, save_graph
from avatar.cast.profiles import PROFILES
from avatar.errors import AvatarError, CorruptFile, NotFound, Unavailable
from avatar.models.weights import write_manifest

pytestmark = pytest.mark.unit

ABOUT = {"positions": "0 1 2"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile's folder with one small network and its export."""
    folder = tmp_path_factory.mktemp("profile")
    torch.manual_seed(0)
    network = nn.Linear(4, 3)
    save_file(network.state_dict(), folder / "net.safetensors")
    save_graph(convert(network, [torch.zeros(2, 4)]), folder, "net", ABOUT)
    write_manifest(folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage, on the kind of machine that the export is for."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return Path(shutil.copytree(exported, tmp_path / "profile"))


def reason(folder: Path) -> str:
    """Why torch is chosen."""
    graph, backend = choose_graph("auto", folder, "net", ABOUT)
    assert graph is None
    assert backend.name == "torch"
    assert str(backend) == f"backend=torch because {backend.reason}"
    return backend.reason


def test_an_export_that_fits_is_used(folder: Path) -> None:
    graph, backend = choose_graph("auto", folder, "net", ABOUT)
    assert graph is not None
    assert backend.name == "openvino"
    given = torch.randn(2, 4)
    torch.manual_seed(0)
    expected = nn.Linear(4, 3)(given)
    # the export is in half precision, as weights that ship are
    assert torch.allclose(graph([given])[0], expected, atol=2e-3)


def test_outputs_are_the_caller_s_and_stay_as_they_are(folder: Path) -> None:
    graph = load_graph(folder, "net", ABOUT)
    first = graph([torch.ones(2, 4)])[0]
    kept = first.clone()
    graph([torch.zeros(2, 4)])
    assert torch.equal(first, kept)


def test_without_openvino_torch_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert reason(folder) == "openvino is not installed"


def test_without_an_export_torch_is_used(folder: Path) -> None:
    shutil.rmtree(folder / FOLDER)
    assert reason(folder).startswith("openvino/net.xml is missing: `python -m training.export_cpu`")


@pytest.mark.parametrize("name", ["net.xml", "net.bin"])
def test_a_damaged_export_is_not_used(folder: Path, name: str) -> None:
    path = folder / FOLDER / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"{name} is damaged: sha256" in reason(folder)


def test_an_export_that_is_not_in_the_manifest_is_not_used(folder: Path) -> None:
    (folder / FOLDER / "net.xml").rename(folder / FOLDER / "other.xml")
    write_manifest(folder)
    (folder / FOLDER / "other.xml").rename(folder / FOLDER / "net.xml")
    assert "does not list openvino/net.xml" in reason(folder)


def test_an_export_of_other_weights_is_not_used(folder: Path) -> None:
    save_file(nn.Linear(4, 3).state_dict(), folder / "net.safetensors")
    write_manifest(folder)
    assert "net.xml was exported for other weights (source is" in reason(folder)


def test_an_export_for_another_policy_is_not_used(folder: Path) -> None:
    _, backend = choose_graph("auto", folder, "net", {"positions": "0 1 3"})
    assert "(positions is 0 1 2, 0 1 3 expected)" in backend.reason


def test_a_file_that_is_no_graph_is_not_used(folder: Path) -> None:
    (folder / FOLDER / "net.xml").write_text("<html>not found</html>")
    write_manifest(folder)
    assert reason(folder).startswith("openvino cannot read net.xml: ")


def test_a_graph_that_cannot_be_compiled_here_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "COMPILED", {"INFERENCE_PRECISION_HINT": "f7"})
    assert reason(folder).startswith("openvino cannot compile the graph: ")


def test_on_another_kind_of_machine_torch_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert reason(folder) == "the int8 export is made for x86-64, and this is aarch64"
    graph, _ = choose_graph("openvino", folder, "net", ABOUT)
    assert graph is not None  # who asks for it has it


def test_torch_is_used_where_it_is_asked_for(folder: Path) -> None:
    graph, backend = choose_graph("torch", folder, "net", ABOUT)
    assert graph is None
    assert str(backend) == "backend=torch because it was asked for"


def test_openvino_by_name_that_cannot_be_had_is_an_error_that_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(kind: type[AvatarError], why: str) -> None:
        with pytest.raises(kind, match=f"the back end openvino cannot be had: .*{why}.*; mend"):
            choose_graph("openvino", folder, "net", ABOUT)

    (folder / FOLDER / "net.bin").write_bytes(b"")
    refused(CorruptFile, "net.bin is damaged")
    shutil.rmtree(folder / FOLDER)
    refused(NotFound, "net.xml is missing")
    monkeypatch.setitem(sys.modules, "openvino", None)
    refused(Unavailable, "openvino is not installed")


def test_its_package_that_reports_to_its_maker_is_never_loaded(folder: Path) -> None:
    load_graph(folder, "net", ABOUT)
    assert sys.modules["openvino_telemetry"] is None
    assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)


class SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> int | None:
    """Where this thread's handlers run, if not on its own stack."""
    found = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    where: int | None = found.sp
    return where


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux")
def test_a_graph_leaves_the_signals_of_who_loads_it_alone() -> None:
    """Where it did not, the next signal after the graph's end crashed the process."""
    before = signal_stack()
    graph = load_graph(PROFILES["tiny"].folder, "vae", {})
    assert graph.shapes
    assert signal_stack() == before
