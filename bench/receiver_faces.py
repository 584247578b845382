"""The mouth on the pictures of a call, against the mouth that the speech in it should have made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray
from scipy.signal import correlate  # type: ignore[import-untyped]  # scipy has no types

from avatar.audio.resample import resample
from avatar.cast.characters import character_of
from avatar.cast.profiles import PROFILES
from avatar.errors import NotFound
from avatar.media import SPEECH_RATE
from avatar.speech.tts import Speech, Synthesizer
from bench.receiver_tracks import SOUND_RATE, Track
from training.data.visemes import mouth_curves
from training.meters.lip_sync import read_boxes
from training.meters.mouth_reader import WINDOW, MouthReader, load_mouth_reader, read_mouth
from training.meters.sync import Sync, frames_at_rest, measure_sync

FPS = 25
LOUD = 10 ** (-50 / 20)
"""As the held-out clips have it: what is louder is speech."""
SURE = 0.5
"""Normalised correlation from which a piece of a sentence counts as found; chance gives 0.1."""
PIECE = SPEECH_RATE // 2


@dataclass(frozen=True)
class Face:
    """`mouth` is (96, 96, 3) around the mouth; `small` is (32, 32), the whole picture's luma."""

    mouth: NDArray[np.uint8]
    small: NDArray[np.float32]


class FaceLook:
    """What is kept of the pictures of an avatar; a picture is 256 pixels on each side."""

    def __init__(self, avatar: str) -> None:
        x0, y0, x1, y1 = read_boxes()[avatar]
        self._x = int(np.clip((x0 + x1) // 2 - WINDOW // 2, 0, 256 - WINDOW))
        self._y = int(np.clip((y0 + y1) // 2 - WINDOW // 2, 0, 256 - WINDOW))

    @property
    def corner(self) -> tuple[int, int]:
        """Left and upper edge of the square around the mouth."""
        return self._x, self._y

    def __call__(self, frame: VideoFrame) -> Face:
        return self.of(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))

    def of(self, pixels: NDArray[np.uint8]) -> Face:
        """(256, 256, 3) RGB."""
        mouth = pixels[self._y : self._y + WINDOW, self._x : self._x + WINDOW].copy()
        small = pixels.mean(2, dtype=np.float32).reshape(32, 8, 32, 8).mean((1, 3))
        return Face(mouth, small)


def load_reader() -> MouthReader:
    return load_mouth_reader(PROFILES["tiny"].folder / "mouth_reader.safetensors")


def openings(reader: MouthReader, faces: Sequence[Face]) -> NDArray[np.float32]:
    """(T,) how far the mouth is open, as the shipped reader sees it."""
    mouths = np.stack([face.mouth for face in faces])
    return read_mouth(reader, mouths, (0, 0, WINDOW, WINDOW))[:, 0]


@dataclass(frozen=True)
class Spoken:
    """A sentence found in the sound: `start` is its first sample, at SOUND_RATE."""

    start: int
    speech: Speech


def find_sentences(
    sound: NDArray[np.float32], texts: Sequence[str], avatar: str, voice: Synthesizer
) -> list[Spoken]:
    """Where each sentence of an answer is in (S,) sound at 48 kHz, in order.

    The same text and voice give the same samples, so each sentence is spoken again and looked for:
    by its likest half second, because a jitter buffer stretches sound a little in between.

    Raises:
        NotFound: One cannot be found in it.
    """
    heard = resample(sound, SOUND_RATE, SPEECH_RATE)
    found: list[Spoken] = []
    after = 0
    for text in texts:
        speech = voice.synthesize(text, character_of(avatar).voice)
        samples = speech.at(SPEECH_RATE)
        starts = range(0, max(1, samples.size - PIECE // 2), PIECE)
        matches = [
            (start, *_best_match(heard[after:], samples[start : start + PIECE])) for start in starts
        ]
        start, at, likeness = max(matches, key=lambda match: match[2])
        if likeness < SURE:
            raise NotFound(f"{text!r} is not in the sound: likeness {likeness:.2f}")
        begins = max(0, after + at - start)
        found.append(Spoken(begins * SOUND_RATE // SPEECH_RATE, speech))
        after = begins + samples.size // 2
    return found


def _best_match(sound: NDArray[np.float32], pattern: NDArray[np.float32]) -> tuple[int, float]:
    """Where `pattern` is in `sound`, and how like it that is, 0 to 1."""
    if sound.size < pattern.size:
        return 0, 0.0
    fit = correlate(sound, pattern, "valid", method="fft")
    energy = np.concatenate([[0.0], np.cumsum(sound.astype(np.float64) ** 2)])
    local = energy[pattern.size :] - energy[: -pattern.size]
    norm = np.sqrt(np.maximum(local, 1e-6) * float((pattern.astype(np.float64) ** 2).sum()))
    likeness = fit / norm
    at = int(likeness.argmax())
    return at, float(likeness[at])


@dataclass(frozen=True)
class Mouths:
    """Curves at 25 fps on one time axis: what was seen, what the speech needs, when it sounds."""

    seen: NDArray[np.float32]
    truth: NDArray[np.float32]
    speaking: NDArray[np.bool_]

    @property
    def sync(self) -> Sync:
        return measure_sync(self.seen, self.truth)

    def rest_share(self, closed: float) -> float:
        """Opening at least 320 ms from any speech, as a share of the speaking mean."""
        opening = self.seen - closed
        rest, spoken = opening[frames_at_rest(self.speaking)], opening[self.speaking]
        return float(np.abs(rest).mean() / spoken.mean()) if rest.size else 0.0

    def with_other(self, truth: NDArray[np.float32], speaking: NDArray[np.bool_]) -> float:
        """Correlation with another utterance's curve while both speak."""
        length = min(len(self.seen), len(truth))
        both = self.speaking[:length] & speaking[:length]
        if both.sum() < FPS:
            return 0.0
        return float(np.corrcoef(self.seen[:length][both], truth[:length][both])[0, 1])


def compare_mouths(
    due_s: NDArray[np.float64],
    seen: NDArray[np.float32],
    spoken: Sequence[Spoken],
    begins_s: Sequence[float],
    margin_s: float = 1.0,
) -> Mouths:
    """Lay seen openings and true curves on one axis, from before the answer to after it.

    Args:
        due_s: (T,) when each picture is due.
        seen: (T,) openings.
        spoken: The answer's sentences.
        begins_s: When each of them begins to sound, on the clock of the pictures.
        margin_s: How much of the silence around the answer is looked at.
    """
    axis_s = begins_s[0] - margin_s
    ends_s = begins_s[-1] + spoken[-1].speech.seconds + margin_s
    num_frames = round((ends_s - axis_s) * FPS)
    axis = axis_s + (np.arange(num_frames) + 0.5) / FPS
    # the picture that is shown at each instant: the last one that is due by then
    shown = np.clip(np.searchsorted(due_s, axis, "right") - 1, 0, len(seen) - 1)
    truth, speaking = np.zeros(num_frames, np.float32), np.zeros(num_frames, np.bool_)
    for sentence, begin_s in zip(spoken, begins_s, strict=True):
        at_s = begin_s - axis_s
        speech, rate = sentence.speech, sentence.speech.sample_rate
        # the curve of the sentence as it lies on the axis: shifted by less than a frame
        first = int(at_s * FPS)
        shift_s = at_s - first / FPS
        moved = tuple(
            type(each)(each.symbol, each.start_s + shift_s, each.end_s + shift_s)
            for each in speech.phonemes
        )
        curve = mouth_curves(moved, speech.seconds + shift_s)[:, 0]
        last = min(first + len(curve), num_frames)
        truth[first:last] = curve[: last - first]
        padded = np.pad(speech.samples, (round(shift_s * rate), rate // FPS))
        frames = padded[: len(padded) // (rate // FPS) * (rate // FPS)].reshape(-1, rate // FPS)
        loud = np.sqrt((frames**2).mean(1)) > LOUD
        last = min(first + len(loud), num_frames)
        speaking[first:last] |= loud[: last - first]
    return Mouths(seen[shown], truth, speaking)


def picture_change(faces: Sequence[Face]) -> NDArray[np.float32]:
    """(T - 1,) how much each picture differs from the one before, of 255, at its liveliest place.

    0 where a picture was given twice.
    """
    small = np.stack([face.small for face in faces])
    return np.abs(np.diff(small, axis=0)).max((1, 2))


def dues(pictures: Track[Face]) -> NDArray[np.float64]:
    return np.array([pictures.due_s(each.rtp) for each in pictures.received])
