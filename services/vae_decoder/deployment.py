"""Shows each chunk: the deployment that decodes latents into frames."""

from typing import Any, ClassVar

from avatar.media import FrameChunk, LatentChunk, StageName
from services.replica import ComputeWorker, Wiring, tell_loaded
from services.settings import AppConfig, Environment
from services.stage import VAE_DECODER, Engine


class VaeDecoder(ComputeWorker[Any, LatentChunk, FrameChunk]):
    """LatentChunk in, FrameChunk out."""

    stage: ClassVar[StageName] = "vae_decoder"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, VAE_DECODER, _load)


def _load(config: AppConfig) -> Engine[Any, LatentChunk, FrameChunk]:
    # not at the top: who builds the graph has no use for the libraries of every model
    profile = config.model
    if profile.kind == "marker":
        from avatar.engines.marker import MarkerVaeDecoder

        return MarkerVaeDecoder(profile=profile)
    from avatar.engines.vae_decoder import VaeDecoderEngine

    engine = VaeDecoderEngine.load(profile, config.running("vae_decoder"))
    tell_loaded("vae_decoder", engine.backend)
    return engine
