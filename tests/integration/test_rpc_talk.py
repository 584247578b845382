"""Live talks over gRPC: what a client sends, what it gets, and how a connection ends."""

import asyncio
import io
from typing import Any

import av
import grpc
import numpy as np
import pytest
from PIL import Image

from avatar import errors
from avatar.media import SPEECH_RATE
from bench.receiver_viewer import Player, Seat
from services.gateway.answer import Heard
from services.gateway.events import CreateItem, CreateResponse, Cue, PushToTalk, Say, Swap
from services.gateway.own_reply import EndReply, ReplySpeech, ReplyText
from services.gateway.rpc.credit import WINDOW_MS
from services.settings import Limits
from talkingmachines_api.v1 import live_pb2, media_pb2, session_pb2
from tests.fakes.caller import Caller
from tests.fakes.calls import block_at
from tests.fakes.graph import until
from tests.fakes.rpc import RpcDesk, RpcTalk, bearer, error_in, kind_of, rpc_desk

pytestmark = pytest.mark.integration


def tone(seconds: float, rate: int = 24_000) -> live_pb2.PcmPiece:
    samples = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 300 / rate)
    content = (12_000 * samples).astype("<i2").tobytes()
    return live_pb2.PcmPiece(samples=content, sample_rate_hertz=rate)


async def ended(talk: RpcTalk) -> errors.AvatarError:
    """The error that the talk ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        await talk.rest()
    return error_in(caught.value)


async def opened(rpc: RpcDesk, talk: RpcTalk) -> live_pb2.TalkOpened:
    message = await talk.next("opened")
    assert talk.seen == [message]  # it comes first
    return message.opened


async def test_sound_and_pictures_of_one_instant_belong_together() -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            about = await opened(rpc, talk)
            assert about.session.connected
            assert about.reply_credit.granted_milliseconds == WINDOW_MS
            sounds: dict[int, bytes] = {}
            pictures: dict[int, bytes] = {}
            while len(pictures) < 30:
                message = await talk.next("sound", "picture")
                if message.WhichOneof("message") == "sound":
                    sounds[message.sound.pts] = message.sound.content
                else:
                    assert message.picture.is_key
                    pictures[message.picture.pts] = message.picture.content
    for at, content in sounds.items():
        assert content == block_at(at).sound.tobytes()
    for at, content in pictures.items():
        shown = np.asarray(Image.open(io.BytesIO(content)))
        [expected] = block_at(at).pictures
        assert shown.shape == expected.pixels.shape
        assert abs(float(shown.mean()) - float(expected.pixels.mean())) < 3
    assert pictures.keys() & sounds.keys()


@pytest.mark.parametrize(
    ("format", "codec"),
    [(live_pb2.PICTURE_FORMAT_VP8, "vp8"), (live_pb2.PICTURE_FORMAT_H264, "h264")],
)
async def test_pictures_as_a_stream_begin_whole_and_can_be_decoded(
    format: live_pb2.PictureFormat.ValueType, codec: str
) -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create(), pictures=format) as talk:
            pieces = [(await talk.next("picture")).picture for _ in range(10)]
    assert [piece.is_key for piece in pieces] == [True] + 9 * [False]
    assert [piece.pts for piece in pieces] == sorted({piece.pts for piece in pieces})
    decoder: Any = av.CodecContext.create(codec, "r")
    frames = [f for piece in pieces for f in decoder.decode(av.Packet(piece.content))]
    assert len(frames) >= 9
    assert (frames[0].width, frames[0].height) == (256, 256)


async def test_sound_alone_as_opus() -> None:
    async with rpc_desk() as rpc:
        opus, none = live_pb2.SOUND_FORMAT_OPUS, live_pb2.PICTURE_FORMAT_NONE
        async with rpc.talk(await rpc.create(), sound=opus, pictures=none) as talk:
            pieces = [(await talk.next("sound", "picture")) for _ in range(60)]
    assert {kind_of(piece) for piece in pieces} == {"sound"}
    decoder: Any = av.CodecContext.create("libopus", "r")
    sound = np.concatenate(
        [
            frame.to_ndarray().ravel()
            for piece in pieces
            for frame in decoder.decode(av.Packet(piece.sound.content))
        ]
    )
    assert np.abs(sound.astype(float)).max() > 0.1


async def test_what_a_client_does_reaches_the_session() -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            await opened(rpc, talk)
            await talk.send(say=live_pb2.SayText(text="Hello."))
            await talk.send(ask=live_pb2.AskText(text="Who are you?"))
            await talk.send(cue=live_pb2.ShowCue(cue=media_pb2.CUE_LOOK_LEFT))
            await talk.send(push_to_talk=live_pb2.PushToTalk(pressed=True))
            await talk.send(swap=live_pb2.Swap(avatar_id="otto"))
            await until(lambda: len(rpc.desk.live.events) == 6)
        say, item, create, cue, button, swap = rpc.desk.live.events
        assert say == Say(type="avatar.say", text="Hello.")
        assert isinstance(item, CreateItem)
        assert item.item.content[0].text == "Who are you?"
        assert create == CreateResponse(type="response.create")
        assert cue == Cue(type="avatar.cue", name="look_left")
        assert button == PushToTalk(type="avatar.push_to_talk", pressed=True)
        assert swap == Swap(type="avatar.swap", avatar="otto")


@pytest.mark.parametrize("rate", [16_000, 48_000, 44_100])
async def test_the_microphone_is_heard_at_16_khz(rate: int) -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            await opened(rpc, talk)
            for _ in range(10):
                await talk.send(microphone=tone(0.1, rate))
            await until(lambda: rpc.desk.live.microphone.size > 0.98 * SPEECH_RATE)
    heard = rpc.desk.live.microphone
    assert heard.size <= SPEECH_RATE
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * SPEECH_RATE / heard.size == pytest.approx(300, abs=3)


async def test_a_reply_of_the_clients_own_is_laid_as_far_as_it_has_credit() -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            await opened(rpc, talk)
            live = rpc.desk.live
            live.backlog_s = 2.0  # nothing is played
            sentence = live_pb2.ReplySentenceText(text="One two.")
            await talk.send(reply=live_pb2.ReplyPiece(sentence=sentence, reply_id="a"))
            for _ in range(4):
                await talk.send(reply=live_pb2.ReplyPiece(speech=tone(0.5), reply_id="a"))
            await until(lambda: len(live.replies) == 5)
            assert live.replies[0] == ReplyText("a", "One two.")
            speech = live.replies[1]
            assert isinstance(speech, ReplySpeech)
            assert (speech.samples.size, speech.sample_rate) == (12_000, 24_000)
            live.backlog_s = 1.0  # a second was played
            more = (await talk.next("reply_credit")).reply_credit
            assert more.granted_milliseconds == 3000
            await talk.send(reply=live_pb2.ReplyPiece(speech=tone(1.0), reply_id="a"))
            await talk.send(reply=live_pb2.ReplyPiece(end=live_pb2.ReplyEnd(), reply_id="a"))
            await until(lambda: len(live.replies) == 7)
            assert live.replies[-1] == EndReply("a")


async def test_who_sends_more_than_its_credit_is_not_talked_with() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await opened(rpc, talk)
            rpc.desk.live.backlog_s = 5.0
            for _ in range(3):
                await talk.send(reply=live_pb2.ReplyPiece(speech=tone(1.0)))
            assert isinstance(await ended(talk), errors.CreditExceeded)
        assert len(rpc.desk.live.replies) == 2
        async with rpc.talk(created) as talk:  # the session is still there
            await opened(rpc, talk)


async def test_an_interruption_is_answered_with_what_was_heard() -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            await opened(rpc, talk)
            rpc.desk.live.heard_so_far = Heard("r", "Once upon", 0.5)
            for name in ("first", "second"):
                await talk.send(interrupt=live_pb2.Interrupt(request_id=name))
            first = (await talk.next("interrupted")).interrupted
            second = (await talk.next("interrupted")).interrupted
    heard = session_pb2.Heard(response_id="r", text="Once upon", position_seconds=0.5)
    assert (first.request_id, first.heard) == ("first", heard)
    assert second.request_id == "second"
    assert not second.HasField("heard")


@pytest.mark.parametrize(
    "bad",
    [
        {"say": live_pb2.SayText(text="")},
        {"say": live_pb2.SayText(text="a" * 2001)},
        {"ask": live_pb2.AskText(text=" ")},
        {"cue": live_pb2.ShowCue()},
        {"open": live_pb2.TalkOpen(session_id="s")},
        {"microphone": live_pb2.PcmPiece(samples=b"12", sample_rate_hertz=11_025)},
        {"microphone": live_pb2.PcmPiece(samples=b"1", sample_rate_hertz=16_000)},
        {"microphone": live_pb2.PcmPiece(samples=bytes(33_000), sample_rate_hertz=16_000)},
        {"reply": live_pb2.ReplyPiece()},
        {"reply": live_pb2.ReplyPiece(speech=live_pb2.PcmPiece(sample_rate_hertz=16_000))},
        {"reply": live_pb2.ReplyPiece(sentence=live_pb2.ReplySentenceText(text=""))},
        {"reply": live_pb2.ReplyPiece(end=live_pb2.ReplyEnd(), reply_id="x" * 65)},
        {},
    ],
    ids=str,
)
async def test_what_is_wrong_is_refused_and_the_talk_goes_on(bad: dict[str, object]) -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            await opened(rpc, talk)
            await talk.send(**bad)
            refusal = (await talk.next("event.refusal")).event.refusal
            assert refusal.reason == "INVALID_INPUT"
            assert refusal.message
            await talk.send(say=live_pb2.SayText(text="Hello."))
            await until(lambda: bool(rpc.desk.live.events))
        assert rpc.desk.live.replies == []


async def test_who_sends_too_many_wrong_things_is_hung_up_on() -> None:
    async with rpc_desk(limits=Limits(events_per_s=5)) as rpc:
        async with rpc.talk(await rpc.create()) as talk:
            await opened(rpc, talk)
            for _ in range(30):
                await talk.send(microphone=live_pb2.PcmPiece(samples=b"1", sample_rate_hertz=1))
            kinds = await talk.rest()
        assert kinds[-1] == "event.ended"
        assert talk.seen[-1].event.ended.reason == "event_flood"
        assert rpc.desk.sessions.present == set()


async def test_half_closing_ends_the_talk_and_not_the_session() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        for _ in range(2):  # it may be joined again
            async with rpc.talk(created) as talk:
                await opened(rpc, talk)
                await talk.hang_up()
                kinds = await talk.rest()
                assert kinds[-1] == "event.ended"
                assert rpc.desk.live.peer is None
        assert rpc.desk.sessions.present


async def test_what_is_no_message_ends_the_talk_with_a_reason() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        opening = live_pb2.TalkRequest(open=live_pb2.TalkOpen(session_id=created.session.id))
        raw: Any = rpc.channel.stream_stream(
            "/talkingmachines_api.v1.TalkService/Talk",
            request_serializer=bytes,
            response_deserializer=live_pb2.TalkResponse.FromString,
        )
        call = raw(metadata=bearer(created.token))
        talk = RpcTalk(call)
        await call.write(opening.SerializeToString())
        await talk.next("opened")
        await call.write(b"\xff\xff\xff\xff")
        async with asyncio.timeout(20):
            assert isinstance(await ended(talk), errors.InvalidInput)
        assert not rpc.desk.live.ended  # another talk may go on with the session


async def test_a_second_talk_takes_the_place_of_the_first() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as first:
            await opened(rpc, first)
            async with rpc.talk(created) as second:
                await opened(rpc, second)
                assert (await first.rest())[-1] == "event.ended"
                assert first.seen[-1].event.ended.reason == "replaced"
                await second.next("sound")


async def test_a_caller_who_vanishes_may_come_back_and_one_who_does_not_is_forgotten() -> None:
    async with rpc_desk(limits=Limits(grace_s=1.0)) as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await opened(rpc, talk)
        await until(lambda: rpc.desk.live.peer is None)
        async with rpc.talk(created) as talk:
            await opened(rpc, talk)
        await until(lambda: not rpc.desk.sessions.present)
        assert rpc.desk.live.ended == "no_connection"
        async with rpc.talk(created) as talk:
            assert isinstance(await ended(talk), errors.NotFound)


async def test_the_sessions_end_is_told_and_ends_the_talk() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await opened(rpc, talk)
            rpc.desk.calls.find(created.session.id, created.token).end("time_limit")
            assert (await talk.rest())[-1] == "event.ended"
            assert talk.seen[-1].event.ended.reason == "time_limit"


async def test_a_client_that_does_not_read_loses_pictures_and_holds_nobody_up() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await opened(rpc, talk)
            call = rpc.desk.calls.find(created.session.id, created.token)

            def dropped() -> int:
                connection = call.describe()["connection"]
                assert isinstance(connection, dict)
                return int(connection["pictures_dropped"])

            live = rpc.desk.live
            for _ in range(400):  # eight seconds of video, at once
                peer = live.peer
                assert peer is not None
                peer.play(block_at(live.at))
                await asyncio.sleep(0)
            await until(lambda: dropped() > 0)
            rpc.desk.calls.find(created.session.id, created.token).end("time_limit")
        await until(lambda: not rpc.desk.sessions.present)


async def test_a_talk_begins_with_open() -> None:
    async with rpc_desk() as rpc:
        for first in (live_pb2.TalkRequest(), live_pb2.TalkRequest(say=live_pb2.SayText())):
            call = rpc.talks.Talk()
            await call.write(first)
            assert isinstance(await ended(RpcTalk(call)), errors.InvalidInput)
        call = rpc.talks.Talk()
        await call.done_writing()
        assert isinstance(await ended(RpcTalk(call)), errors.InvalidInput)


async def test_who_opens_nothing_is_not_waited_for() -> None:
    async with rpc_desk(limits=Limits(open_s=0.05)) as rpc:
        call = rpc.talks.Talk()
        assert isinstance(await ended(RpcTalk(call)), errors.DeadlineExceeded)


async def test_others_watch_a_session_whose_caller_is_on_grpc() -> None:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        id, http = created.session.id, rpc.desk.http
        async with rpc.talk(created, pictures=live_pb2.PICTURE_FORMAT_JPEG) as talk:
            await opened(rpc, talk)
            headers = {"authorization": f"Bearer {created.token}"}
            made = await http.post(f"/v1/sessions/{id}/viewer-tokens", headers=headers)
            async with Player().watching(Seat(http, id, made.json()["token"])) as player:
                await until(lambda: min(player.num_frames.values(), default=0) > 3)
                viewers = await talk.next("event.other")
                assert viewers.event.other.type == "avatar.viewers"
                await talk.next("picture")


async def test_a_caller_moves_from_webrtc_to_grpc_and_back() -> None:
    async with rpc_desk() as rpc:
        booking = await rpc.desk.booking()
        created = session_pb2.CreatedSession(
            session=session_pb2.Session(id=booking.created["id"]), token=booking.created["token"]
        )
        async with Caller().connected(booking.answer) as caller:
            await until(lambda: caller.num_frames["video"] > 0)
            async with rpc.talk(created) as talk:
                await opened(rpc, talk)
                await talk.next("picture")
                again = await booking.describe()
                assert again.json()["connection"]["pictures_dropped"] == 0
                async with Caller().connected(booking.answer) as back:
                    assert (await talk.rest())[-1] == "event.ended"
                    assert talk.seen[-1].event.ended.reason == "replaced"
                    await until(lambda: back.num_frames["video"] > 0)


async def test_a_format_that_is_not_known_is_refused() -> None:
    async with rpc_desk() as rpc:
        async with rpc.talk(await rpc.create(), pictures=77) as talk:
            assert isinstance(await ended(talk), errors.InvalidInput)


async def test_too_many_connections_are_refused() -> None:
    async with rpc_desk(limits=Limits(connects_per_minute=1)) as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await opened(rpc, talk)
            async with rpc.talk(created) as second:
                assert isinstance(await ended(second), errors.TooManyAttempts)
            await talk.next("sound")
