"""What the graph's figures are made of: processes by name, traces, rates, bars."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict

from bench.answers import rate, word_error_rate
from bench.graph_report import bar_rows, report
from bench.processes import Snapshot, Usage, cores, name_of
from bench.trace import StageTrace, stage_means
from talkingmachines import ChunkReady

pytestmark = pytest.mark.unit

PAGE = """\
# TYPE avatar_stage_seconds histogram
avatar_stage_seconds_bucket{le="+Inf",stage="score_worker"} 4
avatar_stage_seconds_count{stage="score_worker"} 4
avatar_stage_seconds_sum{stage="score_worker"} 0.5
avatar_stage_seconds_bucket{le="+Inf",stage="vae_decoder"} 0
avatar_stage_seconds_count{stage="vae_decoder"} 0
avatar_stage_seconds_sum{stage="vae_decoder"} 0
# TYPE avatar_requests counter
avatar_requests_total{outcome="done",request="say"} 3
"""


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["ray::ServeReplica:talkingmachines:score_worker"], "score_worker"),
        (["ray::ServeController"], "Ray Serve: controller"),
        (["ray::IDLE"], "Ray: idle workers"),
        (["ray::Something"], "Ray: other workers"),
        (["python", "-m", "services.run"], "launcher"),
        (["/a/valkey-server", "unixsocket:/tmp/x"], "Valkey"),
        (["/ray/core/src/ray/gcs/gcs_server", "--port=0"], "Ray: control store"),
        (["python", "-u", "/ray/_private/log_monitor.py"], "Ray: log monitor"),
        (["python", "/ray/autoscaler/_private/monitor.py"], "Ray: autoscaler monitor"),
        (["/usr/bin/other", "--flag"], "other"),
    ],
)
def test_a_process_is_known_by_its_command_line(command: list[str], name: str) -> None:
    assert name_of(command) == name


def test_cores_are_cpu_seconds_by_the_clock() -> None:
    before = Snapshot(10.0, {"gateway": Usage(1.0, 0, 0, 0)})
    after = Snapshot(14.0, {"gateway": Usage(3.0, 0, 0, 0), "new": Usage(1.0, 0, 0, 0)})
    assert cores(before, after) == {"gateway": 0.5, "new": 0.25}


def test_the_rate_is_counted_from_the_first_chunk_on() -> None:
    chunks = [ChunkReady(i + 1, 3, 0.48 * (i + 1), 2.0 + 0.24 * i) for i in range(3)]
    assert rate(chunks) == pytest.approx(2.0)


def test_one_chunk_has_no_rate() -> None:
    assert rate([ChunkReady(1, 1, 0.48, 2.0)]) is None


def test_word_errors_ignore_case_and_punctuation() -> None:
    assert word_error_rate("Hello, what is it?", "hello what is it") == 0
    assert word_error_rate("one two three four", "one two free four") == 0.25


def test_stage_means_come_from_the_metrics_page() -> None:
    assert stage_means(PAGE) == {"score_worker": {"compute": 125.0}}


def key_of(stage: str) -> str:
    name = "avatar_stage_seconds"
    return json.dumps([name, f"{name}_sum", {"stage": stage}, "help"], sort_keys=True)


def test_a_sum_that_grows_is_a_chunk_that_was_computed(tmp_path: Path) -> None:
    file = MmapedDict(str(tmp_path / "histogram_1.db"))
    file.write_value(key_of("score_worker"), 5.0, 0.0)
    times: Iterator[float] = itertools.count(100.0, 1.0)
    trace = StageTrace(tmp_path, clock=lambda: next(times))
    trace.forget()
    file.write_value(key_of("score_worker"), 5.25, 0.0)
    trace.poll()
    trace.poll()
    file.write_value(key_of("score_worker"), 5.75, 0.0)
    trace.poll()
    file.close()
    trace.close()
    assert [end - start for start, end in trace.intervals["score_worker"]] == [0.25, 0.5]


def answer(**other: object) -> dict[str, Any]:
    return {
        "question": "sea", "wer": 0.1, "first_chunk_s": 1.0, "client_first_s": 1.1, "rate": 2.0,
        "media_s": 4.8, "level_dbfs": -20.0, "off_frames": 0.5, "width": 256, "height": 256,
        "frame_rate": 25.0, "models": ["ears: Whisper"], **other,
    }  # fmt: skip


def values(**other: object) -> dict[str, Any]:
    process = dict.fromkeys(("idle_cores", "speaking_cores", "uss_mb", "pss_mb", "rss_mb"), 1.0)
    return {
        "starts": [{"healthy_s": 0.3, "ready_s": 30.0, "stop_s": 2.0}] * 2,
        "left": [], "say": [answer()], "ask": [answer()], "together": [answer(), answer()],
        "stages": {"score_worker": {"compute": 125.0}}, "processes": {"gateway": process},
        "overlap": {"chunks": 9, "score_s": 2.0, "vae_s": 1.0, "both_s": 0.5, "any_s": 2.5},
        "speaking_s": 2.4, **other,
    }  # fmt: skip


def missed(told: dict[str, Any]) -> list[str]:
    return [name for name, _, _, holds in bar_rows(told) if not holds]


def test_a_good_graph_misses_no_bar() -> None:
    assert missed(values()) == []


@pytest.mark.parametrize(
    ("told", "bar"),
    [
        (values(ask=[answer(first_chunk_s=2.6)]), "`ask`: first chunk, median, s"),
        (values(say=[answer(), answer(rate=1.2)]), "rate, slowest answer"),
        (values(ask=[answer(), answer(wer=0.4)]), "transcript, worst word error rate"),
        (values(say=[answer(level_dbfs=-41.0)]), "sound, quietest answer, dBFS"),
        (values(say=[answer(height=128)]), "picture, smallest side"),
        (values(say=[answer(frame_rate=24.0)]), "frames a second"),
        (values(say=[answer(off_frames=1.5)]), "picture and sound differ by, frames"),
        (values(together=[answer(), answer(wer=0.5)]), "two at once: both right"),
        (values(left=["port 1234"]), "left behind after Ctrl-C"),
    ],
)
def test_each_bar_can_be_missed(told: dict[str, Any], bar: str) -> None:
    assert missed(told) == [bar]


def test_the_report_tells_the_share_of_both_computing() -> None:
    assert "**20%** of the time in which either did" in report(values())
