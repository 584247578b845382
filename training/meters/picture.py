"""How a video looks beside the real render of the same truth: sharpness, grain, flicker, seams."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training.meters.lip_sync import Box

Video = NDArray[np.uint8]
"""(T, H, W, 3) RGB."""
Mask = NDArray[np.bool_]
"""(H, W)."""
EYE_BOX: Box = (72, 86, 184, 130)
"""Eyes and lids of every character in every pose of the sampler, in a 256 picture."""
STILL_RANGE = 2
"""A place stands still where the real render never differs by more, of 255."""
FLAT_GRADIENT = 1.5
"""A place is flat where neighbours in the real render differ by less, of 255."""


@dataclass(frozen=True)
class Look:
    """Of one video, or the mean of several.

    `eyes` and `mouth` are gradients in their boxes over those of the real render; `mouth_fast` is
    that of the fifth of frames in which the real mouth moves most, where smear shows. `grain` and
    `flicker` are in levels of 255, the standard deviation of white noise that would look the same:
    in space where the real render is flat, in time where it stands still; `eyes_flicker` is the
    fast change inside the eye box over the real one. `border` and `inside` are mean differences
    of successive frames, of 255, from chunk to chunk and within chunks. What ends in `_real` is
    the same of the real render.
    """

    eyes: float
    mouth: float
    mouth_fast: float
    grain: float
    grain_real: float
    flicker: float
    flicker_real: float
    eyes_flicker: float
    border: float
    inside: float
    border_real: float
    inside_real: float

    @property
    def seam(self) -> float:
        """Frame difference at chunk borders over that inside; 1 where nothing moves."""
        return _ratio(self.border, self.inside)

    @property
    def seam_real(self) -> float:
        return _ratio(self.border_real, self.inside_real)


def compare_videos(shown: Video, real: Video, mouth: Box, frames_per_chunk: int) -> Look:
    """Compare a video with the real render of the same mouth and controls, frame by frame."""
    flat, still = flat_places(real), still_places(real)
    fast = fastest_frames(cut(real, mouth))
    border, inside = borders(shown, frames_per_chunk)
    border_real, inside_real = borders(real, frames_per_chunk)
    return Look(
        eyes=_ratio(gradient(cut(shown, EYE_BOX)), gradient(cut(real, EYE_BOX))),
        mouth=_ratio(gradient(cut(shown, mouth)), gradient(cut(real, mouth))),
        mouth_fast=_ratio(gradient(cut(shown, mouth)[fast]), gradient(cut(real, mouth)[fast])),
        grain=grain(shown, flat),
        grain_real=grain(real, flat),
        flicker=flicker(shown, still),
        flicker_real=flicker(real, still),
        eyes_flicker=_ratio(flicker(cut(shown, EYE_BOX)), flicker(cut(real, EYE_BOX))),
        border=border,
        inside=inside,
        border_real=border_real,
        inside_real=inside_real,
    )


def mean_look(looks: Sequence[Look]) -> Look:
    """Of videos of the same length."""
    return Look(
        **{
            each.name: float(np.mean([getattr(look, each.name) for look in looks]))
            for each in fields(Look)
        }
    )


def cut(frames: Video, box: Box) -> Video:
    x0, y0, x1, y1 = box
    return frames[:, y0:y1, x0:x1]


def gradient(frames: Video) -> float:
    """Mean difference of neighbours in the grey pictures, of 255: less is softer."""
    across, down = 0.0, 0.0
    for frame in frames:
        grey = frame.mean(axis=-1, dtype=np.float32)
        across += float(np.abs(np.diff(grey, axis=1)).mean())
        down += float(np.abs(np.diff(grey, axis=0)).mean())
    return (across + down) / 2 / max(1, len(frames))


def fastest_frames(frames: Video) -> NDArray[np.intp]:
    """Indices of the fifth of frames that differ most from the one before."""
    steps = np.concatenate([[0.0], frame_steps(frames)])
    return np.sort(np.argsort(steps)[-max(1, len(frames) // 5) :])


def flat_places(frames: Video) -> Mask:
    """Where neighbours hardly differ in any of the frames looked at, every eighth."""
    flat = np.ones(frames.shape[1:3], np.bool_)
    for frame in frames[::8]:
        grey = np.pad(frame.mean(axis=-1, dtype=np.float32), 1, mode="edge")
        span = np.maximum(
            np.abs(grey[1:-1, 2:] - grey[1:-1, :-2]), np.abs(grey[2:, 1:-1] - grey[:-2, 1:-1])
        )
        flat &= span < 2 * FLAT_GRADIENT
    return flat


def still_places(frames: Video) -> Mask:
    still: Mask = (frames.max(axis=0) - frames.min(axis=0)).max(axis=-1) <= STILL_RANGE
    return still


def grain(frames: Video, flat: Mask) -> float:
    """Noise of flat places, by the mask of Immerkaer (1996) that shadings do not pass.

    Every eighth frame; in levels of 255; 0 where nothing is flat.
    """
    flat = flat[1:-1, 1:-1]
    if not flat.any():
        return 0.0
    found = []
    for frame in frames[::8]:
        grey = frame.mean(axis=-1, dtype=np.float32)
        rows = grey[:-2] - 2 * grey[1:-1] + grey[2:]
        both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
        found.append(float(np.sqrt((both[flat] ** 2).mean())) / 6)
    return float(np.mean(found))


def flicker(frames: Video, places: Mask | None = None) -> float:
    """Second difference in time, as the deviation of the white noise that has as much.

    In levels of 255; 0 where there is no such place, or there are fewer than three frames.
    """
    if len(frames) < 3 or (places is not None and not places.any()):
        return 0.0
    total = 0.0
    for before, now, after in zip(frames, frames[1:], frames[2:], strict=False):
        bend = before.astype(np.int16) - 2 * now.astype(np.int16) + after.astype(np.int16)
        chosen = bend if places is None else bend[places]
        total += float(np.square(chosen, dtype=np.float32).mean())
    return float(np.sqrt(total / (len(frames) - 2) / 6))


def frame_steps(frames: Video) -> NDArray[np.float32]:
    """(T - 1,) mean difference of each frame from the one before, of 255."""
    return np.array(
        [
            np.abs(now.astype(np.int16) - before.astype(np.int16)).mean()
            for before, now in zip(frames, frames[1:], strict=False)
        ],
        np.float32,
    )


def borders(frames: Video, frames_per_chunk: int) -> tuple[float, float]:
    """Mean frame difference where a chunk begins, and elsewhere; the first frame begins one."""
    steps = frame_steps(frames)
    begins = np.arange(1, len(frames)) % frames_per_chunk == 0
    if not begins.any() or begins.all():
        return 0.0, 0.0
    return float(steps[begins].mean()), float(steps[~begins].mean())


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else 1.0
