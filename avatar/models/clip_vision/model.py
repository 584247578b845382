"""The vision half of CLIP.

The modules are transformers' and so are the names of the weights (`CLIPVisionModel`, without
`vision_model.` before them), less the last layer and the norm after it, which nothing here reads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.clip_vision.config import CLIPVisionConfig

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that CLIP was trained on."""


class CLIPVision(nn.Module):
    """Pictures to tokens."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        # here: it takes seconds, and the default avatar needs none of it
        from transformers import CLIPVisionConfig as Theirs
        from transformers import CLIPVisionModel

        self.config = config
        inner = CLIPVisionModel(
            Theirs(
                hidden_size=config.dim,
                intermediate_size=config.ffn_dim,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                image_size=config.image_size,
                patch_size=config.patch,
                hidden_act="gelu",
            )
        )
        self.embeddings, self.pre_layrnorm = inner.embeddings, inner.pre_layrnorm
        self.encoder = inner.encoder
        # no weight, so it needs real numbers where weights are built without memory
        places = torch.arange(config.num_tokens, device="cpu")[None]
        self.embeddings.register_buffer("position_ids", places, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, num_tokens, dim).

        A picture that is not square is squeezed, not cut, as upstream; the portrait's model was
        trained with what its own portrait shows.
        """
        side = self.config.image_size
        small = F.interpolate(pictures.float(), (side, side), mode="bicubic", align_corners=False)
        colours = (small / 2 + 0.5 - _column(_MEAN, small)) / _column(_STD, small)
        x = self.embeddings(colours.to(self.pre_layrnorm.weight.dtype))
        tokens: Tensor = self.encoder(inputs_embeds=self.pre_layrnorm(x)).last_hidden_state
        return tokens


def _column(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
