"""The whole graph as five Ray Serve deployments, in the order in which the data flows."""

from ray import serve
from ray.serve import Application

from services.replica import WORKERS, ServeReplica
from services.settings import AppConfig

__all__ = ["build"]


def build(config: AppConfig) -> Application:
    """Speech, then its embedding, then latents, then frames; the gateway is where people connect.

    Serve places and restarts the replicas; media goes from replica to replica over gRPC
    (avatar/transport), order and ownership through Redis (avatar/bus).
    """
    settings = config.model_dump()

    def deployed(name: str, *upstream: Application) -> Application:
        # a corrupt weight file does not mend itself
        wrap = serve.deployment(name=name, max_constructor_retry_count=3)
        return wrap(ServeReplica).bind(WORKERS[name], settings, *upstream)

    audio_llm = deployed("audio_llm")
    audio_encoder = deployed("audio_encoder")
    score_worker = deployed("score_worker")
    vae_decoder = deployed("vae_decoder")
    return deployed("gateway", audio_llm, audio_encoder, score_worker, vae_decoder)
