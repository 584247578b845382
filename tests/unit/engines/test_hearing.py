"""The speech around a chunk: chunk by chunk a DiT hears what it would hear of the whole."""

import pytest
import torch
from torch import Tensor

from avatar.engines.hearing import Hearing, hearing_of, whole_latents
from avatar.models.dit.zoo import infinitetalk, tm_18b, wan21_t2v_14b, wan22_s2v_14b
from tests.fakes.tiny_wan import tiny_wan_config

pytestmark = pytest.mark.unit

NAMES = ["tm-18b", "infinitetalk", "wan2.2-s2v-14b"]
CHUNK = 3


def test_public_models_want_what_they_were_taught() -> None:
    tm, talk, s2v = (hearing_of(make()) for make in (tm_18b, infinitetalk, wan22_s2v_14b))
    assert (tm.dim, tm.before, tm.after, tm.lookahead_latents) == (9216, 8, 8, 2)
    assert (talk.dim, talk.before, talk.after, talk.lookahead_latents) == (9216, 2, 2, 1)
    assert (s2v.dim, s2v.before, s2v.after, s2v.lookahead_latents) == (25_600, 9, 0, 0)


def test_a_dit_without_speech_has_no_place_in_a_call() -> None:
    with pytest.raises(ValueError, match="hears no speech"):
        hearing_of(wan21_t2v_14b())


def heard_in_chunks(hearing: Hearing, tokens: Tensor) -> list[Tensor]:
    """Of (latents, tokens, dim): what the model is given for each chunk."""
    heard, given = None, []
    for start in range(0, len(tokens), CHUNK):
        ahead = tokens[start + CHUNK :][: hearing.lookahead_latents]
        missing = hearing.lookahead_latents - len(ahead)
        ahead = torch.cat([ahead, tokens.new_zeros(missing, *tokens.shape[1:])])
        speech, heard = hearing.around(heard, tokens[start : start + CHUNK], ahead)
        given.append(speech)
    return given


@pytest.mark.parametrize("name", NAMES)
def test_each_chunk_is_given_its_place_of_the_whole(name: str) -> None:
    config = tiny_wan_config(name)
    hearing = hearing_of(config)
    tokens = torch.randn(4 * CHUNK, hearing.tokens_per_latent, hearing.dim)
    rows = tokens.flatten(0, 1)
    for number, speech in enumerate(heard_in_chunks(hearing, tokens)[:-1]):
        start = number * CHUNK * hearing.tokens_per_latent
        end = start + CHUNK * hearing.tokens_per_latent + hearing.after
        given = speech[0].reshape(-1, hearing.dim)
        before = min(hearing.before, start)
        assert torch.equal(given[hearing.before - before :], rows[start - before : end])
        silent = given[: hearing.before - before]
        first = torch.zeros(hearing.dim) if hearing.before_first == "nothing" else rows[0]
        assert torch.equal(silent, first.expand_as(silent))


def test_frames_fill_whole_latents() -> None:
    frames = torch.arange(1.0, 7.0)[:, None]
    assert whole_latents(frames, 4).flatten().tolist() == [1, 2, 3, 4, 5, 6, 0, 0]
    assert whole_latents(frames[:0], 4).shape == (0, 4, 1)
