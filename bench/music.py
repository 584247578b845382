"""Does the head move to the beat, and the mouth to sung words only?"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from avatar.audio.beats import Beat, beat_times, init_beats, track_beats
from avatar.audio.onsets import HOP
from avatar.cast.characters import CAST
from avatar.cast.profiles import PROFILES
from avatar.media import SPEECH_RATE
from avatar.render import Mode, Pipeline, render_chunks
from bench.clips import speech
from bench.options import Options
from bench.results import Values, bars, table
from training.meters.beats import (
    head_path,
    measure_alignment,
    measure_tracking,
    motion_beats,
)
from training.meters.lip_sync import read_boxes
from training.meters.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from training.meters.sync import measure_sync

if TYPE_CHECKING:  # what sings and plays belongs to training, which a server may lack
    from training.data.songs import Song

SECONDS = 9.6
"""Of each rendered piece: twenty chunks."""
JUDGED_FROM_S = 3.5
SEED = 4_000
"""Of the pieces; training's are other ones."""
SURE = 0.5


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    songs = make_songs(options.repetitions(12, 3))
    pipeline = Pipeline.load()
    reader = load_mouth_reader(PROFILES["tiny"].folder / "mouth_reader.safetensors")
    return {
        "tracker": measure_tracker(options.repetitions(3, 1)),
        "alignment": measure_motion(pipeline, reader, songs, options.repetitions(4, 2)),
        "seconds": SECONDS,
    }


def make_songs(count: int) -> list["Song"]:
    """Pieces of all styles in turn, with held-out words sung over them."""
    from training.data.corpus import HELD_OUT
    from training.data.music import STYLES
    from training.data.singing import Choir
    from training.data.songs import make_song

    choir, styles = Choir(), list(STYLES)
    return [
        make_song(
            np.random.default_rng((SEED, i)), styles[i % len(styles)], SECONDS, choir,
            sentences=HELD_OUT,
        )
        for i in range(count)
    ]  # fmt: skip


def measure_tracker(rounds: int) -> Values:
    """F-measure by style, and how often speech and silence are taken for music."""
    from training.data.music import STYLES, make_piece

    told: Values = {"styles": {}}
    for number, style in enumerate(STYLES):
        rows = []
        for i in range(rounds):
            piece = make_piece(np.random.default_rng((SEED, number, i)), style, 20.0)
            beats = tracked(piece.samples)
            first = next((beat.time_s for beat in beats if beat.confidence >= SURE), 20.0)
            rows.append((measure_tracking(beat_times(beats), piece.beats_s), first))
        told["styles"][style] = {
            "f_measure": float(np.mean([row.f_measure for row, _ in rows])),
            "worst": min(row.f_measure for row, _ in rows),
            "late_ms": 1000 * float(np.nanmedian([row.late_s for row, _ in rows])),
            "sure_after_s": float(np.median([first for _, first in rows])),
        }
    told["f_measure"] = float(np.mean([each["f_measure"] for each in told["styles"].values()]))
    told["sure_in_speech"] = sure_share(tracked(speech(60.0 if rounds > 1 else 10.0)))
    told["sure_in_silence"] = sure_share(tracked(np.zeros(10 * SPEECH_RATE, np.float32)))
    return told


def tracked(samples: NDArray[np.float32]) -> list[Beat]:
    return track_beats(samples[: len(samples) // HOP * HOP], init_beats())[0]


def sure_share(beats: Sequence[Beat]) -> float:
    return float(np.mean([beat.confidence >= SURE for beat in beats]))


def measure_motion(
    pipeline: Pipeline, reader: MouthReader, songs: Sequence["Song"], instrumental: int
) -> Values:
    """Render each song, and the first few without their voice."""
    motion, syncs, sung, alone = [], [], [], []
    rest = {each.id: closed_mouth(pipeline, reader, each.id) for each in CAST[: len(songs)]}
    for i, song in enumerate(songs):
        avatar = CAST[i % len(CAST)].id
        box = read_boxes()[avatar]
        frames = video(pipeline, song.mixed(), avatar, "music")
        motion.append(motion_beats(head_path(frames, box)))
        closed = rest[avatar]
        opening = read_mouth(reader, frames, box)[: len(song.curves), 0] - closed
        syncs.append(measure_sync(opening, song.curves[:, 0]).correlation)
        sung.append(opening[song.curves[: len(opening), 0] > 0.05].mean())
        if i < instrumental:
            played = read_mouth(reader, video(pipeline, song.backing, avatar, "music"), box)
            alone.append(np.abs(played[:, 0] - closed).mean())
    singing = float(np.mean(sung))
    music = [song.piece.beats_s for song in songs]
    alignment = measure_alignment(motion, music, JUDGED_FROM_S, SECONDS)
    return asdict(alignment) | {
        "standard_errors": alignment.standard_errors,
        "sung_correlation": float(np.mean(syncs)),
        "sung_worst": float(np.min(syncs)),
        "instruments_share": float(np.mean(alone)) / singing,
        "num_instrumental": len(alone),
        "solo_shares": measure_solos(pipeline, reader, rest[CAST[0].id], singing, instrumental),
    }


def measure_solos(
    pipeline: Pipeline, reader: MouthReader, closed: float, singing: float, rounds: int
) -> Values:
    """Opening while one instrument plays alone, as a share of that while singing."""
    shares: dict[str, list[float]] = {}
    avatar = CAST[0].id
    for number in range(rounds):
        rng = np.random.default_rng((SEED, 9, number))
        for name, samples in solos(rng).items():
            mouth = read_mouth(
                reader, video(pipeline, samples, avatar, "music"), read_boxes()[avatar]
            )
            shares.setdefault(name, []).append(float(np.abs(mouth[:, 0] - closed).mean()) / singing)
    return {name: float(np.mean(each)) for name, each in shares.items()}


def solos(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """A steady sine, a scale on each instrument, and drawn sounds, 4.8 s each."""
    from training.data.instruments import FAMILIES, instrument, note
    from training.data.sounds import make_sound

    seconds, beat_s = 4.8, 0.6
    time = np.arange(int(seconds * SPEECH_RATE)) / SPEECH_RATE
    played = {"sine": 0.5 * np.sin(2 * np.pi * rng.uniform(150, 1200) * time).astype(np.float32)}
    for family in FAMILIES:
        timbre = instrument(family, rng)
        first = int(rng.integers(36, 48) if family == "bass" else rng.integers(52, 68))
        scale = [
            note(440 * 2 ** ((first + step - 69) / 12), beat_s, timbre, rng)[
                : int(beat_s * SPEECH_RATE)
            ]
            for step in (0, 2, 4, 5, 7, 9, 11, 12)
        ]
        played[family] = 0.5 * np.concatenate(scale)
    return played | {"drawn": make_sound(rng, seconds)}


def video(
    pipeline: Pipeline, samples: NDArray[np.float32], avatar: str, mode: Mode
) -> NDArray[np.uint8]:
    return np.concatenate(
        [chunk.frames for chunk in render_chunks(pipeline, samples, avatar, mode=mode)]
    )


def closed_mouth(pipeline: Pipeline, reader: MouthReader, avatar: str) -> float:
    """Opening that the reader sees when nobody speaks."""
    still = video(pipeline, np.zeros(SPEECH_RATE, np.float32), avatar, "speech")
    return float(np.median(read_mouth(reader, still, read_boxes()[avatar])[:, 0]))


def report(values: Values) -> str:
    tracker, motion = values["tracker"], values["alignment"]
    rows = [
        [style, each["f_measure"], each["worst"], each["late_ms"], each["sure_after_s"]]
        for style, each in tracker["styles"].items()
    ]
    return "\n".join(
        [
            "Beats found by the causal tracker in made pieces of 20 s with known beats: F-measure "
            "within 70 ms from the fourth second on, and when it was sure first.\n",
            table(["style", "F-measure", "worst piece", "late, ms", "sure after, s"], rows),
            f"{motion['num_pieces']} songs of {values['seconds']} s, rendered in music mode. Beat "
            "alignment score: mean over motion beats, the turns of the head as seen in the pixels, "
            "of exp(-d² / 2 s²), s = 50 ms; shuffled: with the other pieces' beats. Mouth: opening "
            "as the shipped reader sees it, with the true mouth of the sung words; with the "
            "instruments alone, as a share of its mean while singing, net of the closed mouth.\n",
            table(
                ["alignment", "shuffled", "standard error", "sung mouth", "worst", "instruments"],
                [
                    [
                        motion["own"], motion["shuffled"], motion["standard_error"],
                        motion["sung_correlation"], motion["sung_worst"],
                        motion["instruments_share"],
                    ]
                ],
            ),
            "One instrument alone (a sine, scales, drawn sounds), opening as a share of singing:\n",
            table(["alone", "share"], [[k, v] for k, v in motion["solo_shares"].items()]),
            bars(bar_rows(values)),
        ]
    )  # fmt: skip


def bar_rows(values: Values) -> list[tuple[str, object, str, bool]]:
    tracker, motion = values["tracker"], values["alignment"]
    errors, pieces = motion["standard_errors"], motion["num_pieces"]
    return [
        (
            f"alignment above shuffled, standard errors, {pieces} pieces",
            errors, "at least 2, 10 pieces", errors >= 2 and pieces >= 10,
        ),
        (
            "sung words: correlation of the opening", motion["sung_correlation"],
            f"at least {SUNG_BAR}", motion["sung_correlation"] >= SUNG_BAR,
        ),
        (
            "instruments alone: opening, share of singing", motion["instruments_share"],
            f"at most {ALONE_BAR}", motion["instruments_share"] <= ALONE_BAR,
        ),
        (
            "one instrument alone: mean of their openings, share of singing",
            solo_share(motion), f"at most {ALONE_BAR}", solo_share(motion) <= ALONE_BAR,
        ),
        (
            "speech: time in which a beat is believed", tracker["sure_in_speech"],
            f"at most {FALSE_BAR}", tracker["sure_in_speech"] <= FALSE_BAR,
        ),
    ]  # fmt: skip


def solo_share(motion: Values) -> float:
    return float(np.mean(list(motion["solo_shares"].values())))


SUNG_BAR, ALONE_BAR, FALSE_BAR = 0.5, 0.15, 0.05
