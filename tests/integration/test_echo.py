"""The echo gate with real voices: what the speech detector and the recogniser hear behind it."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve  # type: ignore[import-untyped]  # has no types

from avatar.audio.files import decode
from avatar.audio.loudness import rms_dbfs
from avatar.media import SPEECH_RATE
from avatar.speech.asr import WhisperRecognizer
from avatar.speech.vad import VoiceDetector
from bench.answers import word_error_rate
from services.gateway.echo import EchoGate

pytestmark = pytest.mark.integration

DATA = Path(__file__).parent.parent / "data"
Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector()


@pytest.fixture(scope="module")
def recognizer() -> WhisperRecognizer:
    return WhisperRecognizer()


@pytest.fixture(scope="module")
def avatar() -> Samples:
    """Two spoken answers, with half a second of silence around."""
    pause = np.zeros(SPEECH_RATE // 2, np.float32)
    spoken = [decode((DATA / "held_out" / f"hibari-{n}.flac").read_bytes()) for n in (0, 4)]
    return np.concatenate([pause, spoken[0], pause, spoken[1], pause])


def questions() -> list[tuple[str, Samples]]:
    listed = json.loads((DATA / "questions" / "questions.json").read_text())["questions"]
    return [(q["text"], decode((DATA / "questions" / q["file"]).read_bytes())) for q in listed]


def in_a_room(played: Samples, delay_ms: int, level_db: float) -> Samples:
    """What the microphone hears of it: late, and with a small room's tail (60 dB in 0.25 s)."""
    generator = np.random.default_rng(1)
    time = np.arange(round(0.15 * SPEECH_RATE)) / SPEECH_RATE
    tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / 0.25)
    tail[:40] = 0
    way = 0.5 * tail / np.linalg.norm(tail)
    way[0] = 1
    way *= 10 ** (level_db / 20) / np.linalg.norm(way)
    late = np.concatenate([np.zeros(delay_ms * SPEECH_RATE // 1000), way])
    return fftconvolve(played, late)[: len(played)].astype(np.float32)


def hiss(num_samples: int) -> Samples:
    """A quiet room: -65 dBFS."""
    generator = np.random.default_rng(3)
    return (generator.standard_normal(num_samples) * 10 ** (-65 / 20)).astype(np.float32)


def gated(heard: Samples, played: Samples) -> Samples:
    gate = EchoGate()
    passed = []
    for start in range(0, len(heard), 320):
        gate.play(played[start : start + 320])
        passed.append(gate.hear(heard[start : start + 320]))
    return np.concatenate(passed)


@pytest.mark.parametrize("level_db", [-20, -12, -6])
@pytest.mark.parametrize("delay_ms", [20, 120, 300])
def test_the_avatar_does_not_hear_itself(
    delay_ms: int, level_db: float, avatar: Samples, detector: VoiceDetector
) -> None:
    echo = in_a_room(avatar, delay_ms, level_db) + hiss(len(avatar))
    assert detector.speech_seconds(echo) > 6  # or there would be nothing to keep out
    assert detector.activity(gated(echo, avatar)) == []


@pytest.mark.parametrize("level_db", [-35, -25])
@pytest.mark.parametrize("delay_ms", [20, 120, 300])
def test_a_caller_is_heard_while_the_avatar_talks(
    delay_ms: int,
    level_db: float,
    avatar: Samples,
    detector: VoiceDetector,
    recognizer: WhisperRecognizer,
) -> None:
    echo = in_a_room(avatar, delay_ms, -20) + hiss(len(avatar))
    begin = round(9.5 * SPEECH_RATE)
    num_hit = num_spoken = 0
    errors = []
    for text, question in questions():
        caller = np.zeros(len(avatar), np.float32)
        loud = question * 10 ** ((level_db - float(rms_dbfs(question))) / 20)
        caller[begin : begin + len(question)] = loud
        passed = gated(caller + echo, avatar)
        alone = (caller + hiss(len(avatar)))[: len(passed)]
        spoken = detector.probabilities(alone) > 0.5
        num_spoken += int(spoken.sum())
        num_hit += int((spoken & (detector.probabilities(passed) > 0.5)).sum())
        turn = slice(begin - SPEECH_RATE // 5, begin + len(question) + SPEECH_RATE // 5)
        worse = word_error_rate(text, recognizer.transcribe(passed[turn]))
        errors.append(worse - word_error_rate(text, recognizer.transcribe(alone[turn])))
    assert num_hit / num_spoken > 0.9
    assert np.mean(errors) <= 0.1


def test_with_headphones_a_caller_is_heard_while_the_avatar_talks(
    avatar: Samples, detector: VoiceDetector
) -> None:
    num_hit = num_spoken = 0
    begin = 4 * SPEECH_RATE
    for _, question in questions():
        caller = hiss(len(avatar))
        caller[begin : begin + len(question)] += question
        passed = gated(caller, avatar)
        spoken = detector.probabilities(caller[: len(passed)]) > 0.5
        num_spoken += int(spoken.sum())
        num_hit += int((spoken & (detector.probabilities(passed) > 0.5)).sum())
    assert num_hit / num_spoken > 0.9


def test_a_way_that_changes_is_learnt_anew(avatar: Samples, detector: VoiceDetector) -> None:
    """The caller carries the laptop into another room: half a second may be heard."""
    change = 4 * SPEECH_RATE
    echo = in_a_room(avatar, 120, -20) + hiss(len(avatar))
    echo[change:] = (in_a_room(avatar, 200, -12) + hiss(len(avatar)))[change:]
    activity = detector.activity(gated(echo, avatar))
    assert sum(each.stop - each.start for each in activity) <= SPEECH_RATE // 2
    assert all(change <= each.start <= change + 2 * SPEECH_RATE for each in activity), activity
