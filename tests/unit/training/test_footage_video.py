"""Any video becomes 25 frames a second and the sound that goes with them."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.errors import InvalidInput, TooLarge
from tests.fakes.footage import SAMPLES_PER_FRAME, clicks, number_of, numbered_frames
from training.data.footage.rehearsal import write_film
from training.data.footage.video import Limits, read_frames, read_sound, write_clip

pytestmark = pytest.mark.unit


def numbers(path: Path) -> list[int]:
    return [number_of(frame) for frame in read_frames(path)]


def onsets(sound: np.ndarray) -> list[float]:
    """Where tones begin, in frames."""
    loud = np.abs(sound) > 0.1
    first = np.flatnonzero(loud & ~np.roll(loud, 1))
    apart = [at for i, at in enumerate(first) if i == 0 or at - first[i - 1] > SAMPLES_PER_FRAME]
    return [float(at) / SAMPLES_PER_FRAME for at in apart]


def test_a_film_of_25_frames_a_second_comes_out_as_it_is(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", numbered_frames(20), None)
    assert numbers(film) == list(range(20))


def test_twice_the_rate_loses_every_other_frame(tmp_path: Path) -> None:
    times = [i / 50 for i in range(20)]
    film = write_film(tmp_path / "film.mkv", numbered_frames(20), None, times)
    assert numbers(film) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]


def test_an_uneven_rate_shows_each_frame_for_its_time(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.24, 0.28, 0.30, 0.32]
    film = write_film(tmp_path / "film.mkv", numbered_frames(6), None, times)
    assert numbers(film)[:8] == [0, 1, 1, 1, 1, 1, 2, 4]


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("film.mp4", ("libx264", "aac")),
        ("film.mkv", ("libx264", "flac")),
        ("film.mov", ("mpeg4", "pcm_s16le")),
    ],
)
def test_sound_stays_beside_its_picture(tmp_path: Path, name: str, codecs: tuple[str, str]) -> None:
    film = write_film(tmp_path / name, numbered_frames(50), clicks(50, [10, 30]), codecs=codecs)
    assert numbers(film)[:5] == [0, 1, 2, 3, 4]
    sound = read_sound(film, 50)
    assert sound is not None
    assert sound.shape == (50 * SAMPLES_PER_FRAME,)
    # a lossy codec smears a tone's beginning
    assert onsets(sound) == pytest.approx([10, 30], abs=0.3)


def test_sound_that_ends_early_is_silence_from_there(tmp_path: Path) -> None:
    film = write_film(
        tmp_path / "f.mkv", numbered_frames(40), clicks(20, [5]), codecs=("libx264", "flac")
    )
    sound = read_sound(film, 40)
    assert sound is not None
    assert sound.shape == (40 * SAMPLES_PER_FRAME,)
    assert not sound[25 * SAMPLES_PER_FRAME :].any()


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    assert read_sound(write_film(tmp_path / "film.mp4", numbered_frames(5), None), 5) is None


def test_a_written_clip_reads_back(tmp_path: Path) -> None:
    frames, sound = numbered_frames(20), clicks(20, [4, 12])
    write_clip(tmp_path / "clip.mkv", frames, sound)
    read = np.stack(list(read_frames(tmp_path / "clip.mkv")))
    heard = read_sound(tmp_path / "clip.mkv", 20)
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 2.0
    assert heard is not None
    assert np.abs(heard - sound).max() < 1e-3


@pytest.mark.parametrize("content", [b"", b"no video at all", bytes(5000)])
def test_what_is_no_video_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"broken\.mp4"):
        list(read_frames(path))


def test_a_torn_off_file_is_refused(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "film.mp4", numbered_frames(50), clicks(50, [3]))
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(InvalidInput, match=r"torn\.mp4"):
        list(read_frames(torn))


def test_a_sound_file_is_no_video(tmp_path: Path) -> None:
    from training.data.held_out import write_flac

    write_flac(tmp_path / "speech.flac", clicks(10, [2]))
    (tmp_path / "speech.flac").rename(tmp_path / "speech.mkv")
    with pytest.raises(InvalidInput, match="holds no video"):
        list(read_frames(tmp_path / "speech.mkv"))


def test_what_is_too_long_or_too_large_is_refused(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", numbered_frames(50), None)
    with pytest.raises(TooLarge, match="longer than 1 s"):
        list(read_frames(film, Limits(seconds=1.0)))
    with pytest.raises(TooLarge, match="96x64"):
        list(read_frames(film, Limits(side=80)))
