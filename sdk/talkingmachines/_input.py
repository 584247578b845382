"""What may be sent to a server, checked before anything is sent."""

import os
from pathlib import Path

from talkingmachines._errors import InvalidInput, TooLarge

MAX_TEXT_CHARACTERS = 2000
MAX_AUDIO_BYTES = 16 * 1024 * 1024
MAX_DESCRIPTION_BYTES = 64 * 1024
MAX_PORTRAIT_BYTES = 3 * 1024 * 1024
MAX_PAGE_SIZE = 1000

FileSource = bytes | str | os.PathLike[str]
"""The bytes of a file, or its path."""
AudioSource = FileSource
"""The bytes of an audio file, or its path."""


def check_text(text: str) -> str:
    """Raises InvalidInput for no text, TooLarge for too much of it."""
    if not text.strip():
        raise InvalidInput(f"The text is empty: give 1 to {MAX_TEXT_CHARACTERS} characters.")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TooLarge(
            f"The text has {len(text)} characters, {MAX_TEXT_CHARACTERS} are allowed:"
            " split it into several calls."
        )
    if not _is_unicode(text):
        raise InvalidInput("The text holds bytes that are no characters: give it as UTF-8.")
    return text


def check_avatar(avatar: str) -> str:
    return check_name(avatar, "avatar's name")


def check_name(name: str, what: str) -> str:
    if not _is_unicode(name):
        raise InvalidInput(f"The {what} holds bytes that are no characters: give it as UTF-8.")
    return name


def check_page_size(page_size: int) -> int:
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidInput(f"page_size={page_size}: give 1 to {MAX_PAGE_SIZE}.")
    return page_size


def read_audio(source: AudioSource) -> bytes:
    """The bytes of an audio file.

    Raises:
        InvalidInput: If it is empty.
        TooLarge: If it is over 16 MiB.
        OSError: If the file cannot be read.
    """
    return _read(
        source,
        MAX_AUDIO_BYTES,
        "The audio",
        "give a WAV, MP3, OGG, FLAC, M4A or WEBM file.",
        f"is over {MAX_AUDIO_BYTES // 2**20} MiB: give at most 60 s of it.",
    )


def read_portrait(source: FileSource) -> bytes:
    """The bytes of a picture; raises as `read_audio` does, over 3 MiB."""
    return _read(
        source,
        MAX_PORTRAIT_BYTES,
        "The portrait",
        "give a PNG, JPEG or WEBP file.",
        f"is over {MAX_PORTRAIT_BYTES // 2**20} MiB: give a smaller one.",
    )


def read_description(source: FileSource) -> str:
    """The text of a character description; raises as `read_audio` does, over 64 KiB."""
    content = _read(
        source,
        MAX_DESCRIPTION_BYTES,
        "The description",
        "give a TOML file as docs/characters.md has it.",
        f"is over {MAX_DESCRIPTION_BYTES // 2**10} KiB: shorten it.",
    )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The description is no text: save it as UTF-8. ({error})") from error


def _read(source: FileSource, limit: int, what: str, if_empty: str, if_large: str) -> bytes:
    if isinstance(source, bytes):
        content, name = source, what
    else:
        name = f"The file {os.fspath(source)}"
        with Path(source).open("rb") as file:
            # One byte more than allowed tells "too large" without reading an endless file.
            content = file.read(limit + 1)
    if not content:
        raise InvalidInput(f"{name} is empty: {if_empty}")
    if len(content) > limit:
        raise TooLarge(f"{name} {if_large}")
    return content


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: Python's way to carry undecodable arguments
        return False
    return True
