"""The session of a benchmark."""

from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.engines import Spec

SPEC = Spec(DEFAULT_CHARACTER.id, 0)
WARM_UP = 3
"""Chunks whose times are not counted."""
