"""Rendering without a server."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from avatar.__main__ import main
from avatar.audio.files import encode_wav
from avatar.audio.video import SOUND_RATE, Mp4Writer
from avatar.backends import Wish
from avatar.errors import InvalidInput, NotFound, Unavailable
from avatar.media import SPEECH_RATE, TimedCue
from avatar.render import Mode, Pipeline, render_chunks, render_file, speech_chunks
from avatar.timebase import ChunkClock
from tests.streaming.test_beats_stream import clicks

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


def test_a_face_speaks_where_there_is_sound_and_idles_elsewhere() -> None:
    speech = np.zeros(3 * 7680, np.float32)
    speech[9000:12000] = 0.3
    told = [chunk.behaviour for chunk in speech_chunks(speech, ChunkClock())]
    assert told == ["idle", "speaking", "idle"]


def test_a_cue_is_in_the_chunk_of_its_time() -> None:
    cues = [TimedCue("smile", 0.479), TimedCue("nod", 0.48), TimedCue("bow", 1.2)]
    told = [chunk.cues for chunk in speech_chunks(np.zeros(30_000, np.float32), ChunkClock(), cues)]
    assert told == [("smile",), ("nod",), ("bow",), ()]


def test_a_cue_after_the_end_is_refused(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(encode_wav(np.zeros(SPEECH_RATE, np.float32), SPEECH_RATE))
    with pytest.raises(InvalidInput, match=r"nod at 2 s, but the video lasts from 0 to 1\.44 s"):
        render_file(sound, "mira", tmp_path / "x.mp4", cues=[TimedCue("nod", 2.0)])


@pytest.mark.parametrize("text", ["smile", "1.2:laugh", "soon:smile", "1.2:"])
def test_the_command_line_names_the_cues_there_are(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["avatar", "render", "--audio", "a.wav", "--out", "a.mp4", "--cue", text]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert repr(text) in told
    assert "look_left" in told


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


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    content = encode_wav(np.zeros(SPEECH_RATE, np.float32), SPEECH_RATE)
    sound.write_bytes(content)
    for out, told in [
        (sound, "is the recording itself"),
        (tmp_path, "it is a folder"),
        (tmp_path / "none" / "x.mp4", "there is no folder"),
    ]:
        with pytest.raises((InvalidInput, Unavailable), match=told):
            render_file(sound, "mira", out)
    with pytest.raises(NotFound, match="is no file"):
        render_file(tmp_path, "mira", tmp_path / "x.mp4")
    assert sound.read_bytes() == content
    assert list(tmp_path.iterdir()) == [sound]


def test_an_unknown_avatar_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(encode_wav(np.zeros(SPEECH_RATE, np.float32), SPEECH_RATE))
    with pytest.raises(NotFound, match=r"nobody.*there are.*mira"):
        render_file(sound, "nobody", tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == [sound]


def test_music_moves_the_head_and_silence_in_music_mode_does_not() -> None:
    pipeline = Pipeline.load()

    def frames(sound: np.ndarray, mode: Mode) -> np.ndarray:
        chunks = render_chunks(pipeline, sound, "mira", mode=mode)
        return np.concatenate([chunk.frames for chunk in chunks])

    beat = clicks(120, 2.88)
    assert (frames(beat, "music") != frames(beat, "speech")).any()
    silence = np.zeros(SPEECH_RATE // 2, np.float32)
    np.testing.assert_array_equal(frames(silence, "music"), frames(silence, "speech"))


def test_the_audio_scope_of_a_pipeline_is_the_policy_s_unless_asked_otherwise() -> None:
    assert Pipeline.load().score.profile.policy.audio_scope == "face"
    assert Pipeline.load(audio_scope="whole").score.profile.policy.audio_scope == "whole"


def test_torch_alone_shows_what_the_export_shows() -> None:
    speech = np.random.default_rng(0).normal(0, 0.05, 7680).astype(np.float32)
    wishes: tuple[Wish, ...] = ("torch", "auto")
    shown = [
        next(render_chunks(Pipeline.load(wish=wish), speech, "mira")).frames.astype(int)
        for wish in wishes
    ]
    assert shown[0].std() > 20
    assert np.abs(shown[0] - shown[1]).mean() < 2
