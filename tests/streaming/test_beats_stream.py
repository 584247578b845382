"""The beat tracker and the dance, piece by piece."""

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.beats import Beat, init_beats, track_beats
from avatar.audio.onsets import init_onsets, onset_strength
from avatar.cast.characters import CAST
from avatar.cast.dance import DanceState, Moves, dance, init_dance

pytestmark = pytest.mark.streaming

Samples = NDArray[np.float32]
CHUNK = 7680
AHEAD = 5120


def clicks(bpm: float, seconds: float, seed: int = 0) -> Samples:
    """Short bursts of noise on every beat, over a little hiss."""
    rng = np.random.default_rng(seed)
    sound = 1e-3 * rng.standard_normal(int(seconds * 16_000))
    for start in np.arange(0.3, seconds - 0.1, 60.0 / bpm):
        first = int(start * 16_000)
        sound[first : first + 800] += rng.standard_normal(800) * np.exp(-np.arange(800) / 160)
    return (0.3 * sound).astype(np.float32)


def tracked(samples: Samples, sizes: list[int]) -> list[Beat]:
    state, beats, at = init_beats(), list[Beat](), 0
    for size in sizes:
        more, state = track_beats(samples[at : at + size], state)
        beats += more
        at += size
    return beats


def danced(samples: Samples) -> Moves:
    state, parts = init_dance(), list[Moves]()
    for start in range(0, len(samples), CHUNK):
        moves, state = step(samples, start, state)
        parts.append(moves)
    return joined(parts)


def step(samples: Samples, start: int, state: DanceState) -> tuple[Moves, DanceState]:
    end = start + CHUNK
    return dance(samples[start:end], samples[end : end + AHEAD], 12, CAST[0].temperament, state)


def joined(parts: list[Moves]) -> Moves:
    return Moves(
        np.concatenate([part.added for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )


@pytest.mark.parametrize("sizes", [[CHUNK] * 6, [160] * 288, [320, 30720, 0, 15040]])
def test_chunked_equals_whole_exactly(sizes: list[int]) -> None:
    samples = clicks(120, 6 * 0.48)
    assert tracked(samples, sizes) == tracked(samples, [len(samples)])


def test_the_past_is_unchanged_by_the_future() -> None:
    samples, changed = clicks(120, 6 * 0.48), clicks(120, 6 * 0.48)
    changed[3 * CHUNK :] = clicks(90, 3 * 0.48, seed=1)
    one, other = tracked(samples, [len(samples)]), tracked(changed, [len(samples)])
    assert one[:144] == other[:144]
    assert one[144:] != other[144:]


def test_two_interleaved_sessions_equal_two_alone() -> None:
    sounds = [clicks(100, 6 * 0.48), clicks(140, 6 * 0.48, seed=1)]
    alone = [danced(sound) for sound in sounds]
    states = [init_dance(), init_dance()]
    parts: list[list[Moves]] = [[], []]
    for start in range(0, 6 * CHUNK, CHUNK):
        for i, sound in enumerate(sounds):
            moves, states[i] = step(sound, start, states[i])
            parts[i].append(moves)
    for i in range(2):
        np.testing.assert_array_equal(joined(parts[i]).added, alone[i].added)
        np.testing.assert_array_equal(joined(parts[i]).weights, alone[i].weights)


def test_a_chunk_s_moves_know_its_lookahead_and_no_more() -> None:
    samples = clicks(120, 12 * 0.48)
    changed = samples.copy()
    changed[6 * CHUNK + AHEAD :] = clicks(75, 6 * 0.48, seed=2)[: 6 * CHUNK - AHEAD]
    one, other = danced(samples), danced(changed)
    np.testing.assert_array_equal(one.added[:72], other.added[:72])
    assert (one.added[72:] != other.added[72:]).any()


def test_onsets_cut_anywhere_are_the_same_onsets() -> None:
    samples = clicks(120, 0.96)
    whole, _ = onset_strength(samples, init_onsets())
    state, parts = init_onsets(), []
    for piece in np.split(samples, [160, 4800, 4960]):
        part, state = onset_strength(piece, state)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_partial_hop_is_refused() -> None:
    with pytest.raises(ValueError, match="161 samples given, a multiple of 160"):
        track_beats(np.zeros(161, np.float32), init_beats())
