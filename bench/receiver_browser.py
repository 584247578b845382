"""A caller with a browser: the project's own page in headless Chromium, measured from inside."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Page, async_playwright

from avatar.errors import Unavailable
from bench.receiver_tracks import SOUND_RATE
from scripts.setup import find_chromium

SCRIPT = Path(__file__).with_name("receiver_page.js")
SMALL = 64
FLAGS = (
    "--no-sandbox",  # of a container's root; nothing but our own page is opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
PICTURES_AT_ONCE = 50
SOUNDS_AT_ONCE = 100
NEAR_S = 2.0
Told = dict[str, Any]


@dataclass(frozen=True)
class SeenPicture:
    """One picture as the browser presented it.

    `presented_ms` is when it was handed to the compositor, `shown_ms` when it was expected on the
    screen, both of performance.now(). `small` is (64, 64) of its green; `mouth` is
    (side, side, 3), or empty.
    """

    presented_ms: float
    shown_ms: float
    about: Told
    small: NDArray[np.uint8]
    mouth: NDArray[np.uint8]


@dataclass(frozen=True)
class BrowserCall:
    """What a page measured: `sound` is (S,) int16 at 48 kHz, its first sample at `first_frame`.

    `clock` has a row [context s, now ms, output context s, output ms] each 50 ms.
    """

    first_frame: int
    sound: NDArray[np.int16]
    clock: NDArray[np.float64]
    pictures: list[SeenPicture]
    events: list[Told]
    stats: list[Told]

    def heard_ms(self, sample: float) -> float:
        """When a sample reached the page's sound graph, performance.now().

        The graph's clock may stand still when the machine is busy, and the page looks at it late
        or on time, never early: the least of (now - graph's time) in the seconds around counts.
        """
        context_s = (self.first_frame + sample) / SOUND_RATE
        return 1000 * context_s + self._shift_ms(self.clock[:, 0] - context_s)

    def sample_at(self, now_ms: float) -> int:
        """The sample that reached the sound graph at about this performance.now()."""
        context_s = (now_ms - self._shift_ms((self.clock[:, 1] - now_ms) / 1000)) / 1000
        return min(max(0, round(context_s * SOUND_RATE) - self.first_frame), self.sound.size)

    def _shift_ms(self, away_s: NDArray[np.float64]) -> float:
        near = self.clock[np.abs(away_s) <= max(NEAR_S, float(np.abs(away_s).min()))]
        return float((near[:, 1] - 1000 * near[:, 0]).min())

    def told(self, type: str) -> list[Told]:
        return [each for each in self.events if each["event"]["type"] == type]


@asynccontextmanager
async def measuring_page(
    url: str,
    mouth: tuple[int, int, int] | None = None,
    mic: Path | None = None,
) -> AsyncIterator[Page]:
    """The page at `url`, with a microphone that plays the WAV file `mic` once, or beeps.

    `mouth` (x, y, side) is kept of every picture besides.

    Raises:
        Unavailable: There is no Chromium.
    """
    flags = [*FLAGS, *([f"--use-file-for-fake-audio-capture={mic}%noloop"] if mic else [])]
    path = find_chromium()
    if path is None:
        raise Unavailable("no Chromium: sudo apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=flags)
        # the measuring worklet is no file of the server, which the page's policy would ask for
        context = await browser.new_context(permissions=["microphone"], bypass_csp=True)
        look = json.dumps({"mouth": list(mouth) if mouth else None})
        await context.add_init_script(f"window.measuredLook = {look};\n{SCRIPT.read_text()}")
        try:
            page = await context.new_page()
            await page.goto(url)
            yield page
        finally:
            await browser.close()


async def call_on(page: Page, avatar: str) -> None:
    """Choose the avatar and press the call button; returns when the call is live."""
    await page.locator(f"input[name=avatar][value={avatar}]").check(force=True)
    await page.locator("#call-button:enabled").click()
    await page.locator("#call[data-phase=live]").wait_for()


async def hang_up(page: Page) -> None:
    """Press the button, and see the call end: else its place stays taken for the grace time."""
    await page.locator("#hang-up").click()
    await page.locator("#ended").wait_for()


async def send(page: Page, type: str, **fields: object) -> None:
    """Send an event over the page's own channel, as its controls do."""
    await page.evaluate("(event) => sendEvent(event)", {"type": type, **fields})


async def until_told(page: Page, type: str, count: int = 1, wait_s: float = 60) -> None:
    """Wait until the page was told so many events of a type."""
    condition = "([type, count]) => toldCount(type) >= count"
    await page.wait_for_function(condition, arg=[type, count], timeout=1000 * wait_s)


async def taken(page: Page, side: int = 0) -> BrowserCall:
    """What the page has measured so far; `side` is that of the mouth's square.

    Raises:
        RuntimeError: The measuring script failed in the page.
    """
    told = await page.evaluate("takeMeasured()")
    if told["problems"]:
        raise RuntimeError(f"the measuring script failed: {told['problems'][0]}")
    sounds: list[Told] = []
    for first in range(0, told["sounds"], SOUNDS_AT_ONCE):
        sounds += await page.evaluate(f"takeSound({first}, {SOUNDS_AT_ONCE})")
    pictures: list[SeenPicture] = []
    for first in range(0, told["pictures"], PICTURES_AT_ONCE):
        found = await page.evaluate(f"takePictures({first}, {PICTURES_AT_ONCE})")
        pictures += [_picture(each, side) for each in found]
    first_frame, sound = _joined(sounds)
    clock = np.array(told["clock"], np.float64).reshape(-1, 4)
    return BrowserCall(first_frame, sound, clock, pictures, told["events"], told["stats"])


def _picture(told: Told, side: int) -> SeenPicture:
    about = told["about"]
    small = np.frombuffer(base64.b64decode(told["green"]), np.uint8).reshape(SMALL, SMALL)
    mouth = np.frombuffer(base64.b64decode(told["mouth"]), np.uint8)
    return SeenPicture(
        float(about["presentationTime"]),
        float(about["expectedDisplayTime"]),
        about,
        small,
        mouth.reshape(side, side, 3) if side else mouth,
    )


def _joined(sounds: list[Told]) -> tuple[int, NDArray[np.int16]]:
    """Sound by its place on the graph's clock; silent where the graph skipped."""
    if not sounds:
        return 0, np.zeros(0, np.int16)
    pieces = [
        (int(each["first"]), np.frombuffer(base64.b64decode(each["pcm"]), np.int16))
        for each in sounds
    ]
    first = pieces[0][0]
    last, ending = pieces[-1]
    sound = np.zeros(last + ending.size - first, np.int16)
    for at, pcm in pieces:
        sound[at - first :][: pcm.size] = pcm
    return first, sound
