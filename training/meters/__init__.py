"""Meters: small measurements of generated video, and the networks that read it."""

from pathlib import Path

READERS = Path(__file__).parent / "readers"
"""The networks that measure, trained on real renders by `python -m training.meters.train`."""
