"""What is known of one clip of footage, as it stands in the index."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from training.data.footage.speakers import Kind

STAGES: dict[str, tuple[Kind, ...]] = {
    "motion": ("speaking", "listening", "silent", "off_sync", "ambiguous", "unmatched"),
    "audio": ("speaking",),
    "silence": ("listening", "silent"),
}
"""Which clips each stage of training learns from.

motion: how faces look and move, whatever is heard. audio: lips follow the sound, so only seen
speakers in sync. silence: a zero embedding means a shut mouth and a face that is alive.
"""


@dataclass(frozen=True)
class ClipInfo:
    """Times in seconds of the source; `square` left, top, side in its pixels."""

    id: str
    source: str
    start_s: float
    end_s: float
    kind: Kind
    track: int
    score: float
    lag_frames: int
    """As measured in this clip: positive where the picture is late."""
    sound_moved_frames: int
    """By which the clip's sound was moved to undo the video's constant lag."""
    square: tuple[float, float, float]
    mouth_box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in the clip's pixels."""
    rights: str
    """Licence and consent, as the user told them; empty if not told."""
    held_out: bool
    """Only to be looked at: all clips of a source are, or none."""

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(stage for stage, kinds in STAGES.items() if self.kind in kinds)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"stages": self.stages}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> "ClipInfo":
        own = {field.name: entry[field.name] for field in fields(ClipInfo)}
        own["square"], own["mouth_box"] = tuple(own["square"]), tuple(own["mouth_box"])
        return ClipInfo(**own)
