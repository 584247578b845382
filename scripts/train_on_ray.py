"""`training.scale` on a Ray cluster: Ray Train places the processes and starts them again.

`python -m scripts.train_on_ray --address auto --workers 16 -- --shards /data/shards --run /data/run
--base /data/base`, where /data, and the place of this code, are the same on every node. Needs
`pip install "ray[train]"`, which set-up leaves out. A worker that is lost ends the attempt; the
next one goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import Any

from services.settings import set_environment
from training.scale.__main__ import arguments_of

MAX_FAILURES = 8


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.train_on_ray", description=__doc__)
    parser.add_argument("--workers", type=int, required=True, metavar="N")
    parser.add_argument(
        "--address",
        help="of a Ray cluster; auto: of the one this machine is in (default: this machine alone)",
    )
    parser.add_argument("--cpu", action="store_true", help="without GPUs: to see that it runs")
    parser.add_argument("--storage", help="where Ray notes the run (default: its own)")
    parser.add_argument("rest", nargs="+", help="after --: what training.scale is given")
    given = parser.parse_args(arguments)
    if given.workers < 1:
        parser.error(f"--workers {given.workers}: at least 1")
    arguments_of(given.rest)  # what is wrong with them is said here, once
    if given.address is None:
        # Ray listens on every interface, and reads this when it is imported
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        set_environment({**token, "RAY_USAGE_STATS_ENABLED": "0"})
    try:
        import ray.train
    except ImportError as error:
        print(f'train_on_ray: {error}\nfix: .venv/bin/pip install "ray[train]==2.60.0"')
        return 1
    try:
        return fit(given) if has_room(given) else 1
    except (ray.exceptions.RayError, ray.train.TrainingFailedError, ConnectionError) as error:
        print(f"train_on_ray: {error}")
        return 1
    finally:
        ray.shutdown()


def has_room(given: Any) -> bool:
    """Join the cluster, or begin one; whether it has, or may get, a place for every worker."""
    import ray

    if given.address is not None:
        ray.init(address=given.address)
    else:
        ray.init(
            address="local", include_dashboard=False, num_cpus=given.workers if given.cpu else None
        )
    kind = "CPU" if given.cpu else "GPU"
    places = int(ray.cluster_resources().get(kind, 0))  # type: ignore[no-untyped-call]  # Ray
    if places >= given.workers:
        return True
    lack = f"train_on_ray: {given.workers} workers need as many {kind}s, and there are {places}"
    if given.address is None:
        print(f"{lack}: --address names a cluster, --cpu does without GPUs")
        return False
    print(f"{lack} now: it waits for more")
    return True


def fit(given: Any) -> int:
    """The exit code of the first process."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer: Any = TorchTrainer(
        work,  # type: ignore[arg-type]  # what the first process answers is the result's
        train_loop_config={"arguments": given.rest},
        torch_config=TorchConfig(backend="gloo" if given.cpu else "nccl"),
        scaling_config=ScalingConfig(num_workers=given.workers, use_gpu=not given.cpu),
        run_config=RunConfig(
            storage_path=given.storage, failure_config=FailureConfig(max_failures=MAX_FAILURES)
        ),
    )
    return int(trainer.fit().return_value)


def work(config: dict[str, list[str]]) -> int:
    """In each process, which Ray has already joined to the others.

    What all refuse is answered with a code, not raised: they would refuse again.
    """
    from training.scale.__main__ import REFUSED
    from training.scale.__main__ import main as train

    code = train(config["arguments"])
    if code not in (0, REFUSED):
        raise SystemExit(code)  # ends the others too
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
