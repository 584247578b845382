"""Training clips move as faces in conversations do."""

import re
from pathlib import Path

import numpy as np
import pytest

from avatar.cast.characters import CAST, character_of
from avatar.cast.motion import CONTROL_DIM, CONTROL_NAMES
from avatar.cast.sampler import init_state, step
from avatar.media import BEHAVIOURS, CUES, Behaviour
from training.data.motions import draw_controls
from training.meters.motion import motion_statistics, sampled

pytestmark = pytest.mark.unit

MIRA = CAST[0].temperament
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "motion.md"


def drawn(num_clips: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate([draw_controls(rng, MIRA, 144) for _ in range(num_clips)])


def test_a_clip_has_as_many_frames_as_it_was_asked_for_and_is_the_same_again() -> None:
    for num_frames in (1, 11, 12, 144, 145):
        clip = draw_controls(np.random.default_rng(5), MIRA, num_frames)
        assert clip.shape == (num_frames, CONTROL_DIM)
        again = draw_controls(np.random.default_rng(5), MIRA, num_frames)
        np.testing.assert_array_equal(clip, again)
    one, other = (draw_controls(np.random.default_rng(seed), MIRA, 145) for seed in (5, 6))
    assert (one != other).any()


def test_clips_cover_what_a_conversation_does() -> None:
    clips = drawn(150)
    columns = [CONTROL_NAMES.index(name) for name in ("yaw", "pitch", "brow", "gaze_x", "gaze_y")]
    low, high = np.percentile(clips, [0.2, 99.8], axis=0)
    for behaviour in BEHAVIOURS:
        for cue in CUES:
            _, state = step(init_state(11, MIRA), behaviour, (), 100)
            played, _ = step(state, behaviour, (cue,), 60)
            outside = (played < low - 0.05) | (played > high + 0.05)
            assert outside[:, columns].mean() < 0.1, (behaviour, cue)


def table() -> dict[tuple[str, Behaviour], list[float]]:
    rows = re.findall(r"(?m)^\| (\w+) \| (\w+) \| ([\d. |]+) \|$", DOCUMENT.read_text())
    known = {str(each): each for each in BEHAVIOURS}
    return {(who, known[does]): [float(v) for v in rest.split("|")] for who, does, rest in rows}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("who", ["mira", "otto", "pixel"])
def test_the_documents_figures_are_the_samplers(who: str, behaviour: Behaviour) -> None:
    measured = sampled(character_of(who).temperament, behaviour, 5.0, range(1))
    documented = table()[who, behaviour]
    found = list(vars(measured).values())
    # one session of the four that the table is the mean of
    assert found[1:] == pytest.approx(documented[1:], rel=0.25, abs=0.02)
    assert found[0] == pytest.approx(documented[0], rel=0.3)


def test_statistics_count_what_is_there() -> None:
    controls = np.zeros((1500, CONTROL_DIM), np.float32)
    columns = {name: CONTROL_NAMES.index(name) for name in CONTROL_NAMES}
    for start in range(100, 1500, 150):
        controls[start : start + 3, columns["blink"]] = 1.0
    controls[750:, columns["gaze_x"]] = 0.5
    found = motion_statistics(controls)
    assert found.blinks_per_minute == 10
    assert found.away == 0.5
    assert found.look_s == pytest.approx(30, abs=0.1)
    assert found.yaw == 0.0
