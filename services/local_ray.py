"""A Ray cluster of one machine for as long as the launcher lives, and the graph deployed on it."""

import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avatar.telemetry.logging import get_logger
from services.processes import SIGNALS
from services.settings import set_environment

log = get_logger(__name__)

ROOT = Path(__file__).resolve().parent.parent
OBJECT_STORE_BYTES = 100 << 20
"""The smallest that Ray accepts with ease: no chunk ever goes through it."""

FAILED = ("DEPLOY_FAILED", "UNHEALTHY")

RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",  # Ray listens on every interface
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",  # our own metrics are at /metrics; saves 5 % of a core
    "RAY_task_events_report_interval_ms": "0",
    "RAY_SERVE_ENABLE_TASK_EVENTS": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",  # its files hold the same
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",  # of 10: who waits, waits for it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it prints a stack at SIGTERM, and aborts
    "RAY_worker_niceness": "0",  # 15 otherwise: whatever else runs here would come first
    "PYTHONWARNINGS": "ignore",  # of the libraries, in every worker
}


@contextmanager
def ray_graph(config: dict[str, Any], folder: Path) -> Iterator[Callable[[], str]]:
    """Start Ray with its files in `folder`, and deploy `config`, the content of ray_config.yaml.

    Yields a function that says what is wrong with the deployment, empty while nothing is. Ends
    every process of the cluster.
    """
    set_environment({**RAY_ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    set_environment({"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])})
    import ray  # after the environment is set: Ray reads it when it is imported
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    for name in ("ray", "ray.serve"):  # in this process; whatever matters is told below
        logging.getLogger(name).setLevel(logging.ERROR)
    if sys.platform.startswith("linux"):
        # a SIGTERM to the launcher's process group is for the launcher: where Ray's own processes
        # end first, it ends as soon as it notices, with no chance to clean up
        os.register_at_fork(after_in_child=os.setsid)
    try:
        with _signals_held():
            ray.init(
                address="local",
                num_cpus=2,
                resources=pools_of(config),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
            )
        # Serve's own proxy only answers the health checks of Kubernetes; nobody asks here
        serve.start(proxy_location="Disabled")
        client: Any = _get_global_client()
        # what Ray's dashboard does with the same file when KubeRay sends it there
        client.deploy_apps(ServeDeploySchema.model_validate(config))
        yield lambda: trouble_in(serve.status())
    finally:
        ray.shutdown()


@contextmanager
def _signals_held() -> Iterator[None]:
    """A signal is answered after the block: one that interrupts ray.init can crash the process.

    The handlers are the same afterwards: ray.init puts one of its own there.
    """
    held: list[int] = []
    set_handler = signal.signal
    answers = {number: set_handler(number, lambda n, _: held.append(n)) for number in SIGNALS}
    signal.signal = lambda number, _: signal.getsignal(number)  # type: ignore[assignment]  # as said
    try:
        yield
    finally:
        signal.signal = set_handler
        for number, answer in answers.items():
            signal.signal(number, answer)
        for arrived in held:
            signal.raise_signal(arrived)


def pools_of(config: dict[str, Any]) -> dict[str, float]:
    """As many units of each pool as there may be replicas that ask for them."""
    pools: dict[str, float] = {}
    for deployment in config["applications"][0]["deployments"]:
        asked = deployment.get("ray_actor_options", {}).get("resources", {})
        scaled = deployment.get("autoscaling_config") or {}
        most = scaled.get("max_replicas", deployment.get("num_replicas", 1))
        for pool, units in asked.items():
            pools[pool] = pools.get(pool, 0.0) + units * most
    return pools


def trouble_in(status: Any) -> str:
    """In one line, why a deployment cannot start; empty while none has given up."""
    for name, application in status.applications.items():
        if application.status in FAILED:
            failed = [
                (deployment, state.message)
                for deployment, state in application.deployments.items()
                if state.status in FAILED
            ]
            where, message = failed[0] if failed else (name, application.message)
            log.error("deployment_failed", deployment=where, cause=message)
            # the last line of a traceback is the error itself
            return f"{where}: {(message.strip().splitlines() or ['no reason given'])[-1]}"
    return ""
