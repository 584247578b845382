"""How long does a chunk travel between two processes, and how long does its commit take?"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from avatar import wire
from avatar.bus import WorkerInfo
from avatar.bus.redis import RedisBus
from avatar.bus.valkey import run_valkey
from avatar.media import Chunk, SessionId, StageName, WorkerId
from avatar.render import Pipeline, speech_chunks
from avatar.transport import Inbound, OpenRequest
from avatar.transport.grpc import GrpcTransport
from bench.clips import speech
from bench.machine import ROOT
from bench.options import Options
from bench.results import Values, bars, table
from bench.spec import SPEC
from bench.stats import spread

SESSION = SessionId("bench")
PAUSE_S = 0.02
"""Between two chunks, so that none waits for the one before it; the graph pauses longer."""
WARM_UP = 5
BAR_MS = 3.0
LEDGERS: tuple[tuple[StageName, str], ...] = (
    ("audio_encoder", "embedding"),
    ("score_worker", "latents"),
)
"""Which stages keep one, and of what."""


def measure(options: Options) -> Values:
    count = options.repetitions(100, 10) + WARM_UP
    chunks = one_of_each()
    return {
        "bytes": {name: len(wire.encode(chunk)) for name, chunk in chunks.items()},
        "one_way": asyncio.run(send_all(chunks, count)),
        "commit": asyncio.run(commit_all(chunks, count)),
    }


def one_of_each() -> dict[str, Chunk]:
    """The chunks of one step of the shipped models, as large as they really are."""
    pipeline = Pipeline.load()
    audio = next(speech_chunks(speech(2.0), pipeline.clock))
    embedding, _ = pipeline.encoder.step(audio, pipeline.encoder.init_state(SPEC))
    latents, _ = pipeline.score.step(embedding, pipeline.score.init_state(SPEC))
    frames, _ = pipeline.decoder.step(latents, pipeline.decoder.init_state(SPEC))
    return {"audio": audio, "embedding": embedding, "latents": latents, "frames": frames}


async def send_all(chunks: dict[str, Chunk], count: int) -> Values:
    """Send each kind `count` times over one edge to another process."""
    times = {}
    async with receiver() as (address, process):
        transport = GrpcTransport()
        channel = await transport.connect(address, OpenRequest(SESSION, 1, SPEC.avatar, 0))
        sent: list[float] = []
        for chunk in chunks.values():
            for _ in range(count):
                sent.append(time.monotonic())
                await channel.send(chunk)
                await asyncio.sleep(PAUSE_S)
        await channel.finish()
        assert process.stdout is not None
        line = await process.stdout.readline()
        await channel.close()
        await transport.close()
    arrived = [float(each) for each in line.split()]
    hops = [end - start for start, end in zip(sent, arrived, strict=True)]
    for index, name in enumerate(chunks):
        times[name] = spread(hops[index * count + WARM_UP : (index + 1) * count], 1000)
    return times


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Another process that listens; once the edge ends it prints when each chunk had arrived."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.hops", cwd=ROOT, stdout=subprocess.PIPE, limit=1 << 20
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip(), process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def receive() -> None:
    """The other process. Clocks are not compared between hosts; here it is the same one."""
    arrived: list[float] = []
    ended = asyncio.Event()

    async def handler(inbound: Inbound) -> None:
        while await inbound.receive() is not None:
            arrived.append(time.monotonic())
        ended.set()

    transport = GrpcTransport()
    print(await transport.listen(handler), flush=True)
    await ended.wait()
    print(" ".join(map(repr, arrived)), flush=True)
    await transport.close()


async def commit_all(chunks: dict[str, Chunk], count: int) -> Values:
    """Commit what has a ledger; encoding is part of it, as it is in the stages."""
    with run_valkey() as url:
        bus = RedisBus(url)
        times = {name: await commit(bus, stage, chunks[name], count) for stage, name in LEDGERS}
        await bus.close()
    return times


async def commit(bus: RedisBus, stage: StageName, chunk: Chunk, count: int) -> Values:
    worker = WorkerInfo(WorkerId(f"bench-{stage}"), stage, "", slots=1)
    lease = await bus.acquire(SESSION, worker)
    assert lease is not None
    seconds = []
    for seq in range(count):
        started = time.monotonic()
        result = await bus.commit(lease, seq, wire.encode(chunk))
        seconds.append(time.monotonic() - started)
        assert result == "committed"
        await asyncio.sleep(PAUSE_S)
    return spread(seconds[WARM_UP:], 1000)


def report(values: Values) -> str:
    rows = [
        (f"{way}, {name}", f"{values['bytes'][name] / 1000:.0f}", t["median"], t["p95"], t["most"])
        for way, times in (("gRPC", values["one_way"]), ("ledger", values["commit"]))
        for name, t in times.items()
    ]
    hop, write = values["one_way"]["latents"], values["commit"]["latents"]
    return "\n".join(
        [
            "Milliseconds between two processes of this machine, one way, over loopback: from "
            "before `send` to after `receive`, with encoding, checks and decoding. A commit is "
            "encoding and one call to Valkey through its unix socket; it is beside the way of the "
            f"media. {hop['count']} chunks of each kind, at the size of the shipped models, one "
            f"every {1000 * PAUSE_S:.0f} ms or slower.\n",
            table(["hop", "kB", "median", "p95", "most"], rows),
            bars(
                [
                    ("latents, one way, median", hop["median"], "≤ 3", hop["median"] <= BAR_MS),
                    (
                        "commit of latents, median",
                        write["median"],
                        "≤ 3",
                        write["median"] <= BAR_MS,
                    ),
                ]
            ),
        ]
    )


if __name__ == "__main__":
    asyncio.run(receive())
