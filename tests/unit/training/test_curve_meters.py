"""Meters of curves: lip sync, blinks, gaze and head, on curves with known faults."""

import numpy as np
import pytest

from avatar.cast.characters import character_of
from training.data.motions import session_controls
from training.meters.control_reader import (
    CONTROLS,
    SIDE,
    ControlReader,
    controls_read,
    crop_face,
    random_controls,
)
from training.meters.lip_sync import LipSync, MouthReading, SpokenClip, judge, then_silent
from training.meters.movement import blinks, compare, measure_following, measure_movement
from training.meters.sync import Curve, frames_at_rest, measure_sync

pytestmark = pytest.mark.unit


def truth(seed: int = 0, seconds: float = 60) -> Curve:
    chunks = round(seconds / 0.48)
    return controls_read(
        session_controls(seed, character_of("mira").temperament, ["speaking"] * chunks)
    )


def clip(seed: int) -> SpokenClip:
    """Eight seconds with a pause of two in the middle."""
    rng = np.random.default_rng(seed)
    curves = np.abs(np.cumsum(rng.normal(0, 0.2, (200, 5)), axis=0) % 1.0).astype(np.float32)
    speaking = np.ones(200, np.bool_)
    speaking[75:125] = False
    curves[~speaking] = 0
    return SpokenClip(f"made-{seed}", np.zeros(200 * 640, np.float32), curves, speaking)


CLIPS = [clip(seed) for seed in range(4)]


def judged(change: float = 1.0, shift: int = 0, closed: float = 0.0) -> LipSync:
    readings = []
    for each in CLIPS:
        shape = np.roll(each.curves, shift, axis=0) * change + closed
        readings.append(MouthReading(shape, 0.1 * shape[:, 0], closed))
    return judge(readings, CLIPS)


def test_the_true_mouth_has_perfect_sync() -> None:
    sync = judged()
    assert sync.correlation == pytest.approx(1)
    assert sync.worst_correlation == sync.while_speaking == pytest.approx(1)
    assert (sync.lag_ms, sync.rest_share, sync.num_clips) == (0, 0, 4)
    assert sync.amplitude_ratio == pytest.approx(1)
    assert sync.by_pixels == sync.agreement == pytest.approx(1)
    assert abs(sync.shuffled) < 0.15


def test_a_late_mouth_has_its_lag() -> None:
    assert judged(shift=2).lag_ms == 80
    assert judged(shift=-1).largest_lag_ms == 40


def test_a_mumbling_mouth_has_less_amplitude_and_the_same_correlation() -> None:
    sync = judged(change=0.5)
    assert sync.amplitude_ratio == pytest.approx(0.5)
    assert sync.correlation == pytest.approx(1)


def test_what_a_shut_mouth_reads_as_is_no_opening_at_rest() -> None:
    assert judged(closed=0.2).rest_share == pytest.approx(0, abs=1e-6)


def test_a_mouth_that_stays_open_in_pauses_is_found() -> None:
    readings = []
    for each in CLIPS:
        shape = np.where(each.speaking[:, None], each.curves, 0.2).astype(np.float32)
        readings.append(MouthReading(shape, shape[:, 0], 0.0))
    assert judge(readings, CLIPS).rest_share > 0.2


def test_a_frozen_mouth_follows_nothing() -> None:
    still = [MouthReading(np.zeros((200, 5), np.float32), np.zeros(200, np.float32), 0.0)] * 4
    sync = judge(still, CLIPS)
    assert sync.correlation == sync.width == sync.by_pixels == sync.amplitude_ratio == 0
    assert np.isnan(sync.rest_share)


def test_pauses_alone_do_not_make_sync_while_speaking() -> None:
    readings = []
    for number, each in enumerate(CLIPS):
        noise = np.random.default_rng(90 + number).uniform(0.3, 1, each.curves.shape)
        shape = np.where(each.speaking[:, None], noise, 0).astype(np.float32)
        readings.append(MouthReading(shape, shape[:, 0], 0.0))
    sync = judge(readings, CLIPS)
    assert sync.correlation > 0.3
    assert sync.while_speaking < 0.2


def test_the_other_method_can_disagree() -> None:
    readings = [
        MouthReading(each.curves, CLIPS[i - 1].curves[:, 0], 0.0) for i, each in enumerate(CLIPS)
    ]
    sync = judge(readings, CLIPS)
    assert sync.correlation == pytest.approx(1)
    assert sync.agreement < 0.6


def test_readings_and_clips_belong_together() -> None:
    with pytest.raises(ValueError, match="0 readings given, 4 expected"):
        judge([], CLIPS)


def test_silence_after_a_clip_is_rest() -> None:
    longer = then_silent(CLIPS[0], 2)
    assert (len(longer.curves), len(longer.samples)) == (250, 250 * 640)
    assert frames_at_rest(longer.speaking)[-40:].all()
    assert not longer.curves[200:].any()


def test_sync_is_looked_for_where_it_is_asked_for() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=200).astype(np.float32)
    b = np.concatenate([a[:100], rng.normal(size=100)]).astype(np.float32)
    first = np.arange(200) < 100
    assert measure_sync(b, a, where=first).zero_lag == pytest.approx(1)
    assert abs(measure_sync(b, a, where=~first).zero_lag) < 0.2


def test_blinks_are_counted_once_each_with_their_depth() -> None:
    closure = np.zeros(60, np.float32)
    closure[10:14] = 0.4, 0.9, 0.7, 0.4
    closure[30:36] = 0.6, 0.45, 0.55, 0.3, 0.6, 0.1
    closure[50] = 0.45
    assert blinks(closure) == pytest.approx([0.9, 0.6])


def test_the_sampler_blinks_as_often_as_it_is_told() -> None:
    temperament = character_of("mira").temperament
    idle = session_controls(0, temperament, ["idle"] * 1250)
    moved = measure_movement([controls_read(idle)])
    assert moved.blinks_a_minute == pytest.approx(temperament.blinks_per_minute, rel=0.1)
    assert moved.blink_depth == 1


def test_movement_like_the_truth_has_ratios_of_one() -> None:
    moved = measure_movement([truth()])
    assert compare(moved, moved) == pytest.approx(dict.fromkeys(compare(moved, moved), 1.0))


def test_a_frozen_face_has_no_movement() -> None:
    curves = truth()
    still = measure_movement([np.repeat(curves[:1], len(curves), axis=0)])
    ratios = compare(still, measure_movement([curves]))
    assert max(ratios.values()) < 1e-3


@pytest.mark.parametrize(
    ("columns", "figure"),
    [(("yaw", "pitch", "roll"), "head_spread"), (("gaze_x", "gaze_y"), "gaze_spread")],
)
def test_halved_movement_is_found(columns: tuple[str, ...], figure: str) -> None:
    curves, half = truth(), truth()
    half[:, [CONTROLS.index(name) for name in columns]] *= 0.5
    ratios = compare(measure_movement([half]), measure_movement([curves]))
    assert ratios.pop(figure) == pytest.approx(0.5, abs=0.01)
    assert min(ratios.values()) > 0.99


def test_shallow_and_missing_blinks_are_found() -> None:
    curves, lids = truth(), CONTROLS.index("blink")
    shallow = curves.copy()
    shallow[:, lids] *= 0.7
    ratios = compare(measure_movement([shallow]), measure_movement([curves]))
    assert ratios["blink_depth"] == pytest.approx(0.7)
    assert ratios["blinks_a_minute"] == 1
    shallow[:, lids] *= 0.5
    assert measure_movement([shallow]).blinks_a_minute == 0


def test_characters_who_look_elsewhere_add_no_spread() -> None:
    curves = truth()
    aside = curves + np.float32(0.3) * np.array([c != "blink" for c in CONTROLS], np.float32)
    alone, both = measure_movement([curves]), measure_movement([curves, aside])
    assert both.head_spread == pytest.approx(alone.head_spread)


def test_an_iris_that_wobbles_is_found_and_a_jump_of_the_gaze_is_not() -> None:
    curves = truth()
    assert measure_following([(curves, curves)]).wobble < 0.01
    jitter = np.random.default_rng(0).normal(0, 0.05, curves.shape).astype(np.float32)
    assert measure_following([(curves + jitter, curves)]).wobble == pytest.approx(0.07, abs=0.01)


def test_following_tells_what_does_not_follow() -> None:
    curves, other = truth(0), truth(1)
    mixed = curves.copy()
    mixed[:, CONTROLS.index("gaze_x")] = other[:, CONTROLS.index("gaze_x")]
    mixed[:, CONTROLS.index("gaze_y")] = other[:, CONTROLS.index("gaze_y")]
    followed = measure_following([(mixed, curves)])
    assert min(followed.head, followed.blink) > 0.999
    assert followed.gaze < 0.5


def test_the_reader_of_controls_takes_a_square_of_the_face() -> None:
    frames = np.zeros((2, 256, 256, 3), np.uint8)
    assert crop_face(frames).shape == (2, 3, SIDE, SIDE)
    assert ControlReader()(crop_face(frames)).shape == (2, len(CONTROLS))


def test_the_reader_of_controls_is_small() -> None:
    assert sum(each.numel() for each in ControlReader().parameters()) * 4 <= 500_000


def test_poses_to_learn_from_have_every_lid_and_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    poses = np.stack([random_controls(rng) for _ in range(400)])
    lids = poses[:, CONTROLS.index("blink")]
    assert 0.4 < (lids == 0).mean() < 0.6
    assert (lids == 1).mean() > 0.03
    assert np.abs(poses).max() <= 1
