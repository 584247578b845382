"""A live session as an MP4 file; needs PyAV, the extra `mux`."""

import io
import os
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from talkingmachines._errors import InvalidInput, ServerError
from talkingmachines._extras import needed
from talkingmachines._files import WholeFile
from talkingmachines._live_events import TICKS_PER_SECOND, LiveStep, Picture, Sound

_TICK: Final = Fraction(1, TICKS_PER_SECOND)
_BLOCK: Final = 960
"""Samples of a piece of sound, and its ticks too."""
_LONGEST_GAP: Final = 60 * TICKS_PER_SECOND


class Recorder:
    """Writes pictures and sound as they come, without encoding the pictures anew.

        with client.session(pictures="h264") as session, Recorder("call.mp4") as recorder:
            for step in session:
                recorder.add(step)
            recorder.commit()

    The file appears when `commit` is called; without it nothing is left. It begins with the first
    picture. It is held in memory meanwhile, about 60 KB a second.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises ImportError without the extra `mux`, OSError where no file can be written."""
        self._av: ModuleType = needed("av", "mux")
        self._file = WholeFile(path)
        self._content = io.BytesIO()
        self._container: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._start = 0
        self._num_ticks = 0  # of sound

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, step: LiveStep) -> None:
        """Takes pictures and sound; events are passed over.

        Raises:
            InvalidInput: If they are not those of `pictures="h264"`, `sound="pcm"`.
        """
        match step:
            case Picture():
                self._add_picture(step)
            case Sound() if self._container is not None:
                self._add_sound(step)
            case _:
                pass

    def commit(self) -> Path:
        """Gives the file its name.

        Raises:
            ServerError: If no picture came.
        """
        if self._container is None:
            raise ServerError("No picture came: there is nothing to write.")
        self._container.mux(self._audio.encode(None))
        self._container.close()
        self._container = None
        self._file.write(self._content.getvalue())
        self._file.commit()
        return self._file.path

    def close(self) -> None:
        """Throws away what has not been committed."""
        if self._container is not None:
            self._container.close()
            self._container = None
        self._file.close()

    def _add_picture(self, picture: Picture) -> None:
        if self._container is None:
            if not picture.is_key:
                return
            self._open(picture)
        packet = self._av.Packet(picture.content)
        packet.pts = packet.dts = picture.pts - self._start
        packet.time_base = _TICK
        packet.is_keyframe = picture.is_key
        packet.stream = self._video
        self._container.mux(packet)

    def _open(self, picture: Picture) -> None:
        try:
            with self._av.open(io.BytesIO(picture.content), format="h264") as first:
                template = first.streams.video[0]
                self._container = self._av.open(self._content, "w", format="mp4")
                self._video = self._container.add_stream_from_template(template)
        except self._av.FFmpegError as error:
            raise InvalidInput('Open the session with pictures="h264" to record it.') from error
        self._video.time_base = _TICK
        self._audio = self._container.add_stream("aac", rate=TICKS_PER_SECOND, layout="mono")
        self._start = picture.pts

    def _add_sound(self, sound: Sound) -> None:
        if len(sound.content) != 2 * _BLOCK:
            raise InvalidInput('Open the session with sound="pcm" to record it.')
        at = sound.pts - self._start
        if at < self._num_ticks:
            return
        gap = min(at - self._num_ticks, _LONGEST_GAP)
        for _ in range(gap // _BLOCK):  # what was lost was silence, for all that is known
            self._encode(bytes(2 * _BLOCK))
        self._encode(sound.content)

    def _encode(self, samples: bytes) -> None:
        frame = self._av.AudioFrame(format="s16", layout="mono", samples=_BLOCK)
        frame.planes[0].update(samples)
        frame.sample_rate = TICKS_PER_SECOND
        frame.pts = self._num_ticks
        frame.time_base = _TICK
        self._num_ticks += _BLOCK
        self._container.mux(self._audio.encode(frame))
