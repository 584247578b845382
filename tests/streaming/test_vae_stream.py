"""The video VAE, chunk by chunk."""

import pytest
import torch

from avatar.models.vae import VAE, EncoderState, VAEConfig
from avatar.models.vae.model import HELD, MOTION_PIXELS, flow_of, motion_of

pytestmark = pytest.mark.streaming


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    config = VAEConfig(encoder_dims=(8, 16, 16), decoder_dims=(16, 16, 8), reference_dim=8)
    vae = VAE(config).eval().requires_grad_(False)
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    vae.std.fill_(0.7)
    vae.mean.fill_(0.2)
    return vae


def encode(vae: VAE, frames: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, pieces = EncoderState(), []
    for piece in frames.split(sizes, 1):
        latents, state = vae.encode(piece, state)
        pieces.append(latents)
    return torch.cat(pieces, 1)


def decode(
    vae: VAE, latents: torch.Tensor, reference: torch.Tensor, sizes: list[int]
) -> torch.Tensor:
    state, pieces = vae.init_decoder(reference), []
    for piece in latents.split(sizes, 1):
        frames, state = vae.decode(piece, state)
        pieces.append(frames)
    return torch.cat(pieces, 1)


def test_81_frames_are_21_latents_and_back(vae: VAE) -> None:
    frames = torch.rand(1, 81, 3, 32, 32) * 2 - 1
    latents = encode(vae, frames, [81])
    assert latents.shape == (1, 21, 40, 4, 4)
    assert decode(vae, latents, frames[:, 0], [21]).shape == frames.shape


@pytest.mark.parametrize("sizes", [[1] * 21, [3] * 7, [2, 3, 1, 15], [1, 20]])
def test_chunked_equals_whole(vae: VAE, sizes: list[int]) -> None:
    frames = torch.rand(1, 81, 3, 32, 32) * 2 - 1
    latents = encode(vae, frames, [81])
    frame_sizes = [4 * sizes[0] - 3] + [4 * n for n in sizes[1:]]
    assert torch.allclose(encode(vae, frames, frame_sizes), latents, atol=1e-4)
    whole = decode(vae, latents, frames[:, 0], [21])
    assert torch.allclose(decode(vae, latents, frames[:, 0], sizes), whole, atol=1e-4)


def test_the_past_is_unchanged_by_the_future(vae: VAE) -> None:
    latents = torch.randn(1, 9, 40, 4, 4)
    changed = latents.clone()
    changed[:, 5:] = torch.randn(1, 4, 40, 4, 4)
    reference = torch.rand(1, 3, 32, 32)
    one, other = (decode(vae, x, reference, [9]) for x in (latents, changed))
    assert torch.equal(one[:, :17], other[:, :17])
    assert not torch.equal(one[:, 17:], other[:, 17:])


def test_two_interleaved_sessions_equal_two_alone(vae: VAE) -> None:
    streams = [torch.randn(1, 9, 40, 4, 4) for _ in range(2)]
    references = [torch.rand(1, 3, 32, 32) for _ in range(2)]
    alone = [decode(vae, s, r, [3, 3, 3]) for s, r in zip(streams, references, strict=True)]
    states = [vae.init_decoder(r) for r in references]
    mixed: list[list[torch.Tensor]] = [[], []]
    for n in range(3):
        for i in range(2):
            frames, states[i] = vae.decode(streams[i][:, 3 * n : 3 * n + 3], states[i])
            mixed[i].append(frames)
    for i in range(2):
        assert torch.equal(torch.cat(mixed[i], 1), alone[i])


def test_a_groups_first_frame_holds_a_share_of_the_frame_before_it(vae: VAE) -> None:
    latents, reference = torch.randn(1, 6, 40, 4, 4), torch.rand(1, 3, 32, 32)
    state = vae.init_decoder(reference)
    shown = decode(vae, latents, reference, [2, 4])
    for n in range(1, 6):
        group = vae.decode_group(latents[:, n], latents[:, n - 1], state.reference)
        first = 4 * n - 3
        before = shown[:, first - 1]
        assert torch.allclose(shown[:, first], HELD * before + (1 - HELD) * group[:, 0], atol=1e-5)
        assert torch.equal(shown[:, first + 1 : first + 4], group[:, 1:])


def test_before_training_a_picture_moved_by_whole_cells_is_decoded_exactly() -> None:
    """The motion is looked up in the reference; the convolutions add nothing yet."""
    vae = VAE(VAEConfig(encoder_dims=(8, 16, 16), decoder_dims=(16, 16, 8), reference_dim=8))
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    latents = torch.zeros(1, 3, 40, 8, 8)
    with torch.no_grad():
        still, _ = vae.decode(latents, vae.init_decoder(picture))
        assert torch.allclose(still, picture[:, None].expand_as(still), atol=1e-5)
        latents[:, :, 0] = 8 / MOTION_PIXELS[0]  # seen 8 pixels to the left of where it was
        moved, _ = vae.decode(latents, vae.init_decoder(picture))
    assert torch.allclose(
        moved[..., :56], picture[:, None, ..., 8:].expand(1, 9, 3, 64, 56), atol=1e-4
    )


def test_a_flow_is_what_its_channels_say_and_growth_is_within_the_group() -> None:
    motion = torch.randn(2, 4, 3, 3)
    assert torch.allclose(motion_of(flow_of(motion)), motion, atol=1e-5)
    steady = flow_of(torch.cat([motion[:, :2], torch.zeros(2, 2, 3, 3)], 1))
    assert torch.equal(steady[:, 0], steady[:, 3])


def test_decoding_leaves_the_session_s_state_and_latents_as_they_were(vae: VAE) -> None:
    latents, picture = torch.randn(1, 3, 40, 4, 4), torch.rand(1, 3, 32, 32)
    given = latents.clone()
    with torch.no_grad():
        state = vae.init_decoder(picture)
        before = [x.clone() for x in (picture, *state.reference.features)]
        first, _ = vae.decode(latents, state)
        again, _ = vae.decode(latents, state)
    after = (picture, *state.reference.features)
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert torch.equal(latents, given)
    assert torch.equal(first, again)


def test_with_and_without_gradients_the_pixels_are_the_same(vae: VAE) -> None:
    latents, picture = torch.randn(2, 3, 40, 4, 4), torch.rand(2, 3, 32, 32)
    frames = decode(vae, latents, picture, [3])
    with torch.no_grad():
        in_place = decode(vae, latents, picture, [3])
    assert torch.equal(frames, in_place)


def test_a_wrong_number_of_frames_is_refused(vae: VAE) -> None:
    with pytest.raises(ValueError, match="8 frames given, 1 \\+ 4k at the beginning"):
        vae.encode(torch.zeros(1, 8, 3, 32, 32), EncoderState())
