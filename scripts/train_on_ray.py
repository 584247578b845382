"""`training.scale` on a Ray cluster: Ray Train places the processes and starts them again.

`python -m scripts.train_on_ray --workers 16 -- --shards /data/shards --run /data/run`, where /data
is the same on every node. Needs `pip install "ray[train]"`, which set-up leaves out. A worker that
is lost ends the attempt; the next one goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys

from ray.exceptions import RayError

MAX_FAILURES = 8


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.train_on_ray", description=__doc__)
    parser.add_argument("--workers", type=int, required=True, metavar="N")
    parser.add_argument("--cpu", action="store_true", help="without GPUs: to see that it runs")
    parser.add_argument("--storage", help="where Ray notes the run (default: its own)")
    parser.add_argument("rest", nargs="+", help="after --: what training.scale is given")
    given = parser.parse_args(arguments)
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        print(f'train_on_ray: {error}\nfix: .venv/bin/pip install "ray[train]==2.60.0"')
        return 1
    trainer = TorchTrainer(
        work,
        train_loop_config={"arguments": given.rest},
        torch_config=TorchConfig(backend="gloo" if given.cpu else "nccl"),
        scaling_config=ScalingConfig(num_workers=given.workers, use_gpu=not given.cpu),
        run_config=RunConfig(
            storage_path=given.storage, failure_config=FailureConfig(max_failures=MAX_FAILURES)
        ),
    )
    try:
        trainer.fit()
    except RayError as error:
        print(f"train_on_ray: {error}")
        return 1
    return 0


def work(config: dict[str, list[str]]) -> None:
    """In each process, which Ray has already joined to the others."""
    from training.scale.__main__ import main as train

    if train(config["arguments"]):
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
