"""The memory plan: the sum of what will be there, and the ways out where it does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.backends import Running
from avatar.backends.capture import GraphedDiT
from avatar.backends.memory import GIB, Need, Plan, free_memory, together, total_memory
from avatar.backends.needs import (
    Picture,
    decoder_plan,
    score_plan,
    speech_plan,
    weight_bytes,
)
from avatar.errors import Unavailable
from avatar.models.dit import DiT
from avatar.models.dit.zoo import tm_18b, wan22_s2v_14b
from avatar.models.taehv import TAEHV, TAEW_2_1
from avatar.models.vae_wan import WAN_2_1, WanVAE
from avatar.models.wav2vec2 import LARGE, s2v
from avatar.sampling.policy import NATIVE_2_STEP, REALVIDEO_2_STEP
from bench.denoise_profiles import PROFILES
from bench.denoise_run import How, Stream
from bench.gpu_memory import score_table, together_table
from bench.machine import ROOT
from tests.fakes.recorder import OnTheSameMemory

pytestmark = pytest.mark.unit

GPU = torch.device("cuda:0")
UPRIGHT, SQUARE = Picture(640, 480), Picture(512, 512)


@pytest.fixture(scope="module")
def realvideo() -> DiT:
    with torch.device("meta"):
        return DiT(wan22_s2v_14b())


@pytest.fixture(scope="module")
def wan_vae() -> WanVAE:
    with torch.device("meta"):
        return WanVAE(WAN_2_1)


def part(plan: Plan, what: str) -> int:
    return next(need.num_bytes for need in plan.needs if need.what.startswith(what))


def test_a_public_model_needs_what_its_makers_say(realvideo: DiT) -> None:
    plan = score_plan(realvideo, REALVIDEO_2_STEP, UPRIGHT, Running(slots=1), GPU)
    # 16.3 billion numbers of 2 bytes; 3 latents of 1200 tokens and 512 words in 40 layers
    assert part(plan, "weights") == pytest.approx(32.6e9, rel=0.01)
    assert part(plan, "keys") == 2 * 2 * 40 * 5120 * (3 * 1200 + 512)
    assert 36e9 < plan.num_bytes < 45e9
    plan.check(80 * GIB)


def test_the_papers_model_keeps_a_cache_for_each_step() -> None:
    with torch.device("meta"):
        model = DiT(tm_18b())
    plan = score_plan(model, NATIVE_2_STEP, SQUARE, Running(slots=3), GPU)
    # a sink of 3 latents, 2 steps of 3; 1024 tokens each; words and CLIP's 257
    assert part(plan, "keys") == 3 * 2 * 2 * 40 * 5120 * (9 * 1024 + 512 + 257)
    with pytest.raises(Unavailable) as refused:
        plan.check(40 * GIB)
    said = str(refused.value)
    assert f"= {plan.num_bytes / GIB:.2f} GiB, but 40.00 GiB are free" in said
    for way in ("SLOTS, now 3", "LINEARS=fp8", "SCORE_DEVICE=cuda:1", "than 512 x 512"):
        assert way in said


def test_8_bits_are_half_of_half_within_the_blocks(realvideo: DiT) -> None:
    native = weight_bytes(realvideo, torch.bfloat16)
    blocks = sum(each.numel() for each in realvideo.blocks.parameters())
    saved = native - weight_bytes(realvideo, torch.bfloat16, fp8=True)
    assert saved == pytest.approx(blocks, rel=0.01)


def test_the_decoders_stream_is_what_was_measured(wan_vae: WanVAE) -> None:
    """1,888,573,440 bytes at 480 x 832 in bfloat16, as others found."""
    plan = decoder_plan(wan_vae, 16, Picture(480, 832), Running(slots=2), GPU)
    assert part(plan, "stream") == 2 * 1_888_573_440
    assert any("taew2.1" in way for way in plan.ways_out)


def test_the_tiny_decoder_needs_little() -> None:
    with torch.device("meta"):
        tiny = TAEHV(TAEW_2_1)
    plan = decoder_plan(tiny, 16, UPRIGHT, Running(slots=2), GPU)
    assert part(plan, "stream") < 0.2 * GIB
    assert not any("taew2.1" in way for way in plan.ways_out)


@torch.inference_mode()
def test_recordings_copy_what_they_read_and_what_they_make() -> None:
    """One for each length of the past, as many bytes as one that runs holds."""
    profile = replace(PROFILES["toy-tm"], size=(64, 64), text_tokens=512, image_tokens=257)
    stream = Stream(profile, How(torch.device("cpu")))
    graphed = GraphedDiT(stream.score.model, OnTheSameMemory())
    stream.score.model = graphed
    state, _ = stream.open()
    for seq in range(4):
        _, state = stream.denoise(state, seq)
    held = [each for tensors, _ in graphed._recordings.values() for each in tensors]
    made = [each for _, replay in graphed._recordings.values() for each in replay()[1:]]
    of_sessions = [each for each in held if each.ndim == 3 and each.shape[0] == 1]
    half_bytes = 2 * sum(each.numel() for each in of_sessions + made)
    plan = score_plan(
        stream.score.model, profile.policy, Picture(64, 64), Running(capture="graph"), GPU
    )
    assert len(graphed._recordings) == 2  # without a chunk before, and with one
    assert half_bytes <= part(plan, "CUDA graphs") <= half_bytes + 2 * part(plan, "one forward")
    many = replace(Running(capture="graph"), max_batch=3)
    again = score_plan(stream.score.model, profile.policy, Picture(64, 64), many, GPU)
    assert part(again, "CUDA graphs") == 6 * part(plan, "CUDA graphs")  # of 1, 2 and 3 sessions
    assert any("CAPTURE=compile" in way for way in again.ways_out)
    assert any("MAX_BATCH, now 3" in way for way in again.ways_out)


def test_stages_on_one_device_are_added_up(realvideo: DiT, wan_vae: WanVAE) -> None:
    score = score_plan(realvideo, REALVIDEO_2_STEP, UPRIGHT, Running(), GPU)
    decoder = decoder_plan(wan_vae, 16, UPRIGHT, Running(), GPU)
    speech = speech_plan(LARGE, 4 * 315_438_720, s2v(), GPU)
    [plan] = together([score, decoder, speech])
    assert plan.num_bytes == score.num_bytes + decoder.num_bytes + speech.num_bytes
    plan.check_whole(48 * GIB)
    for alone in (score, decoder, speech):
        alone.check(40 * GIB)
    with pytest.raises(Unavailable) as refused:
        plan.check_whole(40 * GIB)
    said = str(refused.value)
    for each in ("score_worker 36", "vae_decoder 4", "audio_encoder 1", "40.00 GiB are all"):
        assert each in said
    for way in ("LINEARS=fp8", "VAE_DEVICE=cuda:1", "ENCODER_DEVICE=cpu", "tiny decoder"):
        assert way in said


def test_stages_on_two_devices_are_two_sums(wan_vae: WanVAE) -> None:
    other = torch.device("cuda:1")
    plans = [decoder_plan(wan_vae, 16, UPRIGHT, Running(), device) for device in (GPU, other)]
    assert [each.device for each in together(plans)] == [GPU, other]
    assert [each.num_bytes for each in together(plans)] == [each.num_bytes for each in plans]


def test_the_document_holds_what_is_computed() -> None:
    document = (ROOT / "docs" / "checkpoints.md").read_text()
    assert score_table().strip() in document
    assert together_table().strip() in document


def test_on_a_cpu_all_numbers_are_whole(realvideo: DiT) -> None:
    cpu = torch.device("cpu")
    plan = score_plan(realvideo, REALVIDEO_2_STEP, UPRIGHT, Running(slots=1), cpu)
    assert part(plan, "weights") == pytest.approx(65.2e9, rel=0.01)
    assert not any("LINEARS" in way for way in plan.ways_out)


def test_what_fits_is_not_refused() -> None:
    plan = Plan("score_worker", torch.device("cpu"), [Need("weights", 10)], ["less"])
    plan.check(10)
    with pytest.raises(Unavailable, match="less"):
        replace(plan, needs=[Need("weights", 11)]).check(10)
    assert free_memory(plan.device) > 100 << 20


def test_a_containers_limit_counts_where_it_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("avatar.backends.memory.GROUP", tmp_path)
    on_machine = free_memory(cpu)
    for name, text in (
        ("memory.max", "1000000\n"),
        ("memory.current", "800000\n"),
        ("memory.stat", "anon 500000\nfile 300000\ninactive_file 250000\n"),
    ):
        (tmp_path / name).write_text(text)
    assert free_memory(cpu) == 450_000
    assert total_memory(cpu) == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(cpu) == pytest.approx(on_machine, rel=0.2)
    assert total_memory(cpu) > on_machine
