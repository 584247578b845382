"""The faces of single frames linked to tracks: who is who, steadily, through a shot."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[import-untyped]  # scipy has no stubs
    gaussian_filter1d,
    median_filter,
)

from training.data.footage.detector import Face, overlap
from training.data.footage.shots import Shot

X, Y, HEIGHT, MOUTH_X, MOUTH_Y = range(5)
_SAME = 0.3
"""Two faces of successive frames overlap at least so much if they are one."""
LONGEST_GAP = 8
"""Frames without the face that are filled in."""
MEDIAN_SURE = 0.7
"""Of a track's faces: lamps and patterns are taken for faces, too, but less surely."""
_SMOOTH = 1.5
"""Frames, of the Gaussian over the places."""


@dataclass(frozen=True)
class FaceTrack:
    """One face from frame `start` on; `places` (T, 5): x, y, height, mouth x, y in pixels."""

    start: int
    places: NDArray[np.float32]

    @property
    def end(self) -> int:
        """The first frame without it."""
        return self.start + len(self.places)

    def covers(self, start: int, end: int) -> bool:
        return self.start <= start and end <= self.end

    def during(self, start: int, end: int) -> NDArray[np.float32]:
        return self.places[start - self.start : end - self.start]


@dataclass
class _Open:
    start: int
    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)


def link_faces(
    found: Sequence[Sequence[Face]], shots: Sequence[Shot], min_frames: int
) -> list[FaceTrack]:
    """Tracks of at least `min_frames`, by their start, then from left to right.

    Args:
        found: For every frame of the video, the faces in it.
        shots: A track ends with its shot.
        min_frames: Shorter tracks are left out.
    """
    tracks = [track for shot in shots for track in _link_shot(found, shot)]
    long = [track for track in tracks if len(track.places) >= min_frames]
    return sorted(long, key=lambda track: (track.start, float(track.places[0, X])))


def _link_shot(found: Sequence[Sequence[Face]], shot: Shot) -> list[FaceTrack]:
    active: list[_Open] = []
    closed: list[_Open] = []
    for index in range(*shot):
        pairs = sorted(
            (
                (overlap(track.faces[-1], face), t, f)
                for t, track in enumerate(active)
                for f, face in enumerate(found[index])
            ),
            reverse=True,
        )
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for share, t, f in pairs:
            if share >= _SAME and t not in taken_tracks and f not in taken_faces:
                taken_tracks.add(t)
                taken_faces.add(f)
                active[t].frames.append(index)
                active[t].faces.append(found[index][f])
        for f, face in enumerate(found[index]):
            if f not in taken_faces:
                active.append(_Open(index, [index], [face]))
        closed += [track for track in active if index - track.frames[-1] > LONGEST_GAP]
        active = [track for track in active if index - track.frames[-1] <= LONGEST_GAP]
    return [_steady(track) for track in (*closed, *active) if _is_sure(track)]


def _is_sure(track: _Open) -> bool:
    return float(np.median([face.sure for face in track.faces])) >= MEDIAN_SURE


def _steady(track: _Open) -> FaceTrack:
    """Gaps filled in on straight lines, outliers and trembling taken out."""
    every = np.arange(track.frames[0], track.frames[-1] + 1)
    seen = np.array([(f.x, f.y, f.height, f.mouth_x, f.mouth_y) for f in track.faces])
    places = np.stack([np.interp(every, track.frames, column) for column in seen.T], axis=1)
    places = median_filter(places, size=(5, 1), mode="nearest")
    places = gaussian_filter1d(places, _SMOOTH, axis=0, mode="nearest")
    # a face's size changes slowly, and the mouth's crop must not pump
    places[:, HEIGHT] = gaussian_filter1d(places[:, HEIGHT], 4 * _SMOOTH, mode="nearest")
    return FaceTrack(track.start, places.astype(np.float32))
