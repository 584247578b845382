"""Microphone and loudspeaker of this machine; need sounddevice, the extra `microphone`."""

import threading
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from talkingmachines._errors import TalkError
from talkingmachines._extras import needed
from talkingmachines._session import Session

HEARD_RATE: Final = 16_000
PLAYED_RATE: Final = 48_000
BLOCK: Final = HEARD_RATE // 25


class Loudspeaker:
    """Plays pieces of sound, one after the other."""

    def __init__(self) -> None:
        self._stream = _open("RawOutputStream", PLAYED_RATE)

    def play(self, samples: bytes) -> None:
        """Returns when the sound card has taken them."""
        self._stream.write(samples)

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()


class Microphone:
    """Sends what it hears to a session, from a thread of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stream = _open("RawInputStream", HEARD_RATE)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> Self:
        self._stream.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._stream.close()

    def _hear(self) -> None:
        while not self._is_over.is_set():
            samples, _ = self._stream.read(BLOCK)
            try:
                self._session.push_microphone(bytes(samples), HEARD_RATE)
            except (TalkError, ValueError):  # the session is over
                return


def _open(kind: str, rate: int) -> Any:
    """Raises ImportError without sounddevice, or without the PortAudio library below it."""
    try:
        card: ModuleType = needed("sounddevice", "microphone")
    except OSError as error:
        raise ImportError(
            f"sounddevice finds no PortAudio: sudo apt-get install libportaudio2 ({error})"
        ) from error
    return getattr(card, kind)(samplerate=rate, channels=1, dtype="int16")
