"""Live sessions of both twins against the mock server, over real gRPC on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import talkingmachines as tm
from talkingmachines._inbox import MAX_EVENTS
from talkingmachines.testing import MockServer
from tests.fakes.relay import Relay
from tests.fakes.twins import CLIENTS

pytestmark = pytest.mark.integration

SECOND = b"\x01\x00" * 24_000
"""Of sound at 24 kHz."""


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as server:
        yield server


@pytest.fixture(params=CLIENTS)
def new_client(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return CLIENTS[request.param]


@pytest.fixture
async def client(new_client: Callable[..., Any], server: MockServer) -> AsyncIterator[Any]:
    async with new_client(server.address) as client:
        yield client


async def until(steps: AsyncIterator[Any], kind: type) -> list[Any]:
    """Steps up to the first one of that kind."""
    seen = []
    async for step in steps:
        seen.append(step)
        if isinstance(step, kind):
            return seen
    raise AssertionError(f"no {kind.__name__} among {seen}")


async def test_what_is_said_comes_as_events_pictures_and_sound(client: Any) -> None:
    async with client.session("otto") as session:
        await session.say("One two three.")
        steps = await until(session, tm.ResponseDone)

    events = [step for step in steps if isinstance(step, tm.LiveEvent)]
    words = (tm.Word("One", 0, 0.3), tm.Word("two", 0.3, 0.6), tm.Word("three.", 0.6, 0.3 * 3))
    assert events == [
        tm.ResponseCreated("response-1"),
        tm.Sentence("response-1", "One two three.", words),
        tm.StateChanged("speaking"),
        tm.PlaybackStarted("response-1"),
        tm.PlaybackFinished(tm.Heard("response-1", "One two three.", 0.9), False, at_s=0.9),
        tm.ResponseDone("response-1", "completed", "", ("chat: scripted",), at_s=0.9),
    ]
    sound = [step for step in steps if isinstance(step, tm.Sound)]
    assert [piece.at_s for piece in sound] == [n * 960 / 48_000 for n in range(45)]
    assert {len(piece.content) for piece in sound} == {1920}
    pictures = [step for step in steps if isinstance(step, tm.Picture)]
    assert len(pictures) == 23
    assert pictures[0].content.startswith(b"\xff\xd8")


async def test_the_end_of_the_block_ends_the_session(client: Any, server: MockServer) -> None:
    async with client.session() as session:
        assert server.sessions == [session.id]

    assert server.sessions == []


async def test_an_error_in_the_block_ends_the_session_too(client: Any, server: MockServer) -> None:
    with pytest.raises(LookupError):
        async with client.session():
            raise LookupError

    assert server.sessions == []


async def test_closing_the_client_ends_its_sessions(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    async with new_client(server.address) as client:
        session = client.session()
        await session.open()
        assert len(server.sessions) == 1

    assert server.sessions == []


async def test_events_and_frames_are_read_side_by_side(client: Any) -> None:
    async with client.session() as session:

        async def first_frames() -> list[tm.Frame]:
            frames = session.frames()
            return [await anext(frames) for _ in range(10)]

        reading = asyncio.ensure_future(first_frames())
        await session.say("One two.")
        events = await until(session.events(), tm.ResponseDone)

        assert all(isinstance(frame, tm.Sound | tm.Picture) for frame in await reading)
        assert all(isinstance(event, tm.LiveEvent) for event in events)


async def test_a_question_in_writing_is_answered(client: Any) -> None:
    async with client.session() as session:
        await session.ask("Who are you?")
        sentence = (await until(session.events(), tm.Sentence))[-1]

    assert sentence.text == "I am Mira."


async def test_two_seconds_of_microphone_are_a_turn(client: Any, server: MockServer) -> None:
    async with client.session() as session:
        for _ in range(4):
            await session.push_microphone(b"\0\0" * 8_000, 16_000)
        events = await until(session.events(), tm.Sentence)

    assert events[:3] == [
        tm.UserSpeech(True),
        tm.UserSpeech(False),
        tm.UserTranscript("What is your name?", is_final=True),
    ]
    assert [r.fields for r in server.requests if r.rpc == "Talk.microphone"] == [
        {"seconds": 0.5}
    ] * 4


async def test_the_talk_button_ends_a_turn(client: Any) -> None:
    async with client.session() as session:
        await session.push_to_talk(True)
        await session.push_microphone(b"\0\0" * 800, 16_000)
        await session.push_to_talk(False)
        events = await until(session.events(), tm.UserTranscript)

    assert events[-1].text == "What is your name?"


@pytest.mark.parametrize(("words", "heard"), [(0, ""), (2, "One two"), (3, "One two three")])
async def test_interrupt_returns_what_was_heard(
    client: Any, server: MockServer, words: int, heard: str
) -> None:
    server.hold(words)
    async with client.session() as session:
        await session.say("One two three four five.")
        told = await session.interrupt()
        server.release()

    assert told is not None
    assert (told.text, told.position_s) == (heard, pytest.approx(0.3 * words))


async def test_where_nobody_speaks_there_is_nothing_to_interrupt(client: Any) -> None:
    async with client.session() as session:
        assert await session.interrupt() is None


async def test_a_reply_of_ones_own_is_played_and_heard(client: Any, server: MockServer) -> None:
    async with client.session(answers="client") as session:
        await session.push_reply(SECOND, 24_000, "Twelve words would be too many for a")
        await session.push_reply(SECOND, 24_000, "second.")
        await session.end_reply()
        steps = await until(session, tm.PlaybackFinished)

    assert steps[-1].heard.text == "Twelve words would be too many for a second."
    assert steps[-1].heard.position_s == 2.0
    assert sum(isinstance(step, tm.Sound) for step in steps) == 100
    sent = [
        r.fields["seconds"]
        for r in server.requests
        if r.rpc == "Talk.reply" and "seconds" in r.fields
    ]
    assert sent == [0.1] * 20


async def test_a_program_that_answers_itself_is_told_what_to_answer(client: Any) -> None:
    async with client.session(answers="client") as session:
        await session.push_to_talk(True)
        await session.push_to_talk(False)
        heard = (await until(session.events(), tm.UserTranscript))[-1]
        await session.push_reply(SECOND, 24_000, f"You said: {heard.text}")
        await session.end_reply()
        finished = (await until(session.events(), tm.PlaybackFinished))[-1]

    assert finished.heard.text == "You said: What is your name?"


async def test_pushing_waits_while_nothing_is_played(client: Any, server: MockServer) -> None:
    server.hold()
    async with client.session(answers="client") as session:
        pushing = asyncio.ensure_future(session.push_reply(3 * SECOND, 24_000))
        # ten tenths fit in the window
        assert await asyncio.to_thread(server.wait_for, "Talk.reply", 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pushing), 0.3)
        assert sum(request.rpc == "Talk.reply" for request in server.requests) == 10
        server.release()
        await pushing
        await session.end_reply()
        finished = (await until(session.events(), tm.PlaybackFinished))[-1]

    assert finished.heard.position_s == 3.0


async def test_a_reply_after_an_interruption_is_a_new_one(client: Any, server: MockServer) -> None:
    server.hold(1)
    async with client.session(answers="client") as session:
        await session.push_reply(SECOND, 24_000, "One two three")
        heard = await session.interrupt()
        server.release()
        await session.push_reply(SECOND, 24_000, "Four five six")
        await session.end_reply()
        events = [
            event for _ in range(2) for event in await until(session.events(), tm.ResponseDone)
        ]

    assert heard == tm.Heard("response-1", "One", 0.3)
    assert events[-1] == tm.ResponseDone(
        "response-2", "completed", "", ("chat: scripted",), at_s=events[-1].at_s
    )


async def test_another_avatar_goes_on(client: Any) -> None:
    async with client.session("mira") as session:
        await session.swap("otto")
        assert (await until(session.events(), tm.Swapped))[-1].avatar == "otto"
        assert (await session.describe()).avatar == "otto"
        await session.swap("nobody")
        assert (await until(session.events(), tm.Refused))[-1].reason == "NOT_FOUND"


async def test_cues_are_checked_here(client: Any, server: MockServer) -> None:
    async with client.session() as session:
        await session.cue("smile")
        assert await asyncio.to_thread(server.wait_for, "Talk.cue")
        with pytest.raises(tm.InvalidInput, match="smile, frown"):
            await session.cue("jump")

    assert {"cue": {"cue": "CUE_SMILE"}} in [request.fields for request in server.requests]


@pytest.mark.parametrize("pictures", ["vp8", "h264", "none"])
async def test_pictures_come_as_they_are_wanted(client: Any, pictures: tm.PictureFormat) -> None:
    async with client.session(pictures=pictures, sound="opus") as session:
        await session.say("One.")
        steps = await until(session, tm.ResponseDone)

    assert any(isinstance(step, tm.Picture) for step in steps) == (pictures != "none")
    sound = [step.content for step in steps if isinstance(step, tm.Sound)]
    assert set(sound) == {b"\xf8\xff\xfe"}


async def test_closing_a_session_ends_the_reading_of_it(client: Any) -> None:
    async with client.session() as session:
        reading = asyncio.ensure_future(_all(session))
        await session.swap("otto")
        await session.interrupt()  # the answer to it comes after what came before
        await session.close()

        assert await reading == [tm.Swapped("otto")]
        assert [step async for step in session] == []


async def test_who_closes_while_another_closes_returns_when_it_is_done(
    client: Any, server: MockServer
) -> None:
    async with client.session() as session:
        first, second = (
            asyncio.ensure_future(session.close()),
            asyncio.ensure_future(session.close()),
        )
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)

        assert server.sessions == []
        await asyncio.gather(first, second)


async def _all(session: AsyncIterator[tm.LiveStep]) -> list[tm.LiveStep]:
    return [step async for step in session]


# Where a connection is lost


async def test_a_lost_connection_is_made_anew(client: Any, server: MockServer) -> None:
    async with client.session() as session:
        await session.say("One.")
        await until(session.events(), tm.ResponseDone)
        assert server.drop_connections() == 1
        resumed = (await until(session.events(), tm.Resumed))[-1]
        await session.say("Two.")
        sentence = (await until(session.events(), tm.Sentence))[-1]

        assert resumed.gap_s >= 0
        assert (sentence.text, sentence.at_s) == ("Two.", 0.3)  # its clock went on
        assert len(server.sessions) == 1
    assert server.sessions == []


async def test_a_connection_that_fails_again_is_tried_again(
    client: Any, server: MockServer
) -> None:
    async with client.session() as session:
        server.fail("Talk")
        server.fail("Talk", "UNAVAILABLE")
        server.drop_connections()
        await until(session.events(), tm.Resumed)

    assert sum(request.rpc == "Talk" for request in server.requests) == 4


async def test_a_reply_goes_on_over_a_lost_connection(client: Any, server: MockServer) -> None:
    server.hold()
    async with client.session(answers="client") as session:
        pushing = asyncio.ensure_future(session.push_reply(3 * SECOND, 24_000))
        assert await asyncio.to_thread(server.wait_for, "Talk.reply", 10)
        server.drop_connections()
        server.release()
        await pushing  # what waited for credit goes on with that of the new connection
        await session.end_reply()
        await until(session.events(), tm.Resumed)


async def test_an_interruption_is_asked_for_again(client: Any, server: MockServer) -> None:
    server.hold(1)
    async with client.session() as session:
        await session.say("One two.")
        assert await asyncio.to_thread(server.wait_for, "Talk.say")
        server.fail("Talk")  # the first attempt to come back
        server.drop_connections()
        assert await session.interrupt() is None  # the answer went with the connection
        server.release()


async def test_a_session_that_is_gone_when_we_come_back_is_an_error(
    client: Any, server: MockServer
) -> None:
    async with client.session() as session:
        server.fail("Talk", "NOT_FOUND", "It has ended.")
        server.drop_connections()
        with pytest.raises(tm.NotFound, match="It has ended"):
            await until(session, tm.Resumed)
        with pytest.raises(tm.NotFound):
            await session.say("Hello.")


async def test_a_cut_wire_is_a_lost_connection(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    with Relay(server.address) as relay:
        async with new_client(relay.address) as client, client.session() as session:
            asking = asyncio.ensure_future(session.interrupt())
            assert await asking is None
            relay.cut()
            waiting = asyncio.ensure_future(until(session.events(), tm.Resumed))
            await asyncio.sleep(0)
            assert not waiting.done()
            await session.leave()
            with pytest.raises(AssertionError, match="no Resumed"):
                await waiting
    assert len(server.sessions) == 1  # it is the server's to end: nobody could tell it


async def test_the_server_ends_a_session(client: Any, server: MockServer) -> None:
    async with client.session() as session:
        server.end_session(session.id, "time_limit")
        assert [event async for event in session.events()] == [tm.Ended("time_limit")]
        with pytest.raises(tm.SessionLost, match="time_limit"):
            await session.say("Hello.")


async def test_a_session_left_is_resumed(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    async with new_client(server.address) as client:
        session = client.session("otto")
        await session.open()
        ticket = session.id, session.token
        await session.leave()
    async with new_client(server.address) as client, client.resume(*ticket) as again:
        assert (await again.describe()).avatar == "otto"

    assert server.sessions == []


async def test_who_is_replaced_leaves_the_session_to_the_other(
    client: Any, server: MockServer
) -> None:
    async with client.session() as first:
        async with client.resume(first.id, first.token) as second:
            assert (await until(first.events(), tm.Ended))[-1].reason == "replaced"
            await first.close()
            assert server.sessions == [second.id]


async def test_a_ticket_of_another_session_is_refused(client: Any) -> None:
    async with client.session() as session:
        with pytest.raises(tm.Unauthenticated):
            await client.resume(session.id, "token-of-another").open()


# Admission


async def test_a_full_server_is_told_with_its_place_in_line(
    client: Any, server: MockServer
) -> None:
    async with client.session(), client.session():
        with pytest.raises(tm.Busy) as raised:
            await client.session().open()

    assert (raised.value.retry_after_s, raised.value.position) == (1.0, 1)
    assert server.sessions == []


async def test_who_waits_in_line_is_told_and_gets_the_next_session(client: Any) -> None:
    places: list[tm.Place] = []
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(place: tm.Place) -> None:
        places.append(place)
        loop.call_soon_threadsafe(told.set)

    first, second = client.session(), client.session()
    await first.open()
    await second.open()
    third = client.session(wait_in_line=True, on_place=note)
    opening = asyncio.ensure_future(third.open())
    await told.wait()
    await first.close()
    await opening
    await third.close()
    await second.close()

    assert places == [tm.Place(1, 1, 10.0)]


async def test_who_stops_waiting_leaves_the_line(server: MockServer) -> None:
    async with tm.AsyncClient(server.address) as client, client.session(), client.session():
        opening = asyncio.ensure_future(client.session(wait_in_line=True).open())
        assert await asyncio.to_thread(server.wait_for, "CreateSession", 3)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert server.sessions == []


async def test_closing_the_client_gives_up_what_is_being_opened(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    async with new_client(server.address) as client:
        sessions = [client.session(wait_in_line=True) for _ in range(3)]
        opening = [asyncio.ensure_future(session.open()) for session in sessions]
        assert await asyncio.to_thread(server.wait_for, "Talk", 2)
        assert await asyncio.to_thread(server.wait_for, "CreateSession", 3)
        await asyncio.wait(opening, return_when=asyncio.FIRST_COMPLETED)
    ends = await asyncio.gather(*opening, return_exceptions=True)

    assert sum(isinstance(end, tm.ConnectionLost) for end in ends) >= 1
    assert await asyncio.to_thread(server.wait_empty)


@pytest.mark.parametrize("rpc", ["CreateSession", "Talk"])
async def test_who_stops_opening_a_session_leaves_none(server: MockServer, rpc: str) -> None:
    for count in range(1, 6):
        async with tm.AsyncClient(server.address) as client:
            opening = asyncio.ensure_future(client.session().open())
            assert await asyncio.to_thread(server.wait_for, rpc, count)
            opening.cancel()
            await asyncio.wait([opening])
        assert server.sessions == []


async def test_a_full_server_is_tried_again_where_that_is_wanted(
    new_client: Callable[..., Any], server: MockServer
) -> None:
    server.fail("CreateSession", "NO_FREE_SLOT", retry_after_s=0.05)
    async with new_client(server.address, retry_busy_s=30.0) as client, client.session() as session:
        assert server.sessions == [session.id]


async def test_a_session_that_cannot_be_connected_to_is_not_left_behind(
    client: Any, server: MockServer
) -> None:
    server.fail("Talk", "INTERNAL", "It broke.")

    with pytest.raises(tm.ServerError, match="It broke"):
        await client.session().open()
    assert server.sessions == []


async def test_what_cannot_be_is_refused_before_anything_is_sent(client: Any) -> None:
    with pytest.raises(tm.InvalidInput, match="jpeg, vp8, h264, none"):
        await client.session(pictures="gif").open()
    async with client.session() as session:
        for samples, rate in ((b"\0", 24_000), (b"\0\0", 12_345)):
            with pytest.raises(tm.InvalidInput):
                await session.push_microphone(samples, rate)
            with pytest.raises(tm.InvalidInput):
                await session.push_reply(samples, rate)
        with pytest.raises(tm.InvalidInput):
            await session.say(" ")


async def test_a_session_outside_of_its_block_says_how_to_open_it(client: Any) -> None:
    session = client.session()
    for use in (lambda: session.say("Hello."), session.describe, lambda: anext(aiter(session))):
        with pytest.raises(ValueError, match="inside `with"):
            await use()
    await session.close()
    with pytest.raises(ValueError, match="open a new one"):
        await session.open()


# The other calls


async def test_a_recording_becomes_a_video(client: Any, server: MockServer, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(b"RIFF" * 50_000)
    saved = await client.render(tmp_path / "speech.wav", "otto").save(tmp_path / "a.mp4")

    assert saved.summary.frame_count == 25
    assert (tmp_path / "a.mp4").stat().st_size > 10_000
    assert server.requests[-1].fields == {"avatar_id": "otto", "bytes": 200_000}


async def test_operators_see_sessions_and_workers_and_drain_one(
    new_client: Callable[..., Any],
) -> None:
    with MockServer(key="secret") as server:
        async with new_client(server.address, key="secret") as client:
            async with client.session("otto") as session:
                listed = await client.sessions()
                assert [(s.id, s.avatar, s.connected) for s in listed.sessions] == [
                    (session.id, "otto", True)
                ]
                workers = await client.workers()
                assert workers[0].stage == "gateway"
                assert (await client.drain(workers[0].id)).draining
                with pytest.raises(tm.NotFound):
                    await client.drain("nobody")
        async with new_client(server.address) as client:
            for ask in (client.sessions, client.workers, client.session().open):
                with pytest.raises(tm.Unauthenticated):
                    await ask()


async def test_who_never_reads_events_is_told_when_it_does(client: Any, server: MockServer) -> None:
    async with client.session(pictures="none") as session:
        for number in range(MAX_EVENTS + 1):
            await session.swap("otto" if number % 2 else "mira")
        await session.interrupt()  # its answer comes after all of those
        events = session.events()
        for _ in range(MAX_EVENTS):
            assert isinstance(await anext(events), tm.Swapped)
        with pytest.raises(tm.EventsLost):
            await anext(events)
        await session.say("One.")  # the session goes on
        assert isinstance(await anext(session.frames()), tm.Sound)
