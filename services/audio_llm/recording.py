"""The sound of one turn, and what was understood of it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avatar.errors import AvatarError
from avatar.speech.turns import WINDOW_S


@dataclass(frozen=True)
class Turn:
    """What a caller said from the first word to the silence that ended it."""

    text: str = field(default="", repr=False)
    silence_s: float = 0.0
    """How long ago the speech ended."""
    speech_s: float = 0.0
    certainty: float = 0.0
    """Mean probability that it was speech at all."""
    level_dbfs: float = -math.inf
    by_button: bool = False
    """Ended by the caller, not by silence."""


class Recording:
    """Grows window by window while a turn goes on; one object a turn."""

    def __init__(self) -> None:
        self.has_speech = False
        self.is_paused = False
        self.since_look = 0
        """Windows of speech since it was last transcribed."""
        self.wants_text = False
        self.was_judged = False
        self.serial = 0
        """Changes with every pause, and every end of one."""
        self.text = ""
        self.error: AvatarError | None = None
        self.patience_s = math.inf
        """Silence that ends this turn; infinite until this pause is understood."""
        self.num_windows = 0
        self._windows: list[NDArray[np.float32]] = []
        self._settled = ""
        self._num_speech = 0
        self._certainty = 0.0
        self._energy = 0.0

    @property
    def is_on(self) -> bool:
        return self.num_windows > 0

    @property
    def is_understood(self) -> bool:
        """Whether it is known what was said up to this pause."""
        return self.patience_s < math.inf

    def begin(self, before: Iterable[NDArray[np.float32]]) -> None:
        """Record from now on, and what was heard just before; it may be on already."""
        if not self.is_on:
            for window in before:
                self.add(window)

    def add(self, window: NDArray[np.float32]) -> None:
        self._windows.append(window)
        self.num_windows += 1

    def speak(self, window: NDArray[np.float32], probability: float) -> None:
        """The window just added is speech."""
        self.since_look += 1
        self._num_speech += 1
        self._certainty += probability
        self._energy += float(np.mean(np.square(window)))

    def pause(self) -> None:
        self.serial += 1
        self.is_paused = True

    def resume(self, settle_after: int, keep: int) -> None:
        """Speech goes on.

        Args:
            settle_after: With more windows than these, what was understood so far is kept as it
                is, so that a long turn is not transcribed from its beginning again and again.
            keep: How many windows then stay to be transcribed with what follows.
        """
        if self.is_understood and self.error is None and len(self._windows) > settle_after:
            self._settled = self.text
            self._windows = self._windows[-keep:]
        self.serial += 1
        self.is_paused = False
        self.error = None
        self.patience_s = math.inf

    def forget(self, keep: int) -> None:
        """What was heard so far was not the caller: only the last `keep` windows stay."""
        self._windows = self._windows[-keep:]
        self._settled = self.text = ""
        self._num_speech, self._certainty, self._energy = 0, 0.0, 0.0

    def samples(self) -> tuple[str, NDArray[np.float32]]:
        """The words of its settled beginning, and the (S,) samples after it."""
        return self._settled, np.concatenate(self._windows)

    def so_far(self, silence_s: float, *, by_button: bool = False) -> Turn:
        speech = self._num_speech or 1
        level_dbfs = 10 * math.log10(self._energy / speech + 1e-12)
        return Turn(
            self.text,
            silence_s,
            self._num_speech * WINDOW_S,
            self._certainty / speech,
            level_dbfs,
            by_button,
        )
