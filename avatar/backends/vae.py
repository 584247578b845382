"""The VAE's decoding of a group of four frames as a graph."""

from torch import Tensor, nn

from avatar.backends.graph import Graph
from avatar.models.vae import VAE
from avatar.models.vae.model import Reference


class GroupDecode(nn.Module):
    """`VAE.decode_group` whose arguments are tensors alone, as an export needs it.

    In: latents, those before, the reference's pixels, and its features at 1/8, 1/4 and 1/2 with
    their channels last. Out: (1, 4, 3, H, W).
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self,
        latents: Tensor,
        previous: Tensor,
        pixels: Tensor,
        eighth: Tensor,
        quarter: Tensor,
        half: Tensor,
    ) -> Tensor:
        eighth, quarter, half = (x.permute(0, 3, 1, 2) for x in (eighth, quarter, half))
        reference = Reference(pixels, (eighth, quarter, half))
        return self.vae.decode_group(latents, previous, reference)


def group_inputs(latents: Tensor, previous: Tensor, reference: Reference) -> list[Tensor]:
    """The inputs of `GroupDecode`; features are channels last in memory, so this copies none."""
    features = (x.permute(0, 2, 3, 1) for x in reference.features)
    return [latents, previous, reference.pixels, *features]


class OpenVinoVAE(VAE):
    """A VAE that decodes one session's groups as a graph; everything else runs in torch."""

    def __init__(self, vae: VAE, graph: Graph) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(vae))  # its very weights, not a copy of them
        self.graph = graph

    def decode_group(self, latents: Tensor, previous: Tensor, reference: Reference) -> Tensor:
        inputs = group_inputs(latents, previous, reference)
        if not self.graph.takes(inputs):
            return super().decode_group(latents, previous, reference)
        return self.graph(inputs)[0]
