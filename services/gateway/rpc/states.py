"""Sessions and avatars as messages."""

from typing import Any

from avatar.cast.characters import Character
from services.gateway.answer import Heard
from services.gateway.call import Call
from services.gateway.looks import about, video_profile
from services.settings import AppConfig
from talkingmachines_api.v1 import media_pb2, session_pb2, talk_pb2

ANSWERS = {
    session_pb2.ANSWERS_UNSPECIFIED: "server",
    session_pb2.ANSWERS_SERVER: "server",
    session_pb2.ANSWERS_CLIENT: "client",
}


def behaviour(state: object) -> "media_pb2.Behaviour.ValueType":
    return media_pb2.Behaviour.Value(f"BEHAVIOUR_{str(state).upper()}")


def avatar_of(character: Character) -> talk_pb2.Avatar:
    return talk_pb2.Avatar(**about(character))


def session_of(call: Call, config: AppConfig) -> session_pb2.Session:
    """A session as its owner sees it."""
    told: dict[str, Any] = call.describe()
    profile = video_profile(config)
    by_client = told.get("answers") == "client"
    return session_pb2.Session(
        id=call.id,
        avatar_id=told["avatar"],
        state=behaviour(told["state"]),
        connected=call.is_connected,
        rung=told.get("rung", "full"),
        turns=told.get("turns", 0),
        epoch=told.get("epoch", 0),
        media_seconds=told.get("media_s", 0.0),
        models=told.get("models", []),
        viewers=call.audience.num_watching,
        limits=session_pb2.SessionLimits(
            idle_seconds=config.limits.idle_s,
            grace_seconds=config.limits.grace_s,
            session_seconds=call.longest_s,
        ),
        profile=session_pb2.VideoProfile(
            frame_rate=profile["fps"],
            chunk_seconds=profile["chunk_s"],
            width=int(profile["width"]),
            height=int(profile["height"]),
        ),
        answers=session_pb2.ANSWERS_CLIENT if by_client else session_pb2.ANSWERS_SERVER,
    )


def summary_of(call: Call) -> session_pb2.SessionSummary:
    """The same, as operators see it."""
    told: dict[str, Any] = call.summary()
    return session_pb2.SessionSummary(
        id=told["id"],
        key=told["key"],
        avatar_id=told["avatar"],
        state=behaviour(told["state"]),
        age_seconds=told["age_s"],
        connected=told["is_connected"],
        viewers=told["viewers"],
    )


def heard_of(heard: Heard | None) -> session_pb2.Heard | None:
    if heard is None:
        return None
    return session_pb2.Heard(
        response_id=heard.response_id, text=heard.text, position_seconds=heard.position_s
    )
