"""Workers with small engines, by path, for graphs whose replicas are other processes."""

from concurrent.futures import Executor
from typing import Any, ClassVar

from ray import serve
from ray.serve import Application

from avatar.media import StageName
from avatar.speech.vad import VoiceDetector
from services.audio_llm.cascade import Cascade
from services.audio_llm.deployment import AudioLlm
from services.replica import WORKERS, ComputeWorker, ServeReplica, Wiring
from services.settings import AppConfig, Environment
from services.stage import AUDIO_ENCODER, SCORE_WORKER, VAE_DECODER
from tests.fakes.engines import (
    LoudnessDecoder,
    LoudnessEncoder,
    LoudnessPainter,
    SweepingDecoder,
)
from tests.fakes.speech import GivenChat, GivenRecognizer, ToneSynthesizer


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


class RestlessDecoder(ComputeWorker[Any, Any, Any]):
    """Its pictures never stand still, so that a call without new ones is seen."""

    stage: ClassVar[StageName] = "vae_decoder"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, VAE_DECODER, lambda _: SweepingDecoder())


class QuickAudioLlm(AudioLlm):
    """Hears whether somebody speaks, and answers with a tone for each word that it is given."""

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, quick_cascade)


def quick_cascade(config: AppConfig, environment: Environment, executor: Executor) -> Cascade:
    chat = GivenChat(["This is an answer of a tone for every word."])
    return Cascade(GivenRecognizer(), chat, ToneSynthesizer(), VoiceDetector(), executor)


STAGES = {
    **WORKERS,
    "audio_encoder": f"{__name__}:Encoder",
    "score_worker": f"{__name__}:Painter",
    "vae_decoder": f"{__name__}:Decoder",
}
QUICK_STAGES = {
    **STAGES,
    "audio_llm": f"{__name__}:QuickAudioLlm",
    "vae_decoder": f"{__name__}:RestlessDecoder",
}


def build(config: AppConfig) -> Application:
    """The graph of services/app.py with small engines in the place of the face's models."""
    return _build(config, STAGES)


def build_quick(config: AppConfig) -> Application:
    """The same without any model, but for the detector of voices: several calls on two cores."""
    return _build(config, QUICK_STAGES)


def _build(config: AppConfig, paths: dict[str, str]) -> Application:
    settings = config.model_dump()
    stages = [
        serve.deployment(name=name)(ServeReplica).bind(paths[name], settings)
        for name in ("audio_llm", "audio_encoder", "score_worker", "vae_decoder")
    ]
    return serve.deployment(name="gateway")(ServeReplica).bind(paths["gateway"], settings, *stages)
