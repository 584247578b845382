"""The page of those who watch, in Chromium, at a gateway that plays beeps and flashes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser

from bench.receiver import Booking
from tests.e2e.conftest import DESKTOP, PHONE, WATCH, Visit, Visitor
from tests.e2e.test_page_layout import LOOK, SETTLED
from tests.fakes.caller import Caller
from tests.fakes.calls import CallDesk, served_desk
from tests.fakes.page_server import PageServer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

IS_SEEN = """() => {
  const video = document.getElementById("video");
  return video.videoWidth === 256 && video.getVideoPlaybackQuality().totalVideoFrames > 10;
}"""


async def link_of(booking: Booking) -> str:
    made = await booking.http.post(f"{booking.path}/viewer-tokens", headers=booking.headers)
    return str(made.json()["watch"])


@asynccontextmanager
async def watching(
    chromium: Browser, desk: CallDesk, path: str, size: tuple[int, int] = DESKTOP
) -> AsyncIterator[Visitor]:
    width, height = size
    context = await chromium.new_context(viewport={"width": width, "height": height})
    await context.add_init_script(WATCH)
    visitor = Visitor(await context.new_page(), PageServer(url=str(desk.http.base_url)))
    visitor.listen()
    await visitor.open(path)
    yield visitor
    complaints = await visitor.complained()
    await context.close()
    assert complaints == []


async def test_the_page_shows_the_call_and_its_end(chromium: Browser) -> None:
    async with served_desk() as desk:
        booking = await desk.booking("otto")
        async with Caller().connected(booking.answer):
            async with watching(chromium, desk, await link_of(booking), PHONE) as visitor:
                await visitor.until(IS_SEEN)
                await visitor.sees("#title", "Otto")
                await visitor.sees("#state", "Live")
                await visitor.until(SETTLED)
                assert await visitor.page.evaluate(LOOK) == []
                assert await visitor.axe() == []
                await visitor.page.reload()
                await visitor.until(IS_SEEN)
                await booking.end()
                await visitor.sees("#overlay-text", "This call has ended.")


async def test_a_link_that_was_made_up_says_so(chromium: Browser) -> None:
    async with served_desk() as desk:
        session = (await desk.booking()).created["id"]
        for path, words in [
            (f"/watch?session={session}#tmv_x", "This link does not work, or no longer."),
            (f"/watch?session={session}", "This link does not work, or no longer."),
            ("/watch?session=nobody#tmv_x", "This call has ended."),
        ]:
            async with watching(chromium, desk, path) as visitor:
                await visitor.sees("#overlay-text", words)


async def test_a_caller_copies_a_link_and_sees_how_many_watch(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit("avatar.viewers", viewers=2)
    await visitor.sees("#watching", "· 2 watching")
    await visitor.page.click("#settings-button")
    await visitor.page.click("#share")
    await visitor.until("() => document.getElementById('toast').innerText.includes('Link copied')")
    copied = await visitor.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{server.url}/watch?session={session.id}#tmv_test"
    session.emit("avatar.viewers", viewers=0)
    await visitor.page.locator("#watching").wait_for(state="hidden")
