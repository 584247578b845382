"""Denoises each chunk: the deployment of the diffusion transformer."""

from typing import Any, ClassVar

from avatar.media import AudioEmbedding, LatentChunk, StageName
from services.replica import ComputeWorker, Wiring, tell_loaded
from services.settings import AppConfig, Environment
from services.stage import SCORE_WORKER, Engine


class ScoreWorker(ComputeWorker[Any, AudioEmbedding, LatentChunk]):
    """AudioEmbedding in, LatentChunk out."""

    stage: ClassVar[StageName] = "score_worker"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        super().__init__(config, environment, wiring, SCORE_WORKER, _load)


def _load(config: AppConfig) -> Engine[Any, AudioEmbedding, LatentChunk]:
    # not at the top: who builds the graph has no use for the libraries of every model
    profile = config.model
    if profile.kind == "marker":
        from avatar.engines.marker import MarkerScore

        return MarkerScore(profile=profile)
    from avatar.cast.together import SHARING, check_together
    from avatar.engines.score import ScoreEngine

    if config.is_on_one_machine:
        check_together(profile, {stage: config.running(stage) for stage in SHARING})
    engine = ScoreEngine.load(profile, config.running("score_worker"), config.max_batch)
    tell_loaded("score_worker", engine.backend)
    return engine
