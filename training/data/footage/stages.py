"""What is done to one video: each stage leaves its result, and is skipped when that is there.

A video's folder: `source.json` and `sound.npy` (read), `tracks.npz` (faces), `mouths.npz` and
`verdicts.json` (who speaks), `clips.json` and `<clip>.mkv` (cut), `<weights>/<clip>.safetensors`
(encoded; see `encode`). A file that stands is whole: it is written beside and then renamed.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.data.footage import crop, shots, speech_net, video
from training.data.footage.clip import ClipInfo
from training.data.footage.detector import FaceDetector
from training.data.footage.mouths import MouthReader, cut_mouth
from training.data.footage.settings import Settings
from training.data.footage.speakers import Kind, Verdict, judge_clip, loud_frames
from training.data.footage.speech_net import SpeechNet
from training.data.footage.tracks import FaceTrack, link_faces

_MOUTHS_AT_ONCE = 128


@dataclass(frozen=True)
class Source:
    """What the first stage knows of a video; `shots` are (first, after the last) frames."""

    name: str
    width: int
    height: int
    num_frames: int
    has_sound: bool
    shots: list[tuple[int, int]]


@dataclass(frozen=True)
class Cut:
    """The clips of a video, and how many were left out for which reason."""

    clips: list[ClipInfo]
    left_out: dict[str, int]


@dataclass(frozen=True)
class Tools:
    detector: FaceDetector
    mouth_reader: MouthReader
    speech_net: SpeechNet


def read(path: Path, name: str, folder: Path, settings: Settings) -> Source:
    done = folder / "source.json"
    if done.exists():
        return Source(**(stored := _read_json(done)) | {"shots": _pairs(stored["shots"])})
    thumbnails, width, height = [], 0, 0
    for frame in video.read_frames(path, settings.limits):
        height, width = frame.shape[:2]
        thumbnails.append(shots.thumbnail(frame))
    sound = video.read_sound(path, len(thumbnails))
    if sound is not None:
        _replace(folder / "sound.npy", lambda at: np.save(at, (sound * 32767).astype(np.int16)))
    found = shots.find_shots(thumbnails)
    source = Source(name, width, height, len(thumbnails), sound is not None, found)
    _write_json(done, asdict(source))
    return source


def find_faces(
    path: Path, source: Source, folder: Path, settings: Settings, detector: FaceDetector
) -> list[FaceTrack]:
    done = folder / "tracks.npz"
    if not done.exists():
        found = [detector.find(frame) for frame in video.read_frames(path, settings.limits)]
        tracks = link_faces(found, source.shots, settings.num_frames)
        arrays = {f"{i:03d}.{t.start}": t.places for i, t in enumerate(tracks)}
        _replace(done, lambda at: np.savez(at, **arrays))  # type: ignore[arg-type]  # names are ours
    with np.load(done) as arrays:
        return [FaceTrack(int(key.partition(".")[2]), arrays[key]) for key in sorted(arrays)]


def find_speakers(
    path: Path,
    source: Source,
    tracks: Sequence[FaceTrack],
    folder: Path,
    settings: Settings,
    tools: Tools,
) -> list[Verdict]:
    done = folder / "verdicts.json"
    if done.exists():
        return [Verdict(**entry) for entry in _read_json(done)]
    mouths = read_mouths(path, tracks, folder, settings, tools.mouth_reader)
    sound = load_sound(folder, source)
    verdicts = judge(source, tracks, mouths, sound, settings, tools.speech_net)
    _write_json(done, [asdict(verdict) for verdict in verdicts])
    return verdicts


def judge(
    source: Source,
    tracks: Sequence[FaceTrack],
    mouths: Sequence[NDArray[np.float32]],
    sound: NDArray[np.float32],
    settings: Settings,
    net: SpeechNet,
) -> list[Verdict]:
    """Of every face in every clip of a video whose mouths are read."""
    spoken, is_loud = speech_net.spoken_mouth(net, sound), loud_frames(sound)
    length, rules = settings.num_frames, settings.sync
    return [
        verdict
        for start in clip_starts(source, tracks, settings)
        for verdict in judge_clip(tracks, mouths, spoken, is_loud, start, length, rules)
    ]


def cut_clips(
    path: Path,
    source: Source,
    tracks: Sequence[FaceTrack],
    verdicts: Sequence[Verdict],
    folder: Path,
    settings: Settings,
    rights: str,
) -> Cut:
    done = folder / "clips.json"
    if done.exists():
        stored = _read_json(done)
        return Cut([ClipInfo.from_json(e) for e in stored["clips"]], stored["left_out"])
    left_out: dict[str, int] = {}
    wanted: list[tuple[ClipInfo, crop.Square]] = []
    lags = [v.lag for v in verdicts if v.kind == "speaking"]
    moved = round(float(np.median(lags))) if lags else 0
    for verdict in verdicts:
        made = _plan(source, tracks, verdict, moved, folder.name, settings, rights)
        if isinstance(made, crop.Refusal):
            left_out[made.reason] = left_out.get(made.reason, 0) + 1
        else:
            wanted.append(made)
    _write_clips(path, source, wanted, folder, settings)
    cut = Cut([info for info, _ in wanted], left_out)
    _write_json(done, {"clips": [c.as_json() for c in cut.clips], "left_out": left_out})
    return cut


def clip_starts(source: Source, tracks: Sequence[FaceTrack], settings: Settings) -> list[int]:
    """First frames of the clips: end to end within each shot, from where its first face is."""
    starts: list[int] = []
    for first, end in source.shots:
        seen = [track for track in tracks if first <= track.start < end]
        at = min((track.start for track in seen), default=end)
        while at + settings.num_frames <= end:
            starts.append(at)
            at += settings.num_frames
    return starts


def load_sound(folder: Path, source: Source) -> NDArray[np.float32]:
    """(T * 640,) samples; silence where the video has none."""
    if not source.has_sound:
        return np.zeros(source.num_frames * video.SAMPLES_PER_FRAME, np.float32)
    stored: NDArray[np.int16] = np.load(folder / "sound.npy")
    return stored.astype(np.float32) / np.float32(32767.0)


def read_mouths(
    path: Path,
    tracks: Sequence[FaceTrack],
    folder: Path,
    settings: Settings,
    reader: MouthReader,
) -> list[NDArray[np.float32]]:
    """(T, 3) of each track."""
    done = folder / "mouths.npz"
    if not done.exists():
        waiting: list[list[Tensor]] = [[] for _ in tracks]
        read: list[list[NDArray[np.float32]]] = [[] for _ in tracks]
        for index, frame in enumerate(video.read_frames(path, settings.limits)):
            for i, track in enumerate(tracks):
                if track.covers(index, index + 1):
                    _, _, height, x, y = track.places[index - track.start].tolist()
                    waiting[i].append(cut_mouth(frame, x, y, height))
                if len(waiting[i]) == _MOUTHS_AT_ONCE or (waiting[i] and index + 1 == track.end):
                    read[i].append(reader.read(waiting[i]))
                    waiting[i] = []
        arrays = {f"{i:03d}": np.concatenate(pieces) for i, pieces in enumerate(read)}
        _replace(done, lambda at: np.savez(at, **arrays))  # type: ignore[arg-type]  # names are ours
    with np.load(done) as stored:
        return [stored[key] for key in sorted(stored)]


def _plan(
    source: Source,
    tracks: Sequence[FaceTrack],
    verdict: Verdict,
    moved: int,
    video_id: str,
    settings: Settings,
    rights: str,
) -> tuple[ClipInfo, crop.Square] | crop.Refusal:
    if verdict.kind not in settings.keep:
        return crop.Refusal(verdict.kind)
    track, end = tracks[verdict.track], verdict.start + settings.num_frames
    others = [each for i, each in enumerate(tracks) if i != verdict.track]
    size = (source.width, source.height)
    square = crop.square_for(track, others, verdict.start, end, size, settings.min_face)
    if isinstance(square, crop.Refusal):
        return square
    places = crop.in_square(track.during(verdict.start, end), square, settings.size)
    info = ClipInfo(
        id=f"{video_id}-{verdict.start:06d}-{verdict.track:02d}",
        source=source.name,
        start_s=verdict.start / video.FPS,
        end_s=end / video.FPS,
        kind=verdict.kind,
        track=verdict.track,
        score=verdict.score,
        lag_frames=verdict.lag,
        sound_moved_frames=moved,
        square=(square.left, square.top, square.side),
        mouth_box=crop.mouth_box(places, settings.size),
        rights=rights,
        held_out=is_held_out(video_id, settings.held_out_share),
    )
    return info, square


def is_held_out(video_id: str, share: float) -> bool:
    """The same for a video's name at any time, and for all of its clips."""
    digest = hashlib.sha256(video_id.encode()).digest()
    return int.from_bytes(digest[:4]) < share * 2.0**32


def _write_clips(
    path: Path,
    source: Source,
    wanted: Sequence[tuple[ClipInfo, crop.Square]],
    folder: Path,
    settings: Settings,
) -> None:
    """One pass over the video; only the clips that a frame belongs to are held."""
    sound = load_sound(folder, source)
    todo = sorted(wanted, key=lambda each: each[0].start_s)
    first_frame = {info.id: round(info.start_s * video.FPS) for info, _ in todo}
    held: dict[str, list[NDArray[np.uint8]]] = {}
    for index, frame in enumerate(video.read_frames(path, settings.limits)):
        for info, square in todo:
            if first_frame[info.id] <= index < first_frame[info.id] + settings.num_frames:
                held.setdefault(info.id, []).append(crop.cut_square(frame, square, settings.size))
                if len(held[info.id]) == settings.num_frames:
                    heard = sound_of(sound, first_frame[info.id], settings.num_frames, info)
                    video.write_clip(folder / f"{info.id}.mkv", np.stack(held.pop(info.id)), heard)
        todo = [(i, s) for i, s in todo if index + 1 < first_frame[i.id] + settings.num_frames]


def sound_of(
    sound: NDArray[np.float32], start: int, num_frames: int, info: ClipInfo, before: int = 0
) -> NDArray[np.float32]:
    """A clip's samples with the lag undone, and `before` samples of what came before."""
    first = (start - info.sound_moved_frames) * video.SAMPLES_PER_FRAME - before
    last = first + before + num_frames * video.SAMPLES_PER_FRAME
    inside = sound[max(first, 0) : max(last, 0)]
    return np.pad(inside, (max(-first, 0), max(last, 0) - max(first, 0) - len(inside)))


def count_kinds(verdicts: Sequence[Verdict]) -> dict[Kind, int]:
    kinds = [verdict.kind for verdict in verdicts]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _pairs(pairs: list[list[int]]) -> list[tuple[int, int]]:
    return [(first, last) for first, last in pairs]


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _write_json(path: Path, content: object) -> None:
    _replace(path, lambda at: at.write_text(json.dumps(content, indent=1) + "\n"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then rename: what stands under its name is whole."""
    partial = path.with_name(f"partial-{path.name}")
    write(partial)
    partial.replace(path)
