"""Voice detection, window by window."""

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.speech.vad import WINDOW, VoiceDetector

pytestmark = pytest.mark.streaming

QUESTIONS = Path(__file__).parent.parent / "data" / "questions"


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector()


@pytest.fixture(scope="module")
def question() -> NDArray[np.float32]:
    samples = decode((QUESTIONS / "favourite_season.flac").read_bytes())
    return samples[: len(samples) // WINDOW * WINDOW]


def stream(detector: VoiceDetector, samples: NDArray[np.float32]) -> list[float]:
    state, heard = detector.init_state(), []
    for window in samples.reshape(-1, WINDOW):
        probability, state = detector.step(window, state)
        heard.append(probability)
    return heard


def test_streamed_equals_whole(detector: VoiceDetector, question: NDArray[np.float32]) -> None:
    whole = detector.probabilities(question)
    assert whole.max() > 0.9
    np.testing.assert_allclose(stream(detector, question), whole, atol=1e-5)


def test_the_past_does_not_depend_on_the_future(
    detector: VoiceDetector, question: NDArray[np.float32]
) -> None:
    cut = len(question) // WINDOW // 2
    changed = question.copy()
    changed[cut * WINDOW :] = np.nan
    np.testing.assert_array_equal(stream(detector, question)[:cut], stream(detector, changed)[:cut])


def test_two_interleaved_microphones_are_heard_as_two_alone(
    detector: VoiceDetector, question: NDArray[np.float32]
) -> None:
    other = question[::-1].copy()
    states = [detector.init_state(), detector.init_state()]
    heard: list[list[float]] = [[], []]
    for windows in zip(question.reshape(-1, WINDOW), other.reshape(-1, WINDOW), strict=True):
        for index, window in enumerate(windows):
            probability, states[index] = detector.step(window, states[index])
            heard[index].append(probability)
    assert heard == [stream(detector, question), stream(detector, other)]


def test_a_window_costs_less_than_its_share(
    detector: VoiceDetector, question: NDArray[np.float32]
) -> None:
    began = time.process_time()
    stream(detector, question)
    assert (time.process_time() - began) / (len(question) / WINDOW) < 0.002
