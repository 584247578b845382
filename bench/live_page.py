"""What does a person with a browser get: captions, a moving face, a mouth that says the words?"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Page

from avatar.audio.files import decode, encode_wav
from avatar.speech.hibari_tts import HibariSynthesizer
from bench.answers import word_error_rate
from bench.clips import Question, clips, questions
from bench.live import Told
from bench.machine import say
from bench.options import Options
from bench.receiver_browser import BrowserCall, call_on, hang_up, measuring_page, taken
from bench.receiver_faces import (
    Face,
    FaceLook,
    Mouths,
    compare_mouths,
    find_sentences,
    load_reader,
    openings,
    picture_change,
)
from bench.receiver_tracks import SOUND_RATE
from bench.results import Values, bars, table
from bench.server import Server
from bench.stats import spread
from training.meters.mouth_reader import WINDOW

AVATAR = "mira"
FPS_BAR, FREEZE_BAR_MS, SYNC_BAR, OTHERS_BAR, REST_BAR = 23.5, 400.0, 0.5, 0.2, 0.15
EVERY_S = 20.0
"""From one question to the next: enough for the longest answer of the small chat model."""
FIRST_S = 4.0
SECONDS = 60.0
IDLE_S = 3.0
"""Nobody speaks in the beginning."""
AROUND_MS = 1000.0
"""An event and the sound that it speaks of are played this near to each other."""
MOVED = 0.02
"""Pictures that differ by less, of 255, at their liveliest place, look alike."""


def measure(options: Options) -> Values:
    asked = questions()[: options.repetitions(3, 1)]
    seconds = options.repetitions(round(SECONDS), 25)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Server() as server:
        mic = Path(folder) / "mic.wav"
        mic.write_bytes(encode_wav(spoken_script(asked, seconds), SOUND_RATE))
        say(f"live_page: {seconds} s in Chromium")
        call, shown = asyncio.run(one_call(server.url, mic, seconds))
    return values_of(call, shown, asked)


def spoken_script(asked: Sequence[Question], seconds: float) -> NDArray[np.float32]:
    """(S,) at SOUND_RATE: a question every EVERY_S seconds, silence otherwise."""
    script = np.zeros(round(seconds * SOUND_RATE), np.float32)
    for number, question in enumerate(asked):
        samples = decode(question.path.read_bytes(), SOUND_RATE)
        start = round((FIRST_S + number * EVERY_S) * SOUND_RATE)
        script[start : start + samples.size] = samples[: script.size - start]
    return script


async def one_call(url: str, mic: Path, seconds: float) -> tuple[BrowserCall, Told]:
    look = FaceLook(AVATAR)
    async with measuring_page(url, mouth=(*look.corner, WINDOW), mic=mic) as page:
        await call_on(page, AVATAR)
        await asyncio.sleep(seconds)
        found = await taken(page, WINDOW), await on_the_page(page)
        await hang_up(page)
        return found


async def on_the_page(page: Page) -> Told:
    """What a person reads there."""
    read = "(all) => all.map((each) => each.querySelector('p')?.innerText ?? each.innerText)"
    return {
        "user": await page.locator("#items .user").evaluate_all(read),
        "assistant": await page.locator("#items .assistant").evaluate_all(read),
        "quality": await page.locator("#quality-text").inner_text(),
    }


def values_of(call: BrowserCall, shown: Told, asked: Sequence[Question]) -> Values:
    faces = faces_of(call)
    opening = openings(load_reader(), faces)
    presented_s = np.array([each.presented_ms for each in call.pictures]) / 1000
    changed = picture_change(faces)
    answers = answers_in(call)
    mouths = mouths_of(call, presented_s, opening, answers)
    heard = call.told("conversation.item.input_audio_transcription.completed")
    waits = np.diff(presented_s)
    idling = presented_s < presented_s[0] + IDLE_S
    closed = float(np.median(opening[idling]))
    video = [each for each in call.stats if each["kind"] == "video"][-1]
    return {
        "seconds": float(presented_s[-1] - presented_s[0]),
        "fps": float(len(waits) / (presented_s[-1] - presented_s[0])),
        "wait_ms": spread(waits.tolist(), 1000),
        "freezes_by_browser": int(video["freezeCount"]),
        "decoder": str(video.get("decoderImplementation", "")),
        "idle_moving": float((changed[idling[1:]] > MOVED).mean()),
        "longest_still_ms": 1000 * longest_still_s(presented_s, changed),
        "turns": [
            {
                "asked": question.text,
                "heard": str(told["event"]["transcript"]),
                "wer": word_error_rate(question.text, str(told["event"]["transcript"])),
            }
            for question, told in zip(asked, heard, strict=False)
        ],
        "answers": [
            {
                "text": " ".join(answer.sentences),
                "correlation": each.sync.correlation,
                "lag_ms": each.sync.lag_ms,
                "others": others(each),
                "rest": each.rest_share(closed),
            }
            for answer, each in zip(answers, mouths, strict=True)
        ],
        "on_the_page": shown,
    }


def faces_of(call: BrowserCall) -> list[Face]:
    return [
        Face(each.mouth, each.small.astype(np.float32).reshape(32, 2, 32, 2).mean((1, 3)))
        for each in call.pictures
    ]


@dataclass(frozen=True)
class Heard:
    """An answer that was heard to its end, and between which performance.now()."""

    sentences: list[str]
    begin_ms: float
    end_ms: float


def answers_in(call: BrowserCall) -> list[Heard]:
    sentences: dict[str, list[str]] = {}
    for told in call.told("response.output_audio_transcript.delta"):
        sentences.setdefault(told["event"]["response_id"], []).append(told["event"]["delta"])
    begun = {
        told["event"]["response_id"]: float(told["at"])
        for told in call.told("avatar.playback.started")
    }
    return [
        Heard(sentences[answer], begun[answer], float(told["at"]))
        for told in call.told("avatar.playback.finished")
        if not told["event"]["interrupted"]
        for answer in [told["event"]["response_id"]]
    ]


def mouths_of(
    call: BrowserCall,
    presented_s: NDArray[np.float64],
    opening: NDArray[np.float32],
    answers: Sequence[Heard],
) -> list[Mouths]:
    voice = HibariSynthesizer()
    sound = (call.sound / 32768).astype(np.float32)
    mouths = []
    for answer in answers:
        first = call.sample_at(answer.begin_ms - AROUND_MS)
        last = call.sample_at(answer.end_ms + AROUND_MS)
        spoken = find_sentences(sound[first:last], answer.sentences, AVATAR, voice)
        begins_s = [call.heard_ms(first + each.start) / 1000 for each in spoken]
        mouths.append(compare_mouths(presented_s, opening, spoken, begins_s))
    return mouths


def others(mouths: Mouths) -> float:
    """Mean correlation with utterances that were not said."""
    return float(
        np.mean([mouths.with_other(clip.curves[:, 0], clip.speaking) for clip in clips("", 99)])
    )


def longest_still_s(presented_s: NDArray[np.float64], changed: NDArray[np.float32]) -> float:
    """The longest time in which the picture did not change."""
    moved = presented_s[1:][changed > MOVED]
    return float(np.diff(moved).max()) if moved.size > 1 else float("inf")


def report(values: Values) -> str:
    answers, turns = values["answers"], values["turns"]
    wait = values["wait_ms"]["most"]
    worst = min((each["correlation"] for each in answers), default=0.0)
    with_others = max((each["others"] for each in answers), default=1.0)
    rest = max((each["rest"] for each in answers), default=1.0)
    still = values["longest_still_ms"]
    shown = values["on_the_page"]
    captions = len(shown["user"]) >= len(turns) > 0 and len(shown["assistant"]) >= len(answers) > 0
    return "\n".join(
        [
            bars(
                [
                    ("captions of both sides on the page", captions, "yes", captions),
                    ("new pictures a second, mean", values["fps"], f"≥ {FPS_BAR}",
                     values["fps"] >= FPS_BAR),
                    ("longest wait for a picture, ms", wait, f"≤ {FREEZE_BAR_MS:.0f}",
                     wait <= FREEZE_BAR_MS),
                    ("longest time without change, ms", still, f"≤ {FREEZE_BAR_MS:.0f}",
                     still <= FREEZE_BAR_MS),
                    ("mouth with its own words, least", worst, f"≥ {SYNC_BAR}", worst >= SYNC_BAR),
                    ("mouth with other words, most", with_others, f"≤ {OTHERS_BAR}",
                     with_others <= OTHERS_BAR),
                    ("open at rest, most", rest, f"≤ {REST_BAR}", rest <= REST_BAR),
                ]
            ),
            f"{values['seconds']:.0f} s in headless Chromium on the same machine "
            f"({values['decoder']}), {len(turns)} questions from a WAV file as microphone; "
            f"{values['freezes_by_browser']} freezes by the browser's own count; while idling "
            f"{values['idle_moving']:.0%} of the pictures differ from the one before.\n",
            table(
                ["question", "word error", "understood as"],
                [(each["asked"], each["wer"], each["heard"]) for each in turns],
            ),
            table(
                ["answer", "correlation", "lag, ms", "with others", "open at rest"],
                [
                    (e["text"], e["correlation"], e["lag_ms"], e["others"], e["rest"])
                    for e in answers
                ],
            ),
        ]
    )  # fmt: skip
