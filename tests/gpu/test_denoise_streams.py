"""On a GPU: two streams make what one makes, and the paper's model is in time."""

from dataclasses import replace

import pytest
import torch

from bench.denoise_profiles import PROFILES
from bench.denoise_queues import Beside
from bench.denoise_run import How, Stream, measure_profile

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(600),
]


def chunks(stream: Stream, *, overlapped: bool) -> list[torch.Tensor]:
    """Frames of four chunks."""
    lanes, frames = Beside(stream.how.device, overlapped=overlapped), []
    anchor, state, decoded = stream.open()
    torch.cuda.synchronize()
    for seq in range(4):
        with lanes.first():
            latents, state = stream.denoise(anchor, state, seq)
        handed = lanes.hand_over(latents)
        with lanes.second():
            parts, decoded = stream.decode(handed, decoded)
            frames += parts
    lanes.join()
    torch.cuda.synchronize()
    return frames


def test_two_streams_make_what_one_makes() -> None:
    stream = Stream(PROFILES["toy-tm"], How(torch.device("cuda", 0)))
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        alone, together = (chunks(stream, overlapped=each) for each in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", ["tm-18b", "realvideo-2step"])
def test_a_chunk_is_made_before_it_has_to_play(name: str) -> None:
    if "H200" not in torch.cuda.get_device_name(0):
        pytest.skip("the bar is of an H200")
    profile = PROFILES[name]
    values = measure_profile(profile, replace(How(torch.device("cuda", 0)), chunks=10))
    assert profile.bar_ms is not None
    assert values["overlapped_ms"] <= profile.bar_ms
