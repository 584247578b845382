"""A call that is lost, found again, or ended: what the page does and says."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Visit, Visitor
from tests.fakes.graph import until
from tests.fakes.page_server import PageServer, PageSession

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

NO_NETWORK = "ERR_INTERNET_DISCONNECTED"


async def talked(visitor: Visitor, server: PageServer) -> PageSession:
    """A call in which a question was asked and answered."""
    await visitor.call()
    session = await server.session()
    session.hear_caller("i1", "Who are you?")
    session.begin_answer("r1", "I am Mira.", word_ms=1)
    session.end_answer("r1", "I am Mira.")
    await visitor.sees("#items .assistant.said p", "I am Mira.")
    return session


async def has_transcript(visitor: Visitor, selector: str = "#items") -> None:
    await visitor.sees(f"{selector} .user p", "Who are you?")
    await visitor.sees(f"{selector} .assistant p", "I am Mira.")


async def test_a_reload_goes_on_with_the_same_call(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    await visitor.page.reload()
    await visitor.is_live()
    await session.connected(offers=2)
    await has_transcript(visitor)
    assert len(server.sessions) == 1
    assert "sendrecv" in session.offer  # the microphone too: it was allowed before
    assert await visitor.page.locator("#call-title").text_content() == "Mira"


async def test_what_only_the_server_remembers_is_restored(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    session.items += [{"role": "user", "text": "Said while the page was away"}]
    await visitor.page.reload()
    await visitor.sees("#items .user p", "Said while the page was away")
    await has_transcript(visitor)


async def test_a_killed_connection_comes_back_by_itself(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    await session.drop()
    await session.connected(offers=2)
    await visitor.is_live()
    await has_transcript(visitor)
    await visitor.page.locator("#typed").fill("Are you there?")
    await visitor.page.locator("#send").click()
    await session.heard("response.create")


async def test_a_silent_network_is_noticed_and_outlived(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    await session.until(lambda s: s.num_beats > 4)
    loop = asyncio.get_running_loop()
    visitor.permitted.add(NO_NETWORK)
    await visitor.page.context.set_offline(True)
    session.is_deaf = True
    cut_at = loop.time()
    await visitor.sees("#state-text", "Reconnecting")
    assert loop.time() - cut_at == pytest.approx(1.5, abs=1.0)
    still = visitor.page.locator("#still")  # the last frame, not a black box
    await expect(still).not_to_have_class("still gone")
    await visitor.page.locator("#typed").fill("Do you hear me?")
    await visitor.page.keyboard.press("Enter")
    assert await visitor.page.locator("#typed").input_value() == "Do you hear me?"
    session.is_deaf = False
    await visitor.page.context.set_offline(False)
    await visitor.is_live()
    assert session.num_offers == 2
    await has_transcript(visitor)
    await expect(still).to_have_class("still gone")


async def test_a_network_that_stays_away_ends_the_call_with_its_transcript(
    visit: Visit, server: PageServer
) -> None:
    server.grace_s = 2
    visitor = await visit()
    session = await talked(visitor, server)
    visitor.permitted.add(NO_NETWORK)
    await visitor.page.context.set_offline(True)
    await session.drop()
    await expect(visitor.page.locator("#ended")).to_be_visible()
    await expect(visitor.page.locator("#ended-text")).to_contain_text("more than 2 seconds")
    await has_transcript(visitor, "#ended-items")
    await visitor.page.context.set_offline(False)
    await visitor.page.locator("#again").click()
    await visitor.is_live()
    assert len(server.sessions) == 2


async def test_a_call_that_the_server_forgot_is_not_resumed_for_ever(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    session.is_deleted = True
    await visitor.page.reload()
    await expect(visitor.page.locator("#ended")).to_be_visible()
    await expect(visitor.page.locator("#ended-text")).to_contain_text("does not know this call")
    await has_transcript(visitor, "#ended-items")
    await visitor.page.reload()
    await expect(visitor.page.locator("#lobby")).to_be_visible()


ENDINGS = {
    "idle": "Nobody said anything for 5 minutes",
    "time_limit": "its limit of 30 minutes",
    "replaced": "another window",
    "no_connection": "more than 30 seconds",
    "server_error": "Something failed on the server",
    "event_flood": "more messages than a call may",
    "shutdown": "The server is being stopped",
    "something_new": "The server ended the call (something_new).",
}


@pytest.mark.parametrize(("reason", "words"), ENDINGS.items(), ids=ENDINGS.keys())
async def test_an_end_says_why_and_offers_a_new_call(
    reason: str, words: str, visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    session.end(reason)
    await expect(visitor.page.locator("#ended-text")).to_contain_text(words)
    await has_transcript(visitor, "#ended-items")
    await visitor.page.locator("#again").click()
    await visitor.is_live()
    await expect(visitor.page.locator("#items li")).to_have_count(0)
    assert len(server.sessions) == 2


async def test_hanging_up_ends_the_session_on_the_server(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    session = await talked(visitor, server)
    await visitor.page.locator("#hang-up").click()
    await session.until(lambda s: s.is_deleted)
    await expect(visitor.page.locator("#ended-text")).to_have_text("You hung up.")
    focused = await visitor.page.evaluate("document.activeElement.id")
    assert focused == "ended-title"
    async with visitor.page.expect_download() as started:
        await visitor.page.locator("#ended [data-download=txt]").click()
    path = await (await started.value).path()
    assert "You: Who are you?" in path.read_text()
    await visitor.page.locator("#other").click()
    await expect(visitor.page.locator("#lobby")).to_be_visible()


async def test_a_full_server_is_waited_for_and_tried_again(
    visit: Visit, server: PageServer
) -> None:
    server.busy_for_s = 2
    visitor = await visit()
    await visitor.page.locator("#call-button:enabled").click()
    await expect(visitor.page.locator("#waiting-title")).to_have_text("All lines are busy")
    await visitor.sees("#waiting-seconds", "1")
    await server.refused(2)  # by itself, after what Retry-After asked for
    server.busy_for_s = 0
    await visitor.page.locator("#waiting-now").click()
    await visitor.is_live()


async def test_waiting_can_be_cancelled(visit: Visit, server: PageServer) -> None:
    server.busy_for_s = 1
    visitor = await visit()
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.page.locator("#waiting-cancel").click()
    await expect(visitor.page.locator("#lobby")).to_be_visible()
    refused = server.num_refused
    server.busy_for_s = 0
    await visitor.call()  # that there is one session shows that no retry was left behind
    assert len(server.sessions) == 1
    assert server.num_refused == refused


async def test_a_full_server_says_how_far_one_is_in_line(visit: Visit, server: PageServer) -> None:
    server.line = [2]
    visitor = await visit()
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.sees("#waiting-place", "You are number 2 in line, about a minute.")
    await expect(visitor.page.locator("#waiting-title")).to_have_text("All lines are busy")
    await expect(visitor.page.locator("#waiting-countdown")).to_be_hidden()
    await visitor.page.locator("#waiting-cancel").focus()
    await server.move_up(1)
    await visitor.sees("#waiting-place", "You are next, about a minute.")
    focused = await visitor.page.evaluate("document.activeElement.id")
    assert focused == "waiting-cancel"  # news do not take it away
    await server.move_up()
    await visitor.is_live()


async def test_who_cancels_gives_the_place_in_line_up(visit: Visit, server: PageServer) -> None:
    server.line = [1]
    visitor = await visit()
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.sees("#waiting-place", "You are next, about a minute.")
    await visitor.page.locator("#waiting-cancel").click()
    await expect(visitor.page.locator("#lobby")).to_be_visible()
    await until(lambda: server.num_gone == 1)
    server.line = []
    await visitor.call()
    assert len(server.sessions) == 1
