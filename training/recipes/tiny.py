"""The recipe of the default avatar, as one value."""

from dataclasses import dataclass, field

from training.trainer import Schedule


@dataclass(frozen=True)
class TinyRecipe:
    """Data, and one schedule for each network, in the order in which they are trained.

    piper's voice is never heard in training: it is kept for measuring.
    """

    seed: int = 0
    engines: tuple[str, ...] = ("hibari", "hibari", "espeak")
    speech_hours: float = 1.5
    sound_hours: float = 0.75
    """Of what no mouth makes."""
    spoken_hours: float = 1.5
    """Of speech that nobody draws."""
    clips_per_character: int = 60
    clip_seconds: float = 5.76
    audio_encoder: Schedule = field(
        default_factory=lambda: Schedule(steps=2500, learning_rate=2e-3)
    )
    audio_rest: Schedule = field(
        default_factory=lambda: Schedule(steps=2500, learning_rate=2e-3, ema_decay=0.995)
    )
    audio_projection: Schedule = field(
        default_factory=lambda: Schedule(steps=1200, learning_rate=1.5e-3)
    )
    mouth_reader: Schedule = field(default_factory=lambda: Schedule(steps=2500, learning_rate=2e-3))
    vae: Schedule = field(
        default_factory=lambda: Schedule(
            steps=2400, learning_rate=1.2e-3, weight_decay=1e-3, ema_decay=0.995
        )
    )
    latent_reader: Schedule = field(
        default_factory=lambda: Schedule(steps=2500, learning_rate=1.5e-3, weight_decay=5e-2)
    )
    dit: Schedule = field(
        default_factory=lambda: Schedule(steps=3200, learning_rate=1.2e-3, betas=(0.9, 0.97))
    )
    self_forcing: Schedule = field(
        default_factory=lambda: Schedule(
            steps=500, learning_rate=3e-4, betas=(0.9, 0.97), ema_decay=0.99
        )
    )
    spoken: Schedule = field(
        default_factory=lambda: Schedule(
            steps=800, learning_rate=3e-4, betas=(0.9, 0.97), ema_decay=0.99
        )
    )
    teacher: Schedule = field(
        default_factory=lambda: Schedule(steps=600, learning_rate=8e-4, betas=(0.9, 0.97))
    )
    student: Schedule = field(
        default_factory=lambda: Schedule(
            steps=600, learning_rate=2e-4, betas=(0.9, 0.97), ema_decay=0.99
        )
    )
    decoder: Schedule = field(
        default_factory=lambda: Schedule(steps=3000, learning_rate=5e-4, ema_decay=0.995)
    )
    shipped: str = "self_forcing"
    """`self_forcing`, `spoken` or `student`: which the meters prefer."""
