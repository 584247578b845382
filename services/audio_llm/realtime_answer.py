"""One answer of a speech-to-speech model: gathered, told with its words, cut to what was heard."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from openai.types.realtime import RealtimeClientEventParam
from openai.types.realtime.realtime_response_create_params_param import (
    RealtimeResponseCreateParamsParam,
)

from avatar.speech.cues import natural_cues, timed_cues
from services.audio_llm.backend import Outbound
from services.audio_llm.realtime_protocol import PCM_RATE
from services.audio_llm.realtime_sentences import Sentence, Sentences

AHEAD_S: Final = 1.0
"""So much is told before it has to sound; the rest waits, its words can be placed better then."""
TELL_EVERY_S: Final = 0.25


@dataclass
class Item:
    """One message of the server's conversation."""

    start_s: float
    """Where in the answer it begins to sound."""
    seconds: float = 0.0
    content_index: int = 0


class Answer:
    """Expected, then made, told and heard; after `drop` nothing of it is told."""

    def __init__(
        self, out: Outbound, *, is_spoken_only: bool, is_open: bool, max_seconds: float
    ) -> None:
        """Nothing is told unless it `is_open`, or before `open`.

        Args:
            out: Where it is told.
            is_spoken_only: The server's conversation does not have it.
            is_open: Whether it may be told at once.
            max_seconds: Sound beyond that is left out.
        """
        self.is_spoken_only = is_spoken_only
        self.epoch = out.epoch
        self.response_id = ""
        self.request: RealtimeResponseCreateParamsParam = {}
        """How it was asked for."""
        self.is_dropped = False
        self.is_told = False
        """Nothing of it follows."""
        self._out = out
        self._is_open = is_open
        self._max_seconds = max_seconds
        self._sentences = Sentences()
        self._items: dict[str, Item] = {}
        self._gathered_s = 0.0
        self._has_text = False
        self._heard: str | None = None
        self._began_at: float | None = None
        self._ending: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def text(self) -> str:
        """All that was told of it."""
        return " ".join(filter(None, self._sentences.texts))

    @property
    def is_silent(self) -> bool:
        """No sound of it was told."""
        return self._sentences.told_s == 0.0

    @property
    def is_ended(self) -> bool:
        """Nothing more of it is made."""
        return self._ending is not None or self.is_dropped

    @property
    def is_empty(self) -> bool:
        """Nothing of it has come."""
        return not self.has_sound and not self._has_text

    @property
    def has_sound(self) -> bool:
        return self._gathered_s > 0.0

    def forget_items(self) -> None:
        """The server's conversation does not have them any more."""
        self._items.clear()
        self.response_id = ""
        self.is_spoken_only = self.is_spoken_only or not self.is_empty

    def open(self) -> None:
        """It may be told from now on."""
        self.epoch = self._out.epoch
        self._is_open = True
        self._tell()

    def add_item(self, item_id: str) -> list[RealtimeClientEventParam]:
        """A message of it begins; returns what the server has to be told about that."""
        if self._heard is not None:
            return [{"type": "conversation.item.delete", "item_id": item_id}]
        self._items[item_id] = Item(self._gathered_s)
        return []

    def add_text(self, text: str) -> None:
        self._has_text = True
        self._sentences.add_text(text)
        self._tell()

    def end_text(self) -> None:
        self._sentences.end_text()
        self._tell()

    def add_sound(self, item_id: str, content_index: int, samples: NDArray[np.float32]) -> None:
        """(S,) at PCM_RATE."""
        item = self._items.setdefault(item_id, Item(self._gathered_s))
        item.content_index = content_index
        samples = samples[: round((self._max_seconds - self._gathered_s) * PCM_RATE)]
        item.seconds += samples.size / PCM_RATE
        self._gathered_s += samples.size / PCM_RATE
        self._sentences.add_sound(samples)
        self._tell()

    def end(self, tell_end: Callable[["Answer"], None]) -> None:
        """Nothing more of it comes; `tell_end` is called when all of it is told."""
        self._sentences.finish()
        self._ending = lambda: tell_end(self)
        self._tell()

    def drop(self) -> None:
        """Idempotent."""
        self.is_dropped = True
        if self._timer is not None:
            self._timer.cancel()

    def cut(self, heard: str) -> list[RealtimeClientEventParam]:
        """Only these words were heard; returns what makes the server remember only them."""
        self._heard = heard
        words, num_heard = self._sentences.words, len(heard.split())
        if num_heard and num_heard >= len(words) and self.is_told:
            return []
        heard_s = words[min(num_heard, len(words)) - 1].end_s if num_heard and words else 0.0
        events: list[RealtimeClientEventParam] = []
        for item_id, item in self._items.items():
            if heard_s <= item.start_s:
                events.append({"type": "conversation.item.delete", "item_id": item_id})
            elif heard_s < item.start_s + item.seconds:
                events.append(
                    {
                        "type": "conversation.item.truncate",
                        "item_id": item_id,
                        "content_index": item.content_index,
                        "audio_end_ms": int(1000 * (heard_s - item.start_s)),
                    }
                )
        return events

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_open or self.is_dropped or self.is_told:
            return
        loop = asyncio.get_running_loop()
        began_at = self._began_at if self._began_at is not None else loop.time()
        is_over = self._ending is not None
        due_s = self._max_seconds if is_over else loop.time() - began_at + AHEAD_S
        for piece in self._sentences.take(due_s):
            if isinstance(piece, Sentence):
                cues = timed_cues(natural_cues(piece.text), piece.words)
                self._out.tell("reply", piece.text, words=piece.words, cues=cues, epoch=self.epoch)
            else:
                self._out.play(piece, PCM_RATE, epoch=self.epoch)
                self._began_at = began_at
        if self._ending is not None:
            self.is_told = True
            self._ending()
        elif self._gathered_s > self._sentences.told_s:
            self._timer = loop.call_later(TELL_EVERY_S, self._tell)
