"""Events of a call as messages: those that programs act upon have their own, others their name."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from services.gateway.rpc.states import behaviour
from talkingmachines_api.v1 import live_pb2, media_pb2, session_pb2

Event = Mapping[str, Any]
ABOUT: Final = ("type", "event_id", "session_id", "t_ms")
SILENT: Final = {
    "session.created",  # becomes `opened`
    "output_audio_buffer.started",  # the same as avatar.playback.started
    "output_audio_buffer.stopped",  # and of avatar.playback.finished
    "output_audio_buffer.cleared",
    "conversation.item.truncated",
    "response.output_audio_transcript.done",
}
"""Names of OpenAI's protocol for what is told by another message."""


def call_event(event: Event) -> live_pb2.CallEvent | None:
    """The message of an event, or None for one that another message tells."""
    type = event["type"]
    if type in SILENT:
        return None
    made = _MAKERS.get(type, _other)(event)
    made.event_id = str(event.get("event_id", ""))
    made.time_milliseconds = int(event.get("t_ms", 0))
    return made


def _other(event: Event) -> live_pb2.CallEvent:
    fields = Struct()
    fields.update({name: value for name, value in event.items() if name not in ABOUT})
    return live_pb2.CallEvent(other=live_pb2.OtherEvent(type=event["type"], fields=fields))


def _user_speech(event: Event) -> live_pb2.CallEvent:
    speaking = event["type"].endswith("started")
    return live_pb2.CallEvent(user_speech=live_pb2.UserSpeech(speaking=speaking))


def _transcript(event: Event) -> live_pb2.CallEvent:
    is_final = event["type"].endswith("completed")
    said = live_pb2.UserTranscript(text=event["transcript"], is_final=is_final)
    return live_pb2.CallEvent(user_transcript=said)


def _sentence(event: Event) -> live_pb2.CallEvent:
    words = [
        media_pb2.Word(
            text=word["text"],
            start_seconds=word["start_ms"] / 1000,
            end_seconds=word["end_ms"] / 1000,
        )
        for word in event["words"]
    ]
    sentence = live_pb2.SpokenSentence(
        response_id=event["response_id"], text=event["delta"], words=words
    )
    return live_pb2.CallEvent(sentence=sentence)


def _state(event: Event) -> live_pb2.CallEvent:
    return live_pb2.CallEvent(state=live_pb2.StateChange(state=behaviour(event["state"])))


def _response_created(event: Event) -> live_pb2.CallEvent:
    created = live_pb2.ResponseCreated(response_id=event["response"]["id"])
    return live_pb2.CallEvent(response_created=created)


def _playback_started(event: Event) -> live_pb2.CallEvent:
    started = live_pb2.PlaybackStarted(response_id=event["response_id"])
    return live_pb2.CallEvent(playback_started=started)


def _playback_finished(event: Event) -> live_pb2.CallEvent:
    heard = session_pb2.Heard(
        response_id=event["response_id"],
        text=event["text_heard"],
        position_seconds=event["position_ms"] / 1000,
    )
    finished = live_pb2.PlaybackFinished(heard=heard, interrupted=event["interrupted"])
    return live_pb2.CallEvent(playback_finished=finished)


def _response_done(event: Event) -> live_pb2.CallEvent:
    response = event["response"]
    done = live_pb2.ResponseDone(
        response_id=response["id"],
        status=response["status"],
        reason=response.get("reason", ""),
        models=response.get("models", []),
    )
    return live_pb2.CallEvent(response_done=done)


def _ladder(event: Event) -> live_pb2.CallEvent:
    step = live_pb2.LadderStep(rung=event["rung"], reason=event["reason"])
    return live_pb2.CallEvent(ladder=step)


def _limit(event: Event) -> live_pb2.CallEvent:
    notice = live_pb2.LimitNotice(limit=event["limit"], seconds_left=event["seconds_left"])
    return live_pb2.CallEvent(limit=notice)


def _swapped(event: Event) -> live_pb2.CallEvent:
    return live_pb2.CallEvent(swapped=live_pb2.Swapped(avatar_id=event["avatar"]))


def _ended(event: Event) -> live_pb2.CallEvent:
    return live_pb2.CallEvent(ended=live_pb2.Ended(reason=event["reason"]))


def _refusal(event: Event) -> live_pb2.CallEvent:
    error = event["error"]
    refusal = live_pb2.Refusal(reason=str(error["code"]).upper(), message=error["message"])
    return live_pb2.CallEvent(refusal=refusal)


_MAKERS: Final[dict[str, Callable[[Event], live_pb2.CallEvent]]] = {
    "input_audio_buffer.speech_started": _user_speech,
    "input_audio_buffer.speech_stopped": _user_speech,
    "conversation.item.input_audio_transcription.delta": _transcript,
    "conversation.item.input_audio_transcription.completed": _transcript,
    "response.output_audio_transcript.delta": _sentence,
    "avatar.state": _state,
    "response.created": _response_created,
    "avatar.playback.started": _playback_started,
    "avatar.playback.finished": _playback_finished,
    "response.done": _response_done,
    "avatar.ladder": _ladder,
    "avatar.limit": _limit,
    "avatar.swapped": _swapped,
    "avatar.ended": _ended,
    "error": _refusal,
}
