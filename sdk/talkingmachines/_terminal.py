"""What the command line shows: results on one stream, progress on the other."""

from typing import TextIO

from talkingmachines._events import ChunkReady

_BAR_CELLS = 24
_PLAIN_INTERVAL_S = 2.0
_PLAIN_INTERVAL_SHARE = 0.05
_CLEAR_LINE = "\r\x1b[K"


class Terminal:
    """Writes lines, and below them a progress bar where `progress` is a terminal.

    Where it is none, a plain line about every two seconds of the server's time, or twentieth of the
    work.
    """

    def __init__(self, results: TextIO, progress: TextIO) -> None:
        self._results = results
        self._progress = progress
        self._has_bar = progress.isatty()
        self._bar = ""
        self._next_plain_s = 0.0
        self._next_plain_share = 0.0

    def result(self, text: str) -> None:
        self._erase()
        self._write(self._results, f"{printable(text)}\n")
        self._draw()

    def note(self, text: str) -> None:
        self._erase()
        self._write(self._progress, f"{printable(text)}\n")
        self._draw()

    def update(self, chunk: ChunkReady) -> None:
        line = progress_line(chunk)
        if self._has_bar:
            self._erase()
            self._bar = f"{bar(chunk.chunks_done, chunk.chunks_known)} {line}"
            self._draw()
        elif chunk.elapsed_s >= self._next_plain_s or chunk.chunks_done >= chunk.chunks_known:
            self._next_plain_s = chunk.elapsed_s + _PLAIN_INTERVAL_S
            self._write(self._progress, f"{line}\n")

    def update_share(self, share: float, line: str) -> None:
        """`share` of the work is done, 0 to 1."""
        if self._has_bar:
            self._erase()
            self._bar = f"{bar(round(1000 * share), 1000)} {printable(line)}"
            self._draw()
        elif share >= self._next_plain_share or share >= 1:
            self._next_plain_share = share + _PLAIN_INTERVAL_SHARE
            self._write(self._progress, f"{printable(line)}\n")

    def end_progress(self) -> None:
        """Takes the bar away."""
        self._erase()
        self._bar = ""

    def _erase(self) -> None:
        if self._bar:
            self._write(self._progress, _CLEAR_LINE)

    def _draw(self) -> None:
        if self._bar:
            self._write(self._progress, self._bar)

    def _write(self, stream: TextIO, text: str) -> None:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def progress_line(chunk: ChunkReady) -> str:
    return (
        f"{chunk.chunks_done}/{chunk.chunks_known} chunks,"
        f" {chunk.media_s:.1f} s of video in {chunk.elapsed_s:.1f} s"
    )


def bar(done: int, known: int) -> str:
    filled = min(_BAR_CELLS, _BAR_CELLS * done // max(known, 1))
    return f"[{'#' * filled}{'-' * (_BAR_CELLS - filled)}]"


def printable(text: str) -> str:
    """`text` without control characters: words from a model must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
