"""Microphones that do not work: each has its own help, and the call goes on by text."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Visit
from tests.fakes.page_server import PageServer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

FAILS = """
const media = Object.getPrototypeOf(navigator.mediaDevices);
const open = media.getUserMedia;
media.getUserMedia = function (...wanted) {{
  return window.mended ? open.apply(this, wanted) : Promise.reject(new DOMException("", "{name}"));
}};"""
INSECURE = """
Object.defineProperty(window, "isSecureContext", { value: false });
Object.defineProperty(navigator, "mediaDevices", { value: undefined });"""

PROBLEMS = {
    "denied": (FAILS.format(name="NotAllowedError"), "The microphone is not allowed"),
    "missing": (FAILS.format(name="NotFoundError"), "No microphone was found"),
    "busy": (FAILS.format(name="NotReadableError"), "Another program holds the microphone"),
    "insecure": (INSECURE, "This address is not secure enough for a microphone"),
}
AGENTS = {
    "Chrome or Edge": "Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "Firefox": "Mozilla/5.0 (X11; Linux; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Safari": "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
}


@pytest.mark.parametrize("kind", PROBLEMS)
async def test_each_problem_has_its_help_and_the_call_goes_on_by_text(
    kind: str, visit: Visit, server: PageServer
) -> None:
    script, title = PROBLEMS[kind]
    visitor = await visit(script=script)
    await visitor.call()
    session = await server.session()
    help = visitor.page.locator("#notices .help")
    await expect(help).to_have_attribute("data-kind", kind)
    await expect(help.locator("h2")).to_have_text(title)
    assert "a=recvonly" in session.offer
    assert "a=sendrecv" not in session.offer.split("m=video")[0].split("m=audio")[1]
    await help.get_by_text("Go on by text").click()
    await expect(help).to_have_count(0)
    await visitor.page.keyboard.type("I type then")  # the text box has the focus
    await visitor.page.keyboard.press("Enter")
    [item] = await session.heard("conversation.item.create")
    assert item["item"]["content"][0]["text"] == "I type then"
    session.take_typed("I type then")
    session.begin_answer("r1", "And I talk.", word_ms=1)
    await visitor.sees("#items .assistant p", "And I talk.")


@pytest.mark.parametrize("browser", AGENTS)
async def test_the_first_step_is_for_the_browser_in_use(browser: str, visit: Visit) -> None:
    visitor = await visit(script=PROBLEMS["denied"][0], user_agent=AGENTS[browser])
    await visitor.call()
    first = visitor.page.locator("#notices .help > p strong")
    await expect(first).to_have_text(f"{browser}: ")
    await visitor.page.locator("#notices summary").click()
    others = visitor.page.locator("#notices details strong")
    assert sorted(await others.all_text_contents()) == sorted(
        f"{name}: " for name in AGENTS if name != browser
    )


async def test_the_four_helps_differ(visit: Visit) -> None:
    visitor = await visit()
    texts = await visitor.page.evaluate(
        """async (kinds) => {
      const { microphoneHelp } = await import("/web/problems.js");
      return kinds.map((kind) => microphoneHelp(kind, {}).textContent);
    }""",
        list(PROBLEMS),
    )
    assert len(set(texts)) == len(PROBLEMS)


async def test_a_microphone_that_is_mended_joins_the_call(visit: Visit, server: PageServer) -> None:
    visitor = await visit(script=PROBLEMS["denied"][0])
    await visitor.call()
    session = await server.session()
    await visitor.sees("#mute-label", "No mic")
    await visitor.page.evaluate("window.mended = true")
    await visitor.page.locator("#notices button", has_text="Try again").click()
    await session.connected(offers=2)
    await session.until(lambda s: max(s.loudness, default=0) > 0.01)
    await visitor.sees("#mute-label", "Mute")
    assert len(server.sessions) == 1


async def test_a_question_that_nobody_answers_can_be_passed_by(
    visit: Visit, server: PageServer
) -> None:
    never = """
    Object.getPrototypeOf(navigator.mediaDevices).getUserMedia = () => new Promise(() => {});"""
    visitor = await visit(script=never)
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.page.get_by_role("button", name="Go on by text").click()
    await visitor.is_live()
    session = await server.session()
    assert "a=sendrecv" not in session.offer


async def test_another_microphone_takes_over_during_the_call(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    await visitor.page.locator("#settings-button").click()
    options = visitor.page.locator("#settings #microphone option")
    names = await options.all_text_contents()
    assert names[0] == "System default"
    assert len(names) > 2
    await visitor.page.locator("#microphone").select_option(label=names[-1])
    session.loudness.clear()
    await session.until(lambda s: max(s.loudness, default=0) > 0.01)
    assert session.num_offers == 1  # in place, without a new connection
    await visitor.page.keyboard.press("Escape")
    await visitor.page.locator("#hang-up").click()
    await visitor.page.locator("#other").click()
    chosen = visitor.page.locator("#lobby #microphone option:checked")
    await expect(chosen).to_have_text(names[-1])
    await visitor.page.reload()
    await expect(visitor.page.locator("#lobby #microphone option:checked")).to_have_text(names[-1])


async def test_the_microphone_can_be_tested_before_the_call(visit: Visit) -> None:
    visitor = await visit()
    await visitor.page.locator("#check-microphone").click()
    loud = "() => Number(document.getElementById('meter').getAttribute('aria-valuenow')) > 20"
    await visitor.until(loud)
    await visitor.page.locator("#check-microphone").click()
    await expect(visitor.page.locator("#meter")).to_have_attribute("aria-valuenow", "0")


async def test_a_failed_test_before_the_call_is_helped_too(visit: Visit) -> None:
    visitor = await visit(script=PROBLEMS["missing"][0])
    await visitor.page.locator("#check-microphone").click()
    await visitor.sees("#lobby-help h2", "No microphone was found")


async def test_nobody_is_asked_for_a_microphone_before_the_call(visit: Visit) -> None:
    count = """
    window.asked = 0;
    const media = Object.getPrototypeOf(navigator.mediaDevices);
    const open = media.getUserMedia;
    media.getUserMedia = function (...wanted) {
      window.asked += 1;
      return open.apply(this, wanted);
    };"""
    visitor = await visit(script=count)
    await visitor.page.locator("#call-button:enabled").wait_for()
    assert await visitor.page.evaluate("window.asked") == 0
    await visitor.call()
    assert await visitor.page.evaluate("window.asked") == 1
