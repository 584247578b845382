"""Does the picture belong to the sound at the receiver, for minutes, and after stalls?"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.engines.pattern import Mark
from bench.live import Told, absolute, lateness_ms, process_named, punctual_s, stop_for
from bench.machine import say
from bench.options import Options
from bench.receiver import Receiver, booked
from bench.receiver_marks import (
    Offsets,
    drift_ms,
    first_shown,
    frame_rate,
    longest_wait_s,
    look,
    marks_shown,
    offsets,
    tones_heard,
)
from bench.results import Values, bars, table
from bench.server import Server

P95_BAR_MS, DRIFT_BAR_MS = 60.0, 5.0
STALL_MS = 700
AFTER_S = 10.0
"""How long after a stall the offsets are looked at by themselves."""
IDLE_S = 2.0


@dataclass(frozen=True)
class Part:
    """One answer that the marker voice speaks; the gateway may be made to stand still in it."""

    name: str
    text: str
    stop_gateway_after_s: float = 0.0


@dataclass(frozen=True)
class Played:
    """From when to when, monotonic, a part was heard."""

    name: str
    begin_s: float
    end_s: float


def parts(options: Options) -> list[Part]:
    """About five minutes; less than one with `--brief`."""
    count = f"Mark {options.repetitions(20, 5)}."
    before, after = options.repetitions(2, 1) * [count], options.repetitions(3, 1) * [count]
    half_s = len(before) * options.repetitions(20, 5)

    def with_order(stage: str) -> str:
        return " ".join([*before, f"Stall {STALL_MS} {stage}.", *after])

    return [
        Part("score worker", with_order("score_worker")),
        Part("VAE decoder", with_order("vae_decoder")),
        Part("gateway, its whole process", " ".join([*before, *after]), half_s),
    ]


def measure(options: Options) -> Values:
    with Server({"PROFILE": "marker"}) as server:
        return asyncio.run(one_call(server, parts(options)))


async def one_call(server: Server, script: Sequence[Part]) -> Values:
    played: list[Played] = []
    receiver = Receiver(look)
    async with booked(server.url) as booking, receiver.connected(booking) as call:
        await asyncio.sleep(IDLE_S)
        for part in script:
            say(f"live_av: {part.name}")
            said = len(call.told)
            call.say(part.text)
            begun = await call.event("avatar.playback.started", said)
            if part.stop_gateway_after_s:
                await asyncio.sleep(part.stop_gateway_after_s)
                await stop_for(process_named(server, "gateway"), STALL_MS / 1000)
            over = await call.event("avatar.playback.finished", said, wait_s=240)
            played.append(Played(part.name, begun.at_s, over.at_s))
        await asyncio.sleep(IDLE_S)
    return values_of(call, played)


def values_of(call: Receiver[Mark | None], played: Sequence[Played]) -> Values:
    tones, shown = tones_heard(call.sound), marks_shown(call.pictures)
    found = offsets(tones, shown)
    punctual = punctual_s(call.sound, call.pictures)
    sound_late, picture_late = lateness_ms(call.sound, call.pictures)
    heard = np.array([tone.due_s for tone in tones])
    return {
        "offset": absolute(found.ms),
        "median_ms": float(np.median(found.ms)),
        "drift_ms": drift_ms(found),
        "seconds": float(found.at_s[-1] - found.at_s[0]),
        "only_shown": found.num_only_shown,
        "only_heard": found.num_only_heard,
        "frame_rate": frame_rate(shown),
        "longest_wait_s": longest_wait_s([each.due_s for each in first_shown(shown)]),
        "sound_late_ms": sound_late,
        "picture_late_ms": picture_late,
        "stalls": [
            stall_values(each.name, each.begin_s - punctual, each.end_s - punctual, found, heard)
            for each in played
        ],
    }


def stall_values(
    name: str, begin_s: float, end_s: float, found: Offsets, heard: NDArray[np.float64]
) -> Told:
    """The longest silence between two tones of this part, and the offsets around it."""
    inside = heard[(heard >= begin_s) & (heard <= end_s)]
    longest = int(np.diff(inside).argmax())
    stalled_s, resumed_s = inside[longest], inside[longest + 1]
    before = found.ms[(found.at_s >= begin_s) & (found.at_s <= stalled_s)]
    after = found.ms[(found.at_s >= resumed_s) & (found.at_s <= resumed_s + AFTER_S)]
    return {
        "name": name,
        "silence_ms": 1000 * float(resumed_s - stalled_s),
        "before": absolute(before),
        "after": absolute(after),
        "shift_ms": float(np.median(after) - np.median(before)),
    }


def report(values: Values) -> str:
    offset, drift = values["offset"], values["drift_ms"]
    after = max(each["after"]["p95"] for each in values["stalls"])
    shift = max(abs(each["shift_ms"]) for each in values["stalls"])
    lates = {"sound": values["sound_late_ms"], "picture": values["picture_late_ms"]}
    return "\n".join(
        [
            bars(
                [
                    (
                        "picture less sound, either way, p95, ms",
                        offset["p95"],
                        f"≤ {P95_BAR_MS:.0f}",
                        offset["p95"] <= P95_BAR_MS,
                    ),
                    ("drift, ms", drift, f"≤ {DRIFT_BAR_MS:.0f}", abs(drift) <= DRIFT_BAR_MS),
                    (
                        "after a stall, worst p95, ms",
                        after,
                        f"≤ {P95_BAR_MS:.0f}",
                        after <= P95_BAR_MS,
                    ),
                    (
                        "shifted by a stall, most, ms",
                        shift,
                        f"≤ {DRIFT_BAR_MS:.0f}",
                        shift <= DRIFT_BAR_MS,
                    ),
                ]
            ),
            f"Marker profile, {values['seconds']:.0f} s, {offset['count']} numbers both heard and "
            f"seen (median {values['median_ms']:.2f} ms, p95 {offset['p95']:.2f}, most "
            f"{offset['most']:.2f}; positive: the picture is late), {values['only_shown']} only "
            f"seen, {values['only_heard']} only heard. {values['frame_rate']:.2f} new frames a "
            f"second over all, stalls included; longest wait for one "
            f"{1000 * values['longest_wait_s']:.0f} ms.\n",
            table(
                ["what stands still for 700 ms", "silence, ms", "p95 before, ms", "p95 after, ms",
                 "shifted by, ms"],
                [
                    (
                        each["name"],
                        each["silence_ms"],
                        each["before"]["p95"],
                        each["after"]["p95"],
                        each["shift_ms"],
                    )
                    for each in values["stalls"]
                ],
            ),
            table(
                ["arrives later than the most punctual", "median, ms", "p95, ms", "most, ms"],
                [(name, e["median"], e["p95"], e["most"]) for name, e in lates.items()],
            ),
            "Definitions and errors: [docs/latency.md](../docs/latency.md).",
        ]
    )  # fmt: skip
