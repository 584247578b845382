"""Whether a server is ready, asked as gRPC's health protocol has it (grpc.health.v1).

By messages of our own with the same bytes: nothing but protobuf is needed, and nothing collides
with grpcio-health-checking where that is installed too.
"""

from typing import Any, Final

from talkingmachines_api.standard.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from talkingmachines_api.v1 import talk_pb2

SERVICE: Final = "grpc.health.v1.Health"
TALK: Final = HealthCheckRequest(
    service=talk_pb2.DESCRIPTOR.services_by_name["TalkService"].full_name
)
SERVING: Final = HealthCheckResponse.SERVING_STATUS_SERVING
NOT_SERVING: Final = HealthCheckResponse.SERVING_STATUS_NOT_SERVING
SERVICE_UNKNOWN: Final = HealthCheckResponse.SERVING_STATUS_SERVICE_UNKNOWN


def watch(channel: Any, timeout_s: float) -> Any:
    """How TalkService is, whenever that changes, from a server that may not be there yet.

    `channel` is one of grpc or of grpc.aio, and so is the call.
    """
    call = channel.unary_stream(
        f"/{SERVICE}/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return call(TALK, timeout=timeout_s, wait_for_ready=True)
