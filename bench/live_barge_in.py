"""Is an interrupted answer silent at once, gone for good, and remembered as it was heard?"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.cast.characters import CAST
from avatar.engines.pattern import Mark
from avatar.media import SPEECH_RATE
from avatar.speech.hibari_tts import HibariSynthesizer
from avatar.speech.marker import WORD_SYMBOLS
from bench.clips import questions
from bench.live import Told, punctual_s
from bench.machine import say
from bench.options import Options
from bench.receiver import Receiver, booked
from bench.receiver import Told as Event
from bench.receiver_marks import ShownMark, look, marks_shown, tones_heard
from bench.receiver_tracks import SOUND_RATE
from bench.results import Values, bars, table
from bench.server import Server
from bench.stats import spread
from tests.fakes.openai_server import FakeOpenAI, running_openai

Kind = Literal["voice", "button", "text"]
KINDS: tuple[Kind, ...] = ("voice", "button", "text")
SILENT_BAR_MS, REST_BAR_FRAMES, WORDS_BAR = 60.0, 12, 1
EARLIEST_S, LATEST_S = 0.4, 5.0
"""When in an answer it is interrupted."""
LOUD = 10 ** (-45 / 20)
NEXT_S = 0.1
"""An event and the sound that it speaks of arrive this near to each other."""
ECHO_DB = -20.0
SETTLE_S = 1.2
SENTENCES = (
    "Well now the {n} room is full of old clocks.",
    "Every one of them tells you a different hour.",
    "My favourite is the small one by the door.",
)
LONG = (
    "Let me tell you about the harbour, because it is the oldest part of the town. Long before "
    "there were any houses, fishermen pulled their boats up on the sand where the market is now. "
    "In winter the storms took some of them, and so they built the wall that you can still see."
)
ASSENT = ("Mm-hmm.", "Yeah.", "Okay.", "Uh-huh.", "I see.", "Right.")


@dataclass(frozen=True)
class Cut:
    """One interruption, as it was noted while the call went on."""

    kind: Kind
    after_s: float
    answer: str
    begun: Event
    cleared: Event
    resumed: Event
    told: str
    remembered: str


@dataclass(frozen=True)
class Interruption:
    """What came of one, at the receiver.

    `silent_ms`: from the gateway's word that it stopped to the end of the old sound, 0 where that
    came first. `old_samples`: heard later than that may be. `rest_frames`: shown
    after the old sound's end and before the first picture at rest. `old_frames`: show the old
    answer after that. Words: heard by the tones, told to the caller, and in the next prompt.
    """

    kind: Kind
    after_s: float
    silent_ms: float
    old_samples: int
    rest_frames: int
    old_frames: int
    words_heard: int
    words_told: int
    words_remembered: int
    is_verbatim: bool


def measure(options: Options) -> Values:
    with running_openai() as model:
        environment = {
            "PROFILE": "marker",
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "none",
            "OPENAI_CHAT_MODEL": "fake",
        }
        with Server(environment) as server:
            count = options.repetitions(50, 6)
            interruptions = asyncio.run(interrupted_call(server.url, model, count))
    with Server() as server:
        undisturbed = asyncio.run(undisturbed_call(server.url, options.repetitions(3, 1)))
    return {
        "interruptions": [asdict(each) for each in interruptions],
        "undisturbed": undisturbed,
    }


# Interruptions


async def interrupted_call(
    url: str, model: FakeOpenAI, count: int, within_s: float = SILENT_BAR_MS / 1000
) -> list[Interruption]:
    """Sound of an old answer may still come `within_s` after the gateway's decision."""
    rng = random.Random(50)
    receiver = Receiver(look)
    cuts: list[Cut] = []
    async with booked(url) as booking, receiver.connected(booking) as call:
        await asyncio.sleep(SETTLE_S)
        begin(call, model, 0)
        begun = await call.event("avatar.playback.started")
        for number in range(count):
            kind, after_s = KINDS[number % len(KINDS)], rng.uniform(EARLIEST_S, LATEST_S)
            await asyncio.sleep(max(0.0, begun.at_s + after_s - asyncio.get_running_loop().time()))
            cuts.append(await interrupt(call, model, kind, number, begun))
            say(f"live_barge_in: {kind} after {cuts[-1].after_s:.1f} s")
            begun = cuts[-1].resumed
        call.stop()
        await asyncio.sleep(SETTLE_S)
    return judged(call, cuts, within_s)


def answer_of(number: int) -> str:
    return " ".join(sentence.format(n=number) for sentence in SENTENCES)


def begin(call: Receiver[Mark | None], model: FakeOpenAI, number: int) -> None:
    """Type the next question."""
    model.deltas = [answer_of(number)]
    call.ask(f"What is in room {number}?")


async def interrupt(
    call: Receiver[Mark | None], model: FakeOpenAI, kind: Kind, number: int, begun: Event
) -> Cut:
    """Interrupt the answer that has `begun`, and wait until the next one begins."""
    since, asked = len(call.told), len(model.requests)
    model.deltas = [answer_of(number + 1)]
    match kind:
        case "voice":
            question = decode(questions()[0].path.read_bytes(), SPEECH_RATE)
            await call.mic.speak(question, SPEECH_RATE)
        case "button":
            call.stop()
        case "text":
            begin(call, model, number + 1)
    cleared = await call.event("output_audio_buffer.cleared", since)
    truncated = await call.event("conversation.item.truncated", since)
    if kind == "button":
        await asyncio.sleep(SETTLE_S)
        begin(call, model, number + 1)
    resumed = await call.event("avatar.playback.started", since)
    before = model.requests[asked]["messages"][-2]  # the last one is the new question
    return Cut(
        kind,
        cleared.at_s - begun.at_s,
        answer_of(number),
        begun,
        cleared,
        resumed,
        str(truncated.event["text"]),
        str(before["content"]) if before["role"] == "assistant" else "",
    )


def judged(call: Receiver[Mark | None], cuts: Sequence[Cut], within_s: float) -> list[Interruption]:
    punctual = punctual_s(call.sound, call.pictures)
    tones = np.array([tone.due_s + punctual for tone in tones_heard(call.sound)])
    shown = marks_shown(call.pictures)
    return [judge(call, cut, tones, shown, punctual, within_s) for cut in cuts]


def judge(
    call: Receiver[Mark | None],
    cut: Cut,
    tones: NDArray[np.float64],
    shown: Sequence[ShownMark],
    punctual: float,
    within_s: float,
) -> Interruption:
    until_s = cut.resumed.at_s - NEXT_S
    pieces = [
        (piece, np.flatnonzero(np.abs(piece.what) > LOUD * 32768))
        for piece in call.sound.received
        if cut.begun.at_s < piece.arrived_s < until_s
    ]
    piece, loud = [each for each in pieces if each[1].size][-1]
    over_s = piece.arrived_s + (int(loud[-1]) + 1) / SOUND_RATE
    late_s = cut.cleared.at_s + within_s
    over_due_s = call.sound.due_s(piece.rtp + int(loud[-1]))
    after = [s for s in shown if over_due_s <= s.due_s < until_s - punctual]
    at_rest = [each.mark is not None and each.mark.symbol is None for each in after]
    rest_frames = at_rest.index(True) if True in at_rest else len(at_rest)
    num_tones = int(((tones > cut.begun.at_s - NEXT_S) & (tones < over_due_s + punctual)).sum())
    remembered = cut.remembered.split()
    return Interruption(
        cut.kind,
        cut.after_s,
        max(0.0, 1000 * (over_s - cut.cleared.at_s)),
        sum(loud.size for piece, loud in pieces if piece.arrived_s > late_s),
        rest_frames,
        at_rest[rest_frames:].count(False),
        (num_tones + WORD_SYMBOLS // 2) // WORD_SYMBOLS,
        len(cut.told.split()),
        len(remembered),
        remembered == cut.answer.split()[: len(remembered)],
    )


# What is no interruption


async def undisturbed_call(url: str, rounds: int) -> Told:
    """How often assent, and the avatar's own voice in the microphone, stop an answer."""
    voice, told = HibariSynthesizer(), {"assents": 0, "stopped": 0, "echo_s": 0.0, "echoes": 0}
    receiver = Receiver(lambda frame: None)
    async with booked(url) as booking, receiver.connected(booking) as call:
        for _ in range(rounds):
            since = len(call.told)
            call.say(LONG)
            await call.event("avatar.playback.started", since)
            for word in ASSENT:
                samples = voice.synthesize(word, CAST[1].voice).at(SPEECH_RATE)
                await call.mic.speak(samples, SPEECH_RATE)
                await asyncio.sleep(samples.size / SPEECH_RATE + SETTLE_S)
                told["assents"] += 1
            told["stopped"] += await was_stopped(call, since)
        call.mic.echo_gain = 10 ** (ECHO_DB / 20)
        for _ in range(rounds):
            since = len(call.told)
            call.say(LONG)
            begun = await call.event("avatar.playback.started", since)
            told["echoes"] += await was_stopped(call, since)
            told["echo_s"] += call.told[-1].at_s - begun.at_s
    return told


async def was_stopped(call: Receiver[None], since: int) -> bool:
    finished = await call.event("avatar.playback.finished", since, wait_s=60)
    return bool(finished.event["interrupted"])


def report(values: Values) -> str:
    cuts: list[Told] = values["interruptions"]
    undisturbed = values["undisturbed"]
    silent = spread([each["silent_ms"] for each in cuts])
    old = sum(each["old_samples"] for each in cuts)
    rest = max(each["rest_frames"] for each in cuts)
    off = max(abs(each["words_remembered"] - each["words_heard"]) for each in cuts)
    verbatim = all(each["is_verbatim"] for each in cuts)
    stopped = undisturbed["stopped"] + undisturbed["echoes"]
    return "\n".join(
        [
            bars(
                [
                    (
                        "silent after the decision, most, ms",
                        silent["most"],
                        f"≤ {SILENT_BAR_MS:.0f}",
                        silent["most"] <= SILENT_BAR_MS,
                    ),
                    ("samples of the old answer after that", old, "0", old == 0),
                    ("frames to rest, most", rest, f"≤ {REST_BAR_FRAMES}", rest <= REST_BAR_FRAMES),
                    ("next prompt, words more or less than heard, most", off, f"≤ {WORDS_BAR}",
                     off <= WORDS_BAR),
                    ("next prompt has them as they were said", verbatim, "yes", verbatim),
                    ("answers stopped by assent or echo", stopped, "0", stopped == 0),
                ]
            ),
            table(
                ["by", "count", "silent p50, ms", "most, ms", "old samples", "frames to rest, most",
                 "old frames after", "words off, most"],
                [kind_row(kind, [each for each in cuts if each["kind"] == kind]) for kind in KINDS],
            ),
            f"{undisturbed['assents']} times assent ({', '.join(ASSENT)}) was spoken into "
            f"answers, and the avatar's own voice was in the microphone at {ECHO_DB} dB for "
            f"{undisturbed['echo_s']:.0f} s.\n",
            "Definitions and errors: [docs/latency.md](../docs/latency.md).",
        ]
    )  # fmt: skip


def kind_row(kind: str, cuts: Sequence[Told]) -> list[object]:
    silent = spread([each["silent_ms"] for each in cuts])
    return [
        kind,
        len(cuts),
        silent["median"],
        silent["most"],
        sum(each["old_samples"] for each in cuts),
        max(each["rest_frames"] for each in cuts),
        sum(each["old_frames"] for each in cuts),
        max(abs(each["words_remembered"] - each["words_heard"]) for each in cuts),
    ]
