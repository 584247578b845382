"""Prompts: tokens, UMT5's embedding, and what is kept of it on disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from avatar.errors import CorruptFile, InvalidInput, NotFound
from avatar.models.umt5 import UMT5, UMT5_XXL, PromptCache, PromptTokenizer, padded, toy
from tests.fakes.weights import stir

pytestmark = pytest.mark.unit


WORDS = ["<pad>", "</s>", "<unk>", "▁a", "▁person", "▁who", "▁talks", "▁to", "▁you", "&"]


@pytest.fixture(scope="module")
def encoder() -> UMT5:
    encoder = UMT5(toy()).eval().requires_grad_(False)
    stir(encoder)
    return encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a small tokenizer.json of UMT5's kind."""
    tokenizer = Tokenizer(models.Unigram([(each, -1.0) for each in WORDS], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_prompt_ends_with_the_end_and_white_space_does_not_count(folder: Path) -> None:
    tokenizer = PromptTokenizer(folder, 12)
    ids = tokenizer.ids("a person  who\n talks to you ")
    assert ids == [3, 4, 5, 6, 7, 8, 1]
    assert tokenizer.ids("a person who talks to you") == ids


def test_a_long_prompt_is_cut_before_its_end(folder: Path) -> None:
    assert PromptTokenizer(folder, 4).ids("a person who talks to you") == [3, 4, 5, 1]


def test_what_is_too_long_to_be_a_prompt_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="5000 characters, 4000 at most"):
        PromptTokenizer(folder, 12).ids("a" * 5000)


def test_without_tokenizer_json_the_error_says_where_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"words")
    with pytest.raises(NotFound, match=r"spiece.model alone is not enough.*google/umt5-xxl"):
        PromptTokenizer(tmp_path, 12)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    Tokenizer(models.Unigram([("a", 0.0)])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CorruptFile, match="not UMT5's tokenizer"):
        PromptTokenizer(tmp_path, 12)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptFile, match="is no tokenizer"):
        PromptTokenizer(tmp_path, 12)


def test_without_padding_the_embedding_is_that_of_upstream_with_a_mask(encoder: UMT5) -> None:
    tokens = torch.tensor([[3, 4, 5, 6, 1]])
    filled = torch.cat([tokens, torch.zeros(1, 7, dtype=torch.long)], 1)
    expected = stock(encoder)(filled, attention_mask=filled.ne(0).long()).last_hidden_state
    assert torch.allclose(encoder(tokens), expected[0, :5], atol=1e-5)


def stock(encoder: UMT5) -> Any:
    import transformers

    config = toy()
    theirs = transformers.UMT5Config(
        vocab_size=config.vocabulary,
        d_model=config.dim,
        d_kv=config.head_dim,
        d_ff=config.ffn_dim,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        feed_forward_proj="gated-gelu",
    )
    model = transformers.UMT5EncoderModel(theirs).eval().requires_grad_(False)
    weights = encoder.state_dict()
    both = {**weights, "encoder.embed_tokens.weight": weights["shared.weight"]}
    model.load_state_dict(both, strict=True)
    return model


def test_zeros_come_after_the_embedding(encoder: UMT5) -> None:
    embedding = encoder(torch.tensor([[3, 4, 1]]))
    whole = padded(embedding, 12)
    assert whole.shape == (1, 12, 32)
    assert torch.equal(whole[0, :3], embedding)
    assert not whole[0, 3:].any()
    with pytest.raises(ValueError, match="3 tokens given, 2 at most"):
        padded(embedding, 2)


def test_too_many_tokens_are_refused(encoder: UMT5) -> None:
    with pytest.raises(ValueError, match=r"\(1, 13\) given, \(1, 1 to 12\) expected"):
        encoder(torch.ones(1, 13, dtype=torch.long))


def test_the_public_encoder_has_its_size() -> None:
    with torch.device("meta"):
        full = UMT5(UMT5_XXL)
    assert sum(each.numel() for each in full.parameters()) == 5_680_910_336
    assert len(full.state_dict()) == 242


# -- on disk --------------------------------------------------------------------------------------


class Counting:
    """Makes an embedding, and counts how often."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, prompt: str) -> Tensor:
        self.made.append(prompt)
        return torch.arange(6.0).view(3, 2) + len(self.made)


def test_a_prompt_is_embedded_once_and_read_by_all_later_starts(tmp_path: Path) -> None:
    make = Counting()
    first = PromptCache(tmp_path, "weights", "tokens").get("a person", make)
    again = PromptCache(tmp_path, "weights", "tokens").get(" a  person", make)
    assert make.made == ["a person"]
    assert torch.equal(first, again)
    assert first.dtype == again.dtype == torch.bfloat16


@pytest.mark.parametrize("other", [("w2", "t", "a"), ("w", "t2", "a"), ("w", "t", "b")])
def test_other_weights_tokens_or_words_are_another_embedding(
    tmp_path: Path, other: tuple[str, str, str]
) -> None:
    make = Counting()
    PromptCache(tmp_path, "w", "t").get("a", make)
    weights, tokenizer, prompt = other
    PromptCache(tmp_path, weights, tokenizer).get(prompt, make)
    assert len(make.made) == 2


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    make, cache = Counting(), PromptCache(tmp_path, "w", "t")
    cache.get("a", make)
    cache.path("a").write_bytes(b"damaged")
    cache.get("a", make)
    cache.get("a", make)
    assert len(make.made) == 2


def test_the_prompt_is_in_no_file(tmp_path: Path) -> None:
    PromptCache(tmp_path, "w", "t").get("my secret prompt", Counting())
    (file,) = tmp_path.iterdir()
    assert b"secret" not in file.read_bytes()
    assert "secret" not in file.name
