"""The Wan VAE and the tiny decoder of its latents, chunk by chunk."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar.models import taehv, vae_wan
from avatar.models.taehv import TAEHV, TAEW_2_1
from avatar.models.vae import VideoDecoder
from avatar.models.vae_wan import WAN_2_1, WanVAE
from tests.fakes.weights import stir

pytestmark = pytest.mark.streaming


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Convolutions as small as these spend their time on waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CHUNKINGS = [[1, 1, 1, 1, 1, 1], [2, 3, 1], [3, 3], [1, 5]]


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    vae = WanVAE(vae_wan.toy()).eval().requires_grad_(False)
    stir(vae)
    return vae


@pytest.fixture(scope="module")
def tiny() -> TAEHV:
    tiny = TAEHV(taehv.toy()).eval().requires_grad_(False)
    stir(tiny)
    return tiny


@pytest.fixture(params=["wan", "tiny"])
def decoder(request: pytest.FixtureRequest, vae: WanVAE, tiny: TAEHV) -> WanVAE | TAEHV:
    return vae if request.param == "wan" else tiny


def decode(decoder: WanVAE | TAEHV, latents: Tensor, sizes: list[int]) -> Tensor:
    return run(decoder, decoder.init_decoder(), latents, sizes)


def run(decoder: VideoDecoder[Any], state: object, latents: Tensor, sizes: list[int]) -> Tensor:
    pieces = []
    for piece in latents.split(sizes, 1):
        frames, state = decoder.decode(piece, state)
        pieces.append(frames)
    return torch.cat(pieces, 1)


def encode(vae: WanVAE, frames: Tensor, sizes: list[int]) -> Tensor:
    state, pieces = vae.init_encoder(), []
    for piece in frames.split(sizes, 1):
        latents, state = vae.encode(piece, state)
        pieces.append(latents)
    return torch.cat(pieces, 1)


def latents_of(seed: int, num_latents: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, num_latents, 16, 2, 3, generator=generator)


@pytest.mark.parametrize("sizes", CHUNKINGS, ids=str)
def test_decoding_in_chunks_equals_the_whole_exactly(
    decoder: WanVAE | TAEHV, sizes: list[int]
) -> None:
    latents = latents_of(1)
    whole = decode(decoder, latents, [6])
    assert whole.shape == (1, 21, 3, 16, 24)
    assert 0.02 < whole.std() < 1  # a picture, not a constant
    assert torch.equal(decode(decoder, latents, sizes), whole)


@pytest.mark.parametrize("sizes", CHUNKINGS, ids=str)
def test_encoding_in_chunks_equals_the_whole_exactly(vae: WanVAE, sizes: list[int]) -> None:
    frames = torch.rand(1, 21, 3, 16, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1
    whole = encode(vae, frames, [21])
    assert whole.shape == (1, 6, 16, 2, 3)
    frame_sizes = [4 * sizes[0] - 3, *(4 * n for n in sizes[1:])]
    assert torch.equal(encode(vae, frames, frame_sizes), whole)


def test_the_past_is_unchanged_by_the_future(decoder: WanVAE | TAEHV) -> None:
    latents = latents_of(3)
    changed = torch.cat([latents[:, :4], latents_of(4, 2)], 1)
    one, other = decode(decoder, latents, [6]), decode(decoder, changed, [6])
    assert torch.equal(one[:, :13], other[:, :13])
    assert not torch.allclose(one[:, 13:17], other[:, 13:17], atol=1e-3)


def test_the_future_hangs_on_the_past(decoder: WanVAE | TAEHV) -> None:
    """Otherwise a decoder that begins anew at each chunk would pass all of this."""
    latents = latents_of(5)
    changed = torch.cat([latents_of(6, 3), latents[:, 3:]], 1)
    one, other = decode(decoder, latents, [6]), decode(decoder, changed, [6])
    assert not torch.allclose(one[:, 9:13], other[:, 9:13], atol=1e-3)


def test_two_interleaved_sessions_equal_two_alone(decoder: WanVAE | TAEHV) -> None:
    streams = [latents_of(7), latents_of(8)]
    alone = [decode(decoder, each, [2, 2, 2]) for each in streams]
    states: list[Any] = [decoder.init_decoder(), decoder.init_decoder()]
    mixed: list[list[Tensor]] = [[], []]
    for n in range(3):
        for i in (0, 1):
            frames, states[i] = decoder.decode(streams[i][:, 2 * n : 2 * n + 2], states[i])
            mixed[i].append(frames)
    assert all(torch.equal(torch.cat(mixed[i], 1), alone[i]) for i in (0, 1))


def test_two_interleaved_encodings_equal_two_alone(vae: WanVAE) -> None:
    streams = [torch.rand(1, 9, 3, 16, 24) * 2 - 1 for _ in range(2)]
    alone = [encode(vae, each, [5, 4]) for each in streams]
    states, first = [vae.init_encoder(), vae.init_encoder()], []
    for i in (0, 1):
        latents, states[i] = vae.encode(streams[i][:, :5], states[i])
        first.append(latents)
    for i in (0, 1):
        latents, _ = vae.encode(streams[i][:, 5:], states[i])
        assert torch.equal(torch.cat([first[i], latents], 1), alone[i])


def test_a_state_can_be_gone_on_from_twice(decoder: WanVAE | TAEHV) -> None:
    """As when a chunk is made again after an interruption: decoding changes no state."""
    state: Any = decoder.primed_decoder(latents_of(9, 3))
    once, _ = decoder.decode(latents_of(10, 3), state)
    again, _ = decoder.decode(latents_of(10, 3), state)
    assert torch.equal(once, again)


def test_after_the_sink_every_chunk_is_whole(decoder: WanVAE | TAEHV) -> None:
    sink, chunk = latents_of(11, 1), latents_of(12, 2)
    frames = run(decoder, decoder.primed_decoder(sink), chunk, [2])
    assert frames.shape[1] == 8
    assert torch.equal(frames, decode(decoder, torch.cat([sink, chunk], 1), [3])[:, 1:])


def test_what_is_no_latent_is_refused(decoder: WanVAE | TAEHV) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 4, 4\) given, \(B, F, 16, h, w\)"):
        decoder.decode(torch.zeros(1, 3, 8, 4, 4), decoder.init_decoder())  # type: ignore[arg-type]  # one of two pairs


def test_a_wrong_number_of_frames_is_refused(vae: WanVAE) -> None:
    with pytest.raises(ValueError, match="8 frames given, 1 \\+ 4k at the beginning"):
        vae.encode(torch.zeros(1, 8, 3, 32, 32), vae.init_encoder())
    _, state = vae.encode(torch.zeros(1, 1, 3, 32, 32), vae.init_encoder())
    with pytest.raises(ValueError, match="5 frames given, 4k within"):
        vae.encode(torch.zeros(1, 5, 3, 32, 32), state)


# -- against diffusers' own one-shot coder --------------------------------------------------------
# in float64: theirs takes the 1x1 convolution over all latents at once, which rounds otherwise


@pytest.fixture(scope="module")
def both(vae: WanVAE) -> tuple[WanVAE, Any]:
    from diffusers import AutoencoderKLWan

    theirs = AutoencoderKLWan(base_dim=8, num_res_blocks=1).eval().requires_grad_(False)
    theirs.load_state_dict(vae.state_dict(), strict=True)  # the same names, and no other
    return copy.deepcopy(vae).double(), theirs.double()


def test_streamed_decoding_equals_that_of_diffusers(both: tuple[WanVAE, Any]) -> None:
    vae, theirs = both
    latents = latents_of(13).double()
    mean = torch.tensor(theirs.config.latents_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(theirs.config.latents_std).view(1, 16, 1, 1, 1)
    whole = theirs.decode(latents.transpose(1, 2) * std + mean).sample.transpose(1, 2)
    assert (decode(vae, latents, [2, 3, 1]) - whole).abs().max() <= 1e-6


def test_streamed_encoding_equals_that_of_diffusers(both: tuple[WanVAE, Any]) -> None:
    vae, theirs = both
    frames = torch.rand(1, 21, 3, 16, 24).double() * 2 - 1
    mode = theirs.encode(frames.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
    ours = encode(vae, frames, [5, 12, 4]) * vae.std + vae.mean
    assert (ours - mode).abs().max() <= 1e-6


def test_the_public_vae_has_its_size() -> None:
    with torch.device("meta"):
        full = WanVAE(WAN_2_1)
    assert len(full.state_dict()) == 194
    assert sum(p.numel() for p in full.parameters()) == 126_892_531
    assert full.mean.device.type == "cpu"


# -- the tiny decoder's public layout -------------------------------------------------------------


def test_the_public_tiny_decoder_has_its_layout() -> None:
    with torch.device("meta"):
        full = TAEHV(TAEW_2_1)
    shapes = {name: tuple(each.shape) for name, each in full.state_dict().items()}
    assert shapes["decoder.1.weight"] == (256, 16, 3, 3)
    assert shapes["decoder.3.conv.0.weight"] == (256, 512, 3, 3)
    assert shapes["decoder.13.conv.weight"] == (256, 128, 1, 1)
    assert shapes["decoder.20.weight"] == (64, 64, 3, 3)
    assert shapes["decoder.22.weight"] == (3, 64, 3, 3)
    assert len(shapes) == 2 + 9 * 6 + 3 * 2 + 2


def test_the_tiny_decoder_is_the_published_computation(tiny: TAEHV) -> None:
    """All frames at once, each layer over the whole clip, three frames cut off at the beginning."""
    latents, blocks = latents_of(14, 3), tiny.decoder
    x = latents[0]
    for layer in blocks:
        if hasattr(layer, "conv") and isinstance(layer.conv, torch.nn.Sequential):
            before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            x = torch.relu(layer.conv(torch.cat([x, before], 1)) + x)
        elif hasattr(layer, "times"):
            assert isinstance(layer.conv, torch.nn.Conv2d)
            x = layer.conv(x).reshape(-1, x.shape[1], *x.shape[2:])
        else:
            x = layer(x)
    expected = x[3:].clamp(0, 1) * 2 - 1
    assert torch.allclose(decode(tiny, latents, [3])[0], expected, atol=1e-5)
