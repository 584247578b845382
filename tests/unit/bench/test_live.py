"""The reports of the live benchmarks: what holds, and what does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench import live_av, live_barge_in, live_latency, live_page, live_soak, live_two
from bench.clips import questions
from bench.live_page import longest_still_s, spoken_script
from bench.options import Options
from bench.receiver_sound import spoken_span
from bench.receiver_tracks import SOUND_RATE
from bench.stats import spread

pytestmark = pytest.mark.unit

Values = dict[str, Any]


def av_values(off_ms: float = 1.0) -> Values:
    stall = {"name": "gateway", "silence_ms": 700.0, "before": spread([0.1]), "shift_ms": 0.1}
    return {
        "offset": spread([off_ms]),
        "median_ms": 0.1,
        "drift_ms": -0.2,
        "seconds": 300.0,
        "only_shown": 0,
        "only_heard": 12,
        "frame_rate": 24.7,
        "longest_wait_s": 0.7,
        "sound_late_ms": spread([0.001]),
        "picture_late_ms": spread([0.002]),
        "stalls": [stall | {"after": spread([off_ms])}],
    }


def turn(sum_off_ms: float = 0.1) -> Values:
    return {
        "question": "What is it?",
        "heard_as": "What is it?",
        "first_sound_s": 1.1,
        "first_lips_s": 1.2,
        "total_ms": 900.0,
        "stages_ms": {"end of turn": 300.0, "generation": 600.0},
        "noticed_ms": 60.0,
        "after_ms": 140.0,
        "sum_off_ms": sum_off_ms,
    }


def cut(kind: str, words_remembered: int = 5, old_samples: int = 0) -> Values:
    return {
        "kind": kind,
        "after_s": 2.0,
        "silent_ms": 20.0,
        "old_samples": old_samples,
        "rest_frames": 6,
        "old_frames": 0,
        "words_heard": 5,
        "words_told": 5,
        "words_remembered": words_remembered,
        "is_verbatim": True,
    }


def barge_in_values(**of_last: int) -> Values:
    undisturbed = {"assents": 6, "stopped": 0, "echo_s": 30.0, "echoes": 0}
    cuts = [cut("voice"), cut("button"), cut("text", **of_last)]
    return {"interruptions": cuts, "undisturbed": undisturbed}


def page_values(correlation: float = 0.8) -> Values:
    answer = {
        "text": "I am.",
        "correlation": correlation,
        "lag_ms": 0.0,
        "others": 0.1,
        "rest": 0.0,
    }
    return {
        "seconds": 60.0,
        "fps": 24.9,
        "wait_ms": spread([80.0]),
        "freezes_by_browser": 0,
        "decoder": "libvpx",
        "idle_moving": 0.98,
        "longest_still_ms": 80.0,
        "turns": [{"asked": "Who?", "heard": "Who?", "wer": 0.0}],
        "answers": [answer],
        "on_the_page": {"user": ["Who?"], "assistant": ["I am."], "quality": "good"},
    }


def caller(finished: bool = True) -> Values:
    return {
        "avatar": "mira",
        "finished": finished,
        "fps": 22.0,
        "longest_wait_s": 0.2,
        "seconds": 30.0,
        "reasons": ["server late"],
        "least_fps_told": 20.0,
    }


def two_values(status: int = 503, finished: bool = True) -> Values:
    third = {"status": status, "retry_after": "5", "type": "", "detail": "all taken"}
    return {"alone": caller(), "together": [caller(), caller(finished)], "third": third}


def soak_values(growth_mb: float = 0.0, left: int = 0) -> Values:
    cycles = [
        {"gateway": {"rss_mb": 300 + growth_mb * n, "descriptors": 40, "threads": 12}}
        for n in range(30)
    ]
    return {"cycles": cycles, "keys_before": 5, "keys_after": 5 + left, "keys_left": []}


@pytest.mark.parametrize(
    ("report", "good", "bad"),
    [
        (live_av.report, av_values(), av_values(off_ms=61.0)),
        (live_latency.report, {"turns": [turn(), turn()]}, {"turns": [turn(), turn(31.0)]}),
        (live_barge_in.report, barge_in_values(), barge_in_values(words_remembered=7)),
        (live_barge_in.report, barge_in_values(), barge_in_values(old_samples=1)),
        (live_page.report, page_values(), page_values(correlation=0.4)),
        (live_two.report, two_values(), two_values(status=500)),
        (live_two.report, two_values(), two_values(finished=False)),
        (live_soak.report, soak_values(), soak_values(growth_mb=0.6)),
        (live_soak.report, soak_values(), soak_values(left=1)),
    ],
)
def test_what_does_not_hold_is_told(
    report: Callable[[Values], str], good: Values, bad: Values
) -> None:
    assert "**NO**" not in report(good)
    assert "**NO**" in report(bad)


def test_five_minutes_and_three_stalls_are_measured() -> None:
    script = live_av.parts(Options())
    spoken_s = sum(20 * part.text.count("Mark 20.") for part in script)
    assert spoken_s == 300
    assert sum("Stall 700" in part.text for part in script) == 2
    assert [part.stop_gateway_after_s for part in script] == [0, 0, 40]


def test_a_question_ends_before_its_recorded_silence() -> None:
    samples = np.zeros(16_000, np.float32)
    samples[1000:9000] = 0.1
    assert 9000 <= spoken_span(samples)[1] <= 9160


def test_the_microphone_file_asks_at_its_times() -> None:
    script = spoken_script(questions()[:2], 40)
    assert script.size == 40 * SOUND_RATE
    loud = np.flatnonzero(np.abs(script) > 0.05) / SOUND_RATE
    assert 4.0 < loud[0] < 5.0
    assert not ((loud > 12) & (loud < 24)).any()
    assert ((loud > 24) & (loud < 25)).any()


def test_still_pictures_are_no_movement() -> None:
    changed = np.array([1, 1, 0, 0, 0, 1, 1], np.float32)
    assert longest_still_s(np.arange(8) / 25, changed) == pytest.approx(0.16)
