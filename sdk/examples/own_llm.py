"""An avatar speaks for a language model and a voice of your own.

The server hears and transcribes; what is answered, and how it sounds, is made here. Put your
model into `answer`, and your text to speech into `speech`.

python own_llm.py question.wav another_question.wav
"""

import asyncio
import math
import re
import struct
import sys
import wave
from collections.abc import AsyncIterator, Iterator

from talkingmachines import AsyncClient, AsyncSession, PlaybackFinished, UserTranscript

RATE = 24_000
WORD_S = 0.25


async def answer(question: str) -> AsyncIterator[str]:
    """Your language model, sentence by sentence."""
    yield f"You said: {question}"
    yield "Let me think about that."


def speech(sentence: str) -> Iterator[bytes]:
    """Your text to speech, piece by piece: mono, 16 bit, at RATE. This one hums a note a word."""
    for number, _ in enumerate(sentence.split()):
        hertz = 200 + 40 * (number % 5)
        wave_of = (math.sin(2 * math.pi * hertz * n / RATE) for n in range(round(WORD_S * RATE)))
        yield b"".join(struct.pack("<h", round(8000 * level)) for level in wave_of)


async def ask(session: AsyncSession, path: str) -> None:
    """Plays a WAV file to the server as if somebody spoke."""
    await session.push_to_talk(True)
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            sys.exit(f"{path}: give a mono WAV file of 16 bits")
        rate = file.getframerate()
        while samples := file.readframes(rate // 10):
            await session.push_microphone(samples, rate)
            await asyncio.sleep(0.1)  # as fast as people speak
    await session.push_to_talk(False)


async def converse(session: AsyncSession, questions: list[str]) -> None:
    events = session.events()
    for path in questions:
        await ask(session, path)
        async for event in events:
            match event:
                case UserTranscript(text=text, is_final=True):
                    print(f"you:    {text}", flush=True)
                    async for sentence in answer(text):
                        print(f"avatar: {sentence}", flush=True)
                        text_of_it = sentence
                        for piece in speech(sentence):
                            await session.push_reply(piece, RATE, text_of_it)  # waits for room
                            text_of_it = ""
                    await session.end_reply()
                case PlaybackFinished(heard=heard, interrupted=interrupted):
                    words = len(re.findall(r"\w+", heard.text))
                    print(f"({words} words heard{', then interrupted' if interrupted else ''})")
                    break
                case _:
                    pass


async def main(questions: list[str]) -> None:
    async with AsyncClient() as client:
        await client.wait_ready()
        async with client.session(answers="client", pictures="none") as session:
            await converse(session, questions)


try:
    asyncio.run(main(sys.argv[1:]))
except KeyboardInterrupt:
    sys.exit(130)
