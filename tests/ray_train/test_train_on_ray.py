"""Ray Train's processes learn what torchrun's do, and refuse once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fakes.scale import in_processes, write_toy_clips
from training.recipes.tm_18b import toy
from training.scale.run import run_recipe

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(sys.prefix) / "ray_train"
"""Where `make test` puts what Ray Train needs: not among the packages that the product sees."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (FOLDER / "pyarrow").is_dir():
        reason = f"Ray Train's packages are not in {FOLDER}: `make test` installs them"
        if os.getenv("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return write_toy_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every process that Ray starts too."""
    found = [str(ROOT), str(ROOT / "sdk"), str(FOLDER)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def on_ray(shards: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "scripts.train_on_ray", "--workers", "2", "--cpu",
        "--storage", str(folder / "ray"), "--",
        "--recipe", "toy", "--shards", str(shards), "--run", str(folder / "run"), *more,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def by_torch(rank: int, folder: Path, shards: Path) -> None:
    run_recipe(toy(), shards, folder / "run", from_scratch=True, say=False)


def test_rays_processes_learn_what_torchs_do(shards: Path, tmp_path: Path) -> None:
    done = on_ray(shards, tmp_path / "on-ray", "--from-scratch")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "by-torch").mkdir()
    in_processes(2, by_torch, tmp_path / "by-torch", shards)
    for stage in toy().stages:
        one, other = (
            load_file(tmp_path / way / "run" / f"{stage.name}.safetensors")
            for way in ("on-ray", "by-torch")
        )
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one), stage.name


def test_what_is_refused_is_not_tried_again(shards: Path, tmp_path: Path) -> None:
    done = on_ray(shards, tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "nothing to begin with" in said
    assert said.count("Started training worker group") == 1
    # of Ray's own watchers one may see its end too late, and says so
    ours = [line for line in said.splitlines() if "(PlacementGroupCleaner " not in line]
    assert not any("Traceback" in line for line in ours)
