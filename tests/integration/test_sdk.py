"""The SDK's wheel in an environment that holds only what the wheel asks for."""

import io
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import av
import pytest
from packaging.requirements import Requirement

from tests.fakes.talk_server import FakeTalkServer
from tests.fakes.video import mp4_bytes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SDK = Path(__file__).resolve().parents[2] / "sdk"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that building leaves nothing in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(SDK, folder / "sdk", ignore=ignore)
    run_pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "sdk"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment: the wheel, and links to the packages it requires, needing no index."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
    run_pip("--python", str(root / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    (site_packages,) = root.glob("lib/python*/site-packages")
    (facts,) = site_packages.glob("talkingmachines-*.dist-info")
    for name in requirements_of(PathDistribution(facts)):
        link_distribution(name, site_packages)
    return root


def test_the_wheel_asks_for_all_it_needs(environment: Path) -> None:
    checked = run_pip("--python", str(environment / "bin/python"), "check")

    assert "No broken requirements found" in checked


def test_the_core_is_grpc_and_protobuf_alone(environment: Path) -> None:
    facts = environment.glob("lib/python*/site-packages/*.dist-info")
    names = {str(PathDistribution(each).metadata["Name"]) for each in facts}

    ours = {"talkingmachines", "grpcio", "protobuf"}
    assert names - {"typing_extensions"} == ours  # grpcio's own


def test_the_environment_has_neither_torch_nor_the_server(environment: Path) -> None:
    code = "from importlib.util import find_spec; print([n for n in {} if find_spec(n)])"
    names = ["torch", "numpy", "ray", "avatar", "services", "talkingmachines"]

    assert run(environment / "bin/python", "-c", code.format(names)) == "['talkingmachines']\n"


def test_the_installed_command_turns_text_into_a_video(environment: Path, tmp_path: Path) -> None:
    with FakeTalkServer() as server:
        command = environment / "bin/talkingmachines"
        options: list[str | Path] = [
            "--avatar",
            "mira",
            "--server",
            server.address,
            "--out",
            tmp_path / "a.mp4",
        ]
        shown = run(command, "say", "Hello.", *options)

    video = (tmp_path / "a.mp4").read_bytes()
    assert video == mp4_bytes()
    with av.open(io.BytesIO(video), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 25
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
    assert shown.startswith("says:  Hello.\n")


MOCKED = """
import sys
from talkingmachines import Client, PlaybackFinished, QuotaExceeded, Recorder
from talkingmachines.testing import MockServer

with MockServer() as server, Client(server.address) as client:
    client.wait_ready()
    with client.session() as session:
        session.say("One two.")
        print(next(event.heard.text for event in session if isinstance(event, PlaybackFinished)))
    server.fail("Say", "QUOTA_EXCEEDED", quota="sessions", retry_after_s=2.0)
    try:
        list(client.say("Hello."))
    except QuotaExceeded as error:
        print(error.quota, error.retry_after_s)
try:
    Recorder("/nowhere/a.mp4")
except ImportError as error:
    print(error)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"numpy", "torch", "av", "avatar"}))
"""


def test_live_sessions_and_the_mock_server_need_nothing_else(environment: Path) -> None:
    shown = run(environment / "bin/python", "-c", MOCKED).splitlines()

    assert shown[0] == "One two."
    assert shown[1] == "sessions 2.0"
    assert shown[2].startswith("This needs av: pip install 'talkingmachines[mux]'")
    assert shown[3] == "[]"


def test_the_wheel_names_its_extras(environment: Path) -> None:
    (facts,) = environment.glob("lib/python*/site-packages/talkingmachines-*.dist-info")
    extras = PathDistribution(facts).metadata.get_all("Provides-Extra")

    assert sorted(extras or []) == ["microphone", "mux", "webrtc"]


def test_the_wheel_carries_its_types_and_its_licence(environment: Path) -> None:
    (package,) = environment.glob("lib/python*/site-packages/talkingmachines")
    (facts,) = environment.glob("lib/python*/site-packages/talkingmachines-*.dist-info")

    assert (package / "py.typed").exists()
    assert list(facts.glob("licenses/LICENSE"))


def requirements_of(wanted: Distribution) -> set[str]:
    """What `wanted` requires, and what that requires, and so on."""
    found: set[str] = set()
    for text in wanted.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found |= {requirement.name} | requirements_of(distribution(requirement.name))
    return found


def link_distribution(name: str, site_packages: Path) -> None:
    for file in distribution(name).files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            link = site_packages / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(str(file.locate())))


def run_pip(*arguments: str) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)


def run(*command: str | Path) -> str:
    # From the root folder, and isolated: nothing of the clone may be importable by accident.
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout
