"""Live conversations with a speech-to-speech model, against a server that checks the protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.cast.characters import character_of
from avatar.media import SPEECH_RATE, AudioChunk, TurnKind, Word
from avatar.speech.remote import ModelServer
from avatar.speech.vad import WINDOW
from services.audio_llm.realtime import RealtimeLive
from tests.fakes.live_edge import Caller, calls
from tests.fakes.realtime_server import KEY, MODEL, RATE, FakeRealtime, realtime_server, spoken

pytestmark = pytest.mark.integration

ANSWER = "The sea covers most of the earth. Nobody has seen all of it, and nobody will."
LIMIT_S = 20.0


def voice(seconds: float, hertz: float = 440.0) -> NDArray[np.float32]:
    """Somebody speaks, as (N, 512) samples."""
    times = np.arange(round(seconds * SPEECH_RATE / WINDOW) * WINDOW) / SPEECH_RATE
    return (0.2 * np.sin(2 * np.pi * hertz * times)).astype(np.float32).reshape(-1, WINDOW)


def backend_for(server: FakeRealtime, key: str = KEY, model: str = MODEL) -> RealtimeLive:
    remote = ModelServer(server.base_url, model, key, timeout_s=5.0)
    return RealtimeLive(remote, "", "writing-model", max_reply_s=60.0)


@asynccontextmanager
async def one_call() -> AsyncIterator[tuple[Caller, FakeRealtime]]:
    async with realtime_server() as server, asyncio.timeout(LIMIT_S):
        async with calls(backend_for(server)) as (caller,):
            await caller.until(lambda c: is_heard(server))
            yield caller, server


def is_heard(server: FakeRealtime) -> bool:
    return bool(server.sessions and server.session.of_kind("input_audio_buffer.append"))


async def so(is_so: Callable[[], bool]) -> None:
    """Wait for something that crosses a socket."""
    while not is_so():  # noqa: ASYNC110  what is watched has no event to wait for
        await asyncio.sleep(0)


async def ask(caller: Caller, seconds: float = 0.8) -> None:
    """Say something, and be silent until the server takes it for a question."""
    num_asked = len(caller.told("speech_stopped"))
    await caller.speak(voice(seconds))
    await caller.until(lambda c: len(c.told("speech_stopped")) > num_asked)


async def told(caller: Caller, kind: TurnKind, number: int = 1) -> None:
    await so(lambda: len(caller.told(kind)) >= number)


def sound_of(caller: Caller) -> NDArray[np.float32]:
    pieces = [each for each in caller.events if isinstance(each, AudioChunk)]
    assert all(piece.sample_rate == RATE for piece in pieces)
    return np.concatenate([piece.samples for piece in pieces])


def words_of(caller: Caller) -> list[Word]:
    """Each word that was told, in seconds since the answer began to sound."""
    words: list[Word] = []
    at_s = 0.0
    for each in caller.events:
        if isinstance(each, AudioChunk):
            at_s += len(each.samples) / each.sample_rate
        elif each.kind == "reply":
            words += [Word(w.text, at_s + w.start_s, at_s + w.end_s) for w in each.words]
    return words


def sounds_after(caller: Caller, kind: str) -> int:
    kinds = caller.kinds()
    return kinds[kinds.index(kind) :].count("sound")


async def test_a_spoken_question_is_answered_with_sound_and_its_words() -> None:
    async with one_call() as (caller, server):
        server.answer = lambda question: ANSWER
        server.hears = ["How big is the sea?"]
        await ask(caller)
        await told(caller, "end_of_reply")
        kinds = caller.kinds()
        in_order = [kinds.index(k) for k in ("speech_started", "speech_stopped", "reply", "sound")]
        assert in_order == sorted(in_order)
        assert caller.texts("transcript") == ["How big is the sea?"]
        assert caller.texts("caption")[-1] == "How big is the sea?"
        assert " ".join(caller.texts("reply")) == ANSWER
        assert caller.texts("end_of_reply") == [f"{MODEL} (127.0.0.1)"]
        expected, words = spoken(ANSWER)
        np.testing.assert_allclose(sound_of(caller), expected, atol=1e-4)
        late = [abs(a.end_s - b.end_s) for a, b in zip(words_of(caller), words, strict=True)]
        assert max(late) < 0.5
        assert 0.3 < caller.told("speech_stopped")[0].seconds < 0.7


async def test_the_model_hears_the_microphone_as_it_is() -> None:
    async with one_call() as (caller, server):
        await ask(caller, seconds=1.0)
        item = server.session.items[0]
        assert item.sound.size / RATE == pytest.approx(1.65, abs=0.2)  # with silence on both sides
        spectrum = np.abs(np.fft.rfft(item.sound))
        loudest_hz = np.argmax(spectrum) * RATE / item.sound.size
        assert loudest_hz == pytest.approx(440, abs=3)
        assert np.max(np.abs(item.sound)) == pytest.approx(0.2, abs=0.03)


async def test_the_character_is_the_models_persona() -> None:
    async with one_call() as (_, server):
        settings = server.session.settings
        assert settings["instructions"] == character_of("mira").persona
        assert settings["audio"]["output"]["voice"] == "marin"
        assert settings["audio"]["input"]["transcription"] == {"model": "writing-model"}


async def test_another_character_is_told_to_the_model_in_the_same_conversation() -> None:
    async with one_call() as (caller, server):
        await caller.say("prompt", "What is a tide?")
        await caller.until(Caller.has_heard_out)
        await caller.say("character", "otto")
        await caller.say("prompt", "And an ebb?")
        await caller.until(lambda c: c.kinds().count("end_of_reply") == 2)
        assert server.session.settings["instructions"] == character_of("otto").persona
        assert server.session.settings["audio"]["output"]["voice"] == "marin"  # it stays
        assert server.session.conversation[0] == ("user", "What is a tide?")


async def test_a_typed_question_is_answered() -> None:
    async with one_call() as (caller, server):
        await caller.say("prompt", "What is a tide?")
        await told(caller, "end_of_reply")
        assert " ".join(caller.texts("reply")) == "You said: What is a tide?"
        await caller.until(Caller.has_heard_out)
        answer = ("assistant", "You said: What is a tide?")
        assert server.session.conversation == [("user", "What is a tide?"), answer]


async def test_a_text_is_said_as_it_stands_and_then_known_to_the_conversation() -> None:
    async with one_call() as (caller, server):
        await caller.say("text", "Good morning, everyone.")
        await told(caller, "end_of_reply")
        assert " ".join(caller.texts("reply")) == "Good morning, everyone."
        assert server.session.conversation == []
        await caller.until(Caller.has_heard_out)
        await so(lambda: bool(server.session.conversation))
        assert server.session.conversation == [("assistant", "Good morning, everyone.")]


async def test_who_interrupts_cuts_the_answer_to_the_words_that_were_heard() -> None:
    async with one_call() as (caller, server):
        server.answer = lambda question: ANSWER
        await caller.say("prompt", "How big is the sea?")
        await told(caller, "end_of_reply")
        await caller.until(lambda c: len(c.heard.split()) >= 5)
        server.hears, server.answer = ["And how deep?"], lambda question: "Very deep."
        await ask(caller)
        await told(caller, "end_of_reply", 2)
        heard = caller.heard_of_answers[0]
        assert 5 <= len(heard.split()) < len(ANSWER.split())
        [truncate] = server.session.of_kind("conversation.item.truncate")
        end_s = spoken(ANSWER)[1][len(heard.split()) - 1].end_s
        assert truncate["audio_end_ms"] == pytest.approx(1000 * end_s, abs=300)
        assert caller.texts("barge_in") == [""]
        after = [e for e in caller.events if e.stamp.epoch == 1 and isinstance(e, AudioChunk)]
        num_told = sum(each.samples.size for each in after)
        assert num_told == spoken("Very deep.")[0].size
        roles = [role for role, _ in server.session.conversation]
        assert roles == ["user", "assistant", "user", "assistant"]


async def test_an_answer_that_is_being_made_is_broken_off() -> None:
    async with one_call() as (caller, server):
        server.stops_after_s, server.answer = 1.5, lambda question: ANSWER
        await caller.say("prompt", "How big is the sea?")
        await caller.heard_kind("sound")
        await caller.until(lambda c: len(c.heard.split()) >= 2)
        heard = await caller.interrupt()
        await so(lambda: bool(server.session.cancelled))
        await so(lambda: bool(server.session.of_kind("conversation.item.truncate")))
        [truncate] = server.session.of_kind("conversation.item.truncate")
        end_s = spoken(ANSWER)[1][len(heard.split()) - 1].end_s
        assert truncate["audio_end_ms"] == pytest.approx(1000 * end_s, abs=300)
        num_events = len(caller.events)
        server.go_on.set()
        server.stops_after_s = None
        await caller.say("prompt", "And the sky?")
        await told(caller, "end_of_reply")
        assert " ".join(caller.texts("reply")[-1:]) == ANSWER.rpartition(". ")[2]
        assert {e.stamp.epoch for e in caller.events[num_events:]} == {1}


async def test_an_answer_of_which_nothing_was_heard_is_forgotten() -> None:
    async with one_call() as (caller, server):
        caller.plays = False
        await caller.say("prompt", "What is a tide?")
        await told(caller, "end_of_reply")
        await caller.interrupt()
        await so(lambda: len(server.session.conversation) == 1)
        assert server.session.conversation == [("user", "What is a tide?")]


async def test_nothing_is_answered_between_an_interruption_and_what_was_heard() -> None:
    async with realtime_server() as server, asyncio.timeout(LIMIT_S):
        async with calls(backend_for(server), reaction=10_000) as (caller,):
            await caller.until(lambda c: is_heard(server))
            await caller.say("prompt", "What is a tide?")
            await told(caller, "end_of_reply")
            await caller.until(lambda c: c.is_playing)
            server.hears = ["Stop, what is a wave?"]
            await ask(caller)
            await so(lambda: len(server.session.items) == 4)
            await so(lambda: server.session.items[-1].sound.size > 0)
            await caller.be_silent(1.0)
            assert caller.kinds()[caller.kinds().index("barge_in") :].count("reply") == 0
            await caller.interrupt()
            await told(caller, "end_of_reply", 2)
            assert caller.told("reply")[-1].stamp.epoch == 1


async def test_the_talk_button_takes_the_place_of_the_silence() -> None:
    async with one_call() as (caller, server):
        server.hears = ["One long question"]
        await caller.say("hold_turn")
        await caller.speak(voice(0.5))
        await caller.be_silent(2.0)
        await caller.speak(voice(0.5))
        assert caller.told("speech_stopped") == []
        await caller.say("end_of_question")
        await told(caller, "end_of_reply")
        assert caller.texts("transcript") == ["One long question"]
        assert server.session.items[0].sound.size / RATE == pytest.approx(3.0, abs=0.1)
        detection = server.session.settings["audio"]["input"]["turn_detection"]
        assert detection["type"] == "server_vad"
        assert caller.kinds().count("speech_started") == 1


async def test_a_button_that_is_only_touched_asks_nothing() -> None:
    async with one_call() as (caller, server):
        await caller.say("hold_turn")
        await caller.say("end_of_question")
        await told(caller, "speech_ignored")
        await caller.say("prompt", "Still there?")
        await told(caller, "end_of_reply")
        assert "input_audio_buffer.commit" not in server.session.kinds()


@pytest.mark.parametrize("how", ["fails_with", "refuses_with"])
async def test_an_error_of_the_server_fails_one_turn(how: str) -> None:
    async with one_call() as (caller, server):
        setattr(server, how, "insufficient_quota")
        await caller.say("prompt", "What is a tide?")
        await told(caller, "failed")
        [why] = caller.texts("failed")
        assert "OPENAI_API_KEY" in why
        assert "quota" in why
        await caller.say("prompt", "What is a wave?")
        await told(caller, "end_of_reply")
        assert " ".join(caller.texts("reply")) == "You said: What is a wave?"


async def test_a_server_that_falls_silent_fails_the_turn_alone() -> None:
    async with realtime_server() as server, asyncio.timeout(LIMIT_S):
        remote = ModelServer(server.base_url, MODEL, KEY, timeout_s=0.5)
        async with calls(RealtimeLive(remote, "", "", max_reply_s=60.0)) as (caller,):
            server.stops_after_s = 0.0
            await caller.say("prompt", "What is a tide?")
            await told(caller, "failed")
            assert "said nothing for 0.5 s" in caller.texts("failed")[0]
            await so(lambda: bool(server.session.cancelled))
            server.stops_after_s = None
            await caller.say("prompt", "What is a wave?")
            await told(caller, "end_of_reply")
            assert len(server.sessions) == 1


async def test_an_answer_ends_at_its_limit() -> None:
    async with realtime_server() as server, asyncio.timeout(LIMIT_S):
        remote = ModelServer(server.base_url, MODEL, KEY, timeout_s=5.0)
        async with calls(RealtimeLive(remote, "", "", max_reply_s=2.0)) as (caller,):
            server.answer = lambda question: ANSWER
            await caller.say("prompt", "How big is the sea?")
            await told(caller, "end_of_reply")
            assert sound_of(caller).size == 2 * RATE


async def test_a_lost_connection_is_regained_with_what_was_said() -> None:
    async with one_call() as (caller, server):
        await caller.say("prompt", "What is a tide?")
        await caller.until(Caller.has_heard_out)
        before = server.session.conversation
        server.break_off()
        await so(lambda: len(server.sessions) == 2 and len(server.session.items) == 2)
        assert server.session.conversation == before
        assert caller.texts("failed") == []
        await ask(caller)
        await told(caller, "end_of_reply", 2)


async def test_an_answer_that_is_cut_off_fails_and_the_next_one_comes() -> None:
    async with one_call() as (caller, server):
        server.stops_after_s, server.answer = 1.0, lambda question: ANSWER
        await caller.say("prompt", "How big is the sea?")
        await caller.heard_kind("sound")
        server.break_off()
        await told(caller, "failed")
        assert "was lost" in caller.texts("failed")[0]
        server.stops_after_s = None
        await caller.interrupt()
        await caller.say("prompt", "And now?")
        await told(caller, "end_of_reply")


async def test_an_answer_that_had_not_begun_is_asked_for_again() -> None:
    async with one_call() as (caller, server):
        server.stops_after_s = 0.0
        await caller.say("prompt", "What is a tide?")
        await so(lambda: len(server.session.items) == 2)
        server.stops_after_s = None
        server.break_off()
        await told(caller, "end_of_reply")
        assert " ".join(caller.texts("reply")) == "You said: What is a tide?"
        assert caller.texts("failed") == []
        assert len(server.sessions) == 2


async def test_an_answer_that_sounds_when_the_connection_is_lost_is_known_to_the_next() -> None:
    async with one_call() as (caller, server):
        server.answer = lambda question: ANSWER
        await caller.say("prompt", "How big is the sea?")
        await told(caller, "end_of_reply")
        await caller.until(lambda c: len(c.heard.split()) >= 3)
        server.break_off()
        await so(lambda: len(server.sessions) == 2 and len(server.session.items) == 1)
        heard = await caller.interrupt()
        await so(lambda: len(server.session.items) == 2)
        said = [("user", "How big is the sea?"), ("assistant", heard)]
        assert server.session.conversation == said


async def test_while_the_server_is_gone_each_turn_fails_until_it_is_back() -> None:
    async with one_call() as (caller, server):
        server.is_closed = True
        server.break_off()
        await told(caller, "failed", 1)
        await caller.say("prompt", "Anybody?")
        await told(caller, "failed", 2)
        await caller.say("prompt", "Hello?")
        await told(caller, "failed", 3)
        assert all("503" in why for why in caller.texts("failed"))
        server.is_closed = False
        await caller.say("prompt", "And now?")
        await told(caller, "end_of_reply")
        asked = [("user", "Anybody?"), ("user", "Hello?"), ("user", "And now?")]
        assert server.session.conversation[:3] == asked


async def test_a_wrong_key_or_model_is_named() -> None:
    async with realtime_server() as server, asyncio.timeout(LIMIT_S):
        for backend, setting in [
            (backend_for(server, key="wrong-secret"), "OPENAI_API_KEY"),
            (backend_for(server, model="another"), "OPENAI_REALTIME_MODEL"),
        ]:
            async with calls(backend) as (caller,):
                await told(caller, "failed")
                assert setting in caller.texts("failed")[0]
                assert "wrong-secret" not in caller.texts("failed")[0]


async def test_keys_and_words_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with one_call() as (caller, server):
        server.hears = ["my very private question"]
        await ask(caller)
        await told(caller, "end_of_reply")
        server.refuses_with = "server_error"
        await caller.interrupt()
        await caller.say("prompt", "something private too")
        await told(caller, "failed")
    ours = [each for each in caplog.records if not each.name.startswith("websockets.server")]
    assert any(each.name.startswith("services.audio_llm") for each in ours)
    said = " ".join(f"{each.getMessage()} {each.__dict__}" for each in ours)
    assert KEY not in said
    assert "private" not in said


async def conversation(caller: Caller) -> list[tuple[str, str]]:
    for number in range(2):
        await caller.say("prompt", f"Question {number} of two?")
        await told(caller, "end_of_reply", number + 1)
        await caller.until(
            lambda c: c.order.count(">playback_finished") == len(c.told("end_of_reply"))
        )
    return [(e.kind, e.text) for e in caller.events if not isinstance(e, AudioChunk)]


async def test_two_callers_at_once_get_what_each_would_alone() -> None:
    async with realtime_server() as server, asyncio.timeout(LIMIT_S):
        backend = backend_for(server)
        alone = []
        for avatar in ("mira", "otto"):
            async with calls(backend, [avatar]) as (caller,):
                alone.append(await conversation(caller))
        async with calls(backend, ["mira", "otto"]) as callers:
            together = await asyncio.gather(*map(conversation, callers))
        assert together == alone
        assert [s.settings["audio"]["output"]["voice"] for s in server.sessions[:2]] == [
            "marin",
            "cedar",
        ]
