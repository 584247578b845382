"""Workers with small engines, by path, for graphs whose replicas are other processes."""

from typing import Any, ClassVar

from ray import serve
from ray.serve import Application

from avatar.media import StageName
from services.replica import WORKERS, ComputeWorker, ServeReplica, Wiring
from services.settings import AppConfig, Environment
from services.stage import AUDIO_ENCODER, SCORE_WORKER, VAE_DECODER
from tests.fakes.engines import LoudnessDecoder, LoudnessEncoder, LoudnessPainter


class Encoder(ComputeWorker[Any, Any, Any]):
    stage: ClassVar[StageName] = "audio_encoder"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, AUDIO_ENCODER, lambda _: LoudnessEncoder())


class Painter(ComputeWorker[Any, Any, Any]):
    stage: ClassVar[StageName] = "score_worker"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, SCORE_WORKER, lambda _: LoudnessPainter())


class Decoder(ComputeWorker[Any, Any, Any]):
    stage: ClassVar[StageName] = "vae_decoder"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, VAE_DECODER, lambda _: LoudnessDecoder())


def build(config: AppConfig) -> Application:
    """The graph of services/app.py with these workers in the place of the models."""
    paths = {
        **WORKERS,
        "audio_encoder": f"{__name__}:Encoder",
        "score_worker": f"{__name__}:Painter",
        "vae_decoder": f"{__name__}:Decoder",
    }
    settings = config.model_dump()
    stages = [
        serve.deployment(name=name)(ServeReplica).bind(paths[name], settings)
        for name in ("audio_llm", "audio_encoder", "score_worker", "vae_decoder")
    ]
    return serve.deployment(name="gateway")(ServeReplica).bind(paths["gateway"], settings, *stages)
