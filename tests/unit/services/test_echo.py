"""The echo gate as a stream: its laws, with noise for voices."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from services.gateway.echo import EchoGate
from services.gateway.echo_path import BLOCK

pytestmark = pytest.mark.unit

RATE = 16_000
Samples = NDArray[np.float32]


def voice(seed: int, seconds: float, level: float = 0.1) -> Samples:
    """Noise with the rhythm of syllables and some colour."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(round(seconds * RATE))
    coloured = np.convolve(noise, 0.9 ** np.arange(30), "same")
    syllables = np.repeat(generator.random(round(seconds * 8)) > 0.4, RATE // 8)
    return (level * syllables[: len(noise)] * coloured / coloured.std()).astype(np.float32)


def delayed(samples: Samples, delay_ms: float, gain: float) -> Samples:
    shift = round(delay_ms * RATE / 1000)
    late = np.concatenate([np.zeros(shift, np.float32), samples[: len(samples) - shift]])
    return (gain * late).astype(np.float32)


def gated(heard: Samples, played: Samples, sizes: list[int] | int = 512) -> Samples:
    """Both in step, in calls of these sizes over and over."""
    gate, passed, at, calls = EchoGate(), [], 0, 0
    steps = [sizes] if isinstance(sizes, int) else sizes
    while at < len(heard):
        size = steps[calls % len(steps)]
        gate.play(played[at : at + size])
        passed.append(gate.hear(heard[at : at + size]))
        at, calls = at + size, calls + 1
    return np.concatenate(passed)


@pytest.fixture(scope="module")
def played() -> Samples:
    return voice(1, 4.0)


@pytest.fixture(scope="module")
def heard(played: Samples) -> Samples:
    caller = np.concatenate([np.zeros(2 * RATE, np.float32), voice(2, 2.0)])
    return delayed(played, 75, 0.2) + caller


@pytest.mark.parametrize("sizes", [320, 1, 16_000, [7, 512, 3000, 90], 10**6])
def test_the_sizes_of_the_calls_do_not_matter(
    sizes: list[int] | int, heard: Samples, played: Samples
) -> None:
    num_samples = len(heard) if sizes != 1 else RATE  # a call for each sample takes its time
    expected = gated(heard[:num_samples], played[:num_samples])
    np.testing.assert_array_equal(gated(heard[:num_samples], played[:num_samples], sizes), expected)


def test_two_interleaved_gates_pass_what_each_would_alone(heard: Samples, played: Samples) -> None:
    other = voice(3, 4.0)
    gates, passed = (EchoGate(), EchoGate()), ([], [])  # type: ignore[var-annotated]
    for start, stop in pairwise(range(0, len(heard) + 1, 640)):
        for gate, out, mine in zip(gates, passed, (played, other), strict=True):
            gate.play(mine[start:stop])
            out.append(gate.hear(heard[start:stop]))
    np.testing.assert_array_equal(np.concatenate(passed[0]), gated(heard, played))
    np.testing.assert_array_equal(np.concatenate(passed[1]), gated(heard, other))


def test_the_future_does_not_change_the_past(heard: Samples, played: Samples) -> None:
    now = 3 * RATE // BLOCK * BLOCK
    otherwise = np.concatenate([heard[:now], voice(4, 4.0)[now:]])
    otherwise_played = np.concatenate([played[:now], voice(5, 4.0)[now:]])
    np.testing.assert_array_equal(
        gated(heard, played)[:now], gated(otherwise, otherwise_played)[:now]
    )


def test_while_nothing_is_played_the_microphone_passes_bit_for_bit(heard: Samples) -> None:
    whole = len(heard) // BLOCK * BLOCK
    np.testing.assert_array_equal(gated(heard, np.zeros_like(heard)), heard[:whole])
    np.testing.assert_array_equal(EchoGate().hear(heard), heard[:whole])


def test_after_the_last_word_the_microphone_passes_bit_for_bit_again() -> None:
    quiet = np.zeros(2 * RATE, np.float32)
    played = np.concatenate([voice(1, 2.0), quiet])
    heard = delayed(played, 75, 0.2) + voice(2, 4.0)
    passed = gated(heard, played)
    after = round(2.9 * RATE)
    np.testing.assert_array_equal(passed[after:], heard[after : len(passed)])


def test_echo_comes_out_as_silence_and_the_caller_comes_through() -> None:
    played = voice(1, 8.0)
    echo = delayed(played, 130, 0.3)
    caller = np.concatenate([np.zeros(6 * RATE, np.float32), voice(2, 2.0, level=0.05)])
    passed = gated(echo + caller, played)
    assert not passed[: 5 * RATE].any()
    speech = slice(round(6.2 * RATE), len(passed))
    rest = passed[speech] - caller[speech]
    assert np.mean(rest**2) < 0.1 * np.mean(echo[speech] ** 2)


def test_what_was_played_before_the_first_sound_is_heard_does_not_shift_the_echo() -> None:
    played = np.concatenate([np.zeros(RATE, np.float32), voice(1, 7.0)])
    heard = delayed(played, 130, 0.3)
    gate, passed = EchoGate(), list[Samples]()
    for start in range(0, len(played), 320):
        gate.play(played[start : start + 320])
        if start >= RATE // 2:
            passed.append(gate.hear(heard[start : start + 320]))
    assert np.mean(np.concatenate(passed) ** 2) < 0.03 * np.mean(heard**2)


def test_a_microphone_that_lost_a_second_is_followed() -> None:
    played = voice(1, 12.0)
    heard = delayed(played, 130, 0.3)
    gate, passed = EchoGate(), []
    for start in range(0, len(played), 320):
        gate.play(played[start : start + 320])
        if not 4 * RATE <= start < 5 * RATE:
            passed.append(gate.hear(heard[start : start + 320]))
    assert np.mean(np.concatenate(passed)[8 * RATE :] ** 2) < 1e-3 * np.mean(heard**2)


def test_the_microphone_waits_for_what_is_played_but_not_for_long() -> None:
    gate = EchoGate()
    gate.play(np.zeros(BLOCK, np.float32))
    assert len(gate.hear(voice(2, 1.0)[:800])) == BLOCK
    assert len(gate.hear(voice(2, 1.0)[:2000])) > 2 * BLOCK
