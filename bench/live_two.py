"""What do two callers at once get, and a third?"""

import asyncio

import httpx
import numpy as np

from bench.live import Told
from bench.machine import say
from bench.options import Options
from bench.receiver import Receiver, booked
from bench.receiver_faces import Face, FaceLook, picture_change
from bench.results import Values, bars, table
from bench.server import Server

AVATARS = ("mira", "finn")
TEXTS = (
    "Good morning! There is a lot to see today, and the doors of the museum have just opened. "
    "We begin with the clocks, because they are the loudest of all things in here.",
    "If you turn left after the bridge, you will find a small bakery that opens before six. "
    "The harbour is quiet then, apart from two gulls and a boy who mends a net on the steps.",
)
NEW = 0.02
"""A picture that differs from the one before by less, of 255, was given twice."""


def measure(options: Options) -> Values:
    with Server() as server:
        return asyncio.run(both(server.url, options.repetitions(3, 1)))


async def both(url: str, answers: int) -> Values:
    say("live_two: one alone")
    alone = await one_caller(url, 0, answers)
    say("live_two: two at once")
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(one_caller(url, i, answers)) for i in range(2)]
        await asyncio.sleep(5)
        refusal = await third(url)
    return {"alone": alone, "together": [call.result() for call in calls], "third": refusal}


async def one_caller(url: str, number: int, answers: int) -> Told:
    """Figures of one call that is spoken to all the time, once it has begun to speak."""
    receiver = Receiver(FaceLook(AVATARS[number]))
    async with booked(url, AVATARS[number]) as booking, receiver.connected(booking) as call:
        begun, ends = 0, []
        for _ in range(answers):
            told = len(call.told)
            call.say(TEXTS[number])
            started = await call.event("avatar.playback.started", told)
            begun = begun or len([p for p in call.pictures.received if p.arrived_s < started.at_s])
            done = await call.event("response.done", told, wait_s=120)
            ends.append(done.event["response"]["status"])
    quality = [told.event for told in call.told if told.type == "avatar.quality"]
    return {
        "avatar": AVATARS[number],
        "finished": set(ends) == {"completed"},
        **pictures(call, begun),
        "reasons": sorted({str(each["reason"]) for each in quality if each["reason"]}),
        "least_fps_told": min((float(each["fps"]) for each in quality), default=0.0),
    }


def pictures(call: Receiver[Face], begun: int) -> Told:
    received = call.pictures.received[begun:]
    is_new = picture_change([each.what for each in received]) > NEW
    arrived = np.array([each.arrived_s for each in received])[1:]
    new = arrived[is_new]
    return {
        "fps": float(len(new) / (arrived[-1] - arrived[0])),
        "longest_wait_s": float(np.diff(new).max()),
        "seconds": float(arrived[-1] - arrived[0]),
    }


async def third(url: str) -> Told:
    """What a caller is told when all places are taken."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        response = await http.post("/v1/sessions", json={"avatar": "zuri"})
    problem = response.json()
    return {
        "status": response.status_code,
        "retry_after": response.headers.get("retry-after", ""),
        "type": response.headers.get("content-type", ""),
        "detail": str(problem.get("detail", "")),
    }


def report(values: Values) -> str:
    third = values["third"]
    both = values["together"]
    refused = third["status"] == 503 and third["retry_after"].isdigit()
    rows = [("one alone", values["alone"]), *((f"two: {each['avatar']}", each) for each in both)]
    return "\n".join(
        [
            bars(
                [
                    ("both answers were heard to their ends", all(e["finished"] for e in both),
                     "both", all(e["finished"] for e in both)),
                    ("the third is told", f"{third['status']}, Retry-After {third['retry_after']}",
                     "503, Retry-After", refused),
                ]
            ),
            table(
                ["while speaking", "new pictures a second", "longest wait, ms", "s", "told why"],
                [
                    (
                        name,
                        each["fps"],
                        1000 * each["longest_wait_s"],
                        each["seconds"],
                        ", ".join(each["reasons"]) or "-",
                    )
                    for name, each in rows
                ],
            ),
            f"The third reads: {third['detail']}",
        ]
    )  # fmt: skip
