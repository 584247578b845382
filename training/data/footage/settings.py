"""What a run of the footage pipeline is told."""

from dataclasses import asdict, dataclass, field
from typing import Any

from training.data.footage.speakers import Kind, SyncRules
from training.data.footage.video import Limits


@dataclass(frozen=True)
class Settings:
    """All that decides what comes out; a folder belongs to one of these."""

    profile: str = "tiny"
    size: int = 256
    """Pixels of a clip's side: the profile's."""
    num_frames: int = 81
    """21 latent frames: one of 1 frame, then 20 of 4."""
    keep: tuple[Kind, ...] = ("speaking", "listening", "silent")
    min_face: float = 64.0
    """Height of a face in pixels; smaller ones would be blown up more than twice."""
    sync: SyncRules = field(default_factory=SyncRules)
    limits: Limits = field(default_factory=Limits)
    detector: str = ""
    """A YuNet ONNX file; empty is the shipped detector."""
    mouth: str = "net"
    """`net` is the shipped reader; `pixels` needs no network and knows no kind of face."""
    held_out_share: float = 0.05
    """Of the videos."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
