"""One caller of the load generator: speaks, listens, interrupts, and notes how long all took."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from avatar.errors import SessionLost
from avatar.media import SPEECH_RATE
from bench.live import lateness_ms
from bench.receiver import Receiver, booked
from bench.receiver_mic import FRAME
from bench.receiver_sound import first_audible_s, last_audible_s, spoken_span
from bench.receiver_tracks import SOUND_RATE

SMALL = 64
NEW = 0.02
"""A picture whose luma differs by less from the last new one, of 255, was given again."""
FROZEN_S = 0.5
"""A face moves at least this often."""
ANSWER_S, SPEECH_S = 30.0, 90.0
"""Longest waits for the beginning and the end of an answer."""
CLEARED = "output_audio_buffer.cleared"
NEXT_S = 0.1
"""An event and the sound that it speaks of arrive this near to each other."""
FADED_S = 0.3
"""Sound of the old answer arrives no later than this after the word that it was stopped."""
EARLIEST_S, LATEST_S = 0.5, 2.0
"""When in an answer it is interrupted."""
PAUSE_S = 1.0
KEPT_S = 15.0


@dataclass(frozen=True)
class Script:
    """What a caller does: `clips` are (S,) at 16 kHz; `interrupts` is the share of answers cut."""

    clips: Sequence[NDArray[np.float32]]
    interrupts: float
    avatar: str = ""
    key: str = ""


@dataclass
class Noted:
    """What became of one caller; seconds.

    `refused`: status and reason of a caller who got no session. `lost`: why the call ended before
    its time. `stops_s`: from the first sound of an interruption to the last one of the answer.
    `pictures`: how many new ones, so far. `frozen_s`: each time that the face stood still, how
    long. `behind_ms`: how much later than sound pictures arrived, relative to when both are due.
    """

    refused: str = ""
    lost: str = ""
    connect_s: float | None = None
    responses_s: list[float] = field(default_factory=list)
    stops_s: list[float] = field(default_factory=list)
    unanswered: int = 0
    watched_s: float = 0.0
    pictures: int = 0
    frozen_s: list[float] = field(default_factory=list)
    stalls_told: int = 0
    behind_ms: float | None = None


class NewPictures:
    """Whether each decoded picture differs from the last one that did; counts those."""

    def __init__(self, noted: Noted) -> None:
        self._noted = noted
        self._last: NDArray[np.float32] | None = None

    def __call__(self, frame: VideoFrame) -> bool:
        small = frame.reformat(width=SMALL, height=SMALL, format="gray").to_ndarray()
        return self.is_new(small.astype(np.float32))

    def is_new(self, small: NDArray[np.float32]) -> bool:
        """(64, 64) luma."""
        if self._last is not None and float(np.abs(small - self._last).mean()) < NEW:
            return False
        self._last = small
        self._noted.pictures += 1
        return True


async def call_until(
    over: asyncio.Event, url: str, script: Script, rng: random.Random, noted: Noted
) -> None:
    """One call, from its opening until `over`, to the end of the answer that is heard then.

    What becomes of it is noted as it happens.
    """
    began = time.monotonic()
    receiver: Receiver[bool] = Receiver(NewPictures(noted))
    try:
        async with (
            booked(url, script.avatar, script.key) as booking,
            receiver.connected(booking) as call,
        ):
            connected = time.monotonic()
            noted.connect_s = connected - began
            try:
                await _converse(call, script, rng, over, noted)
            finally:
                _look_back(call, connected, noted)
    except httpx.HTTPStatusError as error:
        noted.refused = _reason(error.response)
    except (httpx.HTTPError, SessionLost, TimeoutError) as error:
        noted.lost = f"{type(error).__name__}: {error}"


async def _converse(
    call: Receiver[bool], script: Script, rng: random.Random, over: asyncio.Event, noted: Noted
) -> None:
    clips = list(script.clips)
    rng.shuffle(clips)
    for number in range(1 << 30):
        if over.is_set():
            return
        answer = await _ask(call, clips[number % len(clips)], noted)
        if answer is not None and rng.random() < script.interrupts:
            await asyncio.sleep(rng.uniform(EARLIEST_S, LATEST_S))
        else:
            if answer is not None:
                await call.event("avatar.playback.finished", answer, SPEECH_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), PAUSE_S)
        _forget(call)


async def _ask(call: Receiver[bool], clip: NDArray[np.float32], noted: Noted) -> int | None:
    """Speak, into an answer perhaps, and wait for the next one's first sound.

    Returns where in what was told that answer begins; None where none came.
    """
    told, (first, end) = len(call.told), spoken_span(clip)
    # a microphone sends 20 ms once it has heard them
    heard_s = await call.mic.speak(clip, SPEECH_RATE) - FRAME / SOUND_RATE
    begun_s, ended_s = heard_s + first / SPEECH_RATE, heard_s + end / SPEECH_RATE
    try:
        started = await call.event("avatar.playback.started", told, ANSWER_S)
        since_s = max(ended_s, started.at_s - NEXT_S)
        async with asyncio.timeout(ANSWER_S):
            while (  # noqa: ASYNC110
                sound_s := first_audible_s(call.sound.received, since_s)
            ) is None:
                await asyncio.sleep(0.02)
    except TimeoutError:
        noted.unanswered += 1
        return None
    cleared = [event.at_s for event in call.told[told:] if event.type == CLEARED]
    if cleared:  # else the answer had ended by itself
        over_s = last_audible_s(call.sound.received, begun_s, cleared[0] + FADED_S)
        noted.stops_s.append(max(0.0, (over_s or begun_s) - begun_s))
    noted.responses_s.append(sound_s - ended_s)
    return call.told.index(started)


def _forget(call: Receiver[bool]) -> None:
    """An hour of sound is kept by nobody."""
    since_s = time.monotonic() - KEPT_S
    sound = call.sound.received
    sound[:] = [piece for piece in sound if piece.arrived_s > since_s]


def _look_back(call: Receiver[bool], connected: float, noted: Noted) -> None:
    now = time.monotonic()
    new = [each.arrived_s for each in call.pictures.received if each.what]
    noted.watched_s = now - connected
    noted.frozen_s = frozen([connected, *new, now])
    quality = [told.event for told in call.told if told.type == "avatar.quality"]
    noted.stalls_told = sum(int(each["stalls"]) for each in quality)
    if call.sound.reports and call.pictures.reports:
        sound, pictures = lateness_ms(call.sound, call.pictures)
        noted.behind_ms = pictures["median"] - sound["median"]


def frozen(instants: Sequence[float]) -> list[float]:
    """Waits for the next of these instants that are too long."""
    gaps = np.diff(np.sort(np.asarray(instants, np.float64)))
    return [float(gap) for gap in gaps if gap > FROZEN_S]


def _reason(response: httpx.Response) -> str:
    try:
        return f"{response.status_code} {response.json()['reason']}"
    except (ValueError, KeyError, TypeError):
        return str(response.status_code)
