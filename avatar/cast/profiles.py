"""Which profiles there are: a model with its policy, its picture and its chunk clock, as data."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from avatar.cast.avatars import FOLDER, home
from avatar.errors import CorruptFile, InvalidInput, NotFound
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.timebase import ChunkClock

ASSETS = Path(__file__).parent.parent / "assets"
MODELS = Path("~/.local/share/talkingmachines/models")
"""Where folders of converted weights are looked for by name if nothing else is said."""
CARD = "profile.json"
"""In a folder of weights: what `read_profile` reads."""
OWN = "avatars"
"""In a folder of weights: the user's own avatars, made for these weights."""

FORMAT = 1
PATCH = 16
"""Pixels that a token of a Wan-class model covers in each direction: 8 of the VAE, 2 of the DiT."""
MAX_SIDE, MAX_FPS, MAX_CHUNK_LATENTS = 1280, 60, 16
MAX_SLOTS, MAX_READY_S = 64, 7200

_SIZE = re.compile(r"(\d{2,4})(?:x(\d{2,4}))?")

Kind = Literal["model", "marker"]
Recipe = Literal["own", "native", "multitalk", "s2v"]
"""own: the small encoder of the default avatar; the others are of wav2vec2."""
MAX_HOLD_BACK = 25
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
Built = TypeVar("Built")
_FILES = ("dit", "decoder", "audio_encoder")
_OPERATION = ("slots", "ready_s")
"""Left out of a card that has no opinion."""
_LINES = {"format", "name", "clock", "size", "policy", "hearing", "files", *_OPERATION}


@dataclass(frozen=True)
class Profile:
    """`height` and `width` of the picture are in pixels; `folder` holds weights and portraits.

    `avatars` is the folder of the user's own, see `avatar.cast.avatars`. A "marker" needs no
    weights: it draws test signals to measure time with. `hearing` is how features are made of
    speech, of which `hold_back_frames` more are waited for, see `avatar.models.wav2vec2.Recipe`.
    `dit`, `decoder` and `audio_encoder` are the weight files' names, without `.safetensors`.
    `slots`, sessions at once, and `ready_s`, the longest start in seconds, stand for the settings
    SLOTS and READY_TIMEOUT_S where these are not set; None: as for any other profile.
    """

    name: str
    clock: ChunkClock
    policy: Policy
    height: int
    width: int
    folder: Path
    avatars: Path = FOLDER
    kind: Kind = "model"
    hearing: Recipe = "own"
    hold_back_frames: int = 0
    dit: str = "dit"
    decoder: str = "vae"
    audio_encoder: str = "audio_encoder"
    slots: int | None = None
    ready_s: int | None = None

    @property
    def weight_bytes(self) -> int:
        """Of the files that are loaded at the start; what is not there counts nothing."""
        files = (self.folder / f"{getattr(self, name)}.safetensors" for name in _FILES)
        return sum(file.stat().st_size for file in files if file.is_file())


TINY_POLICY = replace(NATIVE_2_STEP, audio_gain=1.3, head_gain=1.2)
_TINY = Profile("tiny", ChunkClock(25, 3, 4), TINY_POLICY, 256, 256, ASSETS / "tiny")
_TWO_LATENTS = replace(
    NATIVE_2_STEP, chunk_latents=2, previous_positions=(16, 17), current_positions=(18, 19)
)
_MARKER = replace(_TINY, name="marker", folder=ASSETS / "marker", kind="marker")

PROFILES = {
    each.name: each
    for each in (
        _TINY,
        _MARKER,
        # the chunks and the upright picture of the public 16 fps models
        replace(
            _MARKER,
            name="marker-16",
            clock=ChunkClock(16, 2, 4),
            policy=_TWO_LATENTS,
            height=320,
            width=240,
        ),
    )
}
"""Those that need nothing but this package."""


def parse_size(text: str) -> tuple[int, int]:
    """Width and height, in pixels, of "480x640"; "512" is a square.

    Raises:
        InvalidInput: It is neither.
    """
    if (match := _SIZE.fullmatch(text)) is None:
        raise InvalidInput(
            f"size {text!r}: WIDTHxHEIGHT expected, such as 480x640 (upright), or 512 for a square"
        )
    return int(match[1]), int(match[2] or match[1])


def load_profile(wish: str, avatars: Path | None = None, models: Path = MODELS) -> Profile:
    """The profile `wish`: one of `PROFILES`, a folder of `models`, or the path of such a folder.

    `avatars` is the folder of the user's own; None is the usual one of this profile.

    Raises:
        NotFound: There is no such profile; the message names those there are.
        CorruptFile: The folder's `profile.json` is none.
    """
    found = PROFILES.get(wish) or _read_again(_folder_of(wish, models))
    return found if avatars is None else replace(found, avatars=avatars)


def _folder_of(wish: str, models: Path) -> Path:
    is_path = "/" in wish or wish.startswith("~")
    folder = home(Path(wish)) if is_path else home(models) / wish
    if wish.strip() and (folder / CARD).is_file():
        return folder.absolute()
    known = ", ".join([*PROFILES, *(each.parent.name for each in home(models).glob(f"*/{CARD}"))])
    place = f"{folder} has no {CARD}" if is_path else f"{home(models)} has no folder of that name"
    if wish.strip() and folder.is_dir():
        place = f"{folder} has no {CARD}, which `python -m avatar profile --folder {folder}` makes"
    raise NotFound(f"profile {wish[:200]!r} does not exist: {place}; there are {known}")


@lru_cache(maxsize=16)
def _read_again(folder: Path) -> Profile:
    """A running server does not change its mind."""
    return read_profile(folder)


def read_profile(folder: Path) -> Profile:
    """What `write_profile` wrote into a folder of weights.

    Raises:
        CorruptFile: It is no profile, or one that cannot be served.
    """
    path = folder / CARD
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, {FORMAT} expected")
        if unknown := sorted(content.keys() - _LINES):
            raise ValueError(f"a card has no {', '.join(unknown)}")
        height, width = (int(each) for each in content["size"])
        hearing = content["hearing"]
        profile = Profile(
            str(content["name"]),
            _built(ChunkClock, content["clock"]),
            _built(Policy, content["policy"]),
            height,
            width,
            folder,
            folder / OWN,
            hearing=_RECIPES.validate_python(hearing["recipe"]),
            hold_back_frames=int(hearing["hold_back_frames"]),
            dit=str(content["files"]["dit"]),
            decoder=str(content["files"]["decoder"]),
            audio_encoder=str(content["files"]["audio_encoder"]),
            slots=_whole_or_none(content, "slots"),
            ready_s=_whole_or_none(content, "ready_s"),
        )
        check_profile(profile)
    except (OSError, KeyError, TypeError, ValueError) as error:
        problem = str(error)
        if isinstance(error, KeyError):
            problem = f"{error.args[0]!r} is missing"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc'])) or error.title}: {first['msg']}"
        raise CorruptFile(
            f"{path} is no profile of this version: {problem}; mend the line, or make it anew with "
            f"`python -m avatar profile --folder {folder}`, see docs/profiles.md"
        ) from error
    return profile


def write_profile(profile: Profile) -> None:
    """Write the card into the profile's folder; weights and manifest are written elsewhere.

    Raises:
        ValueError: The profile cannot be served.
    """
    check_profile(profile)
    content = {
        "format": FORMAT,
        "name": profile.name,
        "clock": asdict(profile.clock),
        "size": [profile.height, profile.width],
        "policy": asdict(profile.policy),
        "hearing": {"recipe": profile.hearing, "hold_back_frames": profile.hold_back_frames},
        "files": {name: getattr(profile, name) for name in _FILES},
        **{name: value for name in _OPERATION if (value := getattr(profile, name)) is not None},
    }
    profile.folder.mkdir(parents=True, exist_ok=True)
    (profile.folder / CARD).write_text(json.dumps(content, indent=1) + "\n")


def check_profile(profile: Profile) -> None:
    """Raises ValueError, with both numbers, where its parts do not fit together."""
    clock = profile.clock
    if clock.latents_per_chunk != profile.policy.chunk_latents:
        raise ValueError(
            f"the clock has {clock.latents_per_chunk} latents a chunk, "
            f"the policy {profile.policy.chunk_latents}"
        )
    for name, value, most in (
        ("fps", clock.fps, MAX_FPS),
        ("latents_per_chunk", clock.latents_per_chunk, MAX_CHUNK_LATENTS),
        ("height", profile.height, MAX_SIDE),
        ("width", profile.width, MAX_SIDE),
        ("hold_back_frames", profile.hold_back_frames + 1, MAX_HOLD_BACK + 1),
        ("slots", 1 if profile.slots is None else profile.slots, MAX_SLOTS),
        ("ready_s", 1 if profile.ready_s is None else profile.ready_s, MAX_READY_S),
    ):
        if not 1 <= value <= most:
            raise ValueError(f"{name} is {value}, 1 to {most} expected")
    for name in _FILES:
        if not _NAME.fullmatch(getattr(profile, name)):
            raise ValueError(f"files.{name} is {getattr(profile, name)!r}, a file's name expected")
    if profile.height % PATCH or profile.width % PATCH:
        raise ValueError(f"size {profile.height} x {profile.width}: multiples of {PATCH} expected")


def _whole_or_none(content: dict[str, Any], name: str) -> int | None:
    value = content.get(name)
    if value is not None and type(value) is not int:
        raise ValueError(f"{name} is {value!r}, a whole number expected")
    return value


def _built(kind: type[Built], values: object) -> Built:
    """A dataclass, which may hold others, as JSON has it; ValueError for what it has not."""
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is {values!r}, its fields expected")
    built = TypeAdapter(kind).validate_python(values)
    if unknown := sorted(_unknown(values, asdict(built))):  # type: ignore[call-overload]
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    return built


def _unknown(given: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        if name not in known:
            yield name
        elif isinstance(value, dict) and isinstance(known[name], dict):
            yield from _unknown(value, known[name])


_RECIPES: TypeAdapter[Recipe] = TypeAdapter(Recipe)
