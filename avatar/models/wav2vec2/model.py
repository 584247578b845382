"""wav2vec2 as its parts: convolutions over samples, then a transformer over their tokens.

The modules are transformers' and so are the names of the weights (`Wav2Vec2Model`), less what only
its own training uses: `masked_spec_embed`, quantizers and heads.
"""

import torch
from torch import Tensor, nn

from avatar.models.wav2vec2.config import Wav2Vec2Config


class Wav2Vec2(nn.Module):
    """Both parts on their own, because a recipe may resample between them."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        # here: it takes seconds, and the default avatar needs none of it
        from transformers import Wav2Vec2Config as Theirs
        from transformers import Wav2Vec2Model

        self.config = config
        inner = Wav2Vec2Model(
            Theirs(
                hidden_size=config.dim,
                intermediate_size=config.ffn_dim,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                do_stable_layer_norm=config.stable,
                feat_extract_norm="layer" if config.stable else "group",
                conv_bias=config.stable,
                conv_dim=[config.conv_dim] * len(config.conv_kernels),
                conv_kernel=list(config.conv_kernels),
                conv_stride=list(config.conv_strides),
                num_conv_pos_embeddings=config.position_kernel,
                num_conv_pos_embedding_groups=config.position_groups,
                mask_time_prob=0.0,
                mask_feature_prob=0.0,
            )
        )
        self.feature_extractor = inner.feature_extractor
        self.feature_projection = inner.feature_projection
        self.encoder = inner.encoder

    def convolved(self, samples: Tensor) -> Tensor:
        """Normalised samples (B, S) -> tokens (B, N, conv_dim), N of `config.num_tokens`."""
        tokens: Tensor = self.feature_extractor(samples)
        return tokens.transpose(1, 2)

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, conv_dim) -> (B, 1 + num_layers, N, dim).

        The first is what the first layer is given, the others what each of them makes.
        """
        x, _ = self.feature_projection(tokens)
        x = x + self.encoder.pos_conv_embed(x)
        if not self.config.stable:
            x = self.encoder.layer_norm(x)
        states = [x]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        if self.config.stable:  # pre-norm: only the last has a norm after it
            states[-1] = self.encoder.layer_norm(states[-1])
        return torch.stack(states, 1)
