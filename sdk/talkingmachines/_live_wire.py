"""What happens in a live session, from protobuf, and what is sent to one, to protobuf."""

from collections.abc import Mapping
from typing import Final, TypeVar, cast

from google.protobuf.json_format import MessageToDict

from talkingmachines import _live_events as live
from talkingmachines._errors import InvalidInput
from talkingmachines._input import check_text
from talkingmachines._operators import Capacity, SessionSummary, Worker
from talkingmachines_api.v1 import live_pb2, media_pb2, operator_pb2, session_pb2

_SOUND: "Final[dict[live.SoundFormat, live_pb2.SoundFormat.ValueType]]" = {
    "pcm": live_pb2.SOUND_FORMAT_PCM,
    "opus": live_pb2.SOUND_FORMAT_OPUS,
}
_PICTURES: "Final[dict[live.PictureFormat, live_pb2.PictureFormat.ValueType]]" = {
    "jpeg": live_pb2.PICTURE_FORMAT_JPEG,
    "vp8": live_pb2.PICTURE_FORMAT_VP8,
    "h264": live_pb2.PICTURE_FORMAT_H264,
    "none": live_pb2.PICTURE_FORMAT_NONE,
}
_ANSWERS: "Final[dict[live.Answers, session_pb2.Answers.ValueType]]" = {
    "server": session_pb2.ANSWERS_SERVER,
    "client": session_pb2.ANSWERS_CLIENT,
}
_CUES: "Final[dict[str, media_pb2.Cue.ValueType]]" = {
    name.removeprefix("CUE_").lower(): value for name, value in media_pb2.Cue.items() if value
}

K = TypeVar("K", bound=str)
V = TypeVar("V")


def _one_of(what: str, name: K, choices: Mapping[K, V]) -> V:
    if name not in choices:
        raise InvalidInput(f"{what}={name!r}: choose one of {', '.join(choices)}.")
    return choices[name]


def open_talk(
    session_id: str, sound: live.SoundFormat, pictures: live.PictureFormat
) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(
        open=live_pb2.TalkOpen(
            session_id=session_id,
            sound=_one_of("sound", sound, _SOUND),
            pictures=_one_of("pictures", pictures, _PICTURES),
        )
    )


def create_session(
    avatar: str, answers: live.Answers, wait_in_line: bool, idempotency_key: str
) -> session_pb2.CreateSessionRequest:
    return session_pb2.CreateSessionRequest(
        avatar_id=avatar,
        answers=_one_of("answers", answers, _ANSWERS),
        wait_in_line=wait_in_line,
        idempotency_key=idempotency_key,
    )


def microphone(samples: bytes, rate: int) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(microphone=_pcm(samples, rate))


def reply_speech(reply_id: str, samples: bytes, rate: int) -> live_pb2.TalkRequest:
    return _reply(live_pb2.ReplyPiece(reply_id=reply_id, speech=_pcm(samples, rate)))


def reply_sentence(reply_id: str, text: str) -> live_pb2.TalkRequest:
    sentence = live_pb2.ReplySentenceText(text=check_text(text))
    return _reply(live_pb2.ReplyPiece(reply_id=reply_id, sentence=sentence))


def reply_end(reply_id: str) -> live_pb2.TalkRequest:
    return _reply(live_pb2.ReplyPiece(reply_id=reply_id, end=live_pb2.ReplyEnd()))


def _reply(piece: live_pb2.ReplyPiece) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(reply=piece)


def say(text: str) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(say=live_pb2.SayText(text=check_text(text)))


def ask(text: str) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(ask=live_pb2.AskText(text=check_text(text)))


def cue(name: str) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(cue=live_pb2.ShowCue(cue=_one_of("cue", name, _CUES)))


def interrupt(request_id: str) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(interrupt=live_pb2.Interrupt(request_id=request_id))


def push_to_talk(pressed: bool) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(push_to_talk=live_pb2.PushToTalk(pressed=pressed))


def swap(avatar: str) -> live_pb2.TalkRequest:
    return live_pb2.TalkRequest(swap=live_pb2.Swap(avatar_id=avatar))


def _pcm(samples: bytes, rate: int) -> live_pb2.PcmPiece:
    return live_pb2.PcmPiece(samples=samples, sample_rate_hertz=rate)


def place_of(message: session_pb2.Place) -> live.Place:
    return live.Place(message.position, message.waiting, message.estimate_seconds)


def heard_of(message: session_pb2.Heard) -> live.Heard:
    return live.Heard(message.response_id, message.text, message.position_seconds)


def frame_of(message: live_pb2.TalkResponse) -> live.Frame:
    if message.WhichOneof("message") == "sound":
        return live.Sound(message.sound.pts, message.sound.content)
    picture = message.picture
    return live.Picture(picture.pts, picture.content, picture.is_key)


def live_event_of(message: live_pb2.CallEvent) -> live.LiveEvent | None:
    """The event in `message`; None for a kind that only a newer server knows."""
    at_s = message.time_milliseconds / 1000
    match message.WhichOneof("what"):
        case "user_speech":
            return live.UserSpeech(message.user_speech.speaking, at_s=at_s)
        case "user_transcript":
            said = message.user_transcript
            return live.UserTranscript(said.text, said.is_final, at_s=at_s)
        case "state":
            return live.StateChanged(state_of(message.state.state), at_s=at_s)
        case "ladder":
            return live.LadderStep(message.ladder.rung, message.ladder.reason, at_s=at_s)
        case "limit":
            notice = message.limit
            left = notice.seconds_left if notice.HasField("seconds_left") else None
            return live.LimitNotice(notice.limit, left, at_s=at_s)
        case "swapped":
            return live.Swapped(message.swapped.avatar_id, at_s=at_s)
        case "ended":
            return live.Ended(message.ended.reason, at_s=at_s)
        case "refusal":
            return live.Refused(message.refusal.reason, message.refusal.message, at_s=at_s)
        case "other":
            fields = MessageToDict(message.other.fields)
            return live.OtherEvent(message.other.type, fields, at_s=at_s)
        case _:
            return _of_an_answer(message, at_s)


def _of_an_answer(message: live_pb2.CallEvent, at_s: float) -> live.LiveEvent | None:
    match message.WhichOneof("what"):
        case "response_created":
            return live.ResponseCreated(message.response_created.response_id, at_s=at_s)
        case "sentence":
            said = message.sentence
            words = tuple(live.Word(w.text, w.start_seconds, w.end_seconds) for w in said.words)
            return live.Sentence(said.response_id, said.text, words, at_s=at_s)
        case "playback_started":
            return live.PlaybackStarted(message.playback_started.response_id, at_s=at_s)
        case "playback_finished":
            finished = message.playback_finished
            return live.PlaybackFinished(heard_of(finished.heard), finished.interrupted, at_s=at_s)
        case "response_done":
            done = message.response_done
            return live.ResponseDone(
                done.response_id, done.status, done.reason, tuple(done.models), at_s=at_s
            )
        case _:
            return None


def state_of(behaviour: "media_pb2.Behaviour.ValueType") -> live.State:
    """Idle too where only a newer server knows what it is."""
    if behaviour not in media_pb2.Behaviour.values() or not behaviour:
        return "idle"
    name = media_pb2.Behaviour.Name(behaviour).removeprefix("BEHAVIOUR_").lower()
    return cast(live.State, name)


def summary_of(message: session_pb2.SessionSummary) -> SessionSummary:
    return SessionSummary(
        id=message.id,
        key=message.key,
        avatar=message.avatar_id,
        state=state_of(message.state),
        age_s=message.age_seconds,
        connected=message.connected,
        viewers=message.viewers,
    )


def worker_of(message: operator_pb2.WorkerSummary) -> Worker:
    return Worker(
        message.id,
        message.stage,
        message.slots,
        message.sessions,
        message.draining,
        tuple(message.avatar_ids),
        _capacity_of(message.measured) if message.HasField("measured") else None,
    )


def _capacity_of(message: operator_pb2.MeasuredCapacity) -> Capacity:
    return Capacity(
        message.chunk_seconds, message.cost_seconds, message.sessions_together, message.sessions
    )
