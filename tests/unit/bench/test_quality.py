"""The bars of quality, the moments on its sheet, and speech without end."""

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.timebase import ChunkClock
from bench.quality import MOVED, bar_rows, report
from bench.quality_rollouts import BRIEF, USUAL, endless_chunks, minute_of_speech
from bench.quality_sheet import FACE, SCALE, draw_sheet, telling_frames, telling_row
from training.meters.control_reader import CONTROLS
from training.meters.lip_sync import LipSync
from training.meters.movement import Following
from training.meters.picture import Look
from training.meters.rollout import Drift

pytestmark = pytest.mark.unit

GOOD_LIPS = {
    "correlation": 0.85, "worst_correlation": 0.8, "lag_ms": -40.0, "largest_lag_ms": 40.0,
    "width": 0.7, "rounding": 0.7, "amplitude_ratio": 0.8, "while_speaking": 0.7,
    "shuffled": 0.15, "rest_share": 0.08, "by_pixels": 0.8, "agreement": 0.9, "num_clips": 20,
}  # fmt: skip
GOOD_LOOK = {
    "eyes": 0.92, "mouth": 1.08, "mouth_fast": 0.92, "grain": 0.7, "grain_real": 0.2,
    "flicker": 0.5, "flicker_real": 0.0, "eyes_flicker": 1.0, "border": 1.15, "inside": 1.0,
    "border_real": 1.0, "inside_real": 1.0, "seam": 1.15, "seam_real": 1.0,
}  # fmt: skip
GOOD_DRIFT = {
    "colour": 1.0, "colour_worst": 1.0, "identity_first": 1.0, "identity_last": 0.992,
    "identity_worst": 0.99, "opening_first": 0.9, "opening_last": 0.86, "opening_worst": 0.86,
    "eyes": 0.95, "mouth": 1.05, "num_minutes": 10,
}  # fmt: skip


def values(**changed: Any) -> dict[str, Any]:
    """Everything at its bar; `lips__width=0.6` changes one figure of every entry."""
    moved = dict.fromkeys(MOVED, 1.0)
    ratio = dict.fromkeys(MOVED, 0.75)
    told: dict[str, dict[str, Any]] = {
        "lips": dict(GOOD_LIPS), "look": dict(GOOD_LOOK), "drift": dict(GOOD_DRIFT),
        "ratio": ratio, "reader": {"head_spread": 1.0, "gaze_spread": 1.0},
        "following": {"blink": 1.0, "head": 1.0, "gaze": 1.0, "wobble": 0.15},
    }  # fmt: skip
    for key, value in changed.items():
        group, _, figure = key.partition("__")
        assert figure in told[group]
        told[group][figure] = value
    rollout = {
        "drift": told["drift"], "movement": moved, "movement_true": moved,
        "movement_ratio": told["ratio"], "reader_ratio": told["reader"],
    }  # fmt: skip
    return {
        "lips": dict.fromkeys(("hibari", "piper", "flite", "trained", "real"), told["lips"]),
        "following": told["following"], "following_real": told["following"] | {"wobble": 0.1},
        "looks": {"mira": told["look"]}, "look": told["look"],
        "rollouts": {"mira": rollout, "endless": rollout}, "minute_s": 60.0, "sheet": "a.jpg",
    }  # fmt: skip


def missed(told: dict[str, Any]) -> list[str]:
    return [name for name, _, _, holds in bar_rows(told) if not holds]


def test_figures_of_the_fakes_are_those_that_are_measured() -> None:
    assert GOOD_LIPS.keys() == LipSync.__dataclass_fields__.keys()
    assert GOOD_LOOK.keys() == Look.__dataclass_fields__.keys() | {"seam", "seam_real"}
    assert GOOD_DRIFT.keys() == Drift.__dataclass_fields__.keys()
    assert values()["following"].keys() == Following.__dataclass_fields__.keys()


def test_everything_at_its_bar_holds() -> None:
    assert missed(values()) == []


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"lips__correlation": 0.77}, "opening"),
        ({"lips__lag_ms": 80.0}, "lag"),
        ({"lips__width": 0.69}, "width"),
        ({"lips__rounding": 0.69}, "rounding"),
        ({"lips__amplitude_ratio": 1.21}, "amplitude"),
        ({"lips__shuffled": 0.16}, "other utterances"),
        ({"lips__rest_share": 0.081}, "at rest"),
        ({"lips__rest_share": math.nan}, "at rest"),
        ({"ratio__blinks_a_minute": 0.74}, "blinks"),
        ({"ratio__gaze_spread": 1.26}, "gaze spread"),
        ({"reader__gaze_spread": 1.3}, "gaze spread"),
        ({"look__eyes": 0.91}, "eyes over real"),
        ({"look__mouth": 1.09}, "mouth over real"),
        ({"look__seam": 1.16}, "borders"),
        ({"look__mouth_fast": 0.9}, "fast mouth"),
        ({"look__grain": 0.8}, "grain"),
        ({"look__flicker": 0.6}, "flicker"),
        ({"following__wobble": 0.16}, "wobble"),
        ({"drift__colour": 1.1}, "colour"),
        ({"drift__identity_last": 0.98}, "identity"),
        ({"drift__opening_last": 0.84}, "opening differs"),
        ({"drift__mouth": 0.94}, "sharpness of the mouth"),
    ],
)
def test_each_bar_can_be_missed(changed: dict[str, Any], part: str) -> None:
    found = missed(values(**changed))
    assert found
    assert all(part in name for name in found)


def test_a_face_is_held_against_a_drawn_one_that_is_read_alike() -> None:
    assert missed(values(ratio__gaze_spread=1.3, reader__gaze_spread=1.3)) == []


def test_a_voice_that_was_not_measured_holds_no_bar() -> None:
    told = values()
    del told["lips"]["flite"]
    assert "flite, never heard: opening" in missed(told)


def test_the_report_has_every_bar_and_table() -> None:
    text = report(values())
    assert "**NO**" not in text
    assert "real renders: the meters' own ceiling" in text
    assert "![Every avatar, generated above and drawn below](a.jpg)" in text


def test_telling_frames_are_what_their_names_say() -> None:
    mouth, controls = np.zeros((50, 5), np.float32), np.zeros((50, len(CONTROLS)), np.float32)
    mouth[7, 0] = mouth[9, 2] = 1
    controls[20, CONTROLS.index("blink")] = controls[20, CONTROLS.index("gaze_x")] = 1
    controls[30, CONTROLS.index("gaze_x")] = -0.5
    assert telling_frames(mouth, controls) == {
        "speaking": 7, "rounded": 9, "blink": 20, "look aside": 30, "rest": 49,
    }  # fmt: skip


def test_the_sheet_shows_generated_over_real_at_twice_the_size() -> None:
    shown, real = (np.full((4, 256, 256, 3), level, np.uint8) for level in (200, 60))
    mouth, moved = np.zeros((4, 5), np.float32), np.zeros((4, len(CONTROLS)), np.float32)
    row = telling_row(shown, real, mouth, moved)
    sheet = draw_sheet({"mira": row}, {"mira": (shown[0], real[0])})
    tile = (FACE[3] - FACE[1]) * SCALE
    assert sheet.width > 6 * (FACE[2] - FACE[0]) * SCALE
    assert sheet.getpixel((50, 30 + tile // 2)) == (200, 200, 200)
    assert sheet.getpixel((50, 34 + tile + tile // 2)) == (60, 60, 60)


def test_endless_speech_begins_again_at_its_end() -> None:
    clock = ChunkClock()
    whole = clock.samples_per_chunk(16_000)
    samples = np.arange(2 * whole, dtype=np.float32)
    chunks = list(endless_chunks(samples, clock, 5))
    np.testing.assert_array_equal(chunks[0].samples, chunks[2].samples)
    np.testing.assert_array_equal(chunks[4].samples, chunks[0].samples)
    ahead = chunks[1].lookahead
    np.testing.assert_array_equal(ahead, samples[: len(ahead)])
    assert [each.last for each in chunks] == [False] * 4 + [True]


@pytest.mark.parametrize("plan", [USUAL, BRIEF])
def test_a_minute_is_a_whole_number_of_chunks(plan: Any) -> None:
    chunks = plan.minute_s / ChunkClock().chunk_s
    assert chunks == pytest.approx(round(chunks))
    samples, opening = minute_of_speech(plan.minute_s, 25)
    assert len(samples) == plan.minute_s * 16_000
    assert len(opening) == plan.minute_s * 25
