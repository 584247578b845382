"""An avatar answers a spoken question; every step is shown as it happens.

python watch_an_answer.py question.wav answer.mp4
"""

import asyncio
import sys
from pathlib import Path

from talkingmachines import (
    AsyncClient,
    ChunkReady,
    ReplySentence,
    Summary,
    Transcript,
    VideoPiece,
)


async def main(question: Path, answer: Path) -> None:
    video = bytearray()
    async with AsyncClient() as client, client.ask(question) as steps:
        async for step in steps:
            match step:
                case Transcript(text):
                    print(f"You asked: {text}")
                case ReplySentence(text):
                    print(f"The answer: {text}")
                case ChunkReady(chunks_done=1):
                    print(f"The first picture came after {step.elapsed_s:.2f} s")
                case ChunkReady():
                    print(f"{step.media_s:.1f} s of video are there")
                case VideoPiece(content):
                    video += content
                case Summary(models=models):
                    print(f"It was {', '.join(models)}")
    await asyncio.to_thread(answer.write_bytes, video)


try:
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
except KeyboardInterrupt:
    sys.exit(130)
