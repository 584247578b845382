"""Hears the speech of each chunk: the deployment that turns it into an audio embedding."""

from typing import Any, ClassVar

from avatar.media import AudioChunk, AudioEmbedding, StageName
from services.replica import ComputeWorker, Wiring
from services.settings import AppConfig, Environment
from services.stage import AUDIO_ENCODER, Engine


class AudioEncoder(ComputeWorker[Any, AudioChunk, AudioEmbedding]):
    """AudioChunk in, AudioEmbedding out."""

    stage: ClassVar[StageName] = "audio_encoder"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, AUDIO_ENCODER, _load)


def _load(config: AppConfig) -> Engine[Any, AudioChunk, AudioEmbedding]:
    # not at the top: who builds the graph has no use for the libraries of every model
    profile = config.model
    if profile.kind == "marker":
        from avatar.engines.marker import MarkerAudioEncoder

        return MarkerAudioEncoder(profile=profile)
    if profile.hearing == "own":
        from avatar.engines.audio_encoder import AudioEncoderEngine

        return AudioEncoderEngine.load(profile)
    from avatar.engines.speech_features import SpeechFeaturesEngine

    return SpeechFeaturesEngine.load(profile, config.running("audio_encoder"))
