"""From a description file to an avatar, stage by stage; what is done is kept and not done again."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avatar.cast.avatars import FOLDER, install, write_manifest
from avatar.cast.profile import load_vae, weights_of
from avatar.cast.profiles import PROFILES, Profile
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import InvalidInput
from avatar.media import SPEECH_RATE
from avatar.models.vae import VAE
from avatar.render import Pipeline
from training.character.description import Description
from training.character.fit import STEPS, ReferenceTask, schedule
from training.character.install import write_avatar
from training.character.loop import SECONDS as PREVIEW_S
from training.character.loop import preview
from training.character.measure import (
    NAMES,
    Figures,
    Spoken,
    Video,
    draw_sentence,
    measure,
    sentences,
)
from training.character.progress import Progress, span
from training.character.sheet import draw_sheet, save_sheet, told
from training.checkpoint import steps_done
from training.data.clips import Clip, finished_clips, make_clips
from training.data.renderer import mouth_box, portrait_by
from training.data.speech import SpeechEngine, utterance
from training.meters import READERS
from training.meters.lip_sync import SpokenClip, see_mouth, show
from training.meters.mouth_reader import load_mouth_reader
from training.meters.picture import compare_videos
from training.portrait.renderer import PortraitRenderer
from training.trainer import Task, fit

TRIED_FRAMES = 12
PLAIN, FITTED = "untrained", "trained"
LEAST_GAIN = 0.005
"""What was learned is kept if `Figures.distance` is smaller by more."""


@dataclass(frozen=True)
class Plan:
    """How much is made."""

    clips: int = 12
    seconds: float = 5.76
    steps: int = STEPS
    sentences: tuple[str, ...] = NAMES
    seed: int = 0


class Run:
    """The work on one character, in `folder`; what was made from another description is removed."""

    def __init__(
        self,
        described: Description,
        folder: Path,
        progress: Progress,
        load_engines: Callable[[], Sequence[SpeechEngine]],
        plan: Plan | None = None,
        avatars: Path = FOLDER,
        profile: Profile = PROFILES["tiny"],
    ) -> None:
        self.described, self.folder, self.progress = described, folder, progress
        self.plan, self.avatars, self.profile = plan or Plan(), avatars, profile
        self._load_engines = load_engines
        self.name = described.character.id
        self._begin()

    def _begin(self) -> None:
        """Raises InvalidInput where the folder holds something else."""
        # not what is said about the character: another persona wants no other picture
        character = self.described.character
        shown = self.described.look, character.voice, character.temperament, character.seed
        about = f"{shown}{weights_of(self.profile)}{self.plan}"
        key, path = hashlib.sha256(about.encode()).hexdigest(), self.folder / "key"
        if self.folder.exists() and any(self.folder.iterdir()):
            if not path.exists():
                raise InvalidInput(f"{self.folder} is no run of this command; name another folder")
            if path.read_text() == key:
                return
            self.progress.tell("the description or the model has changed: beginning anew")
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(key)

    # -- what several stages need, made when first asked for -----------------------------------

    @cached_property
    def renderer(self) -> PortraitRenderer:
        return PortraitRenderer(self.described.look)

    @cached_property
    def portrait(self) -> NDArray[np.uint8]:
        return portrait_by(self.renderer)

    @cached_property
    def engines(self) -> Sequence[SpeechEngine]:
        return self._load_engines()

    @cached_property
    def vae(self) -> VAE:
        return load_vae(self.profile)

    @cached_property
    def pipeline(self) -> Pipeline:
        """Shows the avatar without what is learned of it."""
        return self._pipeline(PLAIN)

    @cached_property
    def spoken(self) -> list[SpokenClip]:
        return sentences(self.plan.sentences)

    @property
    def box(self) -> tuple[int, int, int, int]:
        return mouth_box(self.described.look)

    # -- the stages ----------------------------------------------------------------------------

    def draw_portrait(self) -> Path:
        path = self.folder / "portrait.png"
        Image.fromarray(self.portrait).save(path, optimize=True)
        self.progress.tell(f"portrait: {path}")
        return path

    def estimate(self) -> float:
        """Try a little of each kind of work; seconds that the rest will take."""
        made = self.folder / PLAIN / self.name
        write_avatar(made, self.described, self.portrait, self.vae, self.profile)
        progress = self.progress
        progress.costs = self._tried()
        progress.left = {
            "clip": self.plan.clips - len(self._clips()),
            "drawing": sum(not self._drawing(i).exists() for i in range(len(self.spoken))),
            "step": 0 if self._learned.exists() else self.plan.steps - self._steps_done(),
            "sentence": 2 * len(self.spoken),
            "preview": 1,
        }
        progress.tell(
            f"this will take about {span(progress.left_s)}, "
            f"{span(progress.left_s + progress.elapsed_s)} in all; "
            "it can be stopped and goes on with the same command"
        )
        return progress.left_s

    def train(self) -> Path:
        """Everything after the estimate; the folder where the avatar now is."""
        self._make_clips()
        real = self._draw_sentences()
        self._fit()
        results = {PLAIN: self._measured(PLAIN, real), FITTED: self._measured(FITTED, real)}
        figures = {which: each for which, (each, _) in results.items()}
        gained = figures[PLAIN].distance - figures[FITTED].distance
        kept = FITTED if gained > LEAST_GAIN else PLAIN
        return self._finish(figures, results[kept][1], kept)

    def _make_clips(self) -> None:
        make_clips(
            self.folder / "clips",
            self.described.character,
            self.plan.clips,
            self.plan.seconds,
            self.plan.seed,
            self.engines,
            renderer=self.renderer,
            on_clip=lambda _index, _ms: self.progress.did("clip", "clips drawn", self.plan.clips),
        )

    def _draw_sentences(self) -> list[Video]:
        drawn = []
        for number, clip in enumerate(self.spoken):
            is_new = not self._drawing(number).exists()
            character, clock = self.described.character, self.profile.clock
            path = self._drawing(number)
            drawn.append(draw_sentence(self.renderer, character, clip, number, clock, path))
            if is_new:
                self.progress.did("drawing", "sentences drawn", len(self.spoken))
        return drawn

    def _fit(self) -> None:
        """Learn the features, see `training.character.fit`."""
        path = self._learned
        if not path.exists():
            task = ReferenceTask(self.vae, self.portrait, list(self._clips()), self.box)
            counted = _Counted(
                task, lambda: self.progress.did("step", "training steps", self.plan.steps)
            )
            learned = fit(counted, schedule(self.plan.steps), self.folder / "fit")
            written = path.with_suffix(".partial")
            save_file({name: each.contiguous() for name, each in learned.items()}, written)
            written.rename(path)
        learned = load_file(path)
        features = tuple(learned[f"added.{i}"] for i in range(3))
        made = self.folder / FITTED / self.name
        write_avatar(made, self.described, self.portrait, self.vae, self.profile, features)

    def _measured(self, which: str, real: Sequence[Video]) -> tuple[Figures, list[Spoken]]:
        figures, spoken = measure(
            self._pipeline(which),
            self.described.character,
            self.portrait,
            self.box,
            self.spoken,
            real,
            on_sentence=lambda: self.progress.did(
                "sentence", "sentences measured", 2 * len(self.spoken)
            ),
        )
        self.progress.tell(f"{which}: {told(figures)}")
        return figures, spoken

    def _finish(self, figures: dict[str, Figures], spoken: list[Spoken], kept: str) -> Path:
        made, sheet = self.folder / kept / self.name, self.folder / "sheet.png"
        save_sheet(draw_sheet(self.name, figures, spoken, kept), sheet)
        (made / "preview.mp4").write_bytes(preview(self._pipeline(kept), self.name))
        about = {which: each.figures() for which, each in figures.items()} | {"kept": kept}
        (made / "training.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.copyfile(sheet, made / "sheet.png")
        write_manifest(made)
        place = install(made, self.avatars)
        self.progress.tell(f"the {kept} one is kept; sheet: {sheet}")
        self.progress.tell(f"avatar: {place}")
        return place

    # -- parts ---------------------------------------------------------------------------------

    def _clips(self) -> list[Clip]:
        return list(finished_clips(self.folder / "clips" / self.name))

    @property
    def _learned(self) -> Path:
        return self.folder / "features.safetensors"

    def _steps_done(self) -> int:
        return steps_done(self.folder / "fit" / "checkpoint.safetensors")

    def _drawing(self, number: int) -> Path:
        return self.folder / f"sentence-{number}.npy"

    def _pipeline(self, which: str) -> Pipeline:
        if which != PLAIN:
            profile = replace(self.profile, avatars=self.folder / which)
            score = self.pipeline.score
            return Pipeline(
                self.pipeline.encoder,
                type(score)(profile, score.model),
                VaeDecoderEngine(profile, self.vae),
            )
        return Pipeline.load(self.profile.name, avatars=self.folder / which)

    def _tried(self) -> dict[str, float]:
        """Seconds of one unit of each kind of work, each done once before it is timed."""
        plan, clock = self.plan, self.profile.clock
        character = self.described.character
        rng = np.random.default_rng(0)
        curves = np.linspace(0, 1, TRIED_FRAMES)[:, None] * np.ones((1, 5), np.float32)
        controls = np.zeros((TRIED_FRAMES, 11), np.float32)
        frames, motion = list[NDArray[np.uint8]](), list[NDArray[np.float32]]()
        _ = self.portrait

        def draw() -> None:
            frames.clear()
            motion.clear()
            for mouth, moved in zip(curves, controls, strict=True):
                frames.append(self.renderer.frame(mouth, moved))
                motion.append(self.renderer.motion())

        frame_s = _timed(draw) / TRIED_FRAMES
        drawn = np.stack(frames)
        clip = Clip(drawn, np.zeros(0, np.float32), np.asarray(curves, np.float32), controls,
                    np.stack(motion).astype(np.float16))  # fmt: skip
        speak_s = _timed(lambda: utterance(rng, 2.0, self.engines, voice=character.voice))
        task = ReferenceTask(self.vae, self.portrait, [clip], self.box)

        def step() -> None:
            task.loss(0, rng)[0].backward()

        one = np.zeros(clock.samples_per_chunk(SPEECH_RATE), np.float32)
        chunks_s = [
            _timed(partial(show, self.pipeline, np.tile(one, count), self.name)) for count in (1, 3)
        ]
        chunk_s = max(1e-3, (chunks_s[1] - chunks_s[0]) / 2)
        reader = load_mouth_reader(READERS / "mouth_reader.safetensors")

        def look() -> None:
            see_mouth(reader, drawn, self.portrait, self.box, 0.0)
            compare_videos(drawn, drawn, self.box, clock.frames_per_chunk)

        look_s = _timed(look) / len(drawn)
        num_frames = float(np.mean([len(each.curves) for each in self.spoken]))
        return {
            "clip": plan.seconds * clock.fps * frame_s + plan.seconds / 2.0 * speak_s,
            "drawing": num_frames * frame_s,
            "step": _timed(step),
            "sentence": num_frames * (chunk_s / clock.frames_per_chunk + look_s),
            "preview": PREVIEW_S / clock.chunk_s * chunk_s * 1.5,
        }


class _Counted:
    """A task that says when a step was done."""

    def __init__(self, task: Task, on_step: Callable[[], None]) -> None:
        self._task, self._on_step = task, on_step

    @property
    def model(self) -> nn.Module:
        return self._task.model

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        found = self._task.loss(step, rng)
        self._on_step()
        return found


def _timed(work: Callable[[], object]) -> float:
    work()  # the first time compiles, loads, and fills caches
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
