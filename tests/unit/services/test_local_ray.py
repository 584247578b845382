"""The cluster of one machine: its pools, and what is told of a deployment that does not start."""

import signal
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from services.local_ray import ROOT, _signals_held, pools_of, trouble_in

pytestmark = pytest.mark.unit


def application(status: str, message: str = "", **deployments: tuple[str, str]) -> Any:
    states = {
        name: SimpleNamespace(status=state, message=said)
        for name, (state, said) in deployments.items()
    }
    one = SimpleNamespace(status=status, message=message, deployments=states)
    return SimpleNamespace(applications={"talkingmachines": one})


def test_there_are_as_many_units_of_a_pool_as_its_replicas_ask_for() -> None:
    config = {
        "applications": [
            {
                "deployments": [
                    {
                        "name": "score_worker",
                        "num_replicas": 3,
                        "ray_actor_options": {"resources": {"pool_score_worker": 1}},
                    },
                    {"name": "gateway"},
                ]
            }
        ]
    }
    assert pools_of(config) == {"pool_score_worker": 3.0}


def test_every_stage_of_the_serve_config_has_its_pool() -> None:
    config = yaml.safe_load((ROOT / "ray_config.yaml").read_text())
    assert set(pools_of(config)) == {
        "pool_audio_llm",
        "pool_audio_encoder",
        "pool_score_worker",
        "pool_vae_decoder",
        "pool_gateway",
    }


def test_a_graph_that_is_still_starting_is_no_trouble() -> None:
    assert trouble_in(application("DEPLOYING", gateway=("UPDATING", ""))) == ""
    assert trouble_in(application("RUNNING", gateway=("HEALTHY", ""))) == ""


def test_the_last_line_of_a_traceback_is_told_with_its_stage() -> None:
    said = "failed to start 3 times\nTraceback ...\navatar.errors.CorruptFile: dit.safetensors\n"
    status = application("DEPLOY_FAILED", "see below", score_worker=("DEPLOY_FAILED", said))
    assert trouble_in(status) == "score_worker: avatar.errors.CorruptFile: dit.safetensors"


def test_an_application_that_cannot_be_built_is_told_by_its_name() -> None:
    status = application("DEPLOY_FAILED", "ModuleNotFoundError: No module named 'nowhere'")
    assert trouble_in(status) == "talkingmachines: ModuleNotFoundError: No module named 'nowhere'"


def test_a_signal_waits_for_what_it_must_not_interrupt_and_meets_the_handler_of_before() -> None:
    order = []
    before = signal.signal(signal.SIGTERM, lambda *_: order.append("answer"))
    try:
        with _signals_held():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as ray.init does, in its way
            signal.raise_signal(signal.SIGTERM)
            order.append("end of the block")
        assert order == ["end of the block", "answer"]
        signal.raise_signal(signal.SIGTERM)
        assert order[2:] == ["answer"]
    finally:
        signal.signal(signal.SIGTERM, before)
