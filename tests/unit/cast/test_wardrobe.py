"""Appearances that stay from one session to the next: the last ones, and never a stale one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.cast.avatars import APPEARANCE
from avatar.cast.profile import Appearance
from avatar.cast.profiles import PROFILES, Profile, load_profile
from avatar.cast.wardrobe import Wardrobe
from avatar.errors import NotFound
from avatar.sampling.rollout import Portrait
from tests.fakes.avatars import write_own

pytestmark = pytest.mark.unit


class Reader:
    """Remembers who was read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, profile: Profile, avatar: str) -> Appearance:
        if avatar == "nobody":
            raise NotFound("no avatar is called 'nobody'")
        self.read.append(avatar)
        portrait = Portrait(torch.zeros(1), torch.zeros(1))
        return Appearance(np.zeros((1, 1, 3), np.uint8), portrait)


def test_who_is_there_is_not_read_again() -> None:
    reader = Reader()
    wardrobe = Wardrobe(PROFILES["tiny"], load=reader)
    first = wardrobe.take("mira")
    assert wardrobe.take("otto") is not first
    assert wardrobe.take("mira") is first
    assert reader.read == ["mira", "otto"]
    assert set(wardrobe.names) == {"mira", "otto"}


def test_those_that_were_asked_for_last_stay() -> None:
    wardrobe = Wardrobe(PROFILES["tiny"], kept=2, load=Reader())
    for name in ("mira", "otto", "mira", "juno"):
        wardrobe.take(name)
    assert wardrobe.names == ("mira", "juno")


def test_one_that_was_made_anew_is_read_anew(tmp_path: Path) -> None:
    reader = Reader()
    own = write_own(tmp_path, "ada")
    wardrobe = Wardrobe(load_profile("tiny", tmp_path), load=reader)
    first = wardrobe.take("ada")
    (own / APPEARANCE).write_bytes(b"other latents")
    assert wardrobe.take("ada") is not first
    assert reader.read == ["ada", "ada"]


def test_one_that_is_gone_is_not_found(tmp_path: Path) -> None:
    own = write_own(tmp_path, "ada")
    reader = Reader()
    wardrobe = Wardrobe(load_profile("tiny", tmp_path), load=reader)
    wardrobe.take("ada")
    (own / APPEARANCE).unlink()
    wardrobe.take("ada")  # whoever reads says that it is not there
    assert reader.read == ["ada", "ada"]


def test_who_is_not_known_is_not_kept() -> None:
    wardrobe = Wardrobe(PROFILES["tiny"], load=Reader())
    with pytest.raises(NotFound):
        wardrobe.take("nobody")
    assert wardrobe.names == ()
