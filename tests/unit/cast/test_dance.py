"""A head that dances turns on the beat, smoothly, and as far as it was trained to."""

import numpy as np
import pytest

from avatar.cast.characters import CAST
from avatar.cast.dance import REACH, Moves, danced
from avatar.cast.motion import CONTROL_NAMES
from tests.streaming.test_beats_stream import clicks
from tests.streaming.test_beats_stream import danced as moves_to
from training.data.motions import session_controls
from training.meters.beats import beat_alignment, motion_beats

pytestmark = pytest.mark.unit

MIRA = CAST[0].temperament


def column(name: str) -> int:
    return CONTROL_NAMES.index(name)


@pytest.mark.parametrize("bpm", [72, 110, 128])
def test_turns_fall_on_beats_and_not_between(bpm: int) -> None:
    curves = danced(session_controls(7, MIRA, ["speaking"] * 20), moves_to(clicks(bpm, 9.6)), MIRA)
    # in pixels of a 256 picture
    turns = motion_beats(curves[:, [column("tx"), column("ty")]] * np.array([7.0, 4.5]))
    turns = turns[turns > 4.0]
    beats = np.arange(0.3, 10.0, 60.0 / bpm)
    assert len(turns) >= 5
    assert beat_alignment(turns, beats) > 0.6
    assert beat_alignment(turns, beats + 30.0 / bpm) < 0.2


def test_the_chin_is_down_on_the_beat() -> None:
    moves = moves_to(clicks(100, 9.6))
    pitch = moves.added[:, column("pitch")]
    beats = np.arange(0.3, 9.5, 0.6)
    beats = beats[beats > 4.0]
    on, between = (np.round(t * 25 - 0.5).astype(int) for t in (beats, beats[:-1] + 0.3))
    assert pitch[on].max() < -0.05
    assert pitch[between].min() > 0.05


def test_controls_stay_within_what_models_were_trained_on() -> None:
    plain = session_controls(3, MIRA, ["speaking"] * 20)
    curves = danced(plain, moves_to(clicks(120, 9.6)), MIRA)
    for name, reach in REACH.items():
        most = reach * (MIRA.brow_range if name == "brow" else MIRA.sway)
        own = np.abs(plain[:, column(name)]).max()
        assert np.abs(curves[:, column(name)]).max() <= max(most, own) + 1e-6


def test_the_head_moves_without_jerks() -> None:
    plain = session_controls(3, MIRA, ["speaking"] * 20)
    curves = danced(plain, moves_to(clicks(120, 9.6)), MIRA)
    pose = curves[:, [column(name) for name in ("yaw", "pitch", "roll", "tx", "ty")]]
    assert np.abs(np.diff(pose, axis=0)).max() < 0.15


def test_without_a_beat_nothing_is_changed() -> None:
    moves = moves_to(np.zeros(10 * 7680, np.float32))
    plain = session_controls(3, MIRA, ["speaking"] * 10)
    assert not moves.weights.any()
    np.testing.assert_array_equal(danced(plain, moves, MIRA), plain)


def test_blinks_gaze_and_smile_are_left_alone() -> None:
    plain = session_controls(3, MIRA, ["speaking"] * 20)
    curves = danced(plain, moves_to(clicks(120, 9.6)), MIRA)
    kept = [column(name) for name in ("blink", "gaze_x", "gaze_y", "smile")]
    np.testing.assert_array_equal(curves[:, kept], plain[:, kept])


def test_the_own_wandering_gives_way_to_the_dance() -> None:
    plain = np.full((2, len(CONTROL_NAMES)), 0.1, np.float32)
    still = Moves(np.zeros_like(plain), np.array([0.0, 1.0], np.float32))
    curves = danced(plain, still, MIRA)
    assert curves[0, column("yaw")] == pytest.approx(0.1)
    assert curves[1, column("yaw")] == pytest.approx(0.025)
