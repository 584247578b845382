"""Renders k8s/base/rayservice.yaml from ray_config.yaml; `--check` only compares."""

import argparse
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SERVE_CONFIG = ROOT / "ray_config.yaml"
TARGET = ROOT / "k8s" / "base" / "rayservice.yaml"
HEADER = "# Rendered from ray_config.yaml by `make manifests`; change that file instead.\n"

NAME = "talkingmachines"
IMAGE = "talkingmachines:dev"
USER_ID = 1000
POOL_PREFIX = "pool_"


@dataclass(frozen=True)
class PodSize:
    """Limits of one pod; the memory is requested in full, of the CPU only REQUESTED_CPU.

    First guesses for the `tiny` profile, never run on a cluster: measure on yours.
    """

    cpu: str = "1"
    memory: str = "3Gi"


HEAD = PodSize(cpu="1", memory="4Gi")
POOLS = {
    "audio_llm": PodSize(memory="4Gi"),
    "audio_encoder": PodSize(),
    "score_worker": PodSize(cpu="2"),
    "vae_decoder": PodSize(),
    "gateway": PodSize(),
}
REQUESTED_CPU = "250m"
GATEWAY_PORTS = {"http": 8000, "grpc": 9000}


def render(serve_config: str) -> str:
    """The RayService whose serveConfigV2 is `serve_config`, word for word."""
    return HEADER + yaml.dump(rayservice(serve_config), Dumper=_Dumper, sort_keys=False, width=100)


def rayservice(serve_config: str) -> dict[str, Any]:
    parsed = yaml.safe_load(serve_config)
    serve_port = parsed["http_options"]["port"]
    deployments = parsed["applications"][0]["deployments"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME},
        "spec": {
            "serveConfigV2": serve_config,
            "excludeHeadPodFromServeSvc": True,
            # The default of one minute would cut off sessions of the old cluster at an upgrade.
            "rayClusterDeletionDelaySeconds": 1800,
            "rayClusterConfig": {
                "rayVersion": version("ray"),
                "enableInTreeAutoscaling": False,
                # Ray listens on every interface; without its token it asks nobody who they are.
                "authOptions": {"mode": "token"},
                "headGroupSpec": head_group(serve_port),
                "workerGroupSpecs": [worker_group(each, serve_port) for each in deployments],
            },
        },
    }


def head_group(serve_port: int) -> dict[str, Any]:
    ports = {"gcs": 6379, "dashboard": 8265, "client": 10001, "serve": serve_port}
    return {
        # No replica runs on the head: it must survive whatever they do.
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
        "template": pod("head", HEAD, ports),
    }


def worker_group(deployment: dict[str, Any], serve_port: int) -> dict[str, Any]:
    """The pool of one deployment: as many pods as it has replicas."""
    stage = deployment["name"]
    asked = deployment["ray_actor_options"]["resources"]
    if asked != {pool_of(stage): 1}:
        raise ValueError(f"{stage} asks for {asked}, one unit of {pool_of(stage)} expected")
    ports = {"serve": serve_port}
    if stage == "gateway":
        ports |= GATEWAY_PORTS
    template = pod(stage, POOLS[stage], ports)
    if stage == "gateway":
        _mount_keys(template["spec"])
        template["spec"]["containers"][0]["readinessProbe"] = {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 5,
            "failureThreshold": 3,
        }
    return {
        "groupName": group_of(stage),
        "replicas": deployment["num_replicas"],
        "minReplicas": deployment["num_replicas"],
        "maxReplicas": deployment["num_replicas"],
        "resources": {pool_of(stage): "1"},
        "rayStartParams": {},
        "template": template,
    }


def _mount_keys(spec: dict[str, Any]) -> None:
    """The folder of API_KEYS_FILE, see settings.yaml; a changed Secret shows within a minute."""
    secret = {"secretName": "talkingmachines-keys", "defaultMode": 0o440}
    spec["volumes"].append({"name": "keys", "secret": secret})
    mount = {"name": "keys", "mountPath": "/etc/talkingmachines", "readOnly": True}
    spec["containers"][0]["volumeMounts"].append(mount)


def pool_of(stage: str) -> str:
    return POOL_PREFIX + stage


def group_of(stage: str) -> str:
    """The stage's name as Kubernetes writes names."""
    return stage.replace("_", "-")


def pod(stage: str, size: PodSize, ports: dict[str, int]) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {
                "app.kubernetes.io/part-of": NAME,
                "app.kubernetes.io/component": group_of(stage),
            }
        },
        "spec": {
            "serviceAccountName": NAME,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": f"ray-{group_of(stage)}",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "ports": [
                        {"name": name, "containerPort": port} for name, port in ports.items()
                    ],
                    "env": [
                        # Where this pod's stage is reached by the others.
                        {
                            "name": "STAGE_HOST",
                            "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
                        }
                    ],
                    "envFrom": [
                        {"configMapRef": {"name": "talkingmachines-settings"}},
                        {"secretRef": {"name": "talkingmachines-secrets", "optional": True}},
                    ],
                    "resources": {
                        "requests": {"cpu": REQUESTED_CPU, "memory": size.memory},
                        "limits": {"cpu": size.cpu, "memory": size.memory},
                    },
                    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as it is, and lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the committed file differs")
    check = parser.parse_args().check
    fresh = render(SERVE_CONFIG.read_text())
    if not check:
        TARGET.write_text(fresh)
        print(f"written: {TARGET.relative_to(ROOT)}")
    elif not TARGET.exists() or TARGET.read_text() != fresh:
        raise SystemExit(f"stale: {TARGET.relative_to(ROOT)}\nrun make manifests and commit it")


if __name__ == "__main__":
    main()
