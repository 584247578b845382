"""Speech file in, video file out, in one process and without any server."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.audio.loudness import has_sound
from avatar.audio.resample import resample
from avatar.audio.video import SOUND_RATE, Mp4Writer
from avatar.backends import Running, Wish
from avatar.cast.avatars import FOLDER, character_of
from avatar.cast.dance import dance, init_dance
from avatar.cast.profiles import load_profile
from avatar.engines import Spec
from avatar.engines.audio_encoder import AudioEncoderEngine
from avatar.engines.score import ScoreEngine
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import InvalidInput, NotFound, Unavailable
from avatar.media import (
    LOOKAHEAD_LATENTS,
    SPEECH_RATE,
    AudioChunk,
    FrameChunk,
    SessionId,
    Stamp,
    TimedCue,
)
from avatar.timebase import ChunkClock

MAX_RENDER_SECONDS = 600.0
MAX_RENDER_BYTES = 64 << 20


Mode = Literal["speech", "music"]
"""What the sound is: words to say, or music that also moves head and shoulders."""


@dataclass(frozen=True)
class Pipeline:
    """The three engines of one profile."""

    encoder: AudioEncoderEngine
    score: ScoreEngine
    decoder: VaeDecoderEngine

    @classmethod
    def load(
        cls,
        profile: str = "tiny",
        audio_scope: Literal["face", "whole"] | None = None,
        avatars: Path = FOLDER,
        wish: Wish = "auto",
    ) -> "Pipeline":
        """`audio_scope` None is what the profile's policy says; `avatars` are the user's own.

        `wish` is the back end.
        """
        found = load_profile(profile, avatars)
        running = Running(wish)
        score = ScoreEngine.load(found, running)
        if audio_scope is not None:
            policy = replace(score.profile.policy, audio_scope=audio_scope)
            score = ScoreEngine(replace(score.profile, policy=policy), score.model, score.backend)
        return cls(AudioEncoderEngine.load(found), score, VaeDecoderEngine.load(found, running))

    @property
    def clock(self) -> ChunkClock:
        return self.score.profile.clock


def render_chunks(
    pipeline: Pipeline,
    speech: NDArray[np.float32],
    avatar: str,
    *,
    seed: int = 0,
    mode: Mode = "speech",
    cues: Sequence[TimedCue] = (),
) -> Iterator[FrameChunk]:
    """Video of `avatar` saying `speech`, (S,) float32 at 16 kHz, chunk after chunk to its end.

    With mode "music" the head and shoulders also move to the beat, where there is one.

    Raises:
        NotFound: There is no such avatar.
    """
    chunks = speech_chunks(speech, pipeline.clock, cues)
    return render_stream(pipeline, chunks, avatar, seed=seed, mode=mode)


def render_stream(
    pipeline: Pipeline,
    chunks: Iterable[AudioChunk],
    avatar: str,
    *,
    seed: int = 0,
    mode: Mode = "speech",
) -> Iterator[FrameChunk]:
    """As `render_chunks`, of speech that need not end."""
    spec = Spec(avatar, seed)
    heard = pipeline.encoder.init_state(spec)
    scored = pipeline.score.init_state(spec)
    decoded = pipeline.decoder.init_state(spec)
    dancing, moves = init_dance(), None
    for chunk in chunks:
        embedding, heard = pipeline.encoder.step(chunk, heard)
        if mode == "music":
            moves, dancing = dance(
                chunk.samples,
                chunk.lookahead,
                pipeline.clock.frames_per_chunk,
                character_of(avatar, pipeline.score.profile.avatars).temperament,
                dancing,
            )
        latents, scored = pipeline.score.step(embedding, scored, moves)
        frames, decoded = pipeline.decoder.step(latents, decoded)
        yield frames


def speech_chunks(
    speech: NDArray[np.float32], clock: ChunkClock, cues: Sequence[TimedCue] = ()
) -> Iterator[AudioChunk]:
    """Speech cut into whole chunks, the last one filled with silence.

    The face speaks where there is sound and idles elsewhere; a cue is in the chunk of its time.
    """
    whole = clock.samples_per_chunk(SPEECH_RATE)
    ahead = LOOKAHEAD_LATENTS * clock.samples_per_latent(SPEECH_RATE)
    count = max(1, -(-len(speech) // whole))
    padded = np.pad(speech, (0, count * whole - len(speech))).astype(np.float32)
    for seq in range(count):
        start = seq * whole
        yield AudioChunk(
            Stamp(SessionId("render"), 0, seq, 0, clock.pts(seq)),
            padded[start : start + whole],
            lookahead=padded[start + whole : start + whole + ahead],
            last=seq == count - 1,
            behaviour="speaking" if has_sound(padded[start : start + whole]) else "idle",
            cues=tuple(each.name for each in cues if int(each.start_s / clock.chunk_s) == seq),
        )


def render_file(
    audio: Path,
    avatar: str,
    out: Path,
    *,
    seed: int = 0,
    mode: Mode = "speech",
    cues: Sequence[TimedCue] = (),
    audio_scope: Literal["face", "whole"] | None = None,
    avatars: Path = FOLDER,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> None:
    """Write an mp4 of the avatar saying or singing the recording; sound and picture end together.

    Raises:
        NotFound: No such file or avatar.
        Unavailable: The video cannot be written.
        InvalidInput: Not audio, or too long; or a cue is due after its end.
    """
    if not audio.is_file():
        is_what = "is no file" if audio.exists() else "does not exist"
        raise NotFound(f"{audio} {is_what}")
    _check_writable(out, audio)
    content = audio.read_bytes()
    sound = decode(content, SOUND_RATE, MAX_RENDER_SECONDS, MAX_RENDER_BYTES)
    speech = resample(sound, SOUND_RATE, SPEECH_RATE)
    pipeline = Pipeline.load(audio_scope=audio_scope, avatars=avatars)
    clock = pipeline.clock
    per_chunk = clock.samples_per_chunk(SOUND_RATE)
    count = max(1, -(-len(speech) // clock.samples_per_chunk(SPEECH_RATE)))
    _check_cues(cues, count * clock.chunk_s)
    track = np.pad(sound, (0, max(0, count * per_chunk - len(sound))))
    with Mp4Writer(clock.fps) as video:
        for chunk in render_chunks(pipeline, speech, avatar, seed=seed, mode=mode, cues=cues):
            start = chunk.stamp.seq * per_chunk
            video.add(chunk.frames, track[start : start + per_chunk])
            progress(chunk.stamp.seq + 1, count)
        content = video.finish()
    partial = out.with_name(out.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(out)
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _check_writable(out: Path, audio: Path) -> None:
    """Before the work, not after it."""
    if out.exists() and out.samefile(audio):
        raise InvalidInput(f"{out} is the recording itself; give another file to write")
    if out.is_dir():
        raise Unavailable(f"{out} cannot be written: it is a folder")
    if not out.parent.is_dir():
        raise Unavailable(f"{out} cannot be written: there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise Unavailable(f"{out} cannot be written: {out.parent} may not be changed")


def _check_cues(cues: Sequence[TimedCue], length_s: float) -> None:
    for cue in cues:
        if not 0 <= cue.start_s < length_s:
            raise InvalidInput(
                f"cue {cue.name} at {cue.start_s:g} s, but the video lasts from 0 to {length_s:g} s"
            )
