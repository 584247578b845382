"""What the load generator and the benchmark of viewers make of what was noted."""

from dataclasses import asdict

import numpy as np
import pytest

from bench import viewers
from bench.load import main, percentiles, report, script_of, summary
from bench.load_caller import NewPictures, Noted, frozen
from bench.receiver_sound import first_audible_s, last_audible_s
from bench.receiver_tracks import SOUND_RATE, Received
from bench.results import Values

pytestmark = pytest.mark.unit


def values_of(*callers: Noted) -> Values:
    return {
        "callers": [asdict(each) for each in callers],
        "ramp_s": 5.0,
        "seconds": 60.0,
        "interrupts": 0.5,
        "own_lateness_ms": percentiles([0.001, 0.003], 1000),
        "own_cores": 0.25,
    }


def caller(*responses_s: float, **more: object) -> Noted:
    fields = {"connect_s": 0.2, "watched_s": 50.0, "behind_ms": 4.0, **more}
    return Noted(responses_s=list(responses_s), **fields)  # type: ignore[arg-type]


def test_all_answers_of_all_callers_are_one_distribution() -> None:
    told = summary(values_of(caller(*np.arange(1, 61)), caller(*np.arange(61, 102))))
    assert told["response_s"] == {"p50": 51, "p95": 96, "p99": 100, "most": 101, "count": 101}
    assert told["connect_s"]["count"] == 2


def test_who_was_refused_or_lost_is_counted_by_reason() -> None:
    refused = Noted(refused="503 NO_FREE_SLOT")
    lost = caller(1.0, lost="SessionLost: the call ended, server_error, before it came")
    values = values_of(caller(1.0), refused, refused, Noted(refused="401 UNAUTHENTICATED"), lost)
    told = summary(values)
    assert told["asked"] == 5
    assert told["refused"] == {"503 NO_FREE_SLOT": 2, "401 UNAUTHENTICATED": 1}
    assert told["lost"] == {lost.lost: 1}
    assert "2 of 503 NO_FREE_SLOT, 1 of 401 UNAUTHENTICATED" in report(values)
    assert "**NO**" in report(values)


def test_faces_that_stood_still_are_a_share_of_what_was_watched() -> None:
    told = summary(values_of(caller(1.0, frozen_s=[0.6, 1.4]), caller(1.0, frozen_s=[0.5])))
    assert (told["frozen"], told["frozen_s"]) == (3, 2.5)
    assert told["frozen_share"] == pytest.approx(0.025)


def test_interruptions_are_told_in_milliseconds() -> None:
    told = summary(values_of(caller(1.0, stops_s=[0.25]), caller(1.0, stops_s=[0.35])))
    assert told["stop_ms"]["p50"] == pytest.approx(300)


def test_of_nothing_there_is_a_report_too() -> None:
    values = values_of(Noted(refused="503 NO_FREE_SLOT"))
    told = summary(values)
    assert told["response_s"]["count"] == 0
    assert told["stop_ms"]["p99"] is None
    assert told["frozen_share"] == 0
    assert "1 of 503" in report(values)


def test_a_face_that_waits_longer_than_half_a_second_is_frozen() -> None:
    assert frozen([0.0, 0.5, 1.0, 1.75, 1.8]) == [0.75]
    assert frozen([3.0, 0.0]) == [3.0]


def test_a_picture_that_creeps_is_new_once_it_has_crept_far_enough() -> None:
    noted = Noted()
    look = NewPictures(noted)
    shown = [look.is_new(np.full((64, 64), level, np.float32)) for level in (9, 9.015, 9.03, 9.03)]
    assert shown == [True, False, True, False]
    assert noted.pictures == 2


def piece(arrived_s: float, *loud: int) -> "Received[np.ndarray[tuple[int], np.dtype[np.int16]]]":
    samples = np.zeros(960, np.int16)
    samples[list(loud)] = -32768
    return Received(0, arrived_s, samples)


def test_sound_is_placed_within_its_packet() -> None:
    pieces = [piece(1.0, 480), piece(1.02), piece(1.04, 0, 48), piece(1.06, 5)]
    assert first_audible_s(pieces, 1.0) == pytest.approx(1.04)
    assert first_audible_s(pieces, 0.0) == pytest.approx(1.0 + 480 / SOUND_RATE)
    assert last_audible_s(pieces, 0.0, 1.05) == pytest.approx(1.04 + 49 / SOUND_RATE)
    assert first_audible_s(pieces, 1.06) is None
    assert last_audible_s(pieces, 1.01, 1.03) is None


def test_a_caller_speaks_the_questions_that_the_repository_has() -> None:
    script = script_of(0.25, "mira", "tm_x")
    assert len(script.clips) > 3
    assert (script.interrupts, script.avatar, script.key) == (0.25, "mira", "tm_x")


@pytest.mark.parametrize(
    "arguments",
    [["--callers", "0"], ["--interrupts", "2"], ["--seconds", "-1"], ["--ramp", "nan"]],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error: argument" in capsys.readouterr().err


# The benchmark of viewers


def row(num_viewers: int, cores: float, pictures: int = 250) -> dict[str, object]:
    return {
        "viewers": num_viewers,
        "seconds": 10.0,
        "gateway_cores": cores,
        "encoded": 250.0,
        "pictures": [pictures] * num_viewers,
        "sounds": [500] * num_viewers,
        "join_s": [0.1] * num_viewers,
    }


def test_one_viewer_costs_what_each_more_adds() -> None:
    rows = [row(0, 0.2), row(10, 0.3), row(20, 0.4)]
    assert viewers.cost_of_one(rows) == pytest.approx(0.01)
    told = viewers.report({"rows": rows})
    assert "1.00 % of a core" in told
    assert "**NO**" not in told
    assert "**NO**" in viewers.report({"rows": [row(0, 0.2), row(1, 0.3, pictures=200)]})


def test_encoded_pictures_are_read_of_all_codecs() -> None:
    text = (
        "# TYPE avatar_pictures_encoded_total counter\n"
        'avatar_pictures_encoded_total{codec="VP8"} 12.0\n'
        'avatar_pictures_encoded_total{codec="H264"} 3.0\n'
        'avatar_stalls_total{codec="VP8"} 7.0\n'
    )
    assert viewers.ENCODED.findall(text) == ["12.0", "3.0"]
