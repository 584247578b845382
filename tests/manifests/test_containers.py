"""deploy/: the image and its compose file fit each other and the settings. No Docker is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.render_manifests import IMAGE, USER_ID
from services.settings import AppConfig

pytestmark = pytest.mark.manifests

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    return document["services"]


def stages() -> list[str]:
    return re.split(r"(?m)^FROM ", DOCKERFILE)[1:]


def test_the_image_runs_as_the_user_kubernetes_expects() -> None:
    assert f"USER {USER_ID}:{USER_ID}\n" in stages()[-1]
    assert stages()[-1].index("USER ") < stages()[-1].index("CMD ")


def test_both_stages_are_of_the_same_python_which_is_supported() -> None:
    bases = {stage.split()[0] for stage in stages()}
    assert bases == {"python:3.11-slim"}


def test_everything_the_image_copies_exists() -> None:
    for sources in re.findall(r"(?m)^COPY (?!--)(.+) \S+$", DOCKERFILE):
        for source in sources.split():
            assert (ROOT / source).exists(), source


def test_the_image_installs_by_the_pins() -> None:
    commands = re.findall(r"pip install .+", DOCKERFILE)
    assert len(commands) == 3
    assert all("-c constraints.txt" in command for command in commands)


def test_what_the_image_needs_is_not_ignored() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().split())
    needed = {"avatar", "services", "sdk", "scripts", "ray_config.yaml", "pyproject.toml"}
    assert not needed & ignored
    assert {".git", ".venv"} <= ignored


def test_the_ports_are_the_settings_and_only_this_machine_reaches_them() -> None:
    ports = [AppConfig().port, AppConfig().grpc_port]
    assert compose()["server"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]
    assert f"EXPOSE {ports[0]} {ports[1]}" in DOCKERFILE
    assert f"127.0.0.1:{ports[0]}/readyz" in DOCKERFILE


def test_compose_builds_the_image_that_kubernetes_runs() -> None:
    server = compose()["server"]
    assert server["image"] == IMAGE
    build = ROOT / "deploy" / server["build"]["context"]
    assert (build / server["build"]["dockerfile"]).samefile(ROOT / "deploy" / "Dockerfile")


def test_the_server_waits_for_a_valkey_that_compose_has() -> None:
    services = compose()
    assert services["server"]["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert services["server"]["environment"]["REDIS_URL"].startswith("redis://valkey:6379/")
    assert "healthcheck" in services["valkey"]
