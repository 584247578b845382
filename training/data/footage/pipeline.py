"""A folder of videos through all stages, by several processes, with a report of what came out."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch

from avatar.errors import AvatarError, InvalidInput, NotFound
from avatar.telemetry.logging import get_logger
from training.data.footage import stages
from training.data.footage.clip import ClipInfo
from training.data.footage.detector import NetFaceDetector, load_face_net
from training.data.footage.encode import Encoders, encode_clips, load_encoders
from training.data.footage.mouths import NetMouthReader, PixelMouthReader
from training.data.footage.settings import Settings
from training.data.footage.shards import write_shards
from training.data.footage.speech_net import load_speech_net
from training.data.footage.video import FPS, SUFFIXES
from training.data.footage.yunet import YuNetDetector

log = get_logger("training.data.footage")
RIGHTS_SUFFIX = ".rights.txt"
_SETTINGS = "settings.json"
OPTIONS = {
    "profile": "--profile",
    "size": "--profile",
    "keep": "--no-silence or --keep-unsynced",
    "min_face": "--min-face",
    "sync": "--min-score or --max-lag",
    "limits": "--max-seconds",
    "detector": "--detector",
    "mouth": "--mouth",
}
"""Settings as the command line calls them."""


@dataclass(frozen=True)
class VideoReport:
    """`failed` is the reason why nothing came of the video; `verdicts` counts faces of clips."""

    source: str
    failed: str = ""
    seconds: float = 0.0
    num_shots: int = 0
    num_tracks: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    clips: tuple[ClipInfo, ...] = ()
    files: tuple[Path, ...] = ()


def make_footage(videos: Path, out: Path, settings: Settings, rights: str, jobs: int = 1) -> Path:
    """All stages for every video below `videos`; what is done already is not done again.

    A video that cannot be used is reported and left; the next run tries it again.

    Returns:
        The report, `out`/report.json.

    Raises:
        NotFound: No videos.
        InvalidInput: `out` holds clips that were made with other settings.
    """
    if not videos.is_dir():
        raise NotFound(f"{videos} {'is no folder' if videos.exists() else 'does not exist'}")
    found = find_videos(videos)
    if not found:
        raise NotFound(f"{videos} holds no video; known are {' '.join(sorted(SUFFIXES))}")
    _tools(settings)  # a detector that is none is told of once, not for each video
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be made: {error.strerror}") from error
    _agree_on_settings(out / _SETTINGS, settings)
    began = time.perf_counter()
    encoders_name = _encoders(settings.profile).name
    by_source: dict[str, VideoReport] = {}
    for done in _process_all(videos, found, out, settings, rights, jobs):
        by_source[done.source] = done
        log.info(
            "video",
            source=done.source,
            number=f"{len(by_source)}/{len(found)}",
            clips=len(done.clips),
            failed=done.failed,
            seconds=round(time.perf_counter() - began, 1),
        )
    reports = [by_source[path.relative_to(videos).as_posix()] for path in found]
    clips = [pair for each in reports for pair in zip(each.clips, each.files, strict=True)]
    about = {"settings": settings.as_json(), "weights": encoders_name}
    write_shards(out / "shards", clips, about)
    report = out / "report.json"
    report.write_text(json.dumps(summary(reports), indent=1) + "\n")
    return report


def find_videos(folder: Path) -> list[Path]:
    """Files below `folder` whose name ends as videos' do, in order of their path."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)


def process_video(path: Path, name: str, out: Path, settings: Settings, rights: str) -> VideoReport:
    """All stages for one video; raises what makes it unusable."""
    folder = out / "videos" / video_id(path, name)
    folder.mkdir(parents=True, exist_ok=True)
    tools = _tools(settings)
    source = stages.read(path, name, folder, settings)
    tracks = stages.find_faces(path, source, folder, settings, tools.detector)
    verdicts = stages.find_speakers(path, source, tracks, folder, settings, tools)
    cut = stages.cut_clips(path, source, tracks, verdicts, folder, settings, rights)
    files = encode_clips(source, tracks, cut.clips, folder, settings, _encoders(settings.profile))
    return VideoReport(
        source=name,
        seconds=source.num_frames / FPS,
        num_shots=len(source.shots),
        num_tracks=len(tracks),
        verdicts={str(k): n for k, n in stages.count_kinds(verdicts).items()},
        left_out=cut.left_out,
        clips=tuple(cut.clips),
        files=tuple(files),
    )


def video_id(path: Path, name: str) -> str:
    """Differs if the file has another name or another size."""
    digest = sha256(f"{name}\n{path.stat().st_size}".encode()).hexdigest()[:10]
    stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in path.stem)[:40]
    return f"{stem}-{digest}"


def rights_of(path: Path, usual: str) -> str:
    """What `<video>.rights.txt` says, else what is said of all."""
    beside = path.with_name(path.name + RIGHTS_SUFFIX)
    return beside.read_text().strip() if beside.exists() else usual


def summary(reports: Sequence[VideoReport]) -> dict[str, Any]:
    verdicts, left_out, kinds = Counter[str](), Counter[str](), Counter[str]()
    for each in reports:
        verdicts.update(each.verdicts)
        left_out.update(each.left_out)
        kinds.update(clip.kind for clip in each.clips)
    clips = [clip for each in reports for clip in each.clips]
    return {
        "videos": len(reports),
        "failed": {each.source: each.failed for each in reports if each.failed},
        "seconds": round(sum(each.seconds for each in reports), 2),
        "faces_in_clips": dict(verdicts),
        "clips": dict(kinds),
        "left_out": dict(left_out),
        "clips_without_rights": sum(not clip.rights for clip in clips),
        "each": [
            asdict(each) | {"clips": [clip.id for clip in each.clips], "files": len(each.files)}
            for each in reports
        ],
    }


def _process_all(
    videos: Path, found: Sequence[Path], out: Path, settings: Settings, rights: str, jobs: int
) -> Iterator[VideoReport]:
    work = [
        (path, path.relative_to(videos).as_posix(), out, settings, rights_of(path, rights))
        for path in found
    ]
    if jobs == 1:
        yield from (_process(*each) for each in work)
        return
    finished: set[Path] = set()
    try:
        for path, report in _pooled(work, jobs):
            finished.add(path)
            yield report
        return
    except BrokenProcessPool:
        log.warning("process_died", left=len(work) - len(finished))
    # one of those left ends its process, as damaged files can: alone, it takes no other with it
    for each in work:
        if each[0] not in finished:
            try:
                yield from (report for _, report in _pooled([each], 1))
            except BrokenProcessPool:
                yield VideoReport(each[1], failed="the process died: out of memory, or damaged")


_Work = tuple[Path, str, Path, Settings, str]


def _pooled(work: Sequence[_Work], jobs: int) -> Iterator[tuple[Path, VideoReport]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin) as pool:
        waiting = {pool.submit(_process, *each): each[0] for each in work}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except KeyboardInterrupt:  # at once: what is half done is not kept anyhow
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all, the parent decides
    torch.set_num_threads(1)


def _process(path: Path, name: str, out: Path, settings: Settings, rights: str) -> VideoReport:
    try:
        return process_video(path, name, out, settings, rights)
    except (AvatarError, OSError) as error:
        return VideoReport(name, failed=f"{type(error).__name__}: {error}")


@cache
def _tools(settings: Settings) -> stages.Tools:
    """Loaded once a process."""
    net = load_face_net()
    detector = (
        YuNetDetector(Path(settings.detector)) if settings.detector else NetFaceDetector(net.finder)
    )
    reader = PixelMouthReader() if settings.mouth == "pixels" else NetMouthReader(net.reader)
    return stages.Tools(detector, reader, load_speech_net())


@cache
def _encoders(profile: str) -> Encoders:
    return load_encoders(profile)


def _agree_on_settings(path: Path, settings: Settings) -> None:
    wanted: dict[str, Any] = json.loads(json.dumps(settings.as_json()))
    if not path.exists():
        path.write_text(json.dumps(wanted, indent=1) + "\n")
        return
    before = json.loads(path.read_text())
    other = sorted(key for key in wanted if before.get(key) != wanted[key])
    if other:
        raise InvalidInput(
            f"{path.parent} was made with another {', '.join(OPTIONS.get(o, o) for o in other)}: "
            "give another --out"
        )
