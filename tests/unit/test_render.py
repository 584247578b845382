"""Rendering without a server."""

from pathlib import Path

import av
import numpy as np
import pytest

from avatar.audio.files import encode_wav
from avatar.audio.video import SOUND_RATE, Mp4Writer
from avatar.errors import InvalidInput, NotFound
from avatar.media import SPEECH_RATE
from avatar.render import render_file, speech_chunks
from avatar.timebase import ChunkClock

pytestmark = pytest.mark.unit


def test_speech_is_cut_into_whole_chunks_with_what_follows_each() -> None:
    speech = (np.arange(1, 20_001) / 20_000).astype(np.float32)
    chunks = list(speech_chunks(speech, ChunkClock()))
    assert [len(c.samples) for c in chunks] == [7680] * 3
    assert [c.stamp.pts for c in chunks] == [0, 23_040, 46_080]
    assert [c.last for c in chunks] == [False, False, True]
    assert np.array_equal(np.concatenate([c.samples for c in chunks])[:20_000], speech)
    assert np.array_equal(chunks[0].lookahead, chunks[1].samples[:5120])
    assert not chunks[2].lookahead.any()


def test_a_video_has_the_frames_and_the_sound_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with Mp4Writer(fps=25) as video:
        for n in range(3):
            frames = np.full((12, 64, 64, 3), 80 * n, np.uint8)
            video.add(frames, 0.1 * np.ones(SOUND_RATE * 12 // 25, np.float32))
        path.write_bytes(video.finish())
    with av.open(str(path)) as file:
        pictures = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
    assert len(pictures) == 36
    assert abs(int(pictures[30].mean()) - 160) < 6
    with av.open(str(path)) as file:
        heard = sum(f.samples for f in file.decode(audio=0))
    assert abs(heard / SOUND_RATE - 36 / 25) < 0.05


def test_a_missing_recording_and_a_text_file_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "x.mp4"
    with pytest.raises(NotFound, match=r"no\.wav does not exist"):
        render_file(tmp_path / "no.wav", "mira", out)
    text = tmp_path / "text.wav"
    text.write_text("these are words, not sound" * 20)
    with pytest.raises(InvalidInput):
        render_file(text, "mira", out)
    assert list(tmp_path.iterdir()) == [text]


def test_an_unknown_avatar_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(encode_wav(np.zeros(SPEECH_RATE, np.float32), SPEECH_RATE))
    with pytest.raises(NotFound, match=r"nobody.*there are.*mira"):
        render_file(sound, "nobody", tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == [sound]
