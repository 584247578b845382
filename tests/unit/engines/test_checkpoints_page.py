"""The commands of docs/checkpoints.md that need no download, as a reader types them."""

import re
import shlex
import shutil
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from string import Template

import pytest

from avatar.__main__ import main as avatar
from avatar.backends import Running
from avatar.cast.avatars import everyone
from avatar.cast.characters import CAST
from avatar.cast.profile import load_appearance
from avatar.cast.profiles import load_profile
from avatar.engines.score import ScoreEngine
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import NotFound
from avatar.models.checkpoints.convert import PROFILE
from services.capacity import Trial
from training.toy_checkpoint import main as toy_checkpoint
from training.toy_checkpoint import write_toy

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("one_thread")]

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "checkpoints.md").read_text()
BLOCKS = [each for each in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) if "toy_check" in each]
DOWNLOADS = re.findall(r"^\.venv/bin/hf (download .*)$", PAGE, re.MULTILINE)
PROGRAMS = {"avatar": avatar, "training.toy_checkpoint": toy_checkpoint}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the repository's files can be named as from its root."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


def type_in(line: str, names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Do what a line says; the profile where it starts a server."""
    words = shlex.split(Template(line).substitute(names))
    if words[0] == names["PY"]:
        assert words[1] == "-m"
        monkeypatch.setattr(sys, "argv", words[2:])
        assert not PROGRAMS[words[2]](), line
    elif words[0] == "cp":
        shutil.copy(*words[1:])
    else:
        assert words[1:] == ["SLOTS=1", "make", "run"]
        return words[0].removeprefix("PROFILE=")
    return ""


@pytest.mark.parametrize("block", BLOCKS, ids=["realvideo", "tm-18b"])
def test_the_pages_commands_lead_to_a_profile_that_serves(
    block: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, *lines = block.strip().splitlines()
    names = dict(each.split("=") for each in first.split())
    told = [type_in(line, names, monkeypatch) for line in lines]
    profile = load_profile(told[-1])
    assert profile.folder.joinpath(PROFILE).is_file()
    assert [each.id for each in everyone(profile.avatars)] == [*(c.id for c in CAST), "eileen"]
    for name in ("mira", "eileen"):
        shown = load_appearance(profile, name).portrait
        assert shown.shape == (profile.height, profile.width, 3)
    on_cpu = Running(device="cpu")
    engine = ScoreEngine.load(profile, on_cpu)
    Trial(engine, replace(engine.rehearsal(), avatar="eileen"))
    assert VaeDecoderEngine.load(profile, on_cpu).profile.name == here.joinpath(names["M"]).name
    assert_what_was_made_by_other_weights_is_told(names, monkeypatch, capsys)


def test_downloads_bring_what_is_converted() -> None:
    fetched: dict[str, list[str]] = {}
    for line in DOWNLOADS:
        _, _, *words = shlex.split(line)
        options = list(zip(words[::2], words[1::2], strict=True))  # hf takes one word after each
        assert {name for name, _ in options} <= {"--include", "--local-dir"}, line
        patterns = [value for name, value in options if name == "--include"]
        fetched.setdefault(dict(options)["--local-dir"], []).extend(patterns or ["*"])
    wanted = re.findall(
        r"(?:--src|cp) (\$D/(?:realvideo|s2v|xlsr|live|i2v|base|InfiniteTalk)\S*)", PAGE
    )
    assert len(wanted) > 10
    for path in wanted:
        folder, _, file = path.removeprefix("$D/").partition("/")
        patterns = fetched[f"$D/{folder}"]
        assert any(fnmatch(file or "*", each) for each in patterns), f"{path} is not in {patterns}"


def assert_what_was_made_by_other_weights_is_told(
    names: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another picture, then another VAE."""
    type_in("$PY -m avatar profile --folder $M --size 80x80", names, monkeypatch)
    assert "eileen cannot be called: the portrait of eileen is" in capsys.readouterr().err
    files = Path(names["D"])
    write_toy(Path(names["M"]).name, files, seed=9)
    vae = "$PY -m avatar convert --preset wan2.1-vae --src $D/vae/Wan2.1_VAE.pth --dst $M"
    type_in(vae, names, monkeypatch)
    assert "is no profile any more" in capsys.readouterr().out
    with pytest.raises(NotFound, match=r"has no profile\.json, which `python -m avatar profile"):
        load_profile(names["M"])
    type_in(vae, names, monkeypatch)  # the same once more replaces nothing
    assert "no profile" not in capsys.readouterr().out


def test_what_could_not_be_made_whole_is_no_profile(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *lines = BLOCKS[0].strip().splitlines()
    names = dict(each.split("=") for each in first.split())
    for line in lines:
        if line.startswith("$PY") and "portrait" not in line and "profile" not in line:
            type_in(line, names, monkeypatch)
    monkeypatch.setattr(
        sys, "argv", ["avatar", "profile", "--folder", names["M"], "--size", "64x96"]
    )
    assert avatar() == 1  # its tokenizer is not there yet
    assert "tokenizer.json is missing" in capsys.readouterr().err
    assert not (Path(names["M"]) / "profile.json").exists()
    shutil.copy(Path(names["D"]) / "google" / "umt5-xxl" / "tokenizer.json", names["M"])
    assert avatar() == 0
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--device", "cuda:99"])
    assert avatar() == 1
    assert "cuda:99" in capsys.readouterr().err
    assert load_profile(names["M"]).height == 96  # what was refused at once changed nothing
