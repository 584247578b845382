"""UMT5's encoder.

The modules are transformers' and so are the names of the weights (`UMT5EncoderModel`), less the
second name of the table of words, `encoder.embed_tokens`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.umt5.config import UMT5Config


class UMT5(nn.Module):
    """Tokens of one prompt to its embedding."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        # here: it takes seconds, and the default avatar needs none of it
        from transformers import UMT5Config as Theirs
        from transformers import UMT5EncoderModel

        self.config = config
        inner = UMT5EncoderModel(
            Theirs(
                vocab_size=config.vocabulary,
                d_model=config.dim,
                d_kv=config.head_dim,
                d_ff=config.ffn_dim,
                num_layers=config.num_layers,
                num_heads=config.num_heads,
                relative_attention_num_buckets=config.num_buckets,
                relative_attention_max_distance=config.max_distance,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,
            )
        )
        self.shared, self.encoder = inner.shared, inner.encoder
        self.encoder.embed_tokens = nn.Identity()  # words come from `shared`: one name for a weight

    def forward(self, tokens: Tensor) -> Tensor:
        """(1, L) ids, without padding -> (L, dim).

        Padding is masked upstream and would change nothing here.
        """
        B, L = tokens.shape
        if B != 1 or not 0 < L <= self.config.max_tokens:
            raise ValueError(f"tokens {(B, L)} given, (1, 1 to {self.config.max_tokens}) expected")
        embedding: Tensor = self.encoder(inputs_embeds=self.shared(tokens)).last_hidden_state
        return embedding[0]


def padded(embedding: Tensor, length: int) -> Tensor:
    """(L, dim) -> (1, length, dim), zeros after it.

    Wan's models attend to all of them, and were trained so: to leave the zeros out changes results.
    """
    if len(embedding) > length:
        raise ValueError(f"{len(embedding)} tokens given, {length} at most expected")
    return F.pad(embedding, (0, 0, 0, length - len(embedding)))[None]
