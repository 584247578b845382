"""Every recording of a folder becomes a video, a few at a time; what is there is not made again.

python batch_render.py recordings/ videos/ --avatar otto --at-once 2
"""

import argparse
import asyncio
import sys
from pathlib import Path

from talkingmachines import AsyncClient, TalkError

SOUND = {".wav", ".mp3", ".ogg", ".flac", ".m4a", ".webm"}


async def render(
    client: AsyncClient, recording: Path, video: Path, avatar: str, slots: asyncio.Semaphore
) -> bool:
    async with slots:
        try:
            saved = await client.render(recording, avatar).save(video)
        except TalkError as error:
            print(f"{recording.name}: {error.reason}: {error}", file=sys.stderr)
            return False
    print(
        f"{saved.path}: {saved.summary.audio_s:.1f} s in {saved.summary.total_s:.1f} s", flush=True
    )
    return True


async def main(options: argparse.Namespace) -> int:
    options.videos.mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(options.at_once)
    # A full server says when to come back; the client waits for it, up to ten minutes.
    async with AsyncClient(retry_busy_s=600.0) as client:
        await client.wait_ready()
        todo = [
            (recording, options.videos / f"{recording.stem}.mp4")
            for recording in sorted(options.recordings.iterdir())
            if recording.suffix.lower() in SOUND
        ]
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(render(client, recording, video, options.avatar, slots))
                for recording, video in todo
                if not video.exists()
            ]
    failed = sum(not each.result() for each in work)
    print(f"{len(work) - failed} made, {failed} failed, {len(todo) - len(work)} there already")
    return 1 if failed else 0


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("recordings", type=Path)
parser.add_argument("videos", type=Path)
parser.add_argument("--avatar", default="")
parser.add_argument("--at-once", type=int, default=2)
try:
    sys.exit(asyncio.run(main(parser.parse_args())))
except KeyboardInterrupt:
    sys.exit(130)
