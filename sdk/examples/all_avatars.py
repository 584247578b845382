"""Every avatar of the server introduces itself, as many at once as the server has slots.

python all_avatars.py videos/
"""

import asyncio
import sys
from pathlib import Path

from talkingmachines import AsyncClient, Avatar


async def introduce(client: AsyncClient, avatar: Avatar, folder: Path) -> None:
    text = f"Hello, I am {avatar.display_name}."
    saved = await client.say(text, avatar.id).save(folder / f"{avatar.id}.mp4")
    print(saved.path)


async def main(folder: Path) -> None:
    # A full server says when to come back; the client waits for it, up to ten minutes.
    async with AsyncClient(retry_busy_s=600.0) as client, asyncio.TaskGroup() as tasks:
        for avatar in await client.avatars():
            tasks.create_task(introduce(client, avatar, folder))


videos = Path(sys.argv[1])
videos.mkdir(parents=True, exist_ok=True)
try:
    asyncio.run(main(videos))
except KeyboardInterrupt:
    sys.exit(130)
