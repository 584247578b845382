"""How near a pipeline stays to another that should make the same video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.cast.profile import load_appearance
from avatar.engines import Spec
from avatar.media import LatentChunk
from avatar.render import Pipeline, speech_chunks
from training.meters.lip_sync import Box
from training.meters.mouth_reader import MouthReader, read_mouth
from training.meters.sync import correlation

Video = NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """Of rollouts with the same speech, noise and movements.

    `latents` is their difference over how far the true ones are from the still portrait's, both as
    root mean squares; `late_latents` that of the last third of each rollout. `decoder_db` is the
    PSNR of the pixels decoded from the same latents, `video_db` that of the whole pipelines'.
    `opening` is the correlation of what the reader sees of both mouths, `change` the mean change
    of the mouth's opening over its standard deviation.
    """

    latents: float
    late_latents: float
    decoder_db: float
    video_db: float
    opening: float
    change: float
    num_chunks: int


def measure_agreement(
    ours: Pipeline,
    true: Pipeline,
    reader: MouthReader,
    boxes: dict[str, Box],
    speech: Sequence[NDArray[np.float32]],
) -> Agreement:
    """Each recording, (S,) float32 at 16 kHz, is said by the next avatar of `boxes`."""
    differences, distances, openings = [], [], []
    decoder, video = [], []
    num_chunks = 0
    for number, (avatar, said) in enumerate(zip(_cycle(sorted(boxes)), speech, strict=False)):
        spec = Spec(avatar, number)
        sink = load_appearance(true.score.profile, avatar).model_portrait.reference[0].numpy()
        made, expected = (list(latents_of(each, said, spec)) for each in (ours, true))
        differences.append(
            np.stack([a.latents - b.latents for a, b in zip(made, expected, strict=True)])
        )
        distances.append(np.stack([each.latents - sink for each in expected]))
        seen = _decoded(true, expected, spec)
        decoder.append(_square(_decoded(ours, expected, spec), seen))
        shown = _decoded(ours, made, spec)
        video.append(_square(shown, seen))
        openings.append(
            [read_mouth(reader, frames, boxes[avatar])[:, 0] for frames in (shown, seen)]
        )
        num_chunks += len(expected)
    ratios = [_rms(d) / _rms(m) for d, m in zip(differences, distances, strict=True)]
    late = [
        _rms(d[-len(d) // 3 :]) / _rms(m[-len(m) // 3 :])
        for d, m in zip(differences, distances, strict=True)
    ]
    read, truth = (np.concatenate(each) for each in zip(*openings, strict=True))
    return Agreement(
        latents=float(np.mean(ratios)),
        late_latents=float(np.mean(late)),
        decoder_db=_psnr(decoder),
        video_db=_psnr(video),
        opening=correlation(read, truth),
        change=float(np.abs(read - truth).mean() / truth.std()),
        num_chunks=num_chunks,
    )


def latents_of(
    pipeline: Pipeline, speech: NDArray[np.float32], spec: Spec
) -> Iterator[LatentChunk]:
    """What the pipeline's score engine makes of (S,) float32 speech at 16 kHz, chunk by chunk."""
    heard, scored = pipeline.encoder.init_state(spec), pipeline.score.init_state(spec)
    for chunk in speech_chunks(speech, pipeline.clock):
        embedding, heard = pipeline.encoder.step(chunk, heard)
        latents, scored = pipeline.score.step(embedding, scored)
        yield latents


def _decoded(pipeline: Pipeline, chunks: Sequence[LatentChunk], spec: Spec) -> Video:
    state, frames = pipeline.decoder.init_state(spec), []
    for chunk in chunks:
        made, state = pipeline.decoder.step(chunk, state)
        frames.append(made.frames)
    return np.concatenate(frames)


def _cycle(names: Sequence[str]) -> Iterator[str]:
    while True:
        yield from names


def _rms(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(x).mean()))


def _square(one: Video, other: Video) -> float:
    return float(np.square(one.astype(np.float32) - other).mean())


def _psnr(squares: Sequence[float]) -> float:
    return float(10 * np.log10(255**2 / max(float(np.mean(squares)), 1e-12)))
