"""A live conversation without models: sound that carries its words, in media time."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from avatar.cast.avatars import character_of
from avatar.errors import AvatarError, ModelServerUnreachable
from avatar.media import TurnEvent
from avatar.speech.chat import Message
from avatar.speech.turns import WINDOW_S
from avatar.speech.vad import WINDOW
from services.audio_llm.cascade import UNREACHABLE, Cascade
from services.audio_llm.live import CascadeLive
from tests.fakes.live_edge import Caller, InlineExecutor, Script, Utterance, calls
from tests.fakes.speech import GivenChat, ToneSynthesizer

pytestmark = pytest.mark.unit

QUESTION = Utterance("What is it?", 1.2)
ANSWER = ["It is a long answer of very many words.", "And it goes on and on."]
LONG_ANSWER = ["word " * 39 + "word."]


@dataclass
class Parts:
    script: Script = field(default_factory=Script)
    chat: GivenChat = field(default_factory=lambda: GivenChat(list(ANSWER)))
    voice: ToneSynthesizer = field(default_factory=ToneSynthesizer)

    @asynccontextmanager
    async def call(self, reaction: int = 0, answers: bool = True) -> AsyncIterator[Caller]:
        async with calls(self.backend(), reaction=reaction, answers=answers) as (caller,):
            yield caller

    def backend(self) -> CascadeLive:
        cascade = Cascade(self.script, self.chat, self.voice, self.script, InlineExecutor())
        return CascadeLive(cascade, max_turn_s=20.0)

    async def speaks(self, caller: Caller, *said: Utterance | float) -> None:
        """Utterances, and silences in seconds."""
        for each in said:
            if isinstance(each, Utterance):
                await caller.speak(self.script.sound(each))
            else:
                await caller.be_silent(each)


def is_answered(caller: Caller) -> bool:
    return "end_of_reply" in caller.kinds()


def sounds(caller: Caller) -> bool:
    return caller.is_playing


def silence_before(caller: Caller, kind: str) -> float:
    """Seconds since the speech ended, of the last event of that kind."""
    return next(
        e.seconds for e in reversed(caller.events) if isinstance(e, TurnEvent) and e.kind == kind
    )


# --- turns -----------------------------------------------------------------------------------


async def test_a_spoken_question_is_understood_and_answered_in_order() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, 0.5, QUESTION, 1.0)
        kinds = caller.kinds()
        assert kinds[0] == "speech_started"
        assert kinds[kinds.index("speech_stopped") :] == [
            *("speech_stopped", "transcript", "reply", "sound", "reply", "sound", "end_of_reply")
        ]
        assert caller.texts("transcript") == ["What is it?"]
        assert caller.texts("reply") == ANSWER
        assert caller.texts("end_of_reply")[0].splitlines() == [
            *("ears: scripted ears", "chat: given chat", "voice: tone")
        ]


async def test_the_caller_is_said_to_speak_since_the_speech_began() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, 0.5, QUESTION)
        (started,) = caller.told("speech_started")
        assert started.seconds == pytest.approx(3 * WINDOW_S)


async def test_a_whole_question_is_over_after_a_third_of_a_second() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, 0.5, QUESTION, 1.0)
        assert 0.3 <= silence_before(caller, "speech_stopped") <= 0.36


@pytest.mark.parametrize("first", ["I would like to know and", "What is, um", "Tell me about the"])
async def test_a_pause_in_the_middle_of_a_sentence_does_not_end_the_turn(first: str) -> None:
    parts = Parts()
    rest = Utterance("where it comes from?", 1.0)
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance(first, 1.2), 0.7, rest, 1.5)
        assert caller.texts("transcript") == [f"{first} where it comes from?"]
        assert len(caller.told("speech_started")) == 1


async def test_two_sentences_with_a_short_pause_are_one_turn() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance("I live in Paris.", 1.0), 0.4, QUESTION, 1.0)
        assert caller.texts("transcript") == ["I live in Paris. What is it?"]


async def test_captions_grow_while_the_caller_speaks() -> None:
    parts = Parts()
    long = Utterance("one two three four five six seven eight nine ten", 5.0)
    async with parts.call() as caller:
        await parts.speaks(caller, long, 1.5)
        captions = caller.texts("caption")
        assert len(captions) >= 4
        assert all(long.text.startswith(caption) for caption in captions)
        assert sorted(captions, key=len) == captions
        assert captions[-1] == long.text


async def test_a_long_turn_is_not_transcribed_from_its_beginning_again() -> None:
    parts = Parts()
    lengths: list[int] = []
    transcribe = parts.script.transcribe

    def measured(samples: "np.typing.NDArray[np.float32]", /, hint: str = "") -> str:
        lengths.append(len(samples))
        return transcribe(samples)

    parts.script.transcribe = measured  # type: ignore[method-assign]  # to see what it is given
    pieces = [Utterance(f"part {number} of it and", 4.0) for number in range(4)]
    async with parts.call() as caller:
        for piece in pieces:
            await parts.speaks(caller, piece, 0.5)
        await parts.speaks(caller, 2.0)
        assert caller.texts("transcript") == [" ".join(piece.text for piece in pieces)]
        assert max(lengths) < 14.5 * 16_000


async def test_what_is_no_speech_is_ignored() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance("", 0.3), 1.5, Utterance("you", 0.2, 0.1, 0.6), 1.5)
        assert caller.kinds() == ["speech_started", "speech_ignored"] * 2 or caller.kinds() == [
            *("speech_started", "speech_ignored", "speech_started", "caption", "speech_ignored")
        ]
        assert parts.chat.asked == []


async def test_clicks_do_not_begin_a_turn() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, *(0.3, Utterance("", 0.064)) * 8, 0.5)
        assert caller.kinds() == []
        assert parts.script.num_heard == 0


async def test_a_hum_asks_for_nothing_unless_the_avatar_has_asked() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance("Mm-hmm.", 0.4), 1.5)
        assert caller.kinds()[-1] == "speech_ignored"
        parts.chat.sentences = ["Do you like it?"]
        await parts.speaks(caller, QUESTION, 2.0)
        await parts.speaks(caller, Utterance("Mm-hmm.", 0.4), 1.5)
        assert caller.texts("transcript") == ["What is it?", "Mm-hmm."]


async def test_assent_just_after_an_answer_is_a_nod_and_later_a_turn() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(Caller.has_heard_out)
        await parts.speaks(caller, 0.5, Utterance("Okay.", 0.4), 1.0)
        assert caller.kinds()[-1] == "speech_ignored"
        await parts.speaks(caller, 3.0, Utterance("Okay.", 0.4), 1.0)
        assert caller.texts("transcript") == ["What is it?", "Okay."]


async def test_a_caller_who_pauses_long_is_waited_for() -> None:
    parts = Parts()
    statement = Utterance("I went there.", 1.0)
    async with parts.call() as caller:
        for _ in range(4):
            await parts.speaks(caller, Utterance("I went and", 1.0), 1.1, statement, 2.5)
            await caller.interrupt()
        waited = [event.seconds for event in caller.told("speech_stopped")]
        assert waited[0] == pytest.approx(0.55, abs=0.04)
        assert waited[-1] > 0.75


# --- talk button, typed text, said text ------------------------------------------------------


async def test_while_the_button_is_down_no_silence_ends_the_turn() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("hold_turn")
        await parts.speaks(caller, QUESTION, 3.0, Utterance("and why", 1.0))
        assert caller.texts("transcript") == []
        await caller.say("end_of_question")
        assert caller.texts("transcript") == ["What is it? and why"]
        assert is_answered(caller)


async def test_a_button_without_a_word_is_ignored() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("hold_turn")
        await caller.be_silent(1.0)
        await caller.say("end_of_question")
        assert caller.kinds() == ["speech_ignored"]


async def test_a_button_makes_a_turn_of_what_silence_would_not() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("hold_turn")
        await parts.speaks(caller, Utterance("Mm-hmm.", 0.5))
        await caller.say("end_of_question")
        assert caller.texts("transcript") == ["Mm-hmm."]


async def test_the_rest_of_a_word_after_the_button_is_let_go_begins_no_turn() -> None:
    parts = Parts()
    sound = parts.script.sound(QUESTION)
    async with parts.call() as caller:
        await caller.say("hold_turn")
        await caller.speak(sound[:25])
        await caller.say("end_of_question")
        await caller.speak(sound[25:])
        await caller.until(Caller.has_heard_out)
        assert len(caller.told("speech_started")) == 1


async def test_a_turn_is_cut_at_its_limit() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance("and " * 60, 24.0))
        assert len(caller.texts("transcript")) == 1


async def test_another_character_goes_on_with_what_was_said() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("prompt", "why?")
        await caller.until(Caller.has_heard_out)
        await caller.say("character", "otto")
        await caller.say("prompt", "and then?")
        await caller.until(lambda c: c.kinds().count("end_of_reply") == 2)
        (_, before, _), (_, after, history) = parts.chat.asked
        assert (before, after) == (character_of("mira").persona, character_of("otto").persona)
        assert history[0].text == "why?"


async def test_a_typed_prompt_is_answered_and_remembered() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("prompt", "why?")
        await caller.until(Caller.has_heard_out)
        await caller.say("prompt", "and then?")
        assert parts.chat.asked[1][2] == (
            Message("user", "why?"),
            Message("assistant", " ".join(ANSWER)),
        )
        assert caller.texts("end_of_reply")[0].splitlines() == ["chat: given chat", "voice: tone"]


async def test_a_text_is_said_as_it_stands() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("text", "Good day. Sit down.")
        assert caller.texts("reply") == ["Good day.", "Sit down."]
        assert caller.texts("end_of_reply") == ["voice: tone"]
        assert parts.chat.asked == []


async def test_the_words_of_a_reply_are_its_words_with_rising_times() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("prompt", "why?")
        for event in caller.told("reply"):
            assert " ".join(word.text for word in event.words) == event.text
            times = [t for word in event.words for t in (word.start_s, word.end_s)]
            assert times == sorted(times)


# --- speculation -----------------------------------------------------------------------------


async def test_an_answer_is_begun_before_the_turn_is_over_and_told_after() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.2)
        assert [question for question, _, _ in parts.chat.asked] == ["What is it?"]
        assert parts.voice.spoken == ANSWER[:1]
        assert "reply" not in caller.kinds()
        await caller.be_silent(0.5)
        assert caller.texts("reply") == ANSWER
        assert len(parts.chat.asked) == 1


async def test_an_answer_begun_too_early_is_aborted_and_never_told() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.25, Utterance("I mean the other one.", 1.0), 1.0)
        questions = [question for question, _, _ in parts.chat.asked]
        assert questions[0] == "What is it?"
        assert questions[-1] == "What is it? I mean the other one."
        assert parts.chat.aborted == len(questions) - 1
        assert caller.texts("reply") == ANSWER


async def test_an_unfinished_sentence_is_not_answered_ahead() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance("I want and", 1.0), 0.9)
        assert parts.chat.asked == []


# --- interruptions ---------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["", "Mm-hmm.", "Yeah.", "Okay, right.", "I see.", "Uh-huh."])
async def test_assent_and_noise_do_not_interrupt(noise: str) -> None:
    parts = Parts(chat=GivenChat(LONG_ANSWER))
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(caller, 0.2, Utterance(noise, 0.4))
        await caller.until(Caller.has_heard_out)
        assert "barge_in" not in caller.kinds()
        assert len(caller.told("speech_ignored")) == 1
        assert caller.texts("transcript") == ["What is it?"]


async def test_long_assent_is_waited_out() -> None:
    parts = Parts(chat=GivenChat(LONG_ANSWER))
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(caller, Utterance("yeah okay right yeah sure", 2.0), 1.0)
        assert caller.kinds()[-1] == "speech_ignored"


@pytest.mark.parametrize("words", ["Stop.", "Wait.", "No.", "Hold on."])
async def test_a_short_word_that_means_it_interrupts_at_its_end(words: str) -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(caller, 0.2, Utterance(words, 0.4), 0.2)
        assert "barge_in" in caller.kinds()
        assert caller.num_interrupts == 1


async def test_longer_speech_interrupts_while_it_lasts() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        sound = parts.script.sound(Utterance("no no tell me about the sea instead", 2.0))
        await caller.speak(sound[:22])
        assert "barge_in" in caller.kinds()
        await caller.speak(sound[22:])
        await caller.be_silent(1.0)
        assert caller.texts("transcript")[-1] == "no no tell me about the sea instead"
        assert parts.chat.asked[-1][0] == "no no tell me about the sea instead"


async def test_stop_is_obeyed_without_an_answer() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(caller, 0.2, Utterance("Stop.", 0.4), 1.5)
        assert caller.texts("transcript") == ["What is it?", "Stop."]
        assert caller.kinds()[-1] == "speech_ignored"
        assert len(parts.chat.asked) == 1


async def test_nothing_is_told_between_barge_in_and_interrupt() -> None:
    parts = Parts()
    async with parts.call(reaction=60) as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(caller, 0.2, Utterance("No, what is that?", 1.0), 3.0)
        between = caller.order[caller.order.index("barge_in") : caller.order.index(">interrupt")]
        assert "transcript" in between
        assert not {"reply", "sound", "end_of_reply", "failed"} & set(between)
        assert caller.texts("reply") == ANSWER * 2


async def test_an_answer_does_not_begin_while_the_caller_makes_a_sound() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, Utterance("um", 0.4))
        await caller.say("prompt", "why?")
        assert caller.texts("reply") == []
        await caller.be_silent(1.0)
        assert caller.texts("reply") == ANSWER


async def test_a_text_typed_while_a_spoken_question_ends_does_not_lose_it() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.25)
        await caller.say("prompt", "why?")
        await caller.be_silent(1.0)
        assert "barge_in" in caller.kinds()
        assert [question for question, _, _ in parts.chat.asked][-1].endswith("What is it?")
        assert caller.texts("reply") == ANSWER


async def test_the_avatars_own_voice_does_not_interrupt_it() -> None:
    parts = Parts(chat=GivenChat(["The sea is blue, and it is deep, and it is full of salt."]))
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        echo = Utterance("the sea is blue and it is deep and it is full of salt", 1.3, level=0.01)
        await parts.speaks(caller, 0.2, echo)
        await caller.until(Caller.has_heard_out)
        await caller.be_silent(1.0)
        assert "barge_in" not in caller.kinds()
        assert caller.texts("transcript") == ["What is it?"]


async def test_a_caller_may_answer_with_the_avatars_words() -> None:
    parts = Parts(chat=GivenChat(["Do you like the sea or the mountains?"]))
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(Caller.has_heard_out)
        await parts.speaks(caller, 0.3, Utterance("I like the sea or the mountains.", 1.0), 1.0)
        assert caller.texts("transcript")[-1] == "I like the sea or the mountains."


async def test_speech_into_an_echo_is_heard() -> None:
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    parts = Parts(chat=GivenChat([words]))
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(
            caller,
            Utterance("one two three four", 0.7, level=0.01),
            Utterance("no please tell me about something else now", 1.5),
            1.0,
        )
        assert "barge_in" in caller.kinds()
        assert caller.texts("transcript")[-1].endswith("tell me about something else now")


# --- what is remembered ----------------------------------------------------------------------


async def test_only_what_was_heard_is_remembered() -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("prompt", "why?")
        await caller.until(sounds)
        await caller.be_silent(0.48)
        heard = await caller.interrupt()
        assert ANSWER[0].startswith(heard)
        assert 0 < len(heard) < len(ANSWER[0])
        await caller.say("prompt", "and then?")
        assert parts.chat.asked[1][2] == (Message("user", "why?"), Message("assistant", heard))


async def test_an_answer_of_which_nothing_was_heard_is_not_remembered() -> None:
    parts = Parts()
    async with parts.call() as caller:
        caller.plays = False
        await caller.say("prompt", "why?")
        await caller.interrupt()
        await caller.say("prompt", "and then?")
        assert parts.chat.asked[1] == ("why? and then?", parts.chat.asked[0][1], ())


async def test_a_word_that_its_model_is_away_is_not_remembered() -> None:
    chat = GivenChat(["One two."], ModelServerUnreachable("gone"))
    parts = Parts(chat=chat)
    async with parts.call() as caller:
        await caller.say("prompt", "why?")
        await caller.until(sounds)
        await caller.be_silent(1.0)
        assert len((await caller.interrupt()).split()) > 5
        await caller.say("prompt", "and then?")
        assert chat.asked[1][2][-1] == Message("assistant", "One two.")


async def test_an_interrupt_that_crossed_barge_in_spares_the_next_answer() -> None:
    parts = Parts()
    async with parts.call(reaction=10_000) as caller:
        await parts.speaks(caller, QUESTION, 0.5)
        await caller.until(sounds)
        await parts.speaks(caller, Utterance("No, what is that?", 1.0))
        assert "barge_in" in caller.kinds()
        await caller.interrupt()  # the stop button, at the same time
        await caller.be_silent(0.5)
        await caller.say("interrupt")  # and then the gateway's word on barge_in
        assert caller.texts("reply") == ANSWER * 2
        await caller.until(Caller.has_heard_out)


@pytest.mark.parametrize("seed", range(3))
async def test_after_fifty_interruptions_the_next_prompt_holds_the_words_heard(seed: int) -> None:
    chance = random.Random(seed)
    parts = Parts()
    async with parts.call() as caller:
        while caller.num_interrupts < 50:
            number = len(parts.chat.asked)
            parts.chat.sentences = [
                " ".join(f"w{number}x{n}" for n in range(chance.randint(6, 12))) + "."
                for _ in range(chance.randint(1, 3))
            ]
            question = f"Question {number}?"
            if chance.random() < 0.5:
                await caller.say("prompt", question)
            else:
                await parts.speaks(caller, Utterance(question, 0.9), 0.4)
            await caller.until(sounds)
            asked, _, history = parts.chat.asked[-1]
            assert asked.endswith(question)
            heard = [text for text in caller.heard_of_answers if text]
            assert history[-1:] == tuple(Message("assistant", text) for text in heard[-1:])
            await caller.be_silent(chance.uniform(0.0, 0.3 * len(parts.chat.sentences)))
            if chance.random() < 0.5:
                await parts.speaks(caller, Utterance("no stop it now please", 0.9), 1.2)
            else:
                await caller.interrupt()


# --- laws ------------------------------------------------------------------------------------


def random_talk(seed: int, parts: Parts) -> list[tuple[str, object]]:
    chance = random.Random(seed)
    steps: list[tuple[str, object]] = []
    texts = ["What is it?", "Mm-hmm.", "Stop.", "I want and", "No, tell me more.", "", "Okay."]
    for _ in range(25):
        match chance.choice(["speak", "speak", "speak", "silence", "prompt", "stop", "button"]):
            case "speak":
                said = Utterance(chance.choice(texts), chance.uniform(0.1, 1.5))
                steps.append(("sound", parts.script.sound(said)))
            case "silence":
                quiet = np.zeros((chance.randint(1, 60), WINDOW), np.float32)
                steps.append(("sound", quiet))
            case "prompt":
                steps.append(("prompt", chance.choice(["why?", "Tell me."])))
            case "stop":
                steps.append(("interrupt", ""))
            case _:
                steps += [("hold_turn", ""), ("sound", np.zeros((9, WINDOW), np.float32))]
                steps.append(("end_of_question", ""))
    return [*steps, ("sound", np.zeros((150, WINDOW), np.float32))]


async def take_step(caller: Caller, kind: str, what: object) -> None:
    match kind, what:
        case "sound", np.ndarray():
            await caller.speak(what)
        case (("prompt" | "interrupt"), str(text)):
            if caller.is_answering:
                await caller.interrupt()
            if kind == "prompt":
                await caller.say("prompt", text)
        case ("hold_turn" | "end_of_question") as word, _:
            if word == "hold_turn" and caller.is_answering:
                await caller.interrupt()
            await caller.say(word)
        case _:
            raise AssertionError(f"no step is called {kind}")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_every_answer_has_its_end(seed: int) -> None:
    parts = Parts()
    async with parts.call(reaction=seed % 4) as caller:
        for kind, what in random_talk(seed, parts):
            await take_step(caller, kind, what)
        is_open = False
        for kind in caller.order:
            if kind == "reply":
                is_open = True
            if kind in ("end_of_reply", "failed", ">interrupt"):
                is_open = False
        assert not is_open
        assert not caller.is_playing
        assert caller.order.count("speech_started") <= (
            caller.order.count("speech_stopped") + caller.order.count("speech_ignored")
        )
        waits = False
        for kind in caller.order:
            waits = (waits or kind == "barge_in") and kind != ">interrupt"
            assert not (waits and kind in ("reply", "sound", "end_of_reply"))


@pytest.mark.parametrize("seed", range(6))
async def test_two_calls_at_once_are_as_two_alone(seed: int) -> None:
    async def alone(number: int) -> list[TurnEvent]:
        parts = Parts()
        talks = [random_talk(seed * 2 + each, parts) for each in (0, 1)]
        async with parts.call() as caller:
            for kind, what in talks[number]:
                await take_step(caller, kind, what)
            return [event for event in caller.events if isinstance(event, TurnEvent)]

    parts = Parts()
    talks = [random_talk(seed * 2 + each, parts) for each in (0, 1)]
    async with calls(parts.backend(), ("mira", "mira")) as callers:
        remaining = [list(talk) for talk in talks]
        chance = random.Random(seed)
        while any(remaining):
            index = chance.choice([n for n in (0, 1) if remaining[n]])
            await take_step(callers[index], *remaining[index].pop(0))
        together = [[e for e in c.events if isinstance(e, TurnEvent)] for c in callers]
    for number in (0, 1):
        expected = await alone(number)
        assert [(e.kind, e.text, e.seconds, e.words) for e in together[number]] == [
            (e.kind, e.text, e.seconds, e.words) for e in expected
        ]


# --- failures --------------------------------------------------------------------------------


async def test_a_recogniser_that_fails_ends_the_turn_not_the_call() -> None:
    parts = Parts()
    parts.script.trouble = RuntimeError("broken")
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 1.5)
        assert caller.kinds()[-1] == "failed"
        parts.script.trouble = AvatarError("the server is away")
        await parts.speaks(caller, QUESTION, 1.5)
        assert caller.texts("failed")[-1] == "the server is away"
        parts.script.trouble = None
        await parts.speaks(caller, QUESTION, 1.0)
        assert is_answered(caller)


async def test_a_language_model_that_is_away_is_spoken_of() -> None:
    parts = Parts(chat=GivenChat([], ModelServerUnreachable("nobody")))
    async with parts.call() as caller:
        await parts.speaks(caller, QUESTION, 1.0)
        assert caller.texts("reply") == [UNREACHABLE]
        assert caller.kinds()[-1] == "end_of_reply"


@pytest.mark.parametrize("text", ["", "😀", "x" * 2001])
async def test_what_cannot_be_said_fails_and_the_call_goes_on(text: str) -> None:
    parts = Parts()
    async with parts.call() as caller:
        await caller.say("text", text)
        assert caller.kinds() == ["failed"]
        await parts.speaks(caller, QUESTION, 1.0)
        assert is_answered(caller)


async def test_an_unexpected_failure_of_a_voice_is_told_without_its_words() -> None:
    parts = Parts()

    def broken(*_: object) -> None:
        raise RuntimeError("secret words")

    parts.voice.synthesize = broken  # type: ignore[assignment]  # to break it
    async with parts.call() as caller:
        await caller.say("prompt", "why?")
        (reason,) = caller.texts("failed")
        assert "secret" not in reason


# --- when somebody else answers ----------------------------------------------------------------


async def test_what_somebody_else_answers_is_written_down_and_not_answered() -> None:
    parts = Parts()
    async with parts.call(answers=False) as caller:
        await parts.speaks(caller, 0.5, QUESTION, 1.0)
        assert caller.texts("transcript") == ["What is it?"]
        assert "reply" not in caller.kinds()
        assert "speech_ignored" not in caller.kinds()
        assert parts.chat.asked == []
        await caller.say("text", "Mine.")
        await parts.speaks(caller, 1.0)
        assert caller.texts("reply") == ["Mine."]


async def test_a_caller_interrupts_an_answer_that_is_somebody_elses() -> None:
    parts = Parts()
    async with parts.call(answers=False) as caller:
        await parts.speaks(caller, 0.5)
        await caller.say("playback_started")
        await parts.speaks(caller, 0.5, Utterance("No, tell me something else.", 1.5), 1.0)
        assert caller.kinds().count("barge_in") == 1
        assert caller.texts("transcript") == ["No, tell me something else."]


async def test_assent_does_not_interrupt_an_answer_that_is_somebody_elses() -> None:
    parts = Parts()
    async with parts.call(answers=False) as caller:
        await parts.speaks(caller, 0.5)
        await caller.say("playback_started")
        await parts.speaks(caller, 0.5, Utterance("Mm-hm.", 0.6), 1.0)
        assert "barge_in" not in caller.kinds()
        await caller.say("playback_finished", "Once upon a time.")
        await parts.speaks(caller, 0.5, QUESTION, 1.0)
        assert "barge_in" not in caller.kinds()
        assert caller.texts("transcript") == ["What is it?"]
