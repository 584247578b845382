"""A caller's own reply, in pieces: speech that its program made, and what it says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.media import Word


@dataclass(frozen=True)
class ReplyText:
    """What the speech after it says; without times its words are spread evenly over it."""

    reply_id: str
    text: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class ReplySpeech:
    """(S,) float32 in [-1, 1]."""

    reply_id: str
    samples: NDArray[np.float32]
    sample_rate: int


@dataclass(frozen=True)
class EndReply:
    """Nothing of it follows."""

    reply_id: str


ReplyPiece = ReplyText | ReplySpeech | EndReply
