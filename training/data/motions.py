"""Draws the movements of training clips: all that the sampler may do in a conversation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Temperament
from avatar.cast.sampler import init_state, step
from avatar.media import BEHAVIOURS, CUES, Behaviour, CueName

CHUNK_FRAMES = 12
"""Behaviours and cues change where a chunk begins, as in serving."""
WARM_CHUNKS = 12
"""Passed before the clip begins: by then nothing of a session's first look is left."""
CHANGES = 0.2
"""Probability of another behaviour at a chunk: one lasts 2.4 s in the mean."""
CUED = 0.25
"""Probability of a cue at a chunk."""
TWICE = 0.2
"""Probability that a cue has a second one beside it."""
SHARES: dict[Behaviour, float] = {
    "idle": 0.2,
    "listening": 0.2,
    "thinking": 0.2,
    "speaking": 0.4,
}
"""How often each behaviour is drawn."""


def draw_controls(
    rng: np.random.Generator, temperament: Temperament, num_frames: int
) -> NDArray[np.float32]:
    """Controls of one clip, with behaviours and cues that know nothing of what is said in it.

    Returns:
        (num_frames, 11) float32, columns as in `CONTROL_NAMES`. A clip begins anywhere within a
        chunk, so that a model does not learn where cues begin.
    """
    state = init_state(int(rng.integers(1 << 62)), temperament)
    behaviour = _behaviour(rng)
    offset = int(rng.integers(CHUNK_FRAMES))
    pieces = []
    for _ in range(WARM_CHUNKS + -(-(num_frames + offset) // CHUNK_FRAMES)):
        if rng.random() < CHANGES:
            behaviour = _behaviour(rng)
        piece, state = step(state, behaviour, _cues(rng), CHUNK_FRAMES)
        pieces.append(piece)
    start = WARM_CHUNKS * CHUNK_FRAMES + offset
    return np.concatenate(pieces)[start : start + num_frames]


def session_controls(
    seed: int, temperament: Temperament, behaviours: Sequence[Behaviour]
) -> NDArray[np.float32]:
    """What a session of this seed asks of its face: (12 n, 11), a chunk for each behaviour."""
    state, pieces = init_state(seed, temperament), []
    for behaviour in behaviours:
        piece, state = step(state, behaviour, (), CHUNK_FRAMES)
        pieces.append(piece)
    return np.concatenate(pieces)


def _behaviour(rng: np.random.Generator) -> Behaviour:
    shares = [SHARES[behaviour] for behaviour in BEHAVIOURS]
    return BEHAVIOURS[int(rng.choice(len(BEHAVIOURS), p=shares))]


def _cues(rng: np.random.Generator) -> tuple[CueName, ...]:
    if rng.random() >= CUED:
        return ()
    count = 2 if rng.random() < TWICE else 1
    return tuple(CUES[int(which)] for which in rng.choice(len(CUES), count, replace=False))
