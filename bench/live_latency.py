"""How long after the caller's last word does the avatar speak, and where does that time go?"""

import asyncio
import itertools
from dataclasses import asdict, dataclass

import numpy as np

from avatar.audio.files import decode
from avatar.errors import Unavailable
from avatar.media import SPEECH_RATE
from bench.answers import word_error_rate
from bench.clips import Question, questions
from bench.live import Told
from bench.machine import say
from bench.options import Options
from bench.receiver import Receiver, booked
from bench.receiver import Told as Event
from bench.receiver_faces import Face, FaceLook, load_reader, openings
from bench.receiver_mic import FRAME
from bench.receiver_sound import first_audible_s, spoken_span
from bench.receiver_tracks import SOUND_RATE
from bench.results import Values, bars, table
from bench.server import Server
from bench.stats import spread
from training.meters.mouth_reader import MouthReader

AVATAR = "mira"
P50_BAR_S, SUM_BAR_MS = 1.5, 30.0
OPEN_SHARE = 0.15
"""The mouth moves once it is open by this share of what it is while speaking."""
QUIET_S = 1.5
"""Between two turns."""


@dataclass(frozen=True)
class Turn:
    """Seconds from the caller's last word; `stages_ms` and `total_ms` are the gateway's words.

    `noticed_ms`: how much later than it was the gateway takes the last word's end to be.
    `after_ms`: from its first block of the answer to the first audible sample here.
    """

    question: str
    heard_as: str
    first_sound_s: float
    first_lips_s: float
    total_ms: float
    stages_ms: dict[str, float]
    noticed_ms: float
    after_ms: float

    @property
    def sum_off_ms(self) -> float:
        return abs(sum(self.stages_ms.values()) - self.total_ms)


def measure(options: Options) -> Values:
    with Server() as server:
        turns = asyncio.run(conversation(server.url, options.repetitions(24, 4)))
    return {"turns": [asdict(turn) | {"sum_off_ms": turn.sum_off_ms} for turn in turns]}


async def conversation(url: str, count: int) -> list[Turn]:
    receiver, reader = Receiver(FaceLook(AVATAR)), load_reader()
    async with booked(url, AVATAR) as booking, receiver.connected(booking) as call:
        await asyncio.sleep(QUIET_S)
        turns = []
        for question in itertools.islice(itertools.cycle(questions()), count):
            turns.append(await one_turn(call, question, reader))
            say(f"live_latency: {question.path.stem}: {turns[-1].first_sound_s:.2f} s")
        return turns


async def one_turn(call: Receiver[Face], question: Question, reader: MouthReader) -> Turn:
    samples = decode(question.path.read_bytes(), SPEECH_RATE)
    told = len(call.told)
    sent_s = await call.mic.speak(samples, SPEECH_RATE)
    # a microphone sends 20 ms once it has heard them
    ended_s = sent_s - FRAME / SOUND_RATE + spoken_span(samples)[1] / SPEECH_RATE
    latency = await call.event("avatar.latency", told)
    over = await call.event("avatar.playback.finished", told, wait_s=60)
    await asyncio.sleep(QUIET_S)
    total_ms, sound_s = float(latency.event["total_ms"]), first_sound_s(call, ended_s)
    return Turn(
        question.text,
        heard_as(call, told),
        sound_s - ended_s,
        first_lips_s(call, reader, ended_s, over) - ended_s,
        total_ms,
        {stage["name"]: float(stage["ms"]) for stage in latency.event["stages"]},
        noticed_ms=1000 * (latency.at_s - ended_s) - total_ms,
        after_ms=1000 * (sound_s - latency.at_s),
    )


def heard_as(call: Receiver[Face], since: int) -> str:
    name = "conversation.item.input_audio_transcription.completed"
    return " ".join(str(t.event["transcript"]) for t in call.told[since:] if t.type == name)


def first_sound_s(call: Receiver[Face], since_s: float) -> float:
    """When the first audible sample had arrived."""
    found = first_audible_s(call.sound.received, since_s)
    if found is None:
        raise Unavailable("the avatar was not heard")
    return found


def first_lips_s(call: Receiver[Face], reader: MouthReader, since_s: float, over: Event) -> float:
    """When the first picture had arrived on which the mouth is open."""
    seen = [each for each in call.pictures.received if since_s < each.arrived_s < over.at_s]
    opening = openings(reader, [each.what for each in seen])
    closed = np.median(opening[: len(opening) // 10 + 1])
    threshold = closed + OPEN_SHARE * (np.percentile(opening, 95) - closed)
    return seen[int((opening > threshold).argmax())].arrived_s


def report(values: Values) -> str:
    turns: list[Told] = values["turns"]
    sound = spread([turn["first_sound_s"] for turn in turns])
    lips = spread([turn["first_lips_s"] for turn in turns])
    off = max(turn["sum_off_ms"] for turn in turns)
    names = list(turns[0]["stages_ms"])
    stages = {name: [turn["stages_ms"].get(name, 0.0) for turn in turns] for name in names}
    rows = {
        "microphone, network, and speech that ends unnoticed": [t["noticed_ms"] for t in turns],
        **stages,
        "network, and silence before the first sound": [t["after_ms"] for t in turns],
        "the gateway's stages together": [t["total_ms"] for t in turns],
        "**the whole**, at the receiver": [1000 * t["first_sound_s"] for t in turns],
    }
    errors = [word_error_rate(turn["question"], turn["heard_as"]) for turn in turns]
    return "\n".join(
        [
            bars(
                [
                    bar("last word to first sound, p50, s", sound["median"], P50_BAR_S),
                    bar("last word to first lip motion, p50, s", lips["median"], P50_BAR_S),
                    bar("sum of the stages less the whole, most, ms", off, SUM_BAR_MS),
                ]
            ),
            f"At the receiver, {len(turns)} spoken questions in one call, default models: first "
            f"sound p50 {sound['median']:.2f} s, p95 {sound['p95']:.2f} s, most "
            f"{sound['most']:.2f} s; first lip motion p50 {lips['median']:.2f} s, p95 "
            f"{lips['p95']:.2f} s. Word error of what was understood: {np.mean(errors):.3f}.\n",
            table(
                ["milliseconds", "p50", "p95", "least", "most"],
                [
                    (name, s["median"], s["p95"], s["least"], s["most"])
                    for name, s in ((name, spread(each)) for name, each in rows.items())
                ],
            ),
            "Definitions and errors: [docs/latency.md](../docs/latency.md).",
        ]
    )


def bar(name: str, value: float, limit: float) -> tuple[str, object, str, bool]:
    return name, value, f"≤ {limit:g}", value <= limit
