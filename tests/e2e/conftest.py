"""A headless Chromium, pages in it that fail a test when they complain, and the real graph."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from bench.server import Server
from scripts.setup import find_chromium
from tests.fakes.openai_server import FakeOpenAI, running_openai
from tests.fakes.page_server import PageServer, page_server

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "tests" / "data" / "axe" / "axe.min.js"
SCREENS = ROOT / "runs" / "screens"

FLAGS = [
    "--no-sandbox",  # of a container's root; nothing but our own page is opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # its microphone beeps once a second
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]
REFUSED = "Failed to load resource"
"""What Chromium writes about every answer above 399, also about those that are expected."""
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""
DESKTOP = (1280, 800)
PHONE = (390, 844)
NARROW = (320, 640)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium; in CI a missing one is a failure."""
    path = find_chromium()
    if path is None:
        reason = "no Chromium: sudo apt-get install chromium"
        if os.getenv("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[PageServer]:
    async with page_server() as running:
        yield running


@dataclass
class Visitor:
    """Somebody with a browser at the page."""

    page: Page
    server: PageServer
    complaints: list[str] = field(default_factory=list)
    permitted: set[str] = field(default_factory=lambda: {REFUSED})

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.server.url + path)

    async def call(self) -> None:
        """Press the call button, and be in the call."""
        await self.page.locator("#call-button:enabled").click()
        await self.is_live()

    async def is_live(self) -> None:
        await self.page.locator("#call[data-phase=live]").wait_for()

    async def sees(self, selector: str, text: str) -> None:
        """Wait until an element of this selector shows exactly this text."""
        shows = """([selector, text]) => [...document.querySelectorAll(selector)].some(
          (each) => each.checkVisibility() && each.innerText.trim() === text)"""
        await self.until(shows, [selector, text])

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait until a JavaScript condition holds on the page."""
        await self.page.wait_for_function(condition, arg=argument, timeout=20_000)

    async def axe(self) -> list[str]:
        """What axe-core finds serious or critical, and where."""
        await self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = await self.page.evaluate(
            "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
        )
        return [
            f"{each['id']}: {node['html']} {node['failureSummary']}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    async def complained(self) -> list[str]:
        """Console errors, exceptions, and violations of the security policy."""
        violations: list[str] = await self.page.evaluate("window.violations ?? []")
        return [*self.complaints, *violations]

    def listen(self) -> None:
        def on_console(message: ConsoleMessage) -> None:
            is_permitted = any(each in message.text for each in self.permitted)
            if message.type in ("error", "warning") and not is_permitted:
                self.complaints.append(f"{message.type}: {message.text}")

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))


Visit = Callable[..., Awaitable[Visitor]]


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser, server: PageServer) -> AsyncIterator[Visit]:
    """Opens pages; `script` runs in them first, other options are Playwright's of a context."""
    visitors: list[Visitor] = []

    async def open_page(
        *, size: tuple[int, int] = DESKTOP, script: str = "", path: str = "/", **options: Any
    ) -> Visitor:
        width, height = size
        options.setdefault("permissions", ["microphone", "clipboard-read", "clipboard-write"])
        context = await chromium.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True, **options
        )
        context.set_default_timeout(20_000)
        await context.add_init_script(WATCH + script)
        visitor = Visitor(await context.new_page(), server)
        visitor.listen()
        visitors.append(visitor)
        await visitor.open(path)
        return visitor

    yield open_page
    complaints = [each for visitor in visitors for each in await visitor.complained()]
    for visitor in visitors:
        await visitor.page.context.close()
    assert complaints == []


@pytest.fixture(scope="package")
def graph() -> Iterator[Server]:
    """`make run` on free ports: five Ray deployments with the shipped weights and models."""
    with Server() as running:
        yield running


@dataclass(frozen=True)
class MarkedGraph:
    """The graph in the marker profile, in one process; `model` is its chat server."""

    server: Server
    model: FakeOpenAI


@pytest.fixture(scope="package")
def marked() -> Iterator[MarkedGraph]:
    with running_openai() as model:
        environment = {
            "PROFILE": "marker",
            "RUNTIME": "inproc",
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "none",
            "OPENAI_CHAT_MODEL": "fake",
        }
        with Server(environment) as running:
            yield MarkedGraph(running, model)
