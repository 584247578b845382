"""A call on the page: joining, captions, the controls, the text box, latency and quality."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Visit
from tests.fakes.page_server import PageServer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

STAGES = [
    ("end of turn", 320.2),
    ("recognition", 121.3),
    ("chat and voice", 240.4),
    ("next chunk", 60.0),
    ("generation", 150.4),
    ("playout", 11.2),
]


async def test_a_click_leads_to_a_moving_face(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    await visitor.until("() => document.getElementById('video').videoWidth === 256")
    await visitor.until("() => document.getElementById('still').classList.contains('gone')")
    frames = "() => document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames"
    await visitor.until(f"(count) => ({frames})() > count + 5", await visitor.page.evaluate(frames))
    await expect(visitor.page.locator(".badge")).to_be_visible()
    await expect(visitor.page.locator("#state")).to_have_attribute("data-state", "idle")
    assert server.sessions[0].avatar == "mira"


async def test_the_portrait_stands_where_no_frame_has_come_yet(visit: Visit) -> None:
    hold_offer = """
    const real = fetch;
    window.fetch = (path, ...rest) =>
      path.endsWith("/call") ? new Promise(() => {}) : real(path, ...rest);"""
    visitor = await visit(script=hold_offer)
    await visitor.page.locator("#call-button:enabled").click()
    await visitor.sees("#state-text", "Connecting")
    brightness = """() => {
      const still = document.getElementById("still");
      const pixels = still.getContext("2d").getImageData(0, 0, still.width, still.height).data;
      return pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
    }"""
    await visitor.until(f"() => ({brightness})() > 100")


async def test_the_state_is_what_the_server_says(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    names = {
        "listening": "Listening",
        "thinking": "Thinking",
        "speaking": "Speaking",
        "idle": "Ready",
    }
    for state, shown in names.items():
        session.emit("avatar.state", state=state)
        await visitor.sees("#state-text", shown)
        await expect(visitor.page.locator("#state")).to_have_attribute("data-state", state)


async def test_words_appear_when_they_are_heard(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    await visitor.page.evaluate("""() => {
      window.seen = [];
      const said = document.getElementById("caption-said");
      new MutationObserver(() => {
        const words = [...said.children].filter((word) => !word.classList.contains("to-come"));
        if (words.length > (window.seen.at(-1)?.count ?? 0)) {
          window.seen.push({ count: words.length, at: performance.now() });
        }
      }).observe(said, { subtree: true, childList: true, attributes: true });
    }""")
    session.begin_answer("r1", "One two three four five", word_ms=400)
    await visitor.until("() => window.seen.at(-1)?.count === 5")
    seen = await visitor.page.evaluate("window.seen")
    assert [each["count"] for each in seen] == [1, 2, 3, 4, 5]
    for earlier, later in zip(seen, seen[1:], strict=False):
        assert later["at"] - earlier["at"] == pytest.approx(400, abs=120)


async def test_a_stopped_answer_shows_only_what_was_heard(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.begin_answer("r1", "One two three four five", word_ms=5000)
    await visitor.sees("#caption-said", "One")
    await visitor.page.keyboard.press("x")
    await session.heard("response.cancel")
    session.cut_answer("r1", "One")
    await visitor.sees("#items .assistant p", "One")
    await visitor.sees("#items .mark", "interrupted")
    await expect(visitor.page.locator("#caption-said")).to_be_hidden()


async def test_long_sentences_are_shown_in_pages_of_two_lines(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    sentence = " ".join(f"word{number}" for number in range(40))
    session.begin_answer("r1", sentence, word_ms=20)
    await visitor.until(
        "() => document.getElementById('caption-said').textContent.includes('word39')"
    )
    shown = await visitor.page.locator("#caption-said").text_content()
    assert shown is not None
    assert "word0 " not in shown
    assert len(shown) <= 100


async def test_the_caller_is_captioned_while_speaking(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit("input_audio_buffer.speech_started", item_id="i1")
    name = "conversation.item.input_audio_transcription.delta"
    for caption in ("what", "what is that"):
        session.emit(name, item_id="i1", transcript=caption)
        await visitor.sees("#caption-heard", caption)
    session.hear_caller("i1", "What is that?")
    await visitor.sees("#caption-heard", "What is that?")
    await visitor.sees("#items .user.said p", "What is that?")
    assert await visitor.page.locator("#items li").count() == 1


async def test_a_cough_leaves_no_trace(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit("input_audio_buffer.speech_started", item_id="i1")
    session.emit("conversation.item.input_audio_transcription.delta", item_id="i1", transcript="hm")
    await visitor.sees("#caption-heard", "hm")
    session.emit("avatar.speech_ignored", item_id="i1")
    await expect(visitor.page.locator("#caption-heard")).to_be_hidden()
    await expect(visitor.page.locator("#items li")).to_have_count(0)


async def test_captions_can_be_switched_off_and_stay_off(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    await visitor.page.keyboard.press("s")
    await expect(visitor.page.locator("#captions-toggle")).to_have_attribute(
        "aria-pressed", "false"
    )
    session.begin_answer("r1", "Nobody reads this", word_ms=1)
    await visitor.sees("#items .assistant p", "Nobody reads this")
    await expect(visitor.page.locator("#caption-said")).to_be_hidden()
    assert await visitor.page.locator("#caption-live").text_content() == ""
    await visitor.page.reload()
    await expect(visitor.page.locator("#captions-toggle")).to_have_attribute(
        "aria-pressed", "false"
    )


async def test_captions_grow_with_the_setting(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.begin_answer("r1", "Large letters", word_ms=1)
    await visitor.sees("#caption-said", "Large letters")
    height = "() => document.getElementById('caption-said').getBoundingClientRect().height"
    usual = await visitor.page.evaluate(height)
    await visitor.page.locator("#settings-button").click()
    await visitor.page.locator("#caption-size").select_option("huge")
    assert await visitor.page.evaluate(height) > 1.4 * usual


async def test_typed_text_is_sent_and_becomes_part_of_the_conversation(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    await visitor.page.keyboard.press("t")
    await visitor.page.keyboard.type("how are you, Mira? M, S and X are letters here")
    await visitor.page.keyboard.press("Enter")
    [item] = await session.heard("conversation.item.create")
    text = "how are you, Mira? M, S and X are letters here"
    assert item["item"]["content"] == [{"type": "input_text", "text": text}]
    await session.heard("response.create")
    assert [event["type"] for event in session.received] == [
        "conversation.item.create",
        "response.create",
    ]
    await visitor.sees("#items .user.pending p", text)
    session.take_typed(text)
    await visitor.sees("#items .user.said p", text)
    assert await visitor.page.locator("#items li").count() == 1


async def test_mute_silences_the_microphone_and_the_talk_button_opens_it(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    await session.until(lambda s: max(s.loudness, default=0) > 0.01)  # the device beeps
    await visitor.page.keyboard.press("m")
    await visitor.sees("#mute-label", "Muted")
    second_of_silence = [True] * 75
    await session.until(lambda s: [each < 1e-4 for each in s.loudness[-75:]] == second_of_silence)
    session.loudness.clear()
    await visitor.page.keyboard.down("Space")
    assert (await session.heard("avatar.push_to_talk"))[0]["pressed"] is True
    await expect(visitor.page.locator("#talk")).to_have_attribute("aria-pressed", "true")
    await session.until(lambda s: max(s.loudness, default=0) > 0.01)
    await visitor.page.keyboard.up("Space")
    assert (await session.heard("avatar.push_to_talk", 2))[1]["pressed"] is False
    await session.until(lambda s: [each < 1e-4 for each in s.loudness[-75:]] == second_of_silence)


async def test_the_talk_button_is_held_by_mouse_and_by_key(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    talk = visitor.page.locator("#talk")
    await talk.hover()
    await visitor.page.mouse.down()
    await session.heard("avatar.push_to_talk", 1)
    await visitor.page.mouse.up()
    await session.heard("avatar.push_to_talk", 2)
    await talk.focus()
    await visitor.page.keyboard.down("Enter")
    await session.heard("avatar.push_to_talk", 3)
    await visitor.page.keyboard.up("Enter")
    events = await session.heard("avatar.push_to_talk", 4)
    assert [event["pressed"] for event in events] == [True, False, True, False]


async def test_every_control_can_be_reached_and_used_by_keyboard(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    reached: list[str] = []
    for _ in range(16):
        await visitor.page.keyboard.press("Tab")
        reached.append(await visitor.page.evaluate("document.activeElement.id"))
    wanted = ["settings-button", "help-button", "quality-chip", "mute", "talk", "stop"]
    wanted += ["captions-toggle", "hang-up", "log", "typed", "send"]
    assert [each for each in reached if each in wanted][: len(wanted)] == wanted
    session.emit("avatar.state", state="speaking")
    await visitor.page.locator("#stop").focus()
    await visitor.page.keyboard.press("Enter")
    await session.heard("response.cancel")
    await visitor.page.keyboard.press("?")
    await expect(visitor.page.locator("#help")).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.page.locator("#help")).to_be_hidden()
    assert len(session.received) == 1  # that Escape closed the list, and stopped nobody
    await visitor.page.keyboard.press("Escape")
    await session.heard("response.cancel", 2)


async def test_single_keys_can_be_switched_off(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    await visitor.page.keyboard.press("?")
    await visitor.page.locator("#shortcuts").uncheck()
    await visitor.page.keyboard.press("Escape")
    await visitor.page.keyboard.press("m")
    await visitor.page.keyboard.press("d")
    await expect(visitor.page.locator("#mute-label")).to_have_text("Mute")
    await expect(visitor.page.locator("#debug")).to_be_hidden()


async def test_the_stages_shown_add_up_to_the_total_shown(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    await visitor.until("() => document.getElementById('quality-facts').children.length > 0")
    stages = [{"name": name, "ms": ms} for name, ms in STAGES]
    whole = sum(ms for _, ms in STAGES)
    session.emit("avatar.latency", response_id="r1", total_ms=whole, stages=stages)
    await visitor.page.locator("#latency-chip").click()
    names = await visitor.page.locator("#latency-bars .name").all_text_contents()
    assert names == [*(name for name, _ in STAGES), "network and jitter buffer"]
    shown = await visitor.page.locator("#latency-bars .ms").all_text_contents()
    parts = [int(each.removesuffix(" ms")) for each in shown]
    assert sum(parts[:-1]) == pytest.approx(whole, abs=3)
    text = await visitor.page.locator("#latency-sum").text_content()
    assert text is not None
    assert f"Together {sum(parts)} ms." in text
    chip = await visitor.page.locator("#latency-number").text_content()
    assert chip == f"{sum(parts) / 1000:.1f} s"


async def test_time_that_no_stage_accounts_for_is_shown_as_such(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit(
        "avatar.latency",
        response_id="r1",
        total_ms=500,
        stages=[{"name": "end of turn", "ms": 300}],
    )
    await visitor.page.locator("#latency-chip").click()
    await visitor.sees("#latency-bars .name", "not accounted for")
    await visitor.sees("#latency-bars .ms", "200 ms")


async def test_the_chip_says_why_the_picture_stutters(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    chip = visitor.page.locator("#quality-chip")
    await expect(chip).to_have_attribute("data-level", "good")
    session.emit("avatar.quality", fps=17.8, late_chunks=3, stalls=2, reason="server late")
    await expect(chip).to_have_attribute("data-level", "fair")
    await visitor.sees("#quality-text", "Fair: server late, 18 fps")


async def test_few_frames_are_noticed_by_the_page_itself(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.fps = 8
    chip = visitor.page.locator("#quality-chip")
    await expect(chip).to_have_attribute("data-level", "poor", timeout=15_000)
    await expect(visitor.page.locator("#quality-text")).to_contain_text("fps arrive")


READING = {"lossPercent": 0, "rttMs": 20, "jitterMs": 4, "fps": 25}


@pytest.mark.parametrize(
    ("changed", "server_says", "level", "reason"),
    [
        ({}, None, "good", ""),
        ({"fps": None, "rttMs": None, "jitterMs": None}, None, "good", ""),
        ({"lossPercent": 3}, None, "fair", "3 % of packets lost"),
        ({"lossPercent": 12}, None, "poor", "12 % of packets lost"),
        ({"rttMs": 300}, None, "fair", "slow network, 300 ms there and back"),
        ({"jitterMs": 120}, None, "poor", "uneven network, 120 ms jitter"),
        ({"fps": 20}, None, "fair", "only 20 fps arrive"),
        ({"fps": 9, "lossPercent": 3}, None, "poor", "3 % of packets lost"),
        ({"fps": 9}, {"fps": 9, "reason": "server late"}, "poor", "server late, 9 fps"),
        ({"rttMs": 300, "lossPercent": 9}, None, "poor", "9 % of packets lost"),
    ],
)
async def test_the_connection_is_judged_with_its_reason(
    visit: Visit,
    changed: dict[str, object],
    server_says: dict[str, object] | None,
    level: str,
    reason: str,
) -> None:
    visitor = await visit()
    verdict = await visitor.page.evaluate(
        "async ([reading, server]) => (await import('/web/stats.js')).judge(reading, server, 25)",
        [{**READING, **changed}, server_says],
    )
    assert verdict == {"level": level, "reason": reason}


async def test_the_connection_can_be_read_in_figures(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    await visitor.page.keyboard.press("d")
    debug = visitor.page.locator("#debug")
    await expect(debug).to_contain_text("256 by 256")
    await expect(debug).to_contain_text("video/VP8")
    await expect(debug).to_contain_text("host to host, udp")
    await expect(debug).to_contain_text(re.compile(r"There and back +\d+ ms"))


async def test_diagnostics_hold_figures_and_no_words(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.hear_caller("i1", "My name is Rumpelstiltskin")
    await visitor.sees("#items p", "My name is Rumpelstiltskin")
    await visitor.until("() => document.getElementById('quality-facts').children.length > 0")
    await visitor.page.locator("#quality-chip").click()
    await visitor.page.locator("#copy-diagnostics").click()
    await visitor.page.locator("#toast").wait_for()
    copied = json.loads(await visitor.page.evaluate("navigator.clipboard.readText()"))
    assert copied["session"] == session.id
    assert copied["connection"]["codec"] == "video/VP8"
    text = json.dumps(copied)
    for private in ("Rumpelstiltskin", "127.0.0.1", session.token, "Fake"):
        assert private not in text


@pytest.mark.parametrize("kind", ["txt", "vtt", "json"])
async def test_the_transcript_can_be_kept(
    kind: str, visit: Visit, server: PageServer, tmp_path: Path
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit("input_audio_buffer.speech_started", item_id="i1", t_ms=61_000)
    session.emit("input_audio_buffer.speech_stopped", item_id="i1", t_ms=62_500)
    name = "conversation.item.input_audio_transcription.completed"
    session.emit(name, item_id="i1", transcript="What is 1 < 2?", t_ms=63_000)
    words = [{"text": "Less.", "start_ms": 0, "end_ms": 700}]
    name = "response.output_audio_transcript.delta"
    session.emit(name, response_id="r1", delta="Less.", words=words, t_ms=64_000)
    name = "response.output_audio_transcript.done"
    session.emit(name, response_id="r1", transcript="Less.", t_ms=65_000)
    await visitor.sees("#items .assistant.said p", "Less.")
    await visitor.page.locator("#settings-button").click()
    async with visitor.page.expect_download() as started:
        await visitor.page.locator(f"#settings [data-download={kind}]").click()
    download = await started.value
    assert re.fullmatch(rf"call-mira-\d{{4}}-\d\d-\d\d\.{kind}", download.suggested_filename)
    path = tmp_path / kind
    await download.save_as(path)
    expected = {
        "txt": "[1:01] You: What is 1 < 2?\n[1:04] Mira: Less.\n",
        "vtt": "WEBVTT\n\n00:01:01.000 --> 00:01:02.500\n<v You>What is 1 &lt; 2?\n\n"
        "00:01:04.000 --> 00:01:05.000\n<v Mira>Less.\n",
    }
    if kind == "json":
        kept = json.loads(path.read_text())
        assert [(item["role"], item["text"], item["start_ms"]) for item in kept["items"]] == [
            ("user", "What is 1 < 2?", 61_000),
            ("assistant", "Less.", 64_000),
        ]
    else:
        assert path.read_text() == expected[kind]


async def test_sound_that_the_browser_blocks_waits_for_a_click(
    visit: Visit, server: PageServer
) -> None:
    block = """
    const real = HTMLMediaElement.prototype.play;
    HTMLMediaElement.prototype.play = function () {
      const isBlocked = !this.muted && !window.clicked && this.id === "video";
      return isBlocked ? Promise.reject(new DOMException("", "NotAllowedError")) : real.call(this);
    };"""
    visitor = await visit(script=block)
    await visitor.call()
    unlock = visitor.page.locator("#unlock")
    await unlock.wait_for()
    await visitor.until("() => !document.getElementById('video').paused")  # silent, but moving
    await visitor.page.evaluate("window.clicked = true")
    await unlock.click()
    await expect(unlock).to_be_hidden()
    assert await visitor.page.evaluate("document.getElementById('video').muted") is False


async def test_the_screen_stays_awake_during_a_call(visit: Visit, server: PageServer) -> None:
    count = """
    window.locks = 0;
    Object.defineProperty(navigator, "wakeLock", { value: { request: async (kind) => {
      window.locks += 1;
      return { release: async () => { window.locks -= 1; } };
    } } });"""
    visitor = await visit(script=count)
    await visitor.call()
    await visitor.until("() => window.locks === 1")
    await visitor.page.locator("#hang-up").click()
    await visitor.until("() => window.locks === 0")


async def test_the_time_is_counted_down_before_the_limit(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    left = visitor.page.locator("#left")
    await expect(left).to_be_hidden()
    session.emit("avatar.limit", limit="time_limit", seconds_left=30)
    await expect(left).to_have_text(re.compile(r"0:2\d left"))


async def test_an_idle_line_asks_whether_somebody_is_there(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit("avatar.limit", limit="idle", seconds_left=30)
    await visitor.page.get_by_role("button", name="I am still here").click()
    await session.heard("response.cancel")
    session.emit("avatar.limit", limit="idle", seconds_left=None)
    await expect(visitor.page.locator("#notices")).to_be_empty()
    await expect(visitor.page.locator("#left")).to_be_hidden()


async def test_headphones_are_advised_to_who_hears_an_echo(
    visit: Visit, server: PageServer
) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.begin_answer("r1", "The mirror is three thousand years old.", word_ms=1)
    session.hear_caller("i1", "What is your name?")
    await visitor.sees("#items .user p", "What is your name?")
    await expect(visitor.page.locator("#notices")).to_be_empty()
    session.hear_caller("i2", "mirror is three thousand years")
    await expect(visitor.page.locator("#notices")).to_contain_text("Headphones help")


async def test_who_speaks_is_said_as_soon_as_it_is_known(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    done = {"id": "r1", "status": "completed", "models": ["chat: llama3.2 at a server"]}
    session.emit("response.done", response=done)
    await visitor.page.locator("#settings-button").click()
    await visitor.sees("#call-models", "Who speaks: chat: llama3.2 at a server.")


async def test_a_problem_of_the_server_is_told(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.emit(
        "error", error={"type": "server_error", "code": "x", "message": "no model answers"}
    )
    await visitor.sees("#toast", "no model answers")


async def test_another_character_goes_on_with_the_call(visit: Visit, server: PageServer) -> None:
    visitor = await visit()
    await visitor.call()
    session = await server.session()
    session.begin_answer("r1", "I am the first.", word_ms=20)
    await visitor.page.locator("#settings-button").click()
    choice = visitor.page.locator("#swap")
    await expect(choice).to_have_value("mira")
    await choice.select_option("otto")
    [wish] = await session.heard("avatar.swap")
    assert wish["avatar"] == "otto"
    await visitor.sees("#call-title", "Mira")  # until it is so
    session.emit("avatar.swapped", avatar="otto")
    await visitor.sees("#call-title", "Otto")
    await visitor.page.keyboard.press("Escape")
    session.begin_answer("r2", "And I the second.", word_ms=20)
    names = visitor.page.locator("#items .item.assistant .who")
    await expect(names).to_have_text(["Mira", "Otto"])
