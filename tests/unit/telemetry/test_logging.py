"""Events as JSON lines: keys are bound by context, and several writers may share a file."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatar.telemetry.logging import bound, configure, get_logger

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("avatar", "services", "training", "__main__")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_an_event_is_one_line_with_its_keys() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    get_logger("avatar.test").info("chunk_dropped", chunk_epoch=3, current_epoch=4)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["chunk_epoch"], event["current_epoch"]) == ("chunk_dropped", 3, 4)
    assert (event["level"], event["logger"]) == ("info", "avatar.test")


def test_keys_bound_by_context_stand_in_every_event_inside_and_none_outside() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    log = get_logger("avatar.test")
    with bound(session="s", stage="score_worker"):
        with bound(seq=1):
            log.info("inner")
        log.info("middle")
    log.info("outer")
    inner, middle, outer = map(json.loads, stream.getvalue().splitlines())
    assert (inner["session"], inner["stage"], inner["seq"]) == ("s", "score_worker", 1)
    assert middle["session"] == "s"
    assert "seq" not in middle
    assert "session" not in outer


def test_an_exception_comes_with_its_traceback_in_the_same_line() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        get_logger("avatar.test").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"event": "before"}\n')
    configure(path=str(path))
    get_logger("services.test").info("after")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "before",
        "after",
    ]
