"""The audio encoder, chunk by chunk."""

import pytest
import torch

from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig

pytestmark = pytest.mark.streaming

CHUNK = 7680


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(AudioEncoderConfig()).eval().requires_grad_(False)


def stream(encoder: AudioEncoder, samples: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, pieces = encoder.init_state(len(samples)), []
    for piece in samples.split(sizes, 1):
        tokens, state = encoder(piece, state)
        pieces.append(tokens)
    return torch.cat(pieces, 1)


@pytest.mark.parametrize("sizes", [[CHUNK] * 4, [320] * 96, [640, 7680 * 3, 7680 - 640]])
def test_chunked_equals_whole(encoder: AudioEncoder, sizes: list[int]) -> None:
    samples = 0.1 * torch.randn(2, 4 * CHUNK)
    whole, _ = encoder(samples, encoder.init_state(2))
    assert torch.allclose(stream(encoder, samples, sizes), whole, atol=2e-6)


def test_the_past_is_unchanged_by_the_future(encoder: AudioEncoder) -> None:
    samples = 0.1 * torch.randn(1, 4 * CHUNK)
    changed = samples.clone()
    changed[:, 2 * CHUNK :] = 0.5 * torch.randn(1, 2 * CHUNK)
    one, _ = encoder(samples, encoder.init_state())
    other, _ = encoder(changed, encoder.init_state())
    assert torch.equal(one[:, :48], other[:, :48])
    assert not torch.allclose(one[:, 48:], other[:, 48:])


def test_two_interleaved_sessions_equal_two_alone(encoder: AudioEncoder) -> None:
    a, b = 0.1 * torch.randn(1, 3 * CHUNK), 0.1 * torch.randn(1, 3 * CHUNK)
    alone = [stream(encoder, x, [CHUNK] * 3) for x in (a, b)]
    states, mixed = [encoder.init_state(), encoder.init_state()], [[], []]  # type: ignore[var-annotated]
    for pieces in zip(a.split(CHUNK, 1), b.split(CHUNK, 1), strict=True):
        for i, piece in enumerate(pieces):
            tokens, states[i] = encoder(piece, states[i])
            mixed[i].append(tokens)
    for i in range(2):
        assert torch.equal(torch.cat(mixed[i], 1), alone[i])


def test_silence_is_exactly_zero_and_speech_is_not(encoder: AudioEncoder) -> None:
    samples = torch.zeros(1, 4 * CHUNK)
    samples[:, CHUNK : 2 * CHUNK] = 0.1 * torch.randn(1, CHUNK)
    tokens, _ = encoder(samples, encoder.init_state())
    assert (tokens[:, :24] == 0).all()
    assert (tokens[:, 24:48] != 0).any(-1).all()
    hold = encoder.config.gate_hold_tokens
    assert (tokens[:, 48 + hold :] == 0).all()


def test_a_partial_token_is_refused(encoder: AudioEncoder) -> None:
    with pytest.raises(ValueError, match="321 samples given, a multiple of 320"):
        encoder(torch.zeros(1, 321), encoder.init_state())
