"""Before the call: who can be called, whether, and what the page promises."""

import re

import pytest
from playwright.async_api import expect

from avatar.cast.characters import CAST
from tests.e2e.conftest import ROOT, Visit
from tests.fakes.page_server import MODELS, PageServer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_the_character_that_was_chosen_is_called_and_remembered(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.page.locator(".character", has_text="Zuri").click()
    await visitor.sees("#call-label", "Call Zuri")
    await visitor.page.reload()
    await visitor.sees("#call-label", "Call Zuri")
    await visitor.call()
    assert server.sessions[0].avatar == "zuri"


async def test_the_cast_is_chosen_by_arrow_keys(visit: Visit) -> None:
    visitor = await visit()
    await visitor.page.locator("input[name=avatar]:checked").focus()
    await visitor.page.keyboard.press("ArrowRight")
    await visitor.sees("#call-label", "Call Otto")


async def test_a_server_that_warms_up_says_what_it_waits_for(
    visit: Visit, server: PageServer
) -> None:
    server.waiting_for = ["audio_llm", "score_worker"]
    visitor = await visit()
    warming = "Warming up: hearing, thinking and the voice, the face …"
    await visitor.sees("#readiness-text", warming)
    await expect(visitor.page.locator("#call-button")).to_be_disabled()
    await visitor.sees("#call-label", "Getting ready …")
    server.waiting_for = []
    await visitor.sees("#readiness-text", "Ready")
    await expect(visitor.page.locator("#call-button")).to_be_enabled()


async def test_who_speaks_is_said_and_how_to_change_it(visit: Visit) -> None:
    visitor = await visit()
    for model in MODELS:
        await expect(visitor.page.locator("#models")).to_contain_text(model)
    await expect(visitor.page.locator("#models")).to_contain_text("often wrong")
    text = await visitor.page.locator(".honest").inner_text()
    section = re.search("README, “(.+)”", text)
    assert section is not None
    assert f"### {section[1]}" in (ROOT / "README.md").read_text()


async def test_portraits_come_alive_where_the_server_has_previews(
    visit: Visit, server: PageServer
) -> None:
    server.has_previews = True
    visitor = await visit()
    characters = visitor.page.locator(".character")
    await expect(characters).to_have_count(len(CAST))
    for character in await characters.all():  # they are in three rows: not all seen at once
        await character.scroll_into_view_if_needed()  # what is not seen does not move
        await expect(character).to_contain_class("lives")


TOGETHER = """
window.IntersectionObserver = class {
  constructor(heard) { this.heard = heard; }
  observe(target) {
    const crossings = [{ isIntersecting: false, target }, { isIntersecting: true, target }];
    setTimeout(() => this.heard(crossings, this));
  }
};
"""


async def test_a_busy_page_that_hears_of_two_crossings_at_once_goes_by_the_last(
    visit: Visit, server: PageServer
) -> None:
    server.has_previews = True
    visitor = await visit(script=TOGETHER)
    await expect(visitor.page.locator(".character.lives")).to_have_count(len(CAST))


async def test_portraits_stand_still_for_who_asked_for_it(visit: Visit, server: PageServer) -> None:
    server.has_previews = True
    visitor = await visit(reduced_motion="reduce")
    await visitor.page.locator("#call-button:enabled").wait_for()
    await expect(visitor.page.locator(".character img")).to_have_count(len(CAST))
    await expect(visitor.page.locator(".character video")).to_have_count(0)


async def test_a_video_file_can_still_be_made(visit: Visit) -> None:
    visitor = await visit()
    await visitor.page.locator("#to-files").click()
    await expect(visitor.page.locator("#files")).to_be_visible()
    await expect(visitor.page.locator("#file-avatar option")).to_have_count(len(CAST))
    await visitor.page.locator("#file-text").fill("Good morning.")
    await visitor.page.route(
        "**/v1/say", lambda route: route.fulfill(status=422, json={"detail": "no"})
    )
    async with visitor.page.expect_request("**/v1/say") as asked:
        await visitor.page.locator("#say").click()
    assert (await asked.value).post_data_json == {"avatar": "mira", "text": "Good morning."}
    await visitor.sees("#progress", "no")
    await visitor.page.get_by_text("Back to the call page").click()
    await expect(visitor.page.locator("#lobby")).to_be_visible()


async def test_the_page_asks_nobody_but_its_server(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    await visitor.page.reload()
    await visitor.call()
    foreign = [url for url in asked if not url.startswith((server.url, "blob:"))]
    assert foreign == []


async def test_a_server_that_asks_for_a_key_is_given_one(visit: Visit, server: PageServer) -> None:
    server.key = "tm_good"
    visitor = await visit()
    visitor.permitted.add("401")
    page = visitor.page
    await page.locator("#call-button:enabled").click()
    await visitor.sees("#access-title", "This server asks for a key")
    await expect(page.locator("#access-problem")).to_be_hidden()
    assert await visitor.axe() == []
    await page.locator("#access-key").fill("tm_bad")
    await page.keyboard.press("Enter")
    await visitor.sees("#access-problem", "The server does not know this key, or it has run out.")
    await page.locator("#access-key").fill(" tm_good ")
    await page.locator("#access-form button").click()
    await visitor.is_live()
    kept = "JSON.stringify({ ...localStorage }).includes('tm_good')"
    assert not await page.evaluate(kept)
    await page.locator("#hang-up").click()
    await page.locator("#again").click()  # it is asked for once a tab
    await visitor.is_live()


async def test_who_has_no_key_is_back_in_the_lobby(visit: Visit, server: PageServer) -> None:
    server.key = "tm_good"
    visitor = await visit()
    visitor.permitted.add("401")
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.page.locator("#access [data-close]").click()
    await visitor.sees("#lobby-title", "Who would you like to call?")
    assert server.sessions == []


async def test_a_key_in_the_address_is_used_and_taken_out_of_it(
    visit: Visit, server: PageServer
) -> None:
    server.key = "tmt_token.of_somebody"
    visitor = await visit(path=f"/#key={server.key}")
    await visitor.call()
    assert visitor.page.url == f"{server.url}/"
