"""The rows of the ablation table, how one is trained and judged, and how the table is written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.errors import InvalidInput, NotFound
from avatar.models.dit import AudioConfig, DiT, DiTConfig
from avatar.models.vae import VAE, VAEConfig
from avatar.sampling.policy import NATIVE_2_STEP
from bench import ablations
from bench.ablations import finished, kept, make_row, measure, report
from bench.ablations_rows import BRIEF_ROWS, CAUSAL, ROWS, STUDENT, USUAL, Budget, Rule, base_of
from bench.ablations_table import BEGIN, END, less_base, quality_table, seam, with_section
from bench.ablations_train import NEEDED, Ground, counting, with_window
from bench.options import Options
from training.data.dataset import CastClip
from training.data.latents import LatentClips
from training.meters.mouth_reader import MouthReader
from training.tasks import distill, dit
from training.tasks.latent_reader import LatentReader

pytestmark = pytest.mark.unit

BUDGET = Budget(
    causal_steps=2, student_steps=3, batch=1, latents=6, clips=2, clip_latents=6, passes=3
)
NAMES = ("mira", "otto")
LATENTS = 18


# -- rows -----------------------------------------------------------------------------------------


def test_each_row_differs_from_its_base_in_exactly_one_thing() -> None:
    for name, row in ROWS.items():
        different = row.rule.differences(ROWS[base_of(name)].rule)
        assert len(different) == (name != CAUSAL), f"{name}: {different}"


def test_no_two_rows_are_the_same() -> None:
    assert len({row.rule for row in ROWS.values()}) == len(ROWS)
    assert len({row.told for row in ROWS.values() if row.question != "noise"}) == len(ROWS) - 2


def test_the_base_is_the_policy_that_serves() -> None:
    assert Rule().policy == replace(NATIVE_2_STEP, light_sigmas=())  # nothing is overloaded here
    assert Rule(stage="student").distillation == replace(
        Rule(stage="student", regression=False).distillation, regression=1.0
    )


def test_every_rule_has_a_policy_whose_places_follow_one_another() -> None:
    for row in ROWS.values():
        policy = row.rule.policy
        places = policy.previous_positions + policy.current_positions
        assert places == tuple(range(21 - len(places), 21))
        assert policy.sink_positions in ((0, 1, 2), ())


def test_a_stretch_in_training_is_of_whole_chunks_and_about_as_long_in_every_row() -> None:
    lengths = {row.rule.chunk * USUAL.chunks(row.rule) for row in ROWS.values()}
    assert lengths == {12, 14}


def test_a_clean_pass_is_one_more_evaluation() -> None:
    assert Rule().evaluations == 2
    assert Rule(cache="clean_pass").evaluations == 3
    assert Rule(stage="teacher").evaluations == 24


def test_brief_rows_are_rows() -> None:
    assert set(BRIEF_ROWS) <= ROWS.keys()


# -- training and judging -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single_precision() -> Iterator[None]:
    """The same on every processor."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (dit, distill):
            patched.setattr(module, "has_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="module")
def ground(single_precision: None) -> Ground:
    """Random networks, and noise for clips: two to learn from and two held out."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    vae = VAE(VAEConfig()).eval().requires_grad_(False)
    channels = vae.config.latent_channels
    clips = LatentClips(
        latents=[torch.randn(LATENTS, channels, 32, 32).half() for _ in range(4)],
        speech=[torch.randn(LATENTS, 2, 6).half() for _ in range(4)],
        controls=[torch.randn(LATENTS, 5) for _ in range(4)],
        visemes=[torch.rand(LATENTS, 4, 4) for _ in range(4)],
        mouth_boxes=[(100, 140, 156, 180)] * 4,
        characters=[*NAMES, *NAMES],
        held_out=[False, False, True, True],
        sinks={name: torch.randn(3, channels, 32, 32) for name in NAMES},
        scale=torch.ones(channels, 32, 32),
        importance=torch.ones(channels, 32, 32),
    )
    held_out = [
        CastClip(
            character=name,
            portrait=rng.integers(0, 256, (256, 256, 3), np.uint8),
            mouth_box=(100, 140, 156, 180),
            frames=rng.integers(0, 256, (4 * LATENTS, 256, 256, 3), np.uint8),
            samples=np.zeros(4 * LATENTS * 640, np.float32),
            curves=rng.random((4 * LATENTS, 5), np.float32),
            controls=np.zeros((4 * LATENTS, 5), np.float32),
            motion=np.zeros((4 * LATENTS, 32, 32, 2), np.float16),
        )
        for name in NAMES
    ]
    return Ground(
        clips,
        held_out,
        LatentReader(channels).eval().requires_grad_(False),
        MouthReader().eval().requires_grad_(False),
        vae,
        {name: torch.ones(64) for name in NAMES},
        {"dit": small(channels), "teacher": small(channels)},
    )


def small(channels: int) -> DiT:
    return DiT(
        DiTConfig(
            latent_channels=channels,
            condition_channels=channels,
            dim=24,
            ffn_dim=32,
            num_layers=1,
            num_heads=1,
            patch=4,
            audio=AudioConfig(6, 2, hidden_dim=16, context_tokens=2, context_dim=8),
            num_controls=5,
            grid=(8, 8),
            prediction="x0",
            residual=True,
        )
    )


@pytest.fixture(scope="module")
def ground_weights(ground: Ground) -> dict[str, Any]:
    """Copies, from before any row is trained."""
    return {
        name: {key: value.clone() for key, value in network.state_dict().items()}
        for name, network in ground.networks.items()
    }


@pytest.fixture(scope="module")
def rows(
    ground: Ground, ground_weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """One row of each stage, and the one whose generation differs most."""
    folder = tmp_path_factory.mktemp("rows")
    names = (CAUSAL, "clean-pass", "audio-7", "steps-24", STUDENT)
    return {name: make_row(ground, name, BUDGET, folder / name) for name in names}


def test_a_row_is_trained_and_measured_from_start_to_end(rows: dict[str, Any]) -> None:
    for name, row in rows.items():
        assert [clip["character"] for clip in row["clips"]] == list(NAMES)
        assert all(np.isfinite(clip["opening"]) for clip in row["clips"])
        assert row["cost"]["score_ms"] > 0
        trains = name != "steps-24"
        assert (row["cost"]["training_tflop"] > 0) == trains
        assert (row["drift"] is not None) == trains


def test_a_clean_pass_costs_a_half_more_than_two_steps(rows: dict[str, Any]) -> None:
    base, other = (rows[name]["cost"]["gflop_a_second"] for name in (CAUSAL, "clean-pass"))
    assert other / base == pytest.approx(1.5, rel=0.02)  # the speech is projected once


def test_a_row_is_what_it_is_again(ground: Ground, rows: dict[str, Any], tmp_path: Path) -> None:
    again = make_row(ground, "clean-pass", BUDGET, tmp_path)
    assert again["clips"] == rows["clean-pass"]["clips"]
    assert again["drift"] == rows["clean-pass"]["drift"]
    assert again["clips"] != rows[CAUSAL]["clips"]


def test_no_row_changes_what_the_next_one_starts_from(
    ground: Ground, ground_weights: dict[str, Any], rows: dict[str, Any]
) -> None:
    for name, network in ground.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, ground_weights[name][key])


@pytest.mark.parametrize("window", [1, 3, 7])
def test_another_window_of_speech_begins_as_the_trained_one_where_both_hear(window: int) -> None:
    model = small(4)
    changed = with_window(model, window)
    reach, inner = window // 2, min(window // 2, 2)
    speech = torch.zeros(1, 11, 2, 6)  # silent but for what both windows of latent 5 hear
    speech[:, 5 - inner : 6 + inner] = torch.randn(1, 2 * inner + 1, 2, 6)
    before = model.project_audio(speech[:, 3:8])
    after = changed.project_audio(speech[:, 5 - reach : 6 + reach])
    assert torch.allclose(before, after, atol=1e-6)
    assert torch.equal(with_window(model, 5).project_audio(speech), model.project_audio(speech))


def test_attention_is_counted_with_and_without_gradients() -> None:
    query = torch.randn(1, 2, 8, 4)
    flop = []
    for needs in (False, True):
        q = query.clone().requires_grad_(needs)
        with counting() as counter:
            if needs:
                ((q @ q.mT).softmax(-1) @ q).sum()
            else:
                torch.nn.functional.scaled_dot_product_attention(q, q, q)
        flop.append(counter.get_total_flops())
    assert flop == [2 * 2 * 2 * 8 * 8 * 4] * 2  # heads, products, a product and a sum


# -- which rows are made --------------------------------------------------------------------------


def test_a_run_that_is_not_there_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="make train"):
        measure(Options(run=tmp_path))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Options, list[str]]:
    """A run of empty files, and a list of the rows that are made instead of being trained."""
    run, names = tmp_path / "run", list[str]()
    run.mkdir()
    for name in NEEDED:
        (run / name).write_bytes(b"")

    def make(run: Path, budget: Budget, folder: Path, wanted: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            names.append(name)
            kept(folder, name).write_text("{}")

    monkeypatch.setattr(ablations, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(ablations, "make_rows", make)
    monkeypatch.setattr(ablations, "write_card", lambda *_: None)
    return Options(brief=True, run=run), names


def test_a_finished_row_is_kept_and_a_named_one_is_made_again(
    made: tuple[Options, list[str]],
) -> None:
    options, names = made
    measure(options)
    assert names == list(BRIEF_ROWS)
    measure(options)
    assert names == list(BRIEF_ROWS)
    values = measure(replace(options, rows=("no-sink", CAUSAL)))
    assert names == [*BRIEF_ROWS, "no-sink", CAUSAL]
    assert values["rows"].keys() == {*BRIEF_ROWS, "no-sink"}
    assert next(iter(values["rows"])) == CAUSAL  # the order of the table, not of the making


def test_rows_of_other_weights_are_not_taken(made: tuple[Options, list[str]]) -> None:
    options, names = made
    measure(options)
    (options.run / "dit.safetensors").write_bytes(b"other")
    measure(options)
    assert names == [*BRIEF_ROWS, *BRIEF_ROWS]


def test_an_unknown_row_is_refused_with_those_there_are(made: tuple[Options, list[str]]) -> None:
    with pytest.raises(InvalidInput, match=r"chunk-9.*chunk-7"):
        measure(replace(made[0], rows=("chunk-9",)))


# -- the table ------------------------------------------------------------------------------------


def row(*openings: float, **changed: float) -> dict[str, Any]:
    figures = {
        "amplitude": 0.7, "eyes": 0.9, "mouth": 0.8, "border": 3.0, "inside": 1.0,
        "border_real": 1.5, "inside_real": 1.0, **changed,
    }  # fmt: skip
    drift = {
        "colour": 0.25, "identity_first": 0.9, "identity_last": 0.8, "opening_first": 0.7,
        "opening_last": 0.65,
    }  # fmt: skip
    cost = {
        "video_s": 0.48, "score_ms": 100.0, "decode_ms": 140.0, "delay_ms": 720.0,
        "gflop_a_second": 12.0, "training_tflop": 10.0, "training_s": 90.0, "judging_s": 80.0,
    }  # fmt: skip
    return {
        "clips": [{"opening": opening} | figures for opening in openings],
        "drift": drift,
        "cost": cost,
    }


def test_a_difference_is_paired_by_clip() -> None:
    rows = {CAUSAL: row(0.2, 0.8), "no-sink": row(0.1, 0.7)}
    assert less_base(rows, "no-sink") == "-0.100 ± 0.000"  # though the clips differ by 0.6
    assert less_base(rows, CAUSAL) == "-"
    assert less_base({"no-sink": row(0.1, 0.7)}, "no-sink") == "-"


def test_student_rows_are_compared_with_the_student() -> None:
    rows = {CAUSAL: row(0.1, 0.1), STUDENT: row(0.5, 0.5), "no-regression": row(0.4, 0.4)}
    assert less_base(rows, "no-regression") == "-0.100 ± 0.000"
    assert less_base(rows, STUDENT) == "+0.400 ± 0.000"


def test_a_seam_is_measured_against_the_real_renders() -> None:
    assert seam(row(0.5)["clips"]) == pytest.approx(2.0)
    assert seam(row(0.5, inside=0.0)["clips"]) == "-"


def test_the_teacher_has_no_rollout() -> None:
    rows = {"steps-24": row(0.5, 0.6) | {"drift": None}}
    assert quality_table(rows).splitlines()[2].endswith("| 2 | - | - | - |")


def test_the_report_tells_the_rows_that_are_missing_and_what_chance_does() -> None:
    rows = {CAUSAL: row(0.5, 0.6), "again": row(0.55, 0.61)}
    told = report({"budget": vars(USUAL), "rows": rows})
    assert "Not measured yet with these weights: chunk-1, " in told
    assert "`again` against `causal`: +0.030" in told
    assert "arXiv:2506.03099" in told
    whole = report({"budget": vars(USUAL), "rows": dict.fromkeys(ROWS, row(0.5, 0.6))})
    assert "Not measured yet" not in whole


def test_the_section_of_the_card_is_replaced_and_the_rest_stays() -> None:
    once = with_section("# Card\n\nWords.\n", "one")
    assert once.startswith("# Card\n\nWords.\n\n## Ablations\n")
    twice = with_section(once + "\n## After\n", "two")
    assert "one" not in twice
    assert twice.count(BEGIN) == twice.count(END) == 1
    assert twice.endswith("## After\n")
    with pytest.raises(ValueError, match="not"):
        with_section(f"# Card\n{BEGIN}\n", "one")


def test_before_anything_is_measured_the_report_has_no_tables() -> None:
    told = report({"budget": vars(USUAL), "rows": {}})
    assert "| row |" not in told
    assert "Not measured yet with these weights: causal, again, " in told
    assert "arXiv:2511.01266" in told


def test_rows_are_told_in_the_order_of_the_table(tmp_path: Path) -> None:
    for name in ("no-sink", CAUSAL, "chunk-1"):
        kept(tmp_path, name).write_text("{}")
    assert list(finished(tmp_path)) == [CAUSAL, "chunk-1", "no-sink"]
