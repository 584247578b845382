"""Media time: ticks, and the only conversions between ticks, samples, frames and chunks."""

from dataclasses import dataclass

TICKS_PER_SECOND = 48_000
"""One tick is 1/48000 s: exact for 16, 24 and 48 kHz sound and for 16, 24, 25 and 30 fps."""


def ticks_of_samples(num_samples: int, sample_rate: int) -> int:
    """Duration of `num_samples` in ticks.

    Raises:
        ValueError: If the duration is no whole number of ticks.
    """
    ticks, rest = divmod(num_samples * TICKS_PER_SECOND, sample_rate)
    if rest:
        raise ValueError(f"{num_samples} samples at {sample_rate} Hz are no whole number of ticks")
    return ticks


def samples_of_ticks(ticks: int, sample_rate: int) -> int:
    """Whole samples in `ticks`, rounded down."""
    return ticks * sample_rate // TICKS_PER_SECOND


def seconds(ticks: int) -> float:
    """Ticks as seconds, for display and metrics only."""
    return ticks / TICKS_PER_SECOND


@dataclass(frozen=True)
class ChunkClock:
    """How a profile divides media time: chunk n covers [n, n + 1) * ticks_per_chunk.

    The default avatar: 3 latents of 4 frames = 12 frames = 480 ms at 25 fps.
    """

    fps: int = 25
    latents_per_chunk: int = 3
    frames_per_latent: int = 4

    def __post_init__(self) -> None:
        if min(self.fps, self.latents_per_chunk, self.frames_per_latent) < 1:
            raise ValueError(f"all fields of {self} must be at least 1")
        if TICKS_PER_SECOND % self.fps:
            raise ValueError(f"{self.fps} fps does not divide {TICKS_PER_SECOND} ticks a second")

    @property
    def frames_per_chunk(self) -> int:
        return self.latents_per_chunk * self.frames_per_latent

    @property
    def ticks_per_frame(self) -> int:
        return TICKS_PER_SECOND // self.fps

    @property
    def ticks_per_chunk(self) -> int:
        return self.frames_per_chunk * self.ticks_per_frame

    @property
    def chunk_s(self) -> float:
        return self.ticks_per_chunk / TICKS_PER_SECOND

    def samples_per_chunk(self, sample_rate: int) -> int:
        return samples_of_ticks(self.ticks_per_chunk, sample_rate)

    def samples_per_latent(self, sample_rate: int) -> int:
        return samples_of_ticks(self.frames_per_latent * self.ticks_per_frame, sample_rate)

    def pts(self, seq: int) -> int:
        """Media time, in ticks, at which chunk `seq` begins."""
        return seq * self.ticks_per_chunk

    def chunks_covering(self, ticks: int) -> int:
        """How many chunks are needed to cover `ticks`, rounded up."""
        return -(-ticks // self.ticks_per_chunk)
