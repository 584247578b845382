"""How the page looks in every state: nothing cut, nothing covered, nothing that axe finds serious.

The pictures are in runs/screens/, to be looked at.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.conftest import DESKTOP, NARROW, PHONE, SCREENS, Visit, Visitor
from tests.e2e.test_page_call import STAGES
from tests.e2e.test_page_microphone import PROBLEMS
from tests.fakes.page_server import PageServer, PageSession

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

SIZES = {
    "desktop": DESKTOP,
    "laptop": (1024, 640),
    "phone": PHONE,
    "narrow": NARROW,
    "sideways": (844, 390),
    "tablet": (820, 1180),
}

SETTLED = """() => document.getAnimations().every((each) =>
  each.effect.getTiming().iterations === Infinity || each.playState === "finished")"""
LOOK = """() => {
  const name = (each) =>
    [each.tagName.toLowerCase(), each.id && `#${each.id}`, ...each.classList].join(" ");
  const box = (each) => each.getBoundingClientRect();
  const isShown = (each) => box(each).width > 1 &&
    each.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(isShown);
  const view = { right: document.documentElement.clientWidth, bottom: innerHeight };
  const found = [];
  const overlap = (one, other) => Math.min(box(one).right, box(other).right) -
      Math.max(box(one).left, box(other).left) > 1 &&
    Math.min(box(one).bottom, box(other).bottom) - Math.max(box(one).top, box(other).top) > 1;

  if (document.documentElement.scrollWidth > view.right) found.push("the page scrolls sideways");
  for (const each of all("main *, dialog[open] *, .masthead *")) {
    const { left, right } = box(each);
    if ((left < -1 || right > view.right + 1) && !each.closest(".ambience, pre, .unseen, svg"))
      found.push(`${name(each)} leaves the screen sideways`);
  }
  for (const each of all("button, .pill, .chip, .badge, h1, h2, .label, option, .caption, .item p"))
    if (each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0)
      found.push(`the text of ${name(each)} is cut`);
  for (const each of all("button, a, select, input:not([type=radio], [type=file]), summary")) {
    const { width, height } = box(each);
    if ((width < 24 || height < 24) && !each.closest("p, .check")) // links in text are exempt
      found.push(`${name(each)} is too small to hit: ${width} by ${height}`);
  }

  for (const each of all(".notices")) // a sheet leaves the text box and the controls free
    for (const other of all(".typing, .controls, .topbar, .badge"))
      if (overlap(each, other)) found.push(`the notice covers ${name(other)}`);

  const apart = [
    [".topbar", ".frame", ".controls", ".log", ".typing", ".notices"],
    [".topbar .who", "#state", "#latency-chip", "#settings-button", "#help-button"],
    [".badge", "#quality-chip", "#caption-heard", "#caption-said", "#overlay-button"],
    ["#mute", "#talk", "#stop", "#captions-toggle", "#hang-up"],
    [".cast", ".boarding", ".honest", ".lobby h1", ".lead"],
    ["#call-button", "#call-note", ".devices"],
  ];
  for (const group of apart) {
    const parts = group.flatMap(all);
    parts.forEach((one, index) => parts.slice(index + 1).forEach((other) => {
      const isFloating = [one, other].some((each) => getComputedStyle(each.closest(".start") ??
        each).position === "fixed"); // the phone's call button lies over what scrolls
      const isSheet = [one, other].some((each) => each.matches(".notices") &&
        getComputedStyle(each).position === "absolute"); // and its sheet over the picture
      if (overlap(one, other) && !isFloating && !isSheet)
        found.push(`${name(one)} and ${name(other)} overlap`);
    }));
  }

  if (document.body.dataset.view === "call") {
    if (document.documentElement.scrollHeight > view.bottom + 1) found.push("the call scrolls");
    for (const each of all(".topbar > *, .frame, .badge, .control, #typed, #send")) {
      const { top, bottom } = box(each);
      if (top < -1 || bottom > view.bottom + 1) found.push(`${name(each)} leaves the screen`);
    }
    const needed = ["mute", "talk", "stop", "captions-toggle", "hang-up", "typed", "send", "frame"];
    for (const id of needed)
      if (!isShown(document.getElementById(id))) found.push(`${id} is not shown`);
    const { width, height } = box(document.getElementById("frame"));
    const share = Math.max(width / view.right, height / view.bottom);
    if (share < 0.45) found.push(`the picture is small: ${Math.round(width)} px`);
    if (Math.abs(width / height - 1) > 0.02) found.push("the picture is distorted");
  }
  return [...new Set(found)];
}"""


async def look(visitor: Visitor, state: str) -> None:
    """Check and take a picture of this state in every size, light and dark."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    for size, (width, height) in SIZES.items():
        await visitor.page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark") if size in ("desktop", "phone") else ("light",):
            await visitor.page.emulate_media(color_scheme=scheme)
            await visitor.until(SETTLED)
            where = f"{state}-{size}-{scheme}"
            await visitor.page.screenshot(path=SCREENS / f"{where}.png")
            found += [f"{where}: {each}" for each in await visitor.page.evaluate(LOOK)]
            if size in ("desktop", "phone"):
                found += [f"{where}: axe: {each}" for each in await visitor.axe()]
    assert found == []


async def talk(session: PageSession) -> None:
    """A short conversation, in the middle of an answer."""
    session.hear_caller("i1", "Hello Mira. What is the oldest thing in your museum?")
    first = "The oldest thing here is a small bronze mirror, about three thousand years old."
    session.begin_answer("r1", first, word_ms=1)
    session.end_answer("r1", first)
    session.hear_caller("i2", "And who looked into it?")
    second = "Nobody knows her name, but she left a fingerprint in the clay"
    session.begin_answer("r2", second, word_ms=1)
    stages = [{"name": name, "ms": ms} for name, ms in STAGES]
    whole = sum(ms for _, ms in STAGES)
    session.emit("avatar.latency", response_id="r2", total_ms=whole, stages=stages)


async def in_call(visitor: Visitor, server: PageServer) -> PageSession:
    await visitor.call()
    session = await server.session()
    await visitor.until("() => document.getElementById('still').classList.contains('gone')")
    return session


async def speaking(visitor: Visitor, server: PageServer) -> None:
    session = await in_call(visitor, server)
    await talk(session)
    await visitor.page.locator("#latency-chip").wait_for()
    await visitor.until("() => document.getElementById('caption-said').innerText.includes('clay')")


async def listening(visitor: Visitor, server: PageServer) -> None:
    session = await in_call(visitor, server)
    session.emit("avatar.state", state="listening")
    name = "conversation.item.input_audio_transcription.delta"
    session.emit(name, item_id="i1", transcript="I was wondering whether you could tell me")
    await visitor.page.locator("#caption-heard").wait_for()


async def late(visitor: Visitor, server: PageServer) -> None:
    session = await in_call(visitor, server)
    session.emit("avatar.quality", fps=9.0, late_chunks=3, stalls=2, reason="server late")
    await visitor.page.locator("#quality-chip[data-level=poor]").wait_for()
    await visitor.page.keyboard.press("d")
    await visitor.page.locator("#quality-chip").click()


async def latency(visitor: Visitor, server: PageServer) -> None:
    await speaking(visitor, server)
    await visitor.page.locator("#latency-chip").click()


async def settings(visitor: Visitor, server: PageServer) -> None:
    await in_call(visitor, server)
    await visitor.page.locator("#settings-button").click()


async def shortcuts(visitor: Visitor, server: PageServer) -> None:
    await in_call(visitor, server)
    await visitor.page.keyboard.press("?")


async def reconnecting(visitor: Visitor, server: PageServer) -> None:
    await speaking(visitor, server)
    visitor.permitted.add("ERR_INTERNET_DISCONNECTED")
    await visitor.page.context.set_offline(True)
    await server.sessions[0].drop()
    await visitor.page.locator("#overlay-button").wait_for()


async def waiting(visitor: Visitor, server: PageServer) -> None:
    server.busy_for_s = 30
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.page.locator("#waiting").wait_for()


async def last_minute(visitor: Visitor, server: PageServer) -> None:
    session = await in_call(visitor, server)
    session.emit("avatar.limit", limit="time_limit", seconds_left=30)
    await visitor.page.locator("#left").wait_for()


async def idle(visitor: Visitor, server: PageServer) -> None:
    session = await in_call(visitor, server)
    session.emit("avatar.limit", limit="idle", seconds_left=30)
    await visitor.page.locator("#notices button").wait_for()


async def ended(visitor: Visitor, server: PageServer) -> None:
    await speaking(visitor, server)
    server.sessions[0].end("no_connection")
    await visitor.page.locator("#ended").wait_for()


async def lobby(visitor: Visitor, server: PageServer) -> None:
    await visitor.page.locator("#call-button:enabled").wait_for()
    await visitor.until("() => [...document.images].every((each) => each.complete)")


async def files(visitor: Visitor, server: PageServer) -> None:
    await visitor.page.locator("#to-files").click()


State = Callable[[Visitor, PageServer], Awaitable[None]]
STATES: list[State] = [
    lobby, listening, speaking, late, latency, settings, shortcuts, reconnecting, last_minute,
    idle, waiting, ended, files,
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_a_state_looks_right_in_every_size(
    state: State, visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await state(visitor, server)
    await look(visitor, state.__name__)


async def test_a_server_that_warms_up_looks_right(visit: Visit, server: PageServer) -> None:
    server.waiting_for = ["audio_llm", "audio_encoder", "score_worker", "vae_decoder", "gateway"]
    visitor = await visit()
    await visitor.page.locator(".character img").first.wait_for()
    await look(visitor, "warming")


@pytest.mark.parametrize("kind", PROBLEMS)
async def test_the_help_for_a_microphone_looks_right(
    kind: str, visit: Visit, server: PageServer
) -> None:
    visitor = await visit(script=PROBLEMS[kind][0])
    await in_call(visitor, server)
    await look(visitor, f"microphone-{kind}")


async def test_a_call_that_is_being_connected_looks_right(visit: Visit) -> None:
    never = "navigator.mediaDevices.__proto__.getUserMedia = () => new Promise(() => {});"
    visitor = await visit(script=never)
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.page.locator("#overlay-button").wait_for()
    await look(visitor, "asking")


async def test_blocked_sound_looks_right(visit: Visit, server: PageServer) -> None:
    block = """HTMLMediaElement.prototype.play = function () {
      return Promise.reject(new DOMException("", "NotAllowedError")); };"""
    visitor = await visit(script=block)
    await visitor.call()
    await visitor.page.locator("#unlock").wait_for()
    await look(visitor, "blocked")


MISTAKES: dict[str, tuple[str, str]] = {
    "sideways": ("#stop { min-width: 200vw; }", "sideways"),
    "covered": (".controls { margin-top: -9rem; }", "overlap"),
    "cut": (
        "#state { width: 3rem !important; min-width: 0 !important; overflow: hidden; }",
        "is cut",
    ),
    "tiny": ("#send { width: 10px; height: 10px; min-height: 0; }", "too small"),
    "gone": ("#hang-up { visibility: hidden; }", "hang-up is not shown"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_in_the_layout_is_found(
    mistake: str, visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await speaking(visitor, server)
    assert await visitor.page.evaluate(LOOK) == []
    rules, complaint = MISTAKES[mistake]
    await visitor.page.evaluate(
        """(rules) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(rules);
      document.adoptedStyleSheets = [sheet];
    }""",
        rules,
    )
    found: list[Any] = await visitor.page.evaluate(LOOK)
    assert any(complaint in each for each in found), found


async def test_axe_finds_what_cannot_be_read(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await lobby(visitor, server)
    assert await visitor.axe() == []
    await visitor.page.evaluate("document.querySelector('.lead').style.color = '#cccccc'")
    await visitor.page.evaluate("document.getElementById('microphone').labels[0].remove()")
    found = await visitor.axe()
    assert any(each.startswith("color-contrast") for each in found)
    assert any(each.startswith("select-name") for each in found)


async def test_forced_colours_leave_everything_to_be_seen(visit: Visit, server: PageServer) -> None:
    visitor = await visit(forced_colors="active")
    await speaking(visitor, server)
    SCREENS.mkdir(parents=True, exist_ok=True)
    await visitor.page.screenshot(path=SCREENS / "forced-colours.png")
    assert await visitor.page.evaluate(LOOK) == []
    width = "(id) => getComputedStyle(document.querySelector(`#${id} .disc`)).borderTopWidth"
    assert await visitor.page.evaluate(width, "stop") == "1px"
    assert await visitor.page.evaluate(width, "captions-toggle") == "4px"  # it is pressed


async def test_nothing_moves_for_who_asked_for_stillness(visit: Visit) -> None:
    visitor = await visit(reduced_motion="reduce")
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.page.locator("#call").wait_for()
    moving = "document.getAnimations().filter((each) => each.playState === 'running').length"
    assert await visitor.page.evaluate(moving) == 0
