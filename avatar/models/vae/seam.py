"""What all decoders of video latents have in common: the default avatar's, Wan's and the tiny."""

from typing import Protocol, TypeVar

from torch import Tensor

State = TypeVar("State")


class VideoDecoder(Protocol[State]):
    """Latents to frames, chunk by chunk; state is a value, and chunked equals whole.

    How a state begins differs: the default avatar's needs the portrait (`init_decoder(picture)`),
    the others nothing but the sink (`primed_decoder(sink_latents)`).
    """

    def decode(self, latents: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Normalised latents (B, F, C, h, w) -> frames (B, T, 3, 8h, 8w) in about [-1, 1].

        T is 4 F - 3 at the beginning of a stream (its first latent is one frame) and 4 F after it.
        """
        ...

    def decode_parts(self, latents: Tensor, state: State, /) -> tuple[list[Tensor], State]:
        """`decode`, its frames in pieces as they were made."""
        ...
