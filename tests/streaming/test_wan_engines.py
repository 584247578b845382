"""The three engines of the GPU-class profiles, on toys: streams of chunks, sessions apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatar.backends import Running
from avatar.backends.device import Lane
from avatar.backends.memory import MEMINFO, together
from avatar.cast.profiles import Profile, load_profile, read_profile
from avatar.cast.together import SHARING, check_together, plans_of
from avatar.engines import Spec, profile_card
from avatar.engines.portrait_bundle import Networks
from avatar.engines.profile_card import Chosen, make_card
from avatar.engines.score import ScoreEngine
from avatar.engines.speech_features import SpeechFeaturesEngine
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import AvatarError, CorruptFile, InvalidInput, NotFound, Unavailable
from avatar.media import SPEECH_RATE, AudioChunk, FrameChunk, LatentChunk
from avatar.render import speech_chunks
from services.capacity import Trial, measure
from services.stage import Engine
from tests.fakes.toys import toy_profile

pytestmark = [
    pytest.mark.streaming,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("one_thread"),
]

CPU = Running(device="cpu")
NAMES = ["realvideo", "tm-18b"]
NUM_CHUNKS = 3


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Profile]:
    folder = tmp_path_factory.mktemp("toys")
    return {name: toy_profile(name, folder / name, num_portraits=2) for name in NAMES}


@pytest.fixture(params=NAMES)
def toy(request: pytest.FixtureRequest, toys: dict[str, Profile]) -> Profile:
    return toys[request.param]


@dataclass
class Session:
    """One caller's way through the engines."""

    engines: tuple[SpeechFeaturesEngine, ScoreEngine, VaeDecoderEngine]
    spec: Spec

    def __post_init__(self) -> None:
        encoder, score, decoder = self.engines
        self.heard = encoder.init_state(self.spec)
        self.scored = score.init_state(self.spec)
        self.decoded = decoder.init_state(self.spec)

    def step(self, chunk: AudioChunk) -> tuple[LatentChunk, FrameChunk]:
        encoder, score, decoder = self.engines
        embedding, self.heard = encoder.step(chunk, self.heard)
        latents, self.scored = score.step(embedding, self.scored)
        frames, self.decoded = decoder.step(latents, self.decoded)
        return latents, frames


@cache
def engines_of(
    profile: Profile,
) -> tuple[SpeechFeaturesEngine, ScoreEngine, VaeDecoderEngine]:
    """They hold no state of a session, so one set is enough for all."""
    return (
        SpeechFeaturesEngine.load(profile, CPU),
        ScoreEngine.load(profile, CPU),
        VaeDecoderEngine.load(profile, CPU),
    )


def speech(profile: Profile, seed: int = 0) -> Sequence[AudioChunk]:
    size = NUM_CHUNKS * profile.clock.samples_per_chunk(SPEECH_RATE)
    sound = np.random.default_rng(seed).normal(0, 0.1, size).astype(np.float32)
    return list(speech_chunks(sound, profile.clock))


def frames_of(session: Session, chunks: Sequence[AudioChunk]) -> list[NDArray[np.uint8]]:
    return [session.step(chunk)[1].frames for chunk in chunks]


def test_every_chunk_is_whole_and_no_two_are_alike(toy: Profile) -> None:
    session = Session(engines_of(toy), Spec("mira", 1))
    made = frames_of(session, speech(toy))
    size = (toy.clock.frames_per_chunk, toy.height, toy.width, 3)
    assert [each.shape for each in made] == NUM_CHUNKS * [size]
    for before, after in zip(made, made[1:], strict=False):
        assert not np.array_equal(before, after)
        if toy.policy.noise == "fresh":  # with still noise a toy that hears nothing stands still
            assert np.abs(before.astype(int) - after.astype(int)).mean() > 0.5


def test_two_sessions_in_turn_are_as_alone(toy: Profile) -> None:
    engines = engines_of(toy)
    specs = Spec("mira", 1), Spec("otto", 2)
    chunks = [speech(toy, seed) for seed in (1, 2)]
    alone = [
        frames_of(Session(engines, spec), own) for spec, own in zip(specs, chunks, strict=True)
    ]
    sessions = [Session(engines, spec) for spec in specs]
    together: list[list[NDArray[np.uint8]]] = [[], []]
    for pair in zip(*chunks, strict=True):
        for session, chunk, made in zip(sessions, pair, together, strict=True):
            made.append(session.step(chunk)[1].frames)
    for expected, found in zip(alone, together, strict=True):
        assert all(np.array_equal(*each) for each in zip(expected, found, strict=True))
    assert not np.array_equal(alone[0][0], alone[1][0])


def test_sessions_of_one_call_of_the_engine_are_as_alone(toy: Profile) -> None:
    """Two at one place together, and one that began later apart where places grow."""
    encoder, score, _ = engines_of(toy)
    spoken = []
    for number in range(3):
        heard, own = encoder.init_state(Spec("mira", number)), []
        for sound in speech(toy, number):
            embedding, heard = encoder.step(sound, heard)
            own.append(embedding)
        spoken.append(own)
    specs = Spec("mira", 1), Spec("otto", 2), Spec("mira", 3)
    alone = [score.init_state(spec) for spec in specs]
    together = list(alone)
    turns = [(0, 0, None), (1, 1, 0), (2, 2, 1)]
    for turn in turns:
        there = [(i, spoken[i][seq]) for i, seq in enumerate(turn) if seq is not None]
        made = score.step_many([chunk for _, chunk in there], [together[i] for i, _ in there])
        for (i, chunk), (latents, state) in zip(there, made, strict=True):
            together[i] = state
            expected, alone[i] = score.step(chunk, alone[i])
            assert latents.stamp == expected.stamp
            np.testing.assert_allclose(latents.latents, expected.latents, atol=1e-3)


def test_a_chunk_that_is_made_again_is_the_same_chunk(toy: Profile) -> None:
    session = Session(engines_of(toy), Spec("mira", 1))
    first, second, *_ = speech(toy)
    session.step(first)
    encoder, score, _ = session.engines
    embedding, _ = encoder.step(second, session.heard)
    once, after = score.step(embedding, session.scored)
    again, _ = score.step(embedding, session.scored)
    assert np.array_equal(once.latents, again.latents)
    assert after.rollout.previous is not session.scored.rollout.previous


def test_after_warming_up_a_session_has_no_new_shapes(toy: Profile) -> None:
    encoder, score, _ = engines_of(toy)
    seen: list[tuple[torch.Size, int]] = []

    def keep(_: object, given: tuple) -> None:  # type: ignore[type-arg]
        noisy, _, _, context, _ = given
        parts = getattr(context, "parts", ())  # the sink alone sees nothing else
        cached = sum(part[0].key.shape[1] for part in parts if part)
        seen.append((noisy.shape, cached))

    hook = score.model.register_forward_pre_hook(keep)
    Trial(score, score.rehearsal())
    known = set(seen)
    assert len(known) >= 2  # without a past, and with one
    heard, scored = encoder.init_state(Spec("mira", 1)), score.init_state(Spec("mira", 1))
    for chunk in speech(toy):
        embedding, heard = encoder.step(chunk, heard)
        _, scored = score.step(embedding, scored)
    hook.remove()
    assert set(seen) == known


def test_what_is_said_later_changes_nothing_before(toy: Profile) -> None:
    """Beyond the look-ahead that came with a chunk."""
    engines, chunks = engines_of(toy), speech(toy)
    other = speech(toy, seed=9)
    changed = [*chunks[:2], *other[2:]]
    expected = frames_of(Session(engines, Spec("mira", 1)), chunks)
    found = frames_of(Session(engines, Spec("mira", 1)), changed)
    assert np.array_equal(expected[0], found[0])
    assert np.array_equal(expected[1], found[1])


def test_speech_acts_where_a_model_hears(toys: dict[str, Profile]) -> None:
    """The paper's has fresh audio layers, which are silent until they are trained."""
    for name, hears in (("realvideo", True), ("tm-18b", False)):
        encoder, score, _ = engines_of(toys[name])
        first, *_ = speech(toys[name])
        made = []
        for chunk in (first, replace(first, samples=np.zeros_like(first.samples))):
            embedding, _ = encoder.step(chunk, encoder.init_state(Spec("mira", 1)))
            made.append(score.step(embedding, score.init_state(Spec("mira", 1)))[0].latents)
        assert np.array_equal(made[0], made[1]) != hears


def test_half_precision_is_near_the_whole(toy: Profile) -> None:
    """What a GPU computes in, here on the CPU; the errors of chunk after chunk add up."""
    encoder, whole, _ = engines_of(toy)
    half = ScoreEngine.load(toy, CPU)
    for module in half.model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.RMSNorm | torch.nn.Conv3d):
            module.to(torch.bfloat16)
    half = ScoreEngine(toy, half.model, lane=Lane(torch.device("cpu"), torch.bfloat16))
    heard = encoder.init_state(Spec("mira", 1))
    states = [each.init_state(Spec("mira", 1)) for each in (whole, half)]
    for chunk in speech(toy):
        embedding, heard = encoder.step(chunk, heard)
        exact, states[0] = whole.step(embedding, states[0])
        rough, states[1] = half.step(embedding, states[1])
        assert rough.latents.dtype == np.float32
        error = np.linalg.norm(rough.latents - exact.latents) / np.linalg.norm(exact.latents)
        assert 0 < error < 0.05


def test_the_tiny_decoder_is_a_choice_of_the_profile(toys: dict[str, Profile]) -> None:
    folder = toys["realvideo"].folder
    chosen = Chosen(height=96, width=64, decoder="tiny_vae")
    card = (folder / "profile.json").read_bytes()
    try:
        tiny = make_card(folder, chosen)
        made = frames_of(Session(engines_of(tiny), Spec("mira", 1)), speech(tiny))
        assert type(VaeDecoderEngine.load(tiny, CPU).model).__name__ == "TAEHV"
    finally:
        (folder / "profile.json").write_bytes(card)
    assert [each.shape for each in made] == NUM_CHUNKS * [(8, 96, 64, 3)]


def test_a_card_asks_for_one_session_where_the_weights_are_large(
    toys: dict[str, Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = toys["realvideo"].folder
    card = (folder / "profile.json").read_bytes()
    try:
        assert make_card(folder, Chosen()).slots is None
        monkeypatch.setattr(profile_card, "LARGE_BYTES", 1)
        assert make_card(folder, Chosen()).slots == 1
        assert make_card(folder, Chosen(slots=3, ready_s=50)).slots == 3
        assert read_profile(folder).ready_s == 50
    finally:
        (folder / "profile.json").write_bytes(card)


@pytest.mark.parametrize("stage", range(3))
def test_each_engine_can_be_tried_before_somebody_comes(toy: Profile, stage: int) -> None:
    engines: Sequence[Engine[Any, Any, Any]] = engines_of(toy)
    found = measure(engines[stage], toy.clock.chunk_s)
    assert found is not None
    assert found[0].cost_s > 0


# -- what is refused -------------------------------------------------------------------------------


def test_an_embedding_of_another_model_is_refused(toys: dict[str, Profile]) -> None:
    score, other = engines_of(toys["tm-18b"])[1], engines_of(toys["realvideo"])[0]
    chunk, *_ = speech(toys["realvideo"])
    embedding, _ = other.step(chunk, other.init_state(Spec("mira", 1)))
    with pytest.raises(
        InvalidInput, match=r"shapes \(2, 4, 160\) .* \(3, 4, 72\) and \(2, 4, 72\)"
    ):
        score.step(embedding, score.init_state(Spec("mira", 1)))


def test_more_memory_than_there_is_is_refused_before_loading(
    toy: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "meminfo"
    small.write_text("MemTotal: 900 kB\nMemAvailable: 600 kB\n")
    monkeypatch.setattr("avatar.backends.memory.MEMINFO", small)
    assert MEMINFO.name == small.name
    monkeypatch.setattr("avatar.cast.profile.place_into", None)  # nothing is loaded
    said = r"weights .* \+ .* = .* GiB, but 0\.00 GiB are free"
    for engine in (ScoreEngine, VaeDecoderEngine, SpeechFeaturesEngine):
        with pytest.raises(Unavailable, match=said):
            engine.load(toy, CPU)
    with pytest.raises(Unavailable, match=r"portrait \(vae\) on cpu: weights .*a larger machine"):
        Networks(toy, torch.device("cpu")).vae()


def test_stages_that_share_a_device_must_fit_there_together(
    toy: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = dict.fromkeys(SHARING, CPU)
    [plan] = together(plans_of(toy, running))
    assert [need.what for need in plan.needs] == ["score_worker", "vae_decoder", "audio_encoder"]
    check_together(toy, running)
    assert plans_of(load_profile("tiny"), running) == []  # always fits
    small = tmp_path / "meminfo"
    free = plan.num_bytes >> 10  # each alone has room
    small.write_text(f"MemTotal: {free - 1} kB\nMemAvailable: {free - 1} kB\n")
    monkeypatch.setattr("avatar.backends.memory.MEMINFO", small)
    ScoreEngine.load(toy, CPU)
    with pytest.raises(
        Unavailable, match=r"all stages on cpu: score_worker .* are all that it has"
    ):
        check_together(toy, running)


def test_files_that_are_not_for_one_another_are_no_profile(
    toys: dict[str, Profile], tmp_path: Path
) -> None:
    for name in ("dit", "vae"):
        (tmp_path / f"{name}.safetensors").symlink_to(toys["tm-18b"].folder / f"{name}.safetensors")
    with pytest.raises(NotFound, match=r"no wav2vec2\.safetensors: `python -m avatar convert"):
        make_card(tmp_path, Chosen())
    other = toys["realvideo"].folder / "wav2vec2.safetensors"
    (tmp_path / "wav2vec2.safetensors").symlink_to(other)
    with pytest.raises(CorruptFile, match=r"hears 72: convert the other wav2vec2"):
        make_card(tmp_path, Chosen())


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        (Chosen(policy="realvideo-2step"), "tm-18b has native"),
        (Chosen(height=100), "multiples of 16 expected"),
        (Chosen(hold_back_frames=99), "hold_back_frames is 100, 1 to 26 expected"),
        (Chosen(slots=0), "slots is 0, 1 to 64 expected"),
    ],
)
def test_what_cannot_be_chosen_says_why(
    chosen: Chosen, problem: str, toys: dict[str, Profile]
) -> None:
    folder = toys["tm-18b"].folder
    before = (folder / "profile.json").read_bytes()
    with pytest.raises(InvalidInput, match=problem):
        make_card(folder, chosen)
    assert (folder / "profile.json").read_bytes() == before


def test_a_damaged_file_says_how_to_mend_it(toys: dict[str, Profile]) -> None:
    profile = toys["realvideo"]
    path = profile.folder / "wav2vec2.safetensors"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CorruptFile, match=r"is damaged: .* convert it anew"):
            SpeechFeaturesEngine.load(load_profile(str(profile.folder)), CPU)
    finally:
        path.write_bytes(content)


def unavailable() -> Iterator[tuple[Running, str]]:
    yield Running(device="cuda:7"), "cuda:7"
    yield Running(device="cpu", attention="cudnn"), "ATTENTION=cudnn"
    yield Running(device="cpu", linears="fp8"), "LINEARS=fp8"
    yield Running(device="cpu", capture="graph"), "CAPTURE=graph"
    yield Running(device="cuda:7", wish="openvino"), "BACKEND=openvino runs on the CPU"


@pytest.mark.parametrize(("running", "named"), list(unavailable()))
def test_an_option_that_is_not_to_be_had_is_named(
    running: Running, named: str, toys: dict[str, Profile]
) -> None:
    with pytest.raises(AvatarError, match=named):
        ScoreEngine.load(toys["realvideo"], running)
