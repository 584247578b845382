"""A recording changes how speech sounds, and never when."""

import numpy as np
import pytest

from training.data.acoustics import (
    EVERYDAY,
    SAMPLE_RATE,
    STUDIO,
    Acoustics,
    coloured_noise,
    in_room,
    recorded,
    through_telephone,
    toned,
)

pytestmark = pytest.mark.unit

Samples = np.ndarray


def words(seed: int = 0) -> Samples:
    """Two bursts of sound between digital silence."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(2 * SAMPLE_RATE, np.float32)
    for start in (4000, 20000):
        sound[start : start + 6000] = rng.standard_normal(6000) * np.hanning(6000)
    return sound


def envelope(samples: Samples) -> Samples:
    return np.sqrt((samples.reshape(-1, 200) ** 2).mean(axis=1))


def test_a_studio_changes_only_the_level() -> None:
    speech = words()
    heard = recorded(speech, STUDIO, np.random.default_rng(1))
    loud = np.abs(speech) > 0.01
    assert np.ptp(heard[loud] / speech[loud]) < 1e-5
    assert STUDIO.peak[0] <= np.abs(heard).max() <= STUDIO.peak[1]


@pytest.mark.parametrize("seed", range(12))
def test_nothing_moves_in_time(seed: int) -> None:
    speech = words()
    heard = recorded(speech, EVERYDAY, np.random.default_rng(seed))
    a, b = envelope(speech), envelope(heard)
    lags = range(-6, 7)
    best = max(lags, key=lambda lag: float(np.corrcoef(a[8:-8], np.roll(b, -lag)[8:-8])[0, 1]))
    assert abs(best) <= 1  # 12.5 ms
    assert heard.shape == speech.shape
    assert heard.dtype == np.float32
    assert np.abs(heard).max() <= 1.0


def test_the_same_generator_gives_the_same_recording() -> None:
    one, other = (recorded(words(), EVERYDAY, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("change", [toned, lambda s, _: through_telephone(s)])
def test_a_filter_keeps_digital_silence(change: object) -> None:
    assert callable(change)
    heard = change(words(), np.random.default_rng(2))
    assert not heard[:3000].any()
    assert not heard[12000:19000].any()
    assert heard[6000:8000].any()


def test_echoes_follow_a_sound_and_fade() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[100] = 1.0
    heard = in_room(click, 0.4, 6.0, np.random.default_rng(3))
    assert heard[100] == pytest.approx(1.0, abs=1e-4)
    assert np.abs(heard[:100]).max() < 1e-5
    early, late = np.abs(heard[300:1500]).mean(), np.abs(heard[5000:6200]).mean()
    assert early > 20 * late


def test_noise_may_fill_the_pauses_or_leave_them_silent() -> None:
    loud = Acoustics(room=0, tone=0, telephone=0, noise=1.0, noise_everywhere=1.0)
    still = Acoustics(room=0, tone=0, telephone=0, noise=1.0, noise_everywhere=0.0)
    filled, silent = (recorded(words(), each, np.random.default_rng(4)) for each in (loud, still))
    assert filled[12000:18000].any()
    assert not silent[12000:18000].any()
    assert (silent[5000:6000] != words()[5000:6000]).any()


@pytest.mark.parametrize(("slope", "ratio"), [(0.0, 1.0), (1.0, 10.0), (2.0, 100.0)])
def test_noise_has_its_colour(slope: float, ratio: float) -> None:
    spectrum = np.abs(
        np.fft.rfft(coloured_noise(16 * SAMPLE_RATE, slope, np.random.default_rng(6)))
    )
    hertz = np.fft.rfftfreq(16 * SAMPLE_RATE, 1 / SAMPLE_RATE)

    def power(low: float, high: float) -> float:
        return float((spectrum[(hertz > low) & (hertz < high)] ** 2).mean())

    assert power(180, 220) / power(1800, 2200) == pytest.approx(ratio, rel=0.35)
