"""What may be sent to a server, checked before anything is sent."""

import os
from pathlib import Path

from talkingmachines._errors import InvalidInput, TooLarge

MAX_TEXT_CHARACTERS = 2000
MAX_AUDIO_BYTES = 16 * 1024 * 1024

AudioSource = bytes | str | os.PathLike[str]
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
    if not _is_unicode(avatar):
        raise InvalidInput("The avatar's name holds bytes that are no characters.")
    return avatar


def read_audio(source: AudioSource) -> bytes:
    """The bytes of an audio file.

    Raises:
        InvalidInput: If it is empty.
        TooLarge: If it is over 16 MiB.
        OSError: If the file cannot be read.
    """
    if isinstance(source, bytes):
        return _check_audio(source, "The audio")
    with Path(source).open("rb") as file:
        # One byte more than allowed tells "too large" without reading an endless file.
        return _check_audio(file.read(MAX_AUDIO_BYTES + 1), f"The file {source}")


def _check_audio(audio: bytes, name: str) -> bytes:
    if not audio:
        raise InvalidInput(f"{name} is empty: give a WAV, MP3, OGG, FLAC, M4A or WEBM file.")
    if len(audio) > MAX_AUDIO_BYTES:
        raise TooLarge(f"{name} is over {MAX_AUDIO_BYTES // 2**20} MiB: give at most 60 s of it.")
    return audio


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: Python's way to carry undecodable arguments
        return False
    return True
