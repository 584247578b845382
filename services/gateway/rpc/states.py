"""Sessions as messages."""

from typing import Any

from services.gateway.answer import Heard
from services.gateway.call import Call
from services.gateway.looks import video_profile
from services.settings import AppConfig
from talkingmachines_api.v1 import media_pb2, session_pb2

ANSWERS = {
    session_pb2.ANSWERS_UNSPECIFIED: "server",
    session_pb2.ANSWERS_SERVER: "server",
    session_pb2.ANSWERS_CLIENT: "client",
}


def behaviour(state: object) -> "media_pb2.Behaviour.ValueType":
    return media_pb2.Behaviour.Value(f"BEHAVIOUR_{str(state).upper()}")


def session_of(call: Call, config: AppConfig) -> session_pb2.Session:
    """A session as its owner sees it."""
    about: dict[str, Any] = call.describe()
    profile = video_profile(config)
    by_client = about.get("answers") == "client"
    return session_pb2.Session(
        id=call.id,
        avatar_id=about["avatar"],
        state=behaviour(about["state"]),
        connected=call.is_connected,
        rung=about.get("rung", "full"),
        turns=about.get("turns", 0),
        epoch=about.get("epoch", 0),
        media_seconds=about.get("media_s", 0.0),
        models=about.get("models", []),
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
    about: dict[str, Any] = call.summary()
    return session_pb2.SessionSummary(
        id=about["id"],
        key=about["key"],
        avatar_id=about["avatar"],
        state=behaviour(about["state"]),
        age_seconds=about["age_s"],
        connected=about["is_connected"],
        viewers=about["viewers"],
    )


def heard_of(heard: Heard | None) -> session_pb2.Heard | None:
    if heard is None:
        return None
    return session_pb2.Heard(
        response_id=heard.response_id, text=heard.text, position_seconds=heard.position_s
    )
