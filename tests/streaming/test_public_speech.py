"""Speech of the public models: chunk by chunk equals whole, and the future changes no past."""

import pytest
import torch
from torch import Tensor

from tests.fakes.tiny_wan import tiny_wan

pytestmark = [pytest.mark.streaming, pytest.mark.usefixtures("one_thread")]

LATENTS = 12


def s2v_speech(seed: int = 0) -> Tensor:
    return torch.randn(1, 9 + 4 * LATENTS, 25, 20, generator=torch.Generator().manual_seed(seed))


def frame_speech(seed: int = 0) -> Tensor:
    """Two video frames on either side."""
    return torch.randn(1, 4 * LATENTS + 4, 12, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_wan_s2vs_speech_in_chunks_equals_whole(chunk: int) -> None:
    model, speech = tiny_wan("wan2.2-s2v-14b"), s2v_speech()
    whole = model.project_audio(speech)
    parts = [
        model.project_audio(speech[:, 4 * n : 4 * (n + chunk) + 9])
        for n in range(0, LATENTS, chunk)
    ]
    assert whole.shape == (1, LATENTS, 6, 96)
    assert (torch.cat(parts, 1) - whole).abs().max() <= 1e-5


@torch.no_grad()
def test_nine_frames_before_the_speech_are_as_good_as_seventy_three() -> None:
    """Upstream repeats the first frame 73 times and drops what it makes of them."""
    model, speech = tiny_wan("wan2.2-s2v-14b"), s2v_speech()[:, 9:]
    encoder = model.casual_audio_encoder
    weights = torch.nn.functional.silu(encoder.weights).view(-1, 1)
    long = torch.cat([speech[:, :1].expand(-1, 73, -1, -1), speech], 1)
    made = encoder.encoder((long * weights).sum(2) / weights.sum())[:, 19:]
    short = torch.cat([speech[:, :1].expand(-1, 9, -1, -1), speech], 1)
    assert (model.project_audio(short) - made).abs().max() <= 1e-5


@torch.no_grad()
def test_a_latent_of_wan_s2v_hears_five_frames_before_its_own_and_none_after() -> None:
    model, speech = tiny_wan("wan2.2-s2v-14b"), s2v_speech()
    before = model.project_audio(speech)
    reached = set()
    for frame in range(speech.shape[1]):
        changed = speech.clone()
        changed[:, frame] += 1.0
        if not torch.equal(model.project_audio(changed)[:, 5], before[:, 5]):
            reached.add(frame - 9)  # counted from the first latent's first frame
    assert reached == set(range(4 * 5 - 5, 4 * 5 + 4))


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_infinitetalks_speech_in_chunks_equals_whole(chunk: int) -> None:
    model, speech = tiny_wan("infinitetalk"), frame_speech()
    whole = model.project_audio(speech)
    parts = [
        model.project_audio(speech[:, 4 * n : 4 * (n + chunk) + 4])
        for n in range(0, LATENTS, chunk)
    ]
    assert whole.shape == (1, LATENTS, 4, 16)
    assert (torch.cat(parts, 1) - whole).abs().max() <= 1e-5


@torch.no_grad()
def test_a_clips_first_latent_is_one_frame_and_hears_its_window() -> None:
    model = tiny_wan("infinitetalk")
    speech = frame_speech()
    clip = model.audio_proj(speech[:, 3:], begins_clip=True)  # 1 + 4 (F - 1) frames and two beside
    assert clip.shape[1] == LATENTS
    later = model.audio_proj(speech[:, 4:])
    assert (clip[:, 1:] - later).abs().max() <= 1e-5
    changed = speech[:, 3:].clone()
    changed[:, 5] += 1.0  # the first frame that the first latent does not hear
    after = model.audio_proj(changed, begins_clip=True)
    assert torch.equal(after[:, 0], clip[:, 0])
    assert not torch.equal(after[:, 1], clip[:, 1])


@torch.no_grad()
@pytest.mark.parametrize("frame", range(12))
def test_a_later_latent_of_infinitetalk_hears_eight_frames(frame: int) -> None:
    model, speech = tiny_wan("infinitetalk"), frame_speech()
    before = model.project_audio(speech)[:, 1]
    changed = speech.clone()
    changed[:, frame] += 1.0
    after = model.project_audio(changed)[:, 1]
    assert torch.equal(before, after) == (frame not in range(4, 12))
