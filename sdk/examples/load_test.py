"""How long do callers wait, when so many come at once? (`talkingmachines bench` measures more.)

python load_test.py --callers 8 --texts 3
"""

import argparse
import asyncio
import statistics
import sys
import time

from talkingmachines import AsyncClient, Busy, PlaybackFinished, PlaybackStarted

TEXT = "One, two, three, four, five."


async def call(client: AsyncClient, num_texts: int, waits: list[float]) -> None:
    async with client.session(pictures="none") as session:
        events = session.events()
        for _ in range(num_texts):
            began = time.monotonic()
            await session.say(TEXT)
            async for event in events:
                if isinstance(event, PlaybackStarted):
                    waits.append(time.monotonic() - began)
                if isinstance(event, PlaybackFinished):
                    break


async def one(client: AsyncClient, num_texts: int, waits: list[float]) -> str:
    try:
        await call(client, num_texts, waits)
    except Busy as error:
        print(f"refused: come back in {error.retry_after_s:g} s", flush=True)
        return "refused"
    print("served", flush=True)
    return "served"


async def main(options: argparse.Namespace) -> None:
    waits: list[float] = []
    async with AsyncClient() as client, asyncio.TaskGroup() as tasks:
        calls = [
            tasks.create_task(one(client, options.texts, waits)) for _ in range(options.callers)
        ]
    fates = [each.result() for each in calls]
    print(f"{fates.count('served')} served, {fates.count('refused')} refused")
    if len(waits) > 1:
        cuts = statistics.quantiles(waits, n=100, method="inclusive")
        print(f"text to sound: p50 {cuts[49]:.3f} s, p95 {cuts[94]:.3f} s, p99 {cuts[98]:.3f} s")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--callers", type=int, default=4)
parser.add_argument("--texts", type=int, default=2)
try:
    asyncio.run(main(parser.parse_args()))
except KeyboardInterrupt:
    sys.exit(130)
