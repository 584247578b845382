"""The RayService: rendered from ray_config.yaml, valid by KubeRay's schema, one group a pool."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from avatar.media import STAGES
from scripts.render_manifests import render
from services.settings import AppConfig
from tests.manifests.crd import validator
from tests.manifests.mutants import misspelt

pytestmark = pytest.mark.manifests

ROOT = Path(__file__).resolve().parents[2]
SERVE_CONFIG = (ROOT / "ray_config.yaml").read_text()
COMMITTED = (ROOT / "k8s" / "base" / "rayservice.yaml").read_text()


def rayservice() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMMITTED)
    return document


def groups() -> dict[str, dict[str, Any]]:
    specs = rayservice()["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    return {each["groupName"]: each for each in specs}


def deployments() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load(SERVE_CONFIG)["applications"][0]["deployments"]
    return listed


def test_the_committed_file_is_the_rendered_one() -> None:
    assert render(SERVE_CONFIG) == COMMITTED, "run make manifests and commit it"


def test_the_serve_config_inside_is_ray_config_yaml() -> None:
    inside = rayservice()["spec"]["serveConfigV2"]
    assert yaml.safe_load(inside) == yaml.safe_load(SERVE_CONFIG)
    assert inside == SERVE_CONFIG


def test_ray_serve_accepts_the_config_and_knows_every_key_of_it() -> None:
    parsed = yaml.safe_load(SERVE_CONFIG)
    ServeDeploySchema.model_validate(parsed)
    # The schemas let unknown keys pass, so a typo would go unnoticed.
    assert set(parsed) <= set(ServeDeploySchema.model_fields)
    assert set(parsed["http_options"]) <= set(HTTPOptionsSchema.model_fields)
    for application in parsed["applications"]:
        assert set(application) <= set(ServeApplicationSchema.model_fields)
        for deployment in application["deployments"]:
            assert set(deployment) <= set(DeploymentSchema.model_fields)
            assert set(deployment["ray_actor_options"]) <= set(RayActorOptionsSchema.model_fields)


def test_the_apps_arguments_are_its_settings() -> None:
    args = yaml.safe_load(SERVE_CONFIG)["applications"][0]["args"]
    assert AppConfig.model_validate(args).profile == args["profile"]


def test_the_five_stages_are_deployed_in_the_order_of_the_data() -> None:
    assert [each["name"] for each in deployments()] == list(STAGES)


def test_each_pool_is_in_exactly_one_group_with_room_for_its_replicas() -> None:
    for deployment in deployments():
        (pool,) = deployment["ray_actor_options"]["resources"]
        holders = [each for each in groups().values() if pool in each["resources"]]
        assert len(holders) == 1, pool
        units = int(holders[0]["resources"][pool]) * holders[0]["minReplicas"]
        asked = deployment["ray_actor_options"]["resources"][pool] * deployment["num_replicas"]
        assert units >= asked, pool
    assert len(groups()) == len(deployments())


def test_no_replica_can_land_on_the_head() -> None:
    head = rayservice()["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "resources" not in head


def test_every_pod_serves_the_health_of_serve_where_kuberay_asks_for_it() -> None:
    port = yaml.safe_load(SERVE_CONFIG)["http_options"]["port"]
    cluster = rayservice()["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        ports = group["template"]["spec"]["containers"][0]["ports"]
        assert {"name": "serve", "containerPort": port} in ports


def test_a_replica_that_asks_for_another_stages_pool_is_refused() -> None:
    wrong = SERVE_CONFIG.replace("{pool_gateway: 1}", "{pool_vae_decoder: 1}")
    assert wrong != SERVE_CONFIG
    with pytest.raises(ValueError, match="one unit of pool_gateway expected"):
        render(wrong)


def test_the_rayservice_passes_kuberays_schema() -> None:
    errors = [error.message for error in validator("rayservices").iter_errors(rayservice())]
    assert errors == []


def test_its_cluster_passes_kuberays_schema_of_clusters() -> None:
    cluster = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "talkingmachines"},
        "spec": rayservice()["spec"]["rayClusterConfig"],
    }
    errors = [error.message for error in validator("rayclusters").iter_errors(cluster)]
    assert errors == []


def test_kuberays_schema_catches_every_misspelt_key() -> None:
    check = validator("rayservices")
    specification = {"spec": rayservice()["spec"]}
    mutants = list(misspelt(specification))
    missed = [path for path, mutant in mutants if check.is_valid(mutant)]
    assert missed == []
    assert len(mutants) >= 300


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("spec", "rayClusterDeletionDelaySeconds"), "soon"),
        (("spec", "rayClusterConfig", "authOptions", "mode"), "password"),
        (("spec", "rayClusterConfig", "workerGroupSpecs", 0, "minReplicas"), "one"),
        (("spec", "rayClusterConfig", "workerGroupSpecs", 0, "template"), None),
    ],
)
def test_kuberays_schema_catches_wrong_values(path: tuple[str | int, ...], wrong: object) -> None:
    document = rayservice()
    parent: Any = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = wrong
    assert not validator("rayservices").is_valid(document)
