"""A program that uses all of the SDK, as somebody outside of this repository types it."""
# ruff: noqa: T201  it stands for programs that print

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_never, assert_type

import talkingmachines as tm
from talkingmachines.testing import MockServer, Request


def answers(client: tm.Client, folder: Path) -> list[str]:
    saved = client.say("Hello.", avatar="mira").save(folder / "a.mp4", on_event=print)
    assert_type(saved, tm.SavedAnswer)
    for step in client.ask(folder / "question.wav"):
        assert_type(step, tm.Event)
        match step:
            case tm.Transcript(text) | tm.ReplySentence(text):
                print(text.upper())
            case tm.ChunkReady():
                print(step.media_s + step.elapsed_s)
            case tm.VideoPiece(content):
                print(content.hex())
            case tm.Summary():
                print(step.frame_count + 1)
            case _:
                assert_never(step)
    assert_type(client.render(b"RIFF").save("b.mp4").summary.audio_s, float)
    assert_type(client.avatar_pages(10), Iterator[list[tm.Avatar]])
    assert_type(client.portrait("mira"), bytes)
    return [avatar.id for avatar in client.avatars() if avatar.is_shipped]


def made(client: tm.Client) -> str:
    consent = tm.Consent("Ada Lovelace", "To be shown in this program.")
    ada = tm.Portrait("ada.jpg", "ada", "Ada", "She counts.", "You are Ada.", consent)
    operation = client.create_avatar(ada)
    assert_type(operation, tm.Operation)
    for now in client.operation(operation.id).watch():
        assert_type(now.state, tm.OperationState)
        assert_type(now.left_s, float | None)
    try:
        assert_type(operation.wait(60.0, on_progress=print), tm.Progress)
    except tm.OperationCancelled:
        print(operation.progress().stage)
    client.delete_avatar("ada")
    assert_type(client.create_token().lifetime_s, float)
    assert_type(client.operations(), tm.OperationList)
    return client.create_avatar(Path("nova.toml")).cancel().avatar


async def made_too(client: tm.AsyncClient) -> None:
    operation = await client.create_avatar(b'id = "nova"')
    assert_type(operation, tm.AsyncOperation)
    assert_type(operation.watch(), AsyncIterator[tm.Progress])
    assert_type(await operation.wait(timeout_s=None), tm.Progress)
    assert_type(client.avatar_pages(), AsyncIterator[list[tm.Avatar]])
    async with client.session() as session:
        assert_type((await session.create_viewer_token()).whep_path, str)
        await session.delete_viewer_tokens()


def live(client: tm.Client) -> str:
    def place(place: tm.Place) -> None:
        print(place.position, place.estimate_s)

    heard: tm.Heard | None = None
    with client.session("mira", answers="client", wait_in_line=True, on_place=place) as session:
        assert_type(session, tm.Session)
        session.push_microphone(b"\0\0", 16_000)
        session.push_reply(bytearray(2), 24_000, "Well.")
        session.end_reply()
        session.cue("smile")
        session.push_to_talk(pressed=True)
        session.swap("otto")
        heard = session.interrupt()
        assert_type(session.describe().frame_rate, float)
        for step in session:
            assert_type(step, tm.LiveStep)
            if isinstance(step, tm.Sound | tm.Picture):
                print(step.at_s, len(step.content))
            elif isinstance(step, tm.PlaybackFinished):
                heard = step.heard
        assert_type(session.events(), Iterator[tm.LiveEvent])
        assert_type(session.frames(), Iterator[tm.Frame])
    return heard.text if heard else ""


async def live_too(client: tm.AsyncClient) -> None:
    async with client.session(pictures="h264") as session, asyncio.TaskGroup() as tasks:
        assert_type(session, tm.AsyncSession)
        tasks.create_task(session.say("Hello."))
        assert_type(await session.interrupt(), tm.Heard | None)
        assert_type(session.events(), AsyncIterator[tm.LiveEvent])
        with tm.Recorder("call.mp4") as recorder:
            async for step in session:
                recorder.add(step)
            assert_type(recorder.commit(), Path)
    async with client.resume(session.id, session.token) as again:
        await again.leave()
    assert_type(await client.drain("gateway-1"), tm.Worker)


def errors(client: tm.Client) -> float:
    try:
        client.wait_ready(1.0)
        client.say("Hello.").save("a.mp4")
    except tm.QuotaExceeded as error:
        assert_type(error.quota, str)
    except tm.Busy as error:
        assert_type(error.position, int | None)
        return error.retry_after_s
    except tm.TalkError as error:
        assert_type(error.retry_after_s, float | None)
        print(error.reason.lower())
    return 0.0


def tested() -> None:
    with MockServer(slots=1) as server, tm.Client(server.address) as client:
        server.fail("Say", "NO_FREE_SLOT", retry_after_s=2.0)
        assert errors(client) == 2.0
        assert_type(server.requests, list[Request])


MISTAKES = """
client.session(pictures="gif")
client.session("mira").cue("jump")
client.say(b"Hello.")
client.session("mira").push_reply("Hello.", 24_000)
session: tm.AsyncSession = client.session()
client.session().interrupt().text
client.create_avatar(tm.Portrait("ada.jpg", "ada", "Ada", "She counts.", "You are Ada."))
client.operation("x").wait(on_progress=lambda: None)
client.create_avatar("nova.toml").state
"""
"""What the checker has to refuse, a line each, given a `client: tm.Client`."""
