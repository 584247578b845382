"""What does one more viewer of a call cost, and does everybody get it?"""

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np

from bench.live import Told, process_named
from bench.machine import say
from bench.options import Options
from bench.processes import cores, snapshot
from bench.receiver import Booking, Receiver, booked
from bench.receiver_viewer import Player, Seat
from bench.results import Values, bars, table
from bench.server import Server
from bench.stats import spread

AVATAR = "mira"
TEXT = (
    "Welcome, all of you, to the museum of clocks. We begin in the oldest hall, because the "
    "loudest of them hang there, and then we go up the stairs to the small ones."
)
SIZES = (0, 1, 5, 10, 20, 40)
SETTLE_S = 3.0
ENCODED = re.compile(r"^avatar_pictures_encoded_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Counted:
    """Of a call, so far: what was encoded and what each viewer got."""

    encoded: float
    pictures: list[int]
    sounds: list[int]


def measure(options: Options) -> Values:
    with Server() as server:
        sizes = SIZES[:4] if options.brief else SIZES
        rows = asyncio.run(watched_call(server, sizes, float(options.repetitions(20, 4))))
    return {"rows": rows}


async def watched_call(server: Server, sizes: tuple[int, ...], window_s: float) -> list[Told]:
    """Figures of one call that more and more watch, while the avatar speaks all the time."""
    receiver = Receiver(lambda frame: None)
    rows: list[Told] = []
    async with (
        booked(server.url, AVATAR) as booking,
        receiver.connected(booking) as call,
        AsyncExitStack() as stack,
    ):
        talking = asyncio.create_task(talk(call))
        stack.callback(talking.cancel)
        await call.event("avatar.playback.started")
        seat = await seat_of(booking)
        players: list[Player] = []
        for size in sizes:
            new = [Player(decodes=False) for _ in range(size - len(players))]
            async with asyncio.TaskGroup() as tasks:
                for player in new:
                    tasks.create_task(join(player, seat))
            for player in new:
                stack.push_async_callback(player.close)
            players += new
            await asyncio.sleep(SETTLE_S)
            rows.append(await one_window(server, players, window_s))
            rows[-1]["join_s"] = [each.first_picture_s - each.offered_s for each in new]
            say(f"viewers: {size}: the gateway takes {rows[-1]['gateway_cores']:.2f} cores")
            if talking.done():
                talking.result()
    return rows


async def talk(call: "Receiver[None]") -> None:
    while True:
        told = len(call.told)
        call.say(TEXT)
        await call.event("response.done", told, wait_s=120)


async def seat_of(booking: Booking) -> Seat:
    made = await booking.http.post(f"{booking.path}/viewer-tokens", headers=booking.headers)
    made.raise_for_status()
    return Seat(booking.http, booking.created["id"], made.json()["token"])


async def join(player: Player, seat: Seat) -> None:
    await player.offer(seat)
    async with asyncio.timeout(30):
        while not player.first_picture_s:  # noqa: ASYNC110  packets have no event to wait for
            await asyncio.sleep(0.01)


async def one_window(server: Server, players: list[Player], window_s: float) -> Told:
    gateway = [process_named(server, "gateway")]
    used, counted = snapshot(gateway), await count(server, players)
    await asyncio.sleep(window_s)
    used_later, later = snapshot(gateway), await count(server, players)
    elapsed_s = used_later.at_s - used.at_s
    return {
        "viewers": len(players),
        "seconds": elapsed_s,
        "gateway_cores": cores(used, used_later)["gateway"],
        "encoded": later.encoded - counted.encoded,
        "pictures": [b - a for a, b in zip(counted.pictures, later.pictures, strict=True)],
        "sounds": [b - a for a, b in zip(counted.sounds, later.sounds, strict=True)],
    }


async def count(server: Server, players: list[Player]) -> Counted:
    text = await asyncio.to_thread(server.metrics_text)
    return Counted(
        sum(map(float, ENCODED.findall(text))),
        [player.num_frames["video"] for player in players],
        [player.num_frames["audio"] for player in players],
    )


def cost_of_one(rows: list[Told]) -> float:
    """Share of a core that one viewer takes of the gateway: slope of the straight line."""
    sizes = [row["viewers"] for row in rows]
    return float(np.polyfit(sizes, [row["gateway_cores"] for row in rows], 1)[0])


def report(values: Values) -> str:
    rows: list[Told] = values["rows"]
    most = max(row["encoded"] / row["seconds"] for row in rows)
    watched = [row for row in rows if row["viewers"]]
    # one picture or two are on their way when both sides are counted
    least = min(min(row["pictures"]) / max(1.0, row["encoded"] - 2) for row in watched)
    heard = min(min(row["sounds"]) / (50 * row["seconds"]) for row in watched)
    joins = spread([s for row in rows for s in row["join_s"]])
    return "\n".join(
        [
            bars(
                [
                    ("pictures encoded a second, most", most, "≤ 26", most <= 26),
                    ("pictures that the worst viewer got, of those encoded", least, "≥ 0.95",
                     least >= 0.95),
                    ("sound that the worst viewer got, of all", heard, "≥ 0.95", heard >= 0.95),
                ]
            ),
            f"One more viewer takes {100 * cost_of_one(rows):.2f} % of a core of the gateway. From "
            f"offer to first picture, up to {max(row['viewers'] for row in rows)} at once: p50 "
            f"{joins['median']:.2f} s, most {joins['most']:.2f} s; who joins soon after others "
            "waits for the next whole picture.\n",
            table(
                ["viewers", "gateway, cores", "encoded a second", "pictures a second, worst viewer",
                 "sound packets a second, worst"],
                [
                    (
                        row["viewers"],
                        row["gateway_cores"],
                        row["encoded"] / row["seconds"],
                        min(row["pictures"]) / row["seconds"] if row["pictures"] else "-",
                        min(row["sounds"]) / row["seconds"] if row["sounds"] else "-",
                    )
                    for row in rows
                ],
            ),
            "All on this machine over loopback; viewers count packets and decode nothing. The "
            "avatar speaks all the time.",
        ]
    )  # fmt: skip
