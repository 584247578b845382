"""Meters of pictures on real renders, whole and damaged: each damage is found by its meter."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from tests.fakes import renders
from tests.fakes.renders import rendered
from training.meters.identity import Likeness, cells
from training.meters.mouth_pixels import mouth_area
from training.meters.picture import Look, compare_videos, flat_places, grain, mean_look
from training.meters.rollout import Minute, Tally, measure_drift
from training.meters.sync import correlation, measure_sync

pytestmark = pytest.mark.unit


def look_of(frames: renders.Video) -> Look:
    real = rendered()
    return compare_videos(frames, real.frames, real.box, frames_per_chunk=12)


def test_a_real_render_is_as_sharp_as_itself_and_no_noisier() -> None:
    look = look_of(rendered().frames)
    assert look.eyes == look.mouth == look.mouth_fast == look.eyes_flicker == 1
    assert (look.grain, look.flicker) == (look.grain_real, look.flicker_real)
    assert look.seam == look.seam_real


def test_blur_is_found_in_eyes_and_mouth() -> None:
    look = look_of(renders.blurred(rendered().frames, 0.6))
    assert look.eyes < 0.92
    assert look.mouth < 0.92


def test_smear_is_found_where_the_mouth_is_fast() -> None:
    look = look_of(renders.smeared(rendered().frames))
    assert look.mouth_fast < 0.92 < look.mouth
    assert look.eyes_flicker < 0.7


def test_noise_is_grain_and_flicker() -> None:
    look = look_of(renders.noisy(rendered().frames, 2.0))
    assert look.flicker - look.flicker_real == pytest.approx(2.0, abs=0.2)
    assert look.grain - look.grain_real > 0.8


def test_noise_of_a_frozen_picture_is_grain_alone() -> None:
    look = look_of(renders.frozen(renders.noisy(rendered().frames, 2.0)))
    assert look.flicker == 0
    assert look.grain - look.grain_real > 0.8


def test_a_jump_at_chunk_borders_is_a_seam() -> None:
    look = look_of(renders.jumping(rendered().frames))
    assert look.seam_real < 1.5
    assert look.seam > 3 * look.seam_real


def test_jumps_elsewhere_are_no_seam() -> None:
    real = rendered()
    look = compare_videos(renders.jumping(real.frames, 12), real.frames, real.box, 7)
    assert look.seam < 1.5


def test_a_wobbling_iris_flickers_in_the_eyes() -> None:
    assert look_of(rendered(iris_wobble=0.12).frames).eyes_flicker > 1.5


def test_the_mean_of_looks_is_that_of_each_figure() -> None:
    one = look_of(rendered().frames)
    assert mean_look([one, replace(one, eyes=2.0)]).eyes == pytest.approx(1.5)


def test_grain_of_white_noise_is_its_deviation() -> None:
    flat = np.full((16, 64, 64, 3), 120, np.uint8)
    noise = np.random.default_rng(0).normal(0, 3, (16, 64, 64, 1))
    grey = np.rint(flat + noise).astype(np.uint8)
    assert grain(grey, flat_places(flat)) == pytest.approx(3, rel=0.05)


def test_the_method_without_a_network_finds_opening_and_delay() -> None:
    real = rendered()
    area = mouth_area(real.frames, real.portrait, real.box)
    assert correlation(area, real.mouth[:, 0]) > 0.9
    delayed = mouth_area(renders.late(real.frames, 3), real.portrait, real.box)
    assert measure_sync(delayed, real.mouth[:, 0]).lag_ms == 120
    stopped = mouth_area(renders.frozen(real.frames), real.portrait, real.box)
    assert measure_sync(stopped, real.mouth[:, 0]).correlation == 0


def likeness() -> Likeness:
    own, other = rendered(), renders.renderer_of("finn").frame([0.0] * 5, [0.0] * 10)
    return Likeness(cells(own.frames.mean(axis=0)), {"finn": cells(other)}, own.box)


def test_identity_falls_by_a_tint_of_two_levels() -> None:
    mean = rendered().frames.mean(axis=0)
    assert likeness().score(cells(mean)) == 1
    assert 0.5 < likeness().score(cells(mean + 2)) < 0.99


def test_another_character_has_no_identity_left() -> None:
    other = renders.renderer_of("finn").frame([0.0] * 5, [0.0] * 10)
    assert likeness().score(cells(other)) == pytest.approx(0)


def test_what_the_mouth_does_is_no_change_of_identity() -> None:
    mean = rendered().frames.mean(axis=0)
    x0, y0, x1, y1 = rendered().box
    spoken = mean.copy()
    spoken[y0:y1, x0:x1] = 0
    assert likeness().score(cells(spoken)) == 1


def minute_of(frames: renders.Video, opening: renders.Curve) -> Minute:
    tally = Tally()
    for start in range(0, len(frames), 12):
        piece = slice(start, start + 12)
        tally.add(frames[piece], opening[piece], rendered().box)
    return tally.minute()


def test_a_minute_told_by_chunks_is_the_minute_as_a_whole() -> None:
    real = rendered()
    told, whole = minute_of(real.frames, real.mouth[:, 0]), Tally()
    whole.add(real.frames, real.mouth[:, 0], real.box)
    np.testing.assert_allclose(told.cells, whole.minute().cells, atol=1e-3)
    np.testing.assert_array_equal(told.opening, real.mouth[:, 0])
    assert told.eyes == pytest.approx(whole.minute().eyes)
    np.testing.assert_allclose(told.colour, real.frames.mean(axis=(0, 1, 2)), rtol=1e-6)


def test_a_minute_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="no mean"):
        Tally().minute()


def test_nothing_drifts_where_nothing_changes() -> None:
    real = rendered()
    minutes = [minute_of(real.frames, real.mouth[:, 0])] * 3
    drift = measure_drift(minutes, likeness(), real.mouth[:, 0])
    assert (drift.colour, drift.colour_worst, drift.eyes, drift.mouth) == (0, 0, 1, 1)
    assert drift.identity_last == drift.identity_first == pytest.approx(1, abs=1e-5)
    assert drift.opening_last == pytest.approx(1)


def test_drift_finds_tint_softness_and_lips_that_lose_the_words() -> None:
    real = rendered()
    opening = real.mouth[:, 0]
    worn = renders.tinted(renders.blurred(real.frames))
    minutes = [minute_of(real.frames, opening), minute_of(worn, np.roll(opening, 20))]
    drift = measure_drift(minutes, likeness(), opening)
    assert drift.colour == pytest.approx(2, abs=0.3)
    assert drift.identity_last < 0.99 * drift.identity_first
    assert max(drift.eyes, drift.mouth) < 0.95
    assert drift.opening_last < drift.opening_first - 0.05


def test_a_bad_minute_between_good_ones_is_told() -> None:
    real = rendered()
    opening = real.mouth[:, 0]
    good = minute_of(real.frames, opening)
    drift = measure_drift([good, minute_of(renders.tinted(real.frames, 9), opening), good],
                          likeness(), opening)  # fmt: skip
    assert drift.colour == 0
    assert drift.colour_worst > 8
    assert drift.identity_worst < drift.identity_last


def test_one_minute_cannot_drift() -> None:
    minute = minute_of(rendered().frames, rendered().mouth[:, 0])
    with pytest.raises(ValueError, match="two at least"):
        measure_drift([minute], likeness(), rendered().mouth[:, 0])
