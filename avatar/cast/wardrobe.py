"""The appearances that an engine keeps from one session to the next."""

from collections.abc import Callable

from avatar.cast.avatars import APPEARANCE, home
from avatar.cast.profile import Appearance, load_appearance
from avatar.cast.profiles import Profile

KEPT = 8
"""Some megabytes each, in the CPU's memory."""

Fingerprint = tuple[str, int, int, int]
Load = Callable[[Profile, str], Appearance]


class Wardrobe:
    """Holds those that were asked for last; a file that has changed is read again.

    One thread takes from it; any may ask what is there.
    """

    def __init__(self, profile: Profile, kept: int = KEPT, load: Load = load_appearance) -> None:
        self._profile, self._kept, self._load = profile, kept, load
        self._held: dict[str, tuple[Fingerprint | None, Appearance]] = {}  # the latest is last

    @property
    def names(self) -> tuple[str, ...]:
        """Avatars whose appearance is here."""
        return tuple(self._held)

    def take(self, avatar: str) -> Appearance:
        """Raises NotFound for an unknown avatar, CorruptFile for a damaged one."""
        seen = self._fingerprint(avatar)
        before, appearance = self._held.get(avatar, (None, None))
        if appearance is None or before is None or before != seen:
            appearance = self._load(self._profile, avatar)
        others = [each for each in self._held.items() if each[0] != avatar]
        # in one go: another thread may be asking for names
        self._held = dict([*others, (avatar, (seen, appearance))][-self._kept :])
        return appearance

    def _fingerprint(self, avatar: str) -> Fingerprint | None:
        """Of the file that `load_appearance` would read; None where there is none."""
        for folder in (self._profile.folder, home(self._profile.avatars)):
            try:
                about = (folder / avatar / APPEARANCE).stat()
            except (OSError, ValueError):  # a name may hold anything
                continue
            return str(folder), about.st_ino, about.st_mtime_ns, about.st_size
        return None
