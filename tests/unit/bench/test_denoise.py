"""What a chunk costs is counted as a forward counts it, and what was not run is told."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from avatar.engines.hearing import hearing_of
from avatar.errors import Unavailable
from avatar.models.dit import DiT
from avatar.models.dit.random_weights import draw_in_place
from bench.denoise import NO_GPU, budget_table, budgets, main, report, rows
from bench.denoise_budget import GPUS, budget, gpu_named
from bench.denoise_profiles import PROFILES, Measured
from bench.denoise_run import WARM_UP, How, Stream, check_memory, run
from bench.machine import ROOT

pytestmark = pytest.mark.unit

CPU = How(torch.device("cpu"), chunks=1)
TOYS = ("toy-tm", "toy-realvideo")


def small(name: str) -> Measured:
    """A profile, with a picture as small as it may be."""
    return PROFILES[name] if name == "tiny" else replace(PROFILES[name], size=(64, 64))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two of them wait for each other longer than such small networks take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", [*TOYS, "tiny"])
def test_a_forward_is_counted_as_it_is(name: str) -> None:
    profile = small(name)
    stream, steps = Stream(profile, CPU), profile.policy.sigmas
    # the fused kernel of the CPU is unknown to the counter
    with sdpa_kernel(SDPBackend.MATH):
        state, _ = stream.open()
        for seq in range(WARM_UP):
            _, state = stream.denoise(state, seq)
        with FlopCounterMode(display=False) as counter:
            stream.denoise(state, WARM_UP)
    counted = budget(profile)
    assert counted.forwards == len(steps) + (name == "toy-realvideo")
    spoken = 0.0
    if profile.model.s2v is not None:  # its encoder's convolutions are counted nowhere
        tokens, ahead = torch.from_numpy(stream.tokens), torch.from_numpy(stream.ahead)
        speech, _ = hearing_of(profile.model).around(None, tokens, ahead)
        with FlopCounterMode(display=False) as encoding, torch.inference_mode():
            stream.score.model.project_audio(speech)
        spoken = encoding.get_total_flops()
    assert counter.get_total_flops() - spoken == pytest.approx(counted.chunk_flops, rel=0.01)
    assert counted.parameters == sum(each.numel() for each in stream.score.model.parameters())


def test_what_a_session_keeps_is_counted_as_it_is() -> None:
    profile = small("toy-tm")
    stream = Stream(profile, CPU)
    state, _ = stream.open()
    _, state = stream.denoise(state, 0)
    kept = [pair for layer in state.anchor.fixed for pair in layer] + list(state.anchor.sink)
    kept += [pair for step in state.rollout.previous for pair in step]
    numbers = sum(each.key.numel() + each.value.numel() for each in kept)
    assert budget(profile).session_kv_bytes == 2 * numbers


def test_the_papers_model_costs_what_its_geometry_says() -> None:
    """Figures that were worked out by hand: 98.6 TFLOP, 5.0 GB read, 1.18 GiB decoder."""
    counted = budget(PROFILES["tm-18b"])
    assert counted.forward_flops == pytest.approx(98.6e12, rel=0.005)
    assert counted.read_kv_bytes == pytest.approx(5.0e9 + 0.63e9, rel=0.02)
    assert counted.decoder_state_bytes / 2**30 == pytest.approx(1.18, rel=0.03)
    by_operations, by_bytes = counted.least_ms(GPUS["H200"])
    assert by_operations > 10 * by_bytes  # products limit it, not memory
    assert by_operations < PROFILES["tm-18b"].chunk_ms


def test_devices_are_known_by_the_drivers_name() -> None:
    assert gpu_named("NVIDIA H200") is GPUS["H200"]
    assert gpu_named("Some other device") is None


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_measured_on_a_cpu(name: str) -> None:
    values = rows([small(name)], CPU)
    json.dumps(values)
    measured = values["profiles"][name]["measured"]
    assert measured["score_ms"]["median"] > 0
    assert "overlapped_ms" not in measured  # there is one queue
    assert name in report(values)


def test_what_was_not_run_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    values = rows([PROFILES["tm-18b"], PROFILES["realvideo-2step"]], CPU)
    assert all(each["not_run"] == NO_GPU for each in values["profiles"].values())
    text = report(values)
    assert re.search(
        r"\| tm-18b \| not run: no GPU \| ≤ 480 ms on one H200, [^|]*native \| - \|", text
    )
    assert re.search(r"\| realvideo-2step \| not run: no GPU \| ≤ 400 ms", text)


def test_too_little_memory_is_told_with_the_sum_and_the_ways_out() -> None:
    with pytest.raises(Unavailable) as refused:
        check_memory(replace(PROFILES["tm-18b"], size=(2048, 2048)), CPU)
    for part in ("weights", "stream caches", "GiB are free", "smaller picture"):
        assert part in str(refused.value)


def test_the_document_holds_the_budgets_that_are_counted() -> None:
    document = (ROOT / "docs" / "performance.md").read_text()
    real = [profile for name, profile in PROFILES.items() if not name.startswith("toy")]
    assert budget_table(budgets(real)).strip() in document


def test_sizes_and_counts_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, reason in (
        (["--size", "500"], "multiples of 32"),
        (["--size", "big"], "WIDTHxHEIGHT expected, such as 480x640"),
        (["--chunks", "0"], "1 to 10000"),
        (["--profile", "none"], "invalid choice"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert reason in capsys.readouterr().err


def test_a_budget_can_be_asked_for_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--budget", "--profile", "toy-tm", "--size", "64x96"]) == 0
    assert "| toy-tm |" in capsys.readouterr().out


def test_figures_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    arguments = ["--profile", "toy-tm", "--size", "64x96", "--chunks", "1", "--device", "cpu"]
    assert main([*arguments, "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert written["conditions"]["command"] == f"python -m bench.denoise {' '.join(arguments)} " + (
        f"--json {path}"
    )
    assert written["values"]["profiles"]["toy-tm"]["size"] == "64x96"


def test_waiting_for_every_chunk_changes_nothing() -> None:
    stream = Stream(small("toy-tm"), replace(CPU, chunks=3))
    begun = stream.open()
    alone, together = ([*run(stream, begun, overlapped=each)] for each in (False, True))
    assert [each.stamp.seq for each in together] == [WARM_UP, WARM_UP + 1, WARM_UP + 2]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.frames, other.frames)


def test_weights_are_drawn_module_by_module() -> None:
    """In 8 bits the whole in 16 need never be there: at most one large layer is at a time."""
    profile = PROFILES["toy-tm"]
    with torch.device("meta"):
        model = DiT(profile.model)
    there: list[int] = []

    def finish(place: str, module: nn.Module) -> nn.Module:
        large = [each for each in model.modules() if isinstance(each, nn.Linear)]
        there.append(sum(not each.weight.is_meta for each in large))
        return nn.Identity() if isinstance(module, nn.Linear) else module

    made = draw_in_place(model, CPU.device, lambda name: torch.float32, finish)
    assert max(there) == 1
    assert not any(each.is_meta for each in [*made.parameters(), *made.buffers()])
