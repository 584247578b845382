"""The microphone's resampling: in pieces as at once, at the level it had, whatever the pieces."""

import numpy as np
import pytest
from av import AudioFrame
from numpy.typing import NDArray

from services.gateway.microphone import Microphone

pytestmark = pytest.mark.streaming

RATE = 48_000


def voice(seconds: float, rate: int = RATE) -> NDArray[np.int16]:
    time = np.arange(round(seconds * rate)) / rate
    return (16_384 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)


def pushed(
    microphone: Microphone, sound: NDArray[np.int16], piece: int, layout: str = "mono"
) -> NDArray[np.float32]:
    out = []
    for start in range(0, sound.size, piece):
        part = sound[start : start + piece]
        packed = np.repeat(part, 2) if layout == "stereo" else part
        frame = AudioFrame.from_ndarray(packed[None], "s16", layout)
        frame.sample_rate = RATE
        out.append(microphone.push(frame))
    return np.concatenate(out)


@pytest.mark.parametrize("piece", [960, 480, 2880, 777])
def test_pieces_joined_are_the_whole(piece: int) -> None:
    sound = voice(1.0)
    whole = pushed(Microphone(), sound, sound.size)
    pieces = pushed(Microphone(), sound, piece)
    size = min(whole.size, pieces.size)
    assert size > 15_900
    np.testing.assert_array_equal(pieces[:size], whole[:size])


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_the_level_is_that_of_the_voice(layout: str) -> None:
    heard = pushed(Microphone(), voice(1.0), 960, layout)
    assert heard.dtype == np.float32
    assert np.sqrt(np.mean(heard[1600:] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.005)


def test_two_microphones_do_not_hear_each_other() -> None:
    first, second, sound = Microphone(), Microphone(), voice(0.2)
    mixed = [
        (pushed(first, part, 960), pushed(second, -part, 960))
        for part in (sound[start : start + 960] for start in range(0, sound.size, 960))
    ]
    alone = pushed(Microphone(), sound, 960)
    np.testing.assert_array_equal(np.concatenate([one for one, _ in mixed]), alone)
    np.testing.assert_array_equal(np.concatenate([two for _, two in mixed]), -alone)


def test_another_rate_in_the_middle_is_taken() -> None:
    microphone = Microphone()
    before = pushed(microphone, voice(0.5), 960)
    frame = AudioFrame.from_ndarray(voice(0.5, 16_000)[None], "s16", "mono")
    frame.sample_rate = 16_000
    after = microphone.push(frame)
    assert before.size == pytest.approx(8000, abs=40)
    assert after.size == pytest.approx(8000, abs=40)
