"""Turns the steps of an answer into a file."""

from talkingmachines._errors import ServerError
from talkingmachines._events import (
    Event,
    ReplySentence,
    SavedAnswer,
    Summary,
    Transcript,
    VideoPiece,
)
from talkingmachines._files import WholeFile


class Recording:
    """Collects an answer: the video into a file, the words into a SavedAnswer."""

    def __init__(self, file: WholeFile) -> None:
        self._file = file
        self._transcript = ""
        self._sentences: list[str] = []
        self._num_bytes = 0
        self._summary: Summary | None = None

    def add(self, event: Event) -> None:
        match event:
            case Transcript(text):
                self._transcript = text
            case ReplySentence(text):
                self._sentences.append(text)
            case VideoPiece(content):
                self._file.write(content)
                self._num_bytes += len(content)
            case Summary():
                self._summary = event
            case _:
                pass  # progress is not recorded

    def commit(self) -> SavedAnswer:
        """Gives the file its name.

        Raises:
            ServerError: If no video came.
        """
        if self._summary is None or not self._num_bytes:
            raise ServerError("The answer came without a video: see the server's log.")
        self._file.commit()
        return SavedAnswer(
            self._file.path, self._transcript, " ".join(self._sentences), self._summary
        )
