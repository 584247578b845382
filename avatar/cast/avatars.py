"""Everyone who can be shown: the shipped cast, and the avatars that a user has trained.

`FOLDER/<id>/` holds one of them: `character.toml`, `avatar.safetensors`, `portrait.png`,
`preview.mp4`, and a manifest with the sha256 of each. One that is not whole is left out of lists.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

from avatar.cast import characters
from avatar.cast.characters import CAST, Character
from avatar.cast.description import ID, read_fields
from avatar.errors import AvatarError, CorruptFile, InvalidInput, NotFound, Unavailable

FOLDER = Path("~/.local/share/talkingmachines/avatars")
"""Where avatars are put and looked for if nothing else is said; `~` is the user's own folder."""
MANIFEST = "manifest.json"
DESCRIPTION = "character.toml"
APPEARANCE = "avatar.safetensors"
PHOTOGRAPH = "photograph.json"
"""Of an avatar that was made of one: who agreed to it, and how it was made."""
NEEDED = (DESCRIPTION, APPEARANCE, "portrait.png")


def everyone(folder: Path = FOLDER) -> tuple[Character, ...]:
    """The shipped cast, then the whole avatars of the folder by name."""
    found = map_whole(folder).values()
    return (*CAST, *(each for each in found if isinstance(each, Character)))


def damaged(folder: Path = FOLDER) -> list[str]:
    """For each avatar of the folder that is not whole: the file, and what mends it."""
    found = map_whole(folder).values()
    return [str(each) for each in found if isinstance(each, AvatarError)]


def map_whole(folder: Path) -> dict[str, Character | AvatarError]:
    """Each avatar of the folder, or what is wrong with it."""
    found: dict[str, Character | AvatarError] = {}
    for name in own_names(folder):
        try:
            found[name] = own_character(folder, name)
        except AvatarError as error:
            found[name] = error
    return found


def character_of(name: str, folder: Path = FOLDER) -> Character:
    """Who is called that.

    Raises:
        NotFound: Nobody is.
        CorruptFile: An avatar of the folder is, but it is not whole.
    """
    if is_shipped(name):
        return characters.character_of(name)
    if name in own_names(folder):
        return own_character(folder, name)
    known = ", ".join([*(character.id for character in CAST), *own_names(folder)])
    raise NotFound(f"no avatar is called {name[:64]!r}; there are {known}")


def is_shipped(name: str) -> bool:
    try:
        characters.character_of(name)
    except NotFound:
        return False
    return True


def own_names(folder: Path) -> list[str]:
    """Folders in the folder that are named as avatars are, and not as one of the shipped cast."""
    try:
        inside = sorted(each.name for each in home(folder).iterdir() if each.is_dir())
    except OSError:  # there is none, or it cannot be read: nobody is in it
        return []
    return [name for name in inside if re.fullmatch(ID, name) and not is_shipped(name)]


def own_character(folder: Path, name: str) -> Character:
    """Read `character.toml`, once every file of the avatar is what its manifest says.

    Raises:
        CorruptFile: A file is missing or changed; the message names it, and what mends it.
    """
    for needed in NEEDED:
        own_file(folder, name, needed)
    path = own_file(folder, name, DESCRIPTION)
    try:
        character = read_fields(path).character()
    except InvalidInput as error:
        raise CorruptFile(f"{error}; {_fix(name)}") from error
    if character.id != name:
        raise CorruptFile(f"{path} describes {character.id!r}, not {name!r}; {_fix(name)}")
    return character


def has_file(folder: Path, name: str, file: str) -> bool:
    """Whether an avatar has a file, or needs it: one made of a photograph has no preview."""
    return file in NEEDED or (home(folder) / name / file).is_file()


def own_file(folder: Path, name: str, file: str) -> Path:
    """Path of a file of the avatar, once its content is what the manifest says.

    Raises:
        CorruptFile: It is missing or changed.
    """
    path, manifest = home(folder) / name / file, home(folder) / name / MANIFEST
    try:
        expected = json.loads(manifest.read_text())[file]
        with path.open("rb") as content:
            actual = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise CorruptFile(f"{error.filename}: {error.strerror}; {_fix(name)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{manifest} does not list {file}; {_fix(name)}") from error
    if actual != expected:
        raise CorruptFile(
            f"{path} is damaged: sha256 {actual[:12]}…, expected {str(expected)[:12]}…; "
            f"{_fix(name)}"
        )
    return path


def write_manifest(folder: Path) -> None:
    """Seal an avatar's folder: the sha256 of every file in it."""
    files = sorted(each for each in folder.iterdir() if each.is_file() and each.name != MANIFEST)
    digests = {}
    for path in files:
        with path.open("rb") as content:
            digests[path.name] = hashlib.file_digest(content, "sha256").hexdigest()
    (folder / MANIFEST).write_text(json.dumps(digests, indent=1) + "\n")


def install(made: Path, avatars: Path) -> Path:
    """Put a finished avatar's folder where serving looks for it; an older one is replaced.

    Raises:
        Unavailable: It cannot be written there.
    """
    place = home(avatars) / made.name
    coming, going = (place.with_name(f".{made.name}.{word}") for word in ("coming", "going"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for rest in (coming, going):
            shutil.rmtree(rest, ignore_errors=True)
        shutil.copytree(made, coming)
        if place.exists():
            place.rename(going)
        coming.rename(place)
        shutil.rmtree(going, ignore_errors=True)
    except OSError as error:
        raise Unavailable(
            f"{error.filename}: {error.strerror}; name another folder with AVATARS_DIR=/path"
        ) from error
    return place


def _fix(name: str) -> str:
    return (
        f"make it anew with `make train-character NAME={name}` (of a photograph: "
        "`python -m avatar portrait`), or remove its folder"
    )


def home(folder: Path) -> Path:
    """The folder, with `~` for what it stands."""
    try:
        return folder.expanduser()
    except RuntimeError:  # nobody's home is known here
        return folder
