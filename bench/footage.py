"""Does the clips pipeline name who speaks, and drop what is out of sync?"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatar.cast.characters import CAST, character_of
from bench.machine import say
from bench.options import Options
from bench.results import Values, bars, table
from training.data.footage import stages
from training.data.footage.detector import NetFaceDetector, load_face_net
from training.data.footage.mouths import MouthReader, NetMouthReader, PixelMouthReader
from training.data.footage.settings import Settings
from training.data.footage.speakers import Verdict
from training.data.footage.speech_net import load_speech_net
from training.data.footage.tracks import X

NAMED_BAR, DROPPED_BAR = 0.95, 0.90
STRANGERS = ("zuri", "finn")
"""Characters that the face networks never saw."""
SHIFTS = (-12, -8, -5, 5, 6, 8, 12)
"""Frames of 40 ms by which sound is moved."""
ENGINES = {"hibari": "hibari", "espeak": "espeak", "flite": "flite, never heard in training"}
FRAMES = 172
"""Two clips and a little."""


@dataclass
class Tally:
    """Clips of one kind. `named`: the right face and no other is kept as the speaker."""

    clips: int = 0
    named: int = 0
    wrong: int = 0
    """The other face is kept as the speaker."""
    kept: int = 0
    """Any face is kept as the speaker."""

    def add(self, verdicts: list[Verdict], speaker: int | None) -> None:
        kept = [v.track for v in verdicts if v.kind == "speaking"]
        self.clips += 1
        self.kept += bool(kept)
        self.named += kept == [speaker]
        self.wrong += bool(kept) and kept != [speaker]


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    tallies: dict[str, dict[str, Tally]] = {"net": {}, "pixels": {}}
    found = films = 0
    settings, speech = Settings(), load_speech_net()
    net = load_face_net()
    detector = NetFaceDetector(net.finder)
    readers: dict[str, MouthReader] = {
        "net": NetMouthReader(net.reader),
        "pixels": PixelMouthReader(),
    }
    lags: list[int] = []
    for film in rehearsals(options.repetitions(12, 2)):
        films += 1
        with tempfile.TemporaryDirectory(prefix="footage-") as name:
            folder = Path(name)
            path = film.write(folder)
            source = stages.read(path, path.name, folder, settings)
            tracks = stages.find_faces(path, source, folder, settings, detector)
            found += len(tracks) == 2
            order = [int(track.places[:, X].mean() > source.width / 2) for track in tracks]
            for reader_name, reader in readers.items():
                mouths = stages.read_mouths(path, tracks, folder, settings, reader)
                (folder / "mouths.npz").unlink()
                for kind, speaker, sound in film.sounds():
                    verdicts = stages.judge(source, tracks, mouths, sound, settings, speech)
                    right = order.index(speaker) if speaker in order else None
                    for start in (0, settings.num_frames):
                        here = [
                            v
                            for v in verdicts
                            if v.start // settings.num_frames == start // settings.num_frames
                        ]
                        tally = tallies[reader_name].setdefault(kind, Tally())
                        tally.add(here, right)
                        if kind.startswith("in sync") and reader_name == "net":
                            lags += [v.lag for v in here if v.track == right]
        named, dropped = shares({kind: asdict(t) for kind, t in tallies["net"].items()})
        say(f"footage: film {films}, so far {named:.3f} named, {dropped:.3f} dropped")
    return {
        "films": films,
        "both_faces_tracked": found,
        "lags": {str(lag): lags.count(lag) for lag in sorted(set(lags))},
        "kinds": {r: {k: asdict(t) for k, t in kinds.items()} for r, kinds in tallies.items()},
    }


@dataclass(frozen=True)
class Rehearsal:
    """Two faces, two sounds; `engines` spoke them, None where a face says nothing."""

    frames: NDArray[np.uint8]
    spoken: tuple[NDArray[np.float32], NDArray[np.float32]]
    engines: tuple[str | None, str | None]
    characters: tuple[str, str]
    elsewhere: NDArray[np.float32]
    """What neither says."""

    def write(self, folder: Path) -> Path:
        from training.data.footage.rehearsal import write_film

        return write_film(folder / "film.mp4", self.frames, self.spoken[0])

    def sounds(self) -> Iterator[tuple[str, int | None, NDArray[np.float32]]]:
        """Kind, who speaks (0 left, 1 right), and the sound that is heard with the picture."""
        from training.data.footage.rehearsal import moved

        for side, engine in enumerate(self.engines):
            if engine is None:
                continue
            stranger = "stranger" if self.characters[side] in STRANGERS else "known face"
            yield f"in sync, {engine}, {stranger}", side, self.spoken[side]
            for shift in SHIFTS:
                yield f"off sync by {40 * abs(shift)} ms", None, moved(self.spoken[side], shift)
        yield "voice-over", None, self.elsewhere


def rehearsals(count: int) -> Iterator[Rehearsal]:
    """Every film shows two of the characters, one of them chewing or shut in each third film."""
    from training.data.engines import load_engines
    from training.data.footage.rehearsal import chew, keep_shut, side_by_side, speak

    names = [character.id for character in CAST]
    takes = []
    for index in range(count + 2):
        engine = list(ENGINES)[index % len(ENGINES)]
        rng = np.random.default_rng((31, index))
        character = character_of(names[index % len(names)])
        takes.append((engine, speak(character, FRAMES, rng, load_engines([engine]))))
    for index in range(count):
        rng = np.random.default_rng((32, index))
        engine, first = takes[index]
        other_engine: str | None = takes[index + 1][0]
        second = takes[index + 1][1]
        if index % 3 == 2:
            other_engine = None
            mute = chew if index % 2 else keep_shut
            second = mute(character_of(second.character), FRAMES, rng)
        pair = [(engine, first), (other_engine, second)]
        if rng.random() < 0.5:
            pair.reverse()
        (left_engine, left), (right_engine, right) = pair
        yield Rehearsal(
            side_by_side(left, right, rng),
            (left.sound, right.sound),
            (left_engine, right_engine),
            (left.character, right.character),
            takes[index + 2][1].sound,
        )


def report(values: Values) -> str:
    kinds = values["kinds"]["net"]
    rows = [
        [kind, reader, t["clips"], t["named"] / t["clips"], t["wrong"], 1 - t["kept"] / t["clips"]]
        for reader, each in values["kinds"].items()
        for kind, t in each.items()
    ]
    named, dropped = shares(kinds)
    return "\n".join(
        [
            f"{values['films']} rendered films of two faces side by side, 81-frame clips; both "
            f"faces were tracked from end to end in {values['both_faces_tracked']}. Named: the "
            "speaker's face is kept as the one who speaks and the other is not. Wrong: the other "
            "face is. Dropped: neither is. The voice-over is what neither of them says. Mouths are "
            "read by the shipped network, and by darkness alone (pixels). Lags measured where "
            f"there is none, in frames: {values['lags']}.\n",
            table(["", "reader", "clips", "named", "wrong", "dropped"], rows),
            bars(
                [
                    ("speaker named", named, f"≥ {NAMED_BAR}", named >= NAMED_BAR),
                    ("off sync dropped", dropped, f"≥ {DROPPED_BAR}", dropped >= DROPPED_BAR),
                ]
            ),
        ]
    )


def shares(kinds: Values) -> tuple[float, float]:
    """Of clips in sync, those whose speaker is named; of those off sync, those dropped."""
    in_sync = [tally for kind, tally in kinds.items() if kind.startswith("in sync")]
    off_sync = [tally for kind, tally in kinds.items() if kind.startswith("off sync")]
    named = sum(t["named"] for t in in_sync) / sum(t["clips"] for t in in_sync)
    dropped = 1.0 - sum(t["kept"] for t in off_sync) / sum(t["clips"] for t in off_sync)
    return named, dropped
