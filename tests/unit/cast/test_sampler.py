"""What a face does in a conversation: visible, believable, within bounds."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.cast.characters import CAST, Temperament
from avatar.cast.motion import CONTROL_DIM, CONTROL_NAMES
from avatar.cast.sampler import COUNTER_TURN, init_state, step
from avatar.media import BEHAVIOURS, CUES, Behaviour, CueName

pytestmark = pytest.mark.unit

MIRA = CAST[0].temperament
MINUTE = 60 * 25
HEAD = ("yaw", "pitch", "roll", "tx", "ty")
Floats = NDArray[np.float32]

GOLDEN = [
    *(0.0708954, -0.0706172, -0.2421164, 0.0066359, -0.0535695),
    *(0.0, -0.1729455, -0.0060424, -0.0349174, 0.4992307, 0.4141793),
]
"""Frame 400 of seed 101, as first computed on x86-64 with numpy 2.4."""


def column(name: str) -> int:
    return CONTROL_NAMES.index(name)


def of(controls: Floats, name: str) -> Floats:
    return controls[:, column(name)]


def behaving(
    behaviour: Behaviour, num_frames: int, seed: int = 1, temperament: Temperament = MIRA
) -> Floats:
    """After the first moments."""
    _, state = step(init_state(seed, temperament), behaviour, (), 100)
    return step(state, behaviour, (), num_frames)[0]


def cued(*cues: CueName, num_frames: int = 100, seed: int = 1) -> Floats:
    """What cues add to a face that idles."""
    _, state = step(init_state(seed, MIRA), "idle", (), 50)
    with_cues, without = (step(state, "idle", each, num_frames)[0] for each in (cues, ()))
    return with_cues - without


def looks_at(controls: Floats) -> Floats:
    """(F, 2) where the eyes look, as seen from a head that does not turn."""
    return np.stack(
        [
            of(controls, "gaze_x") + COUNTER_TURN * of(controls, "yaw"),
            of(controls, "gaze_y") - COUNTER_TURN * of(controls, "pitch"),
        ],
        axis=1,
    )


def blinks_per_minute(controls: Floats) -> float:
    shut = of(controls, "blink") > 0.9
    return np.count_nonzero(np.diff(shut.astype(int)) == 1) / (len(controls) / MINUTE)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_controls_keep_their_shape_type_and_range_whatever_is_cued(behaviour: Behaviour) -> None:
    lively = replace(MIRA, sway=1.5, brow_range=1.0, smile=1.0)
    controls, _ = step(init_state(1, lively), behaviour, CUES * 3, 400)
    assert controls.shape == (400, CONTROL_DIM)
    assert controls.dtype == np.float32
    assert np.abs(controls).max() <= 1.0
    assert controls[:, [column("blink"), column("smile")]].min() >= 0.0


def test_a_negative_number_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        step(init_state(1, MIRA), "idle", (), -1)


def test_the_numbers_are_the_same_on_every_platform() -> None:
    controls, _ = step(init_state(101, MIRA), "speaking", ("smile",), 401)
    np.testing.assert_allclose(controls[400], GOLDEN, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), list(product(BEHAVIOURS, BEHAVIOURS)))
def test_the_head_never_jumps_when_the_behaviour_changes(
    before: Behaviour, after: Behaviour
) -> None:
    for seed in range(5):
        one, state = step(init_state(seed, MIRA), before, (), 60)
        two, _ = step(state, after, (), 60)
        change = np.abs(np.diff(np.concatenate([one, two]), axis=0))
        assert change[:, [column(name) for name in HEAD]].max() < 0.15
        assert change[:, [column("brow"), column("smile"), column("breath")]].max() < 0.2
        assert change[:, [column("gaze_x"), column("gaze_y")]].max() < 0.5
        assert change[:, column("blink")].max() <= 0.55 + 1e-6


@pytest.mark.parametrize("name", CUES)
def test_cues_are_smooth_and_end_by_themselves(name: CueName) -> None:
    added = cued(name)
    head = [column(each) for each in HEAD]
    assert np.abs(np.diff(added[:, head], axis=0)).max() < 0.15
    assert np.abs(added).max() > 0.15
    assert np.abs(added[0]).max() > 0
    np.testing.assert_array_equal(added[75:], 0)


def test_each_cue_does_what_it_is_called() -> None:
    assert of(cued("smile"), "smile").max() > 0.4
    assert of(cued("frown"), "brow").min() < -0.5
    assert of(cued("surprised"), "brow").max() > 0.5
    nod, shake = of(cued("nod"), "pitch"), of(cued("shake"), "yaw")
    assert nod.min() < -0.3
    assert np.count_nonzero(np.diff(np.sign(shake[np.abs(shake) > 0.02])) != 0) >= 3
    assert of(cued("bow"), "pitch").min() < -0.6
    assert np.abs(of(cued("tilt"), "roll")).max() > 0.3
    assert of(cued("blink"), "blink").max() == 1.0


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("look_left", (-0.85, 0.0)),
        ("look_right", (0.85, 0.0)),
        ("look_up", (0.0, -0.8)),
        ("look_down", (0.0, 0.8)),
    ],
)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_who_is_told_to_look_somewhere_looks_there_from_wherever(
    name: CueName, where: tuple[float, float], behaviour: Behaviour
) -> None:
    for seed in range(5):
        _, state = step(init_state(seed, MIRA), behaviour, (), 200)
        controls, _ = step(state, behaviour, (name,), 25)
        x, y = looks_at(controls)[10]
        assert (x, y) == pytest.approx(where, abs=0.06)


def test_cues_may_overlap_and_follow_one_another() -> None:
    both = cued("nod", "smile")
    np.testing.assert_allclose(both, cued("nod") + cued("smile"), atol=1e-6)
    _, state = step(init_state(1, MIRA), "idle", ("nod",), 12)
    _, state = step(state, "idle", ("look_left",), 12)
    controls, _ = step(state, "idle", ("smile",), 12)
    assert len(controls) == 12


def test_states_differ_visibly() -> None:
    faces = {each: behaving(each, 3 * MINUTE) for each in BEHAVIOURS}
    spread = {each: float(of(controls, "yaw").std()) for each, controls in faces.items()}
    away = {
        each: float((np.hypot(*looks_at(controls).T) > 0.2).mean())
        for each, controls in faces.items()
    }
    mean = {each: controls.mean(axis=0) for each, controls in faces.items()}
    assert spread["speaking"] > 1.25 * spread["idle"] > 1.25 * spread["listening"]
    assert away["listening"] < 0.05 < away["idle"] < 0.35 < 0.8 < away["thinking"]
    assert away["speaking"] < 0.15
    thinking, listening = mean["thinking"], mean["listening"]
    assert thinking[column("pitch")] > 0.15  # chin up, eyes up
    assert thinking[column("gaze_y")] < -0.2
    assert listening[column("smile")] > 0.05 + mean["idle"][column("smile")]
    assert thinking[column("smile")] < mean["idle"][column("smile")] - 0.05
    # nods of a listener: the head goes down fast, which sway alone never does
    assert np.diff(of(faces["listening"], "pitch")).min() < -0.03
    assert np.diff(of(faces["idle"], "pitch")).min() > -0.03


@pytest.mark.parametrize("character", CAST, ids=lambda each: each.id)
@pytest.mark.parametrize(
    ("behaviour", "factor"),
    [("idle", 1.0), ("listening", 0.85), ("thinking", 0.5), ("speaking", 1.2)],
)
def test_blinks_come_as_often_as_temperament_and_behaviour_say(
    character: object, behaviour: Behaviour, factor: float
) -> None:
    temperament = next(each for each in CAST if each is character).temperament
    rates = [
        blinks_per_minute(behaving(behaviour, 3 * MINUTE, seed, temperament)) for seed in range(2)
    ]
    assert np.mean(rates) == pytest.approx(factor * temperament.blinks_per_minute, rel=0.25)


def test_blinks_are_not_a_clock() -> None:
    shut = of(behaving("idle", 5 * MINUTE), "blink") > 0.9
    gaps_s = np.diff(np.flatnonzero(np.diff(shut.astype(int)) == 1)) / 25
    assert gaps_s.min() > 1.0
    assert gaps_s.std() > 0.3 * gaps_s.mean()


def test_the_eyes_stay_at_the_viewer_while_the_head_turns() -> None:
    controls = behaving("speaking", 2 * MINUTE)
    at_viewer = np.hypot(*looks_at(controls).T) < 0.15
    gaze, yaw = of(controls, "gaze_x")[at_viewer], of(controls, "yaw")[at_viewer]
    assert np.corrcoef(gaze, yaw)[0, 1] < -0.8


def test_the_head_moves_by_the_temperaments_sway() -> None:
    calm = behaving("speaking", MINUTE)
    lively = behaving("speaking", MINUTE, temperament=replace(MIRA, sway=2 * MIRA.sway))
    for name in HEAD:
        np.testing.assert_allclose(of(lively, name), 2 * of(calm, name), atol=1e-5)
    np.testing.assert_array_equal(of(lively, "blink"), of(calm, "blink"))


def test_a_new_behaviour_is_seen_within_a_second() -> None:
    for seed in range(5):
        _, state = step(init_state(seed, MIRA), "speaking", (), 300)
        controls, _ = step(state, "thinking", (), 60)
        looked = looks_at(controls)[:25, 1]
        assert looked.min() < -0.25 or looks_at(controls)[25:40, 1].min() < -0.25
        assert of(controls, "pitch")[25:40].mean() > 0.05


def test_seeds_give_unrelated_movements() -> None:
    one, other = (of(behaving("idle", 3 * MINUTE, seed), "yaw") for seed in (1, 2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.35


def test_breaths_are_about_fourteen_a_minute() -> None:
    lifted = of(behaving("idle", 5 * MINUTE), "breath") > 0
    assert np.count_nonzero(np.diff(lifted.astype(int)) == 1) / 5 == pytest.approx(14, abs=2)
