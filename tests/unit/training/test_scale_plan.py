"""What training at size takes is told before it starts, and refused where it does not fit."""

from dataclasses import replace

import pytest

from avatar.backends.memory import GIB
from avatar.errors import InvalidInput
from training.recipes.tm_18b import RECIPES, tm_18b, tm_18b_lora, toy
from training.scale.__main__ import REFUSED, main
from training.scale.plan import check_sharing, plan

pytestmark = pytest.mark.unit

H200, A100 = 139 * GIB, 79 * GIB
PARAMETERS = 17.95e9


def test_what_is_shared_adds_up_to_sixteen_bytes_a_parameter_and_their_average() -> None:
    recipe = tm_18b()
    items = plan(recipe, recipe.stage("teacher"), 8, H200).items
    shared = items["parameters"] + items["gradients"] + items["optimizer's moments"]
    assert shared * 8 == pytest.approx(16 * PARAMETERS, rel=0.01)
    assert items["moving average"] * 8 == pytest.approx(4 * PARAMETERS, rel=0.01)
    assert items["frozen parameters"] == 0


def test_only_the_audio_layers_have_gradients_while_they_are_new() -> None:
    recipe = tm_18b()
    items = plan(recipe, recipe.stage("audio"), 8, H200).items
    assert items["gradients"] * 8 == pytest.approx(4 * (PARAMETERS - 16.39e9), rel=0.01)


def test_a_student_brings_its_critic_and_its_teacher() -> None:
    recipe = tm_18b()
    alone = plan(recipe, recipe.stage("causal"), 8, H200).items
    all_three = plan(recipe, recipe.stage("student"), 8, H200).items
    assert all_three["optimizer's moments"] == 2 * alone["optimizer's moments"]
    assert all_three["frozen parameters"] * 8 == pytest.approx(2 * PARAMETERS, rel=0.01)


def test_inputs_of_blocks_are_what_recomputation_keeps() -> None:
    recipe = tm_18b()
    stage = recipe.stage("teacher")
    kept = plan(recipe, stage, 8, H200).items
    assert kept["inputs of blocks"] == 2 * (18 * 1024) * 5120 * 40
    everything = plan(recipe, stage, 8, H200, recompute=False)
    assert everything.items["inside all blocks"] == 40 * kept["inside a block"]
    assert not everything.fits


def test_what_does_not_fit_is_refused_with_the_sum_and_the_ways_out() -> None:
    recipe = tm_18b()
    stage = recipe.stage("student")
    assert plan(recipe, stage, 8, H200).fits
    tight = plan(recipe, stage, 8, A100)
    with pytest.raises(InvalidInput) as refused:
        tight.check()
    message = str(refused.value)
    for part in ("DOES NOT FIT", f"{tight.total / GIB:.1f} GiB are needed", "tm-18b-lora"):
        assert part in message
    enough = int(message.split("start at least ")[1].split()[0])
    assert enough > 8
    assert plan(recipe, stage, enough, A100).fits
    assert not plan(recipe, stage, enough - 1, A100).fits


def test_more_processes_are_no_way_out_of_long_clips() -> None:
    recipe = tm_18b()
    stage = replace(recipe.stage("teacher"), batch_size=16)
    with pytest.raises(InvalidInput, match="more devices alone do not help"):
        plan(recipe, stage, 8, A100).check()


def test_adapters_fit_where_the_whole_does_not() -> None:
    recipe = tm_18b_lora()
    assert all(plan(recipe, stage, 8, A100).fits for stage in recipe.stages)


@pytest.mark.parametrize(
    ("processes", "together", "reason"),
    [
        (8, 3, "8 processes do not divide into groups of 3"),
        (10, 5, r"40 heads and the 1024 tokens .* by 5: 1, 2, 4, 8 processes may"),
        (16, 16, r"by 16: 1, 2, 4, 8 processes may"),
    ],
)
def test_a_batch_that_cannot_be_shared_so_is_refused(
    processes: int, together: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check_sharing(tm_18b(), processes, together)
    assert main(["--plan", str(processes), "--together", str(together)]) == REFUSED
    assert "processes" in capsys.readouterr().err
    check_sharing(tm_18b(), 8, 8)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_has_the_stages_in_order(name: str) -> None:
    recipe = RECIPES[name]()
    assert [stage.name for stage in recipe.stages] == ["audio", "teacher", "causal", "student"]
    assert recipe.stages[0].trained == "audio"
    length = len(recipe.policy.sink_positions) + 3 * recipe.stages[1].num_chunks
    assert length <= 21  # the places in time that the base model has learned


def test_the_plan_can_be_asked_for_without_starting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipe", "toy", "--plan", "2", "--memory", "8"]) == 0
    told = capsys.readouterr().out
    assert told.count("memory of each of 2 processes") == len(toy().stages)
    assert "usable" in told


def test_wrong_arguments_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, reason in (
        (["--only", "lips"], "audio, teacher, causal, student"),
        ([], "--shards"),
        (["--plan", "0"], "1 to 4096"),
        (["--plan", "two"], "'two': 1 to 4096"),
        (["--plan", "8", "--memory", "0"], "'0': more than 0"),
        (["--plan", "8", "--memory", "nan"], "'nan': more than 0"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert reason in capsys.readouterr().err
