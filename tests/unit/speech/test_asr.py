import numpy as np
import pytest

from avatar.errors import CorruptFile, Unavailable
from avatar.speech.asr import windows
from avatar.speech.model_files import packaged

pytestmark = pytest.mark.unit

RATE = 16_000


def test_a_question_is_one_window() -> None:
    samples = np.ones(28 * RATE, np.float32)
    assert [len(w) for w in windows(samples)] == [28 * RATE]
    assert windows(samples[:0]) == []


def test_a_long_recording_is_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    samples = np.random.default_rng(0).normal(size=60 * RATE).astype(np.float32)
    pause = slice(24 * RATE, 24 * RATE + RATE // 5)
    samples[pause] = 0
    cut = windows(samples)
    assert np.array_equal(np.concatenate(cut), samples)
    assert pause.start < len(cut[0]) < pause.stop
    assert all(len(w) <= 28 * RATE for w in cut)


def test_a_missing_package_is_named_with_its_cure() -> None:
    with pytest.raises(Unavailable, match=r"no_such_package is missing: pip install that==1"):
        packaged("no_such_package", "model.bin", "0" * 64, install="that==1")


def test_a_changed_model_file_is_refused_with_its_cure() -> None:
    with pytest.raises(CorruptFile, match=r"0{64} expected: pip install --force-reinstall numpy"):
        packaged("numpy", "__init__.py", "0" * 64, install="numpy")
