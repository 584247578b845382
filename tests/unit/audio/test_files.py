import io
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio import files
from avatar.audio.files import decode, encode_wav
from avatar.errors import InvalidInput, TooLarge

pytestmark = pytest.mark.unit

RATE = 16_000


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> NDArray[np.float32]:
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def encoded(container: str, codec: str, samples: NDArray[np.float32], rate: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        pcm = np.round(samples * 32767).astype(np.int16)
        for start in range(0, len(pcm), 960):
            piece = pcm[None, start : start + 960]
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate = rate
            frame.pts = start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


COMPRESSED = [
    ("mp3", "libmp3lame", 44_100),
    ("ogg", "libopus", 48_000),
    ("flac", "flac", 22_050),
    ("ipod", "aac", 44_100),
    ("webm", "libopus", 48_000),
]


@pytest.fixture(params=["with_ffmpeg", "without_ffmpeg"])
def either_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without_ffmpeg":
        monkeypatch.setattr(files, "has_ffmpeg", lambda: False)
    elif not files.has_ffmpeg():
        pytest.skip("no ffmpeg on this machine")


def test_a_wav_comes_back_as_it_was() -> None:
    samples = tone(0.5)
    assert np.max(np.abs(decode(encode_wav(samples)) - samples)) < 1e-4


def test_stereo_at_another_rate_becomes_mono_at_the_asked_rate() -> None:
    left = np.round(tone(1.0, 48_000) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(48_000)
        out.writeframes(np.stack([left, np.zeros_like(left)], 1).tobytes())
    samples = decode(file.getvalue())
    assert samples.shape == (RATE,)
    assert np.allclose(samples[500:-500], tone(1.0)[500:-500] / 2, atol=2e-3)


def test_a_float_wav_is_read_though_pydub_cannot() -> None:
    data = tone(0.5).astype("<f4").tobytes()
    header = (
        b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        + (3).to_bytes(2, "little") + (1).to_bytes(2, "little") + RATE.to_bytes(4, "little")
        + (4 * RATE).to_bytes(4, "little") + (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
        + b"data" + len(data).to_bytes(4, "little")
    )  # fmt: skip
    assert np.allclose(decode(header + data), tone(0.5), atol=1e-4)


@pytest.mark.usefixtures("either_decoder")
@pytest.mark.parametrize(("container", "codec", "rate"), COMPRESSED)
def test_compressed_sound_is_read(container: str, codec: str, rate: int) -> None:
    samples = decode(encoded(container, codec, tone(1.0, rate), rate))
    assert abs(len(samples) - RATE) < 0.1 * RATE
    spectrum = np.abs(np.fft.rfft(samples[2000:-2000] * np.hanning(len(samples) - 4000)))
    loudest = np.argmax(spectrum) * RATE / (len(samples) - 4000)
    assert loudest == pytest.approx(440, abs=5)


@pytest.mark.usefixtures("either_decoder")
@pytest.mark.parametrize(
    "content",
    [
        b"this is a text, not sound",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n",
        b"ID3\x04\x00\x00\x00\x00\x00\x00#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n",
        b"RIFF\x10\x00\x00\x00WAVEjunk",
        b"fLaC" + bytes(200),
        b"OggS" + bytes(200),
        b"\xff\xfb" + bytes(200),
        b"\x00\x00\x00\x18ftypM4A " + bytes(200),
        b"\x1a\x45\xdf\xa3" + bytes(200),
    ],
)
def test_what_is_not_audio_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode(content)
    assert type(refusal.value) is InvalidInput


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        decode(b"")


def test_a_wav_without_samples_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no sound"):
        decode(encode_wav(np.zeros(0, np.float32)))


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="1001 bytes, at most 1000"):
        decode(bytes(1001), max_bytes=1000)


def test_a_long_wav_is_refused() -> None:
    with pytest.raises(TooLarge, match="longer than 2 s"):
        decode(encode_wav(tone(2.5)), max_seconds=2)


@pytest.mark.usefixtures("either_decoder")
def test_an_hour_is_refused_without_decoding_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    hour = encoded("flac", "flac", np.zeros(3600 * 8000, np.float32), 8000)
    sizes: list[int] = []
    inner = files._decode

    def watched(content: bytes, container: str, seconds: float) -> tuple[NDArray[np.float32], int]:
        samples, rate = inner(content, container, seconds)
        sizes.append(samples.size)
        return samples, rate

    monkeypatch.setattr(files, "_decode", watched)
    monkeypatch.setattr(files, "_declared_seconds", lambda *_: 0.0)  # as where no header tells
    with pytest.raises(TooLarge, match="longer than 60 s"):
        decode(hour)
    assert sizes[0] < 63 * 8000


def test_sound_of_exactly_the_limit_is_accepted() -> None:
    assert decode(encode_wav(tone(2.0)), max_seconds=2).shape == (2 * RATE,)


@pytest.mark.usefixtures("either_decoder")
def test_time_stamps_with_gaps_do_not_hide_how_long_it_is() -> None:
    with pytest.raises(TooLarge, match="longer than 60 s"):
        decode(with_gaps(seconds=30, gap_s=9))
    assert decode(with_gaps(seconds=5, gap_s=1)).size > 3 * 16_000


def with_gaps(seconds: int, gap_s: int) -> bytes:
    """Ogg with a second of sound, then `gap_s` without packets, and so on."""
    content = io.BytesIO()
    with av.open(content, "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=48_000, layout="mono")
        for second in range(seconds):
            for part in range(50):
                piece = np.full((1, 960), 0.1 * (part % 2), np.float32)
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
                frame.pts = (second * (1 + gap_s) * 50 + part) * 960
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return content.getvalue()
