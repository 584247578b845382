import numpy as np
import pytest

from avatar.audio.loudness import peak, rms_dbfs
from avatar.audio.resample import resample

pytestmark = pytest.mark.unit


def sine(
    hertz: float, rate: int, seconds: float = 1.0
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def test_a_tone_keeps_its_pitch_and_place() -> None:
    out = resample(sine(440, 24_000), 24_000, 16_000)
    assert out.shape == (16_000,)
    assert out.dtype == np.float32
    assert np.allclose(out[500:-500], sine(440, 16_000)[500:-500], atol=5e-3)


def test_a_tone_above_the_new_band_is_removed() -> None:
    assert rms_dbfs(resample(sine(10_000, 24_000), 24_000, 16_000)[500:-500]) < -50


def test_the_same_rate_changes_nothing() -> None:
    samples = sine(440, 16_000)
    assert resample(samples, 16_000, 16_000) is samples


def test_loudness_is_relative_to_full_scale() -> None:
    assert rms_dbfs(np.ones(100, np.float32)) == pytest.approx(0)
    assert rms_dbfs(sine(100, 16_000)) == pytest.approx(-3.01, abs=0.01)
    assert rms_dbfs(np.full(10, 0.1, np.float32)) == pytest.approx(-20, abs=1e-4)


def test_silence_is_infinitely_quiet() -> None:
    assert rms_dbfs(np.zeros(10, np.float32)) == -np.inf
    assert rms_dbfs(np.zeros(0, np.float32)) == -np.inf
    assert peak(np.zeros(0, np.float32)) == 0


def test_the_peak_is_the_largest_magnitude() -> None:
    assert peak(np.array([0.1, -0.7, 0.3], np.float32)) == pytest.approx(0.7)
