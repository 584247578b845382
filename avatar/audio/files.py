"""Audio files: any common format in, WAV out."""

import io
import shutil
import tempfile
import warnings
import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from avatar.audio.resample import resample
from avatar.errors import InvalidInput, TooLarge
from avatar.media import SPEECH_RATE

with warnings.catch_warnings():
    # pydub warns of a missing ffmpeg, which `has_ffmpeg` handles, and of audioop's end in 3.13
    warnings.simplefilter("ignore")
    from pydub import AudioSegment  # type: ignore[import-untyped]  # has no types
    from pydub.exceptions import CouldntDecodeError  # type: ignore[import-untyped]  # has no types

FORMATS = "WAV, MP3, OGG, FLAC, M4A or WEBM"
MAX_FILE_BYTES = 16 << 20
MAX_FILE_SECONDS = 60.0
_SAMPLE_RATES = range(4_000, 192_001)


def decode(
    content: bytes,
    sample_rate: int = SPEECH_RATE,
    max_seconds: float = MAX_FILE_SECONDS,
    max_bytes: int = MAX_FILE_BYTES,
) -> NDArray[np.float32]:
    """The sound of a file as (S,) float32 mono in [-1, 1] at `sample_rate` hertz.

    No more than `max_seconds` and a little is ever decoded, whatever the file's length.

    Raises:
        TooLarge: More than `max_bytes` or `max_seconds`.
        InvalidInput: Empty, not audio, or damaged.
    """
    if not content:
        raise InvalidInput(f"the audio file is empty; send {FORMATS}")
    if len(content) > max_bytes:
        raise TooLarge(f"the audio file has {len(content)} bytes, at most {max_bytes} are read")
    container = _container(content)
    if _declared_seconds(content, container) > max_seconds + 1.0:
        raise TooLarge(f"the sound is longer than {max_seconds:g} s; send a shorter one")
    # one second more than allowed is enough to know that there is more
    samples, rate = _decode(content, container, max_seconds + 1.0)
    if samples.size == 0:
        raise InvalidInput(f"the {container} file holds no sound")
    if rate not in _SAMPLE_RATES:
        raise InvalidInput(f"{rate} Hz sound; {_SAMPLE_RATES[0]} to {_SAMPLE_RATES[-1]} Hz is read")
    if samples.size > max_seconds * rate:
        raise TooLarge(f"the sound is longer than {max_seconds:g} s; send a shorter one")
    samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(resample(samples, rate, sample_rate), -1.0, 1.0)


def encode_wav(samples: NDArray[np.float32], sample_rate: int = SPEECH_RATE) -> bytes:
    """(S,) float32 in [-1, 1] as a 16-bit mono WAV file."""
    pcm = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(pcm.tobytes())
    return file.getvalue()


def has_ffmpeg() -> bool:
    """Whether pydub can read more than WAV here; PyAV reads all formats anyway."""
    return shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


def _container(content: bytes) -> str:
    """Name of the demuxer for this content, told by its first bytes.

    ffmpeg never guesses: among its formats are play lists, which would let a file name others,
    on this machine or in its network.
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "wav"
    if content[:4] == b"fLaC":
        return "flac"
    if content[:4] == b"OggS":
        return "ogg"
    if content[4:8] == b"ftyp":
        return "mp4"
    if content[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if _is_mp3(content):
        return "mp3"
    raise InvalidInput(f"this is not an audio file; send {FORMATS}")


def _is_mp3(content: bytes) -> bool:
    """Whether an MPEG layer III frame stands first, after ID3 tags if there are any."""
    start = 0
    while content[start : start + 3] == b"ID3" and len(content) >= start + 10:
        size = 0
        for byte in content[start + 6 : start + 10]:
            size = size << 7 | byte & 0x7F
        start += 10 + size
    frame = content[start : start + 2]
    return len(frame) == 2 and frame[0] == 0xFF and frame[1] & 0xE6 == 0xE2


def _declared_seconds(content: bytes, container: str) -> float:
    """Length by the file's own time stamps, which may have gaps that no sample fills; 0 unknown."""
    try:
        with av.open(io.BytesIO(content), "r", format=container) as file:
            return (file.duration or 0) / av.time_base
    except (av.FFmpegError, ValueError, OSError):
        return 0.0  # decoding will say what is wrong


def _decode(content: bytes, container: str, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    if container == "wav" or has_ffmpeg():
        try:
            with warnings.catch_warnings():
                # of a WAV that it cannot read pydub asks ffprobe, and warns where there is none
                warnings.simplefilter("error", RuntimeWarning)
                return _decode_with_pydub(content, container, max_seconds)
        # pydub trusts headers and ffprobe's answer, so a damaged file fails in any of these ways
        except (CouldntDecodeError, LookupError, ValueError, OSError, RuntimeWarning, wave.Error):
            pass  # PyAV has the last word: it knows more WAVs than pydub, and names what is wrong
    return _decode_with_av(content, container, max_seconds)


def _decode_with_pydub(
    content: bytes, container: str, max_seconds: float
) -> tuple[NDArray[np.float32], int]:
    if container == "wav":
        segment = AudioSegment.from_file(io.BytesIO(content), "wav", duration=max_seconds)
    else:
        # an M4A may keep its index at the end, which needs a file that can be seeked
        with tempfile.TemporaryDirectory(prefix="question-") as folder:
            path = Path(folder, f"audio.{container}")
            path.write_bytes(content)
            # ffmpeg would reach for the terminal, and a background process that does is stopped
            segment = AudioSegment.from_file(
                str(path), container, duration=max_seconds, parameters=["-nostdin"]
            )
    frames = np.asarray(segment.get_array_of_samples(), np.float32)
    mono = frames.reshape(-1, segment.channels).mean(1)
    return mono / float(1 << (8 * segment.sample_width - 1)), segment.frame_rate


def _decode_with_av(
    content: bytes, container: str, max_seconds: float
) -> tuple[NDArray[np.float32], int]:
    pieces: list[NDArray[np.float32]] = []
    decoded = 0
    try:
        with av.open(io.BytesIO(content), "r", format=container) as file:
            if not file.streams.audio:
                raise InvalidInput(f"the {container} file holds no sound")
            stream = file.streams.audio[0]
            rate = stream.rate
            to_mono = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in file.decode(stream):
                for mono in to_mono.resample(frame):
                    pieces.append(mono.to_ndarray()[0])
                    decoded += mono.samples
                if decoded > max_seconds * rate:
                    break
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"the {container} file cannot be decoded: it is damaged") from error
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32), rate
