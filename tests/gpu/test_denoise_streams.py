"""On a GPU: two streams make what one makes, and the paper's model is in time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.denoise_profiles import PROFILES
from bench.denoise_run import How, Stream, measure_profile, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(600),
]

WITH_A_BAR = [name for name, profile in PROFILES.items() if profile.bar_ms is not None]
Record = Callable[[str, object], None]


def test_two_streams_make_what_one_makes() -> None:
    stream = Stream(PROFILES["toy-tm"], How(torch.device("cuda", 0), chunks=4))
    begun = stream.open()
    alone, together = ([*run(stream, begun, overlapped=each)] for each in (False, True))
    assert len(together) == 4
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.frames, other.frames)


@pytest.mark.parametrize("name", WITH_A_BAR)
def test_what_a_chunk_takes_in_bfloat16_is_told(name: str, record_property: Record) -> None:
    """As it comes, without a bar: one may need more than that, see docs/performance.md."""
    values = measure_profile(PROFILES[name], How(torch.device("cuda", 0), chunks=10))
    record_property("overlapped_ms", values["overlapped_ms"])
    assert 0 < values["overlapped_ms"] <= 1.1 * values["one_after_the_other_ms"]


@pytest.mark.parametrize("name", WITH_A_BAR)
def test_a_chunk_is_made_before_it_has_to_play(name: str, record_property: Record) -> None:
    """The documented way to be in time."""
    if "H200" not in torch.cuda.get_device_name(0):
        pytest.skip("the bar is of an H200")
    profile = PROFILES[name]
    capture, linears = profile.bar_with
    how = How(torch.device("cuda", 0), capture=capture, linears=linears, chunks=10)
    values = measure_profile(profile, how)
    record_property("overlapped_ms", values["overlapped_ms"])
    assert profile.bar_ms is not None
    assert values["overlapped_ms"] <= profile.bar_ms
