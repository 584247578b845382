"""What a person sees on the command line."""

import io

import pytest

from talkingmachines import ChunkReady
from talkingmachines._terminal import Terminal, bar, printable

pytestmark = pytest.mark.unit


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def chunk(done: int, known: int, elapsed_s: float = 1.0) -> ChunkReady:
    return ChunkReady(done, known, media_s=0.48 * done, elapsed_s=elapsed_s)


def test_a_bar_fills_from_left_to_right() -> None:
    assert bar(0, 4) == "[------------------------]"
    assert bar(1, 4) == "[######------------------]"
    assert bar(4, 4) == "[########################]"


def test_a_bar_stays_in_its_frame_whatever_the_numbers() -> None:
    assert bar(9, 4) == bar(4, 4)
    assert bar(0, 0) == bar(0, 4)


def test_on_a_terminal_each_chunk_redraws_the_bar_in_place() -> None:
    screen = Screen()
    terminal = Terminal(io.StringIO(), screen)
    terminal.update(chunk(1, 2, elapsed_s=0.5))
    terminal.update(chunk(2, 2, elapsed_s=0.9))

    first, second = screen.getvalue().split("\r\x1b[K")
    assert first == f"{bar(1, 2)} 1/2 chunks, 0.5 s of video in 0.5 s"
    assert second == f"{bar(2, 2)} 2/2 chunks, 1.0 s of video in 0.9 s"


def test_a_line_is_written_above_the_bar() -> None:
    screen = Screen()
    terminal = Terminal(screen, screen)
    terminal.update(chunk(1, 2))
    drawn = screen.getvalue()
    terminal.result("says: Hello.")

    assert screen.getvalue() == f"{drawn}\r\x1b[Ksays: Hello.\n{drawn}"


def test_the_bar_goes_away_at_the_end() -> None:
    screen = Screen()
    terminal = Terminal(screen, screen)
    terminal.update(chunk(2, 2))
    terminal.end_progress()
    drawn = screen.getvalue()
    terminal.note("Done.")

    assert drawn.endswith("\r\x1b[K")
    assert screen.getvalue() == f"{drawn}Done.\n"


def test_elsewhere_progress_is_a_plain_line_every_two_seconds_and_at_the_end() -> None:
    log = io.StringIO()
    terminal = Terminal(io.StringIO(), log)
    for done in range(1, 11):
        terminal.update(chunk(done, 10, elapsed_s=0.5 * done))

    assert "\x1b" not in log.getvalue()
    assert [line.split()[0] for line in log.getvalue().splitlines()] == [
        "1/10",
        "5/10",
        "9/10",
        "10/10",
    ]


def test_words_of_a_model_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc\x07d\u202ee\nf é 世") == "a [2Jb c d e\nf é 世"


def test_words_that_the_terminal_cannot_show_are_replaced() -> None:
    raw = io.BytesIO()
    results = io.TextIOWrapper(raw, encoding="latin-1")
    Terminal(results, io.StringIO()).result("é 世")

    assert raw.getvalue() == b"\xe9 ?\n"


def test_a_share_of_the_work_is_drawn_or_told_every_twentieth() -> None:
    screen, log = Screen(), io.StringIO()
    on_screen, in_log = Terminal(io.StringIO(), screen), Terminal(io.StringIO(), log)
    for percent in (0, 1, 50, 53, 55, 100):
        for terminal in (on_screen, in_log):
            terminal.update_share(percent / 100, f"{percent} %\x1b")

    assert log.getvalue().splitlines() == ["0 % ", "50 % ", "55 % ", "100 % "]
    assert screen.getvalue().split("\r\x1b[K")[2] == f"{bar(1, 2)} 50 % "
