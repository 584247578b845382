"""The engines on a CUDA device: near the CPU's numbers, without waits in the loop, overlapped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.backends import Attention, Capture, Running
from avatar.backends.device import Lane
from avatar.backends.memory import free_memory
from avatar.backends.numbers import FP8_CAPABILITY
from avatar.cast.profiles import Profile
from avatar.engines import Spec
from avatar.engines.score import ScoreEngine
from avatar.engines.speech_features import SpeechFeaturesEngine
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.media import SPEECH_RATE, AudioEmbedding, underway
from avatar.render import speech_chunks
from tests.fakes.toys import toy_profile

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(600),
]

CPU, GPU = Running(device="cpu"), Running(device="cuda:0")
SPEC = Spec("mira", 1)
NAMES = ["realvideo", "tm-18b"]


@pytest.fixture(scope="module", params=NAMES)
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return toy_profile(request.param, tmp_path_factory.mktemp("toy"), num_portraits=1)


def embeddings(profile: Profile, running: Running = CPU, count: int = 4) -> list[AudioEmbedding]:
    size = count * profile.clock.samples_per_chunk(SPEECH_RATE)
    sound = np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32)
    engine = SpeechFeaturesEngine.load(profile, running)
    state, made = engine.init_state(SPEC), []
    for chunk in speech_chunks(sound, profile.clock):
        embedding, state = engine.step(chunk, state)
        made.append(embedding)
    return made


def latents(engine: ScoreEngine, given: list[AudioEmbedding]) -> np.ndarray:
    state, made = engine.init_state(SPEC), []
    for embedding in given:
        chunk, state = engine.step(embedding, state)
        made.append(chunk.latents)
    return np.concatenate(made)


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_a_gpu_makes_what_the_cpu_makes(toy: Profile) -> None:
    given = embeddings(toy)
    ours = embeddings(toy, GPU)
    assert max(error(a.tokens, b.tokens) for a, b in zip(ours, given, strict=True)) < 0.01
    expected = latents(ScoreEngine.load(toy, CPU), given)
    assert error(latents(ScoreEngine.load(toy, GPU), given), expected) < 0.05


@pytest.mark.parametrize("capture", ["compile", "graph"])
def test_captured_forwards_are_the_usual_ones(toy: Profile, capture: Capture) -> None:
    given = embeddings(toy)
    usual = latents(ScoreEngine.load(toy, GPU), given)
    found = latents(ScoreEngine.load(toy, Running(device="cuda:0", capture=capture)), given)
    assert error(found, usual) < 0.02


@pytest.mark.parametrize("attention", ["flash", "efficient", "cudnn", "math"])
def test_every_kernel_attends_alike(toy: Profile, attention: Attention) -> None:
    given = embeddings(toy, count=2)
    usual = latents(ScoreEngine.load(toy, GPU), given)
    found = latents(ScoreEngine.load(toy, Running(device="cuda:0", attention=attention)), given)
    assert error(found, usual) < 0.02


def test_nothing_waits_for_the_gpu(toy: Profile) -> None:
    """From a chunk's speech to its frames: latents are handed on while they are being made."""
    score, decoder = ScoreEngine.load(toy, GPU), VaeDecoderEngine.load(toy, GPU)
    first, second, third, *_ = embeddings(toy)
    scored, decoded = score.init_state(SPEC), decoder.init_state(SPEC)
    for embedding in (first, second):  # what is chosen once has been chosen
        chunk, scored = score.step(embedding, scored)
        _, decoded = decoder.step(chunk, decoded)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        chunk, _ = score.step(third, scored)
        frames, _ = decoder.step(chunk, decoded)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert underway(chunk) is not None
    coming = underway(frames)
    assert coming is not None
    assert coming.wait().shape == coming.shape
    assert coming.took_s() > 0


def test_what_is_handed_on_under_way_is_what_has_landed(toy: Profile) -> None:
    score, decoder = ScoreEngine.load(toy, GPU), VaeDecoderEngine.load(toy, GPU)
    made = []
    for waits in (False, True):
        scored, decoded = score.init_state(SPEC), decoder.init_state(SPEC)
        frames = []
        for embedding in embeddings(toy):
            chunk, scored = score.step(embedding, scored)
            if waits:
                chunk = replace(chunk, given=chunk.latents)
            shown, decoded = decoder.step(chunk, decoded)
            frames.append(shown)
        made.append([each.frames for each in frames])  # all of it queued before any is looked at
    for one, other in zip(*made, strict=True):
        assert np.array_equal(one, other)


def test_a_decoder_on_the_gpu_shows_the_same(toy: Profile) -> None:
    engines = [VaeDecoderEngine.load(toy, running) for running in (CPU, GPU)]
    score, states = ScoreEngine.load(toy, CPU), [each.init_state(SPEC) for each in engines]
    scored = score.init_state(SPEC)
    for embedding in embeddings(toy, count=2):
        chunk, scored = score.step(embedding, scored)
        shown = []
        for place, engine in enumerate(engines):
            frames, states[place] = engine.step(chunk, states[place])
            shown.append(frames.frames.astype(int))
        assert np.abs(shown[0] - shown[1]).mean() < 3  # of 255, in bfloat16


def test_two_lanes_of_one_device_overlap() -> None:
    """Two kernels that leave most of the device free take less time than one after the other."""
    device = torch.device("cuda:0")
    lanes = [Lane(device), Lane(device)]
    matrix = torch.randn(192, 192, device=device)

    def work() -> None:
        x = matrix
        for _ in range(2000):
            x = torch.tanh(x @ matrix)

    def milliseconds(chosen: list[Lane]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        graphs = []
        for lane in chosen:
            graph = torch.cuda.CUDAGraph()
            with lane.open(), torch.cuda.graph(graph):
                work()
            graphs.append((lane, graph))
        torch.cuda.synchronize()
        begin.record()
        for lane, graph in graphs:
            with lane.open():
                torch.cuda.current_stream().wait_event(begin)
                graph.replay()
        torch.cuda.synchronize()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    one_after_the_other = milliseconds([lanes[0], lanes[0]])
    assert milliseconds(lanes) < 0.8 * one_after_the_other


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < FP8_CAPABILITY,
    reason="this GPU has no 8-bit products",
)
def test_8_bits_on_the_gpu_cost_what_they_cost_on_the_cpu() -> None:
    from avatar.backends.numbers import Float8Linear

    torch.manual_seed(0)
    linear = torch.nn.Linear(1024, 2048).requires_grad_(False)
    x = torch.randn(4, 1024)
    here = Float8Linear(linear)(x).float()
    there = Float8Linear(linear.cuda())(x.cuda()).float().cpu()
    assert float((here - there).norm() / here.norm()) < 0.01


def test_the_plan_covers_what_a_gpu_really_takes(toy: Profile, tmp_path: Path) -> None:
    """Toys are all overhead, so this bounds the plan from below only."""
    torch.cuda.empty_cache()
    before = free_memory(torch.device("cuda:0"))
    engine = ScoreEngine.load(toy, GPU)
    latents(engine, embeddings(toy, count=2))
    assert before - free_memory(torch.device("cuda:0")) < 1 << 30
