"""`make train`: everything from an empty folder to the shipped weights, stage by stage.

Each stage leaves its result in the run's folder and is skipped when it is there; a stage that was
interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.models.dit import DiT, tiny
from avatar.models.vae import VAE, VAEConfig
from avatar.telemetry.logging import configure, get_logger
from training import parallel
from training.recipes.tiny import TinyRecipe
from training.trainer import Schedule, Task, fit

if TYPE_CHECKING:
    from training.data.latents import LatentClips
    from training.tasks.latent_reader import LatentReader

log = get_logger(__name__)
Model = TypeVar("Model", bound=nn.Module)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--until", choices=list(STAGES), default="cpu")
    parser.add_argument("--only", choices=list(STAGES))
    parser.add_argument("--quick", action="store_true", help="a few steps of each stage")
    args = parser.parse_args()
    configure(logging.INFO, sys.stderr)
    torch.set_num_threads(1)
    recipe = shortened(TinyRecipe()) if args.quick else TinyRecipe()
    args.run.mkdir(parents=True, exist_ok=True)
    parallel.join()
    for name, stage in STAGES.items():
        if args.only in (None, name) and (parallel.rank() == 0 or name in LEARNED):
            log.info("stage", stage=name)
            stage(recipe, args.run)
        parallel.wait_for_all()
        if name == args.until:
            break
    parallel.leave()


def shortened(recipe: TinyRecipe) -> TinyRecipe:
    """The same stages with almost no work: to see that the whole recipe runs."""
    steps = {
        f.name: dataclasses.replace(getattr(recipe, f.name), steps=4, warmup_steps=1)
        for f in dataclasses.fields(recipe)
        if isinstance(getattr(recipe, f.name), Schedule)
    }
    return dataclasses.replace(
        recipe,
        speech_hours=0.02,
        spoken_hours=0.02,
        clips_per_character=3,
        clip_seconds=2.0,
        **steps,
    )


def speech(recipe: TinyRecipe, run: Path) -> None:
    from training.tasks.audio_encoder import make_speech

    make_speech(run / "speech.npz", recipe.speech_hours, recipe.seed, recipe.engines)


def audio_encoder(recipe: TinyRecipe, run: Path) -> None:
    from training.tasks.audio_encoder import AudioEncoderTask

    task = AudioEncoderTask(run / "speech.npz")
    train(task, recipe.audio_encoder, run, "audio_encoder", task.validate)


def audio_rest(recipe: TinyRecipe, run: Path) -> None:
    """The encoder that ships: what it says of speech is held, so it may come before or after."""
    from training.tasks.audio_rest import AudioRestTask, make_sounds, sounds_beside

    make_sounds(sounds_beside(run / "speech.npz"), recipe.sound_hours, recipe.seed)
    task = AudioRestTask(run / "speech.npz", trained_encoder(run))
    train(task, recipe.audio_rest, run, "audio_rest", task.validate)


def audio_projection(recipe: TinyRecipe, run: Path) -> None:
    from training.tasks.audio_projection import AudioProjectionTask

    encoder = trained_encoder(run)
    config = tiny(VAEConfig().latent_channels, encoder.config.dim).audio
    assert config is not None
    task = AudioProjectionTask(run / "speech.npz", encoder, config)
    train(task, recipe.audio_projection, run, "audio_projection", task.validate)


def clips(recipe: TinyRecipe, run: Path) -> None:
    from training.data.clips import Order, make_data

    order = Order(
        clips=recipe.clips_per_character,
        seconds=recipe.clip_seconds,
        seed=recipe.seed,
        engines=recipe.engines,
    )
    make_data(run / "clips", order, jobs=len(os.sched_getaffinity(0)))


def mouth_reader(recipe: TinyRecipe, run: Path) -> None:
    from training.data.dataset import read_clips
    from training.meters.mouth_reader import MouthReaderTask, crop_mouth, validate

    found = read_clips(run / "clips")
    crops = torch.cat([crop_mouth(clip.frames, clip.mouth_box) for clip in found.train])
    curves = torch.cat([torch.from_numpy(clip.curves) for clip in found.train])
    task = MouthReaderTask(crops, curves)
    train(
        task, recipe.mouth_reader, run, "mouth_reader", lambda: validate(task.model, found.held_out)
    )


def vae(recipe: TinyRecipe, run: Path) -> None:
    import numpy as np

    from training.data.dataset import read_clips
    from training.meters.mouth_reader import MouthReader
    from training.meters.reconstruction import measure_vae
    from training.tasks.vae import VAETask
    from training.tasks.vae_start import init_from_movement, set_latent_statistics

    found = read_clips(run / "clips")
    task = VAETask(found)
    if not (run / "vae" / "checkpoint.safetensors").exists():
        init_from_movement(task.vae, found, np.random.default_rng(recipe.seed))

    def validate() -> dict[str, float]:
        set_latent_statistics(task.vae, found.held_out)
        return measure_vae(
            task.vae, found.held_out, restored(MouthReader(), run, "mouth_reader")
        ).figures()

    train(task, recipe.vae, run, "vae", validate)


def latents(recipe: TinyRecipe, run: Path) -> None:
    from training.data.dataset import read_clips
    from training.data.latents import encode_clips

    encode_clips(
        read_clips(run / "clips"),
        trained_vae(run),
        trained_encoder(run, "audio_rest"),  # what is heard when it serves
        run / "latents.safetensors",
    )


def latent_reader(recipe: TinyRecipe, run: Path) -> None:
    from training.data.latents import read_latents
    from training.tasks.latent_reader import LatentReaderTask

    task = LatentReaderTask(read_latents(run / "latents.safetensors"))
    train(task, recipe.latent_reader, run, "latent_reader", task.validate)


def teacher(recipe: TinyRecipe, run: Path) -> None:
    """The bidirectional model; it begins from the causal one, which knows the faces already."""
    from avatar.sampling.policy import NATIVE_2_STEP
    from training.export import face_masks
    from training.tasks.teacher import TeacherTask

    stored, reader = stored_latents(run)
    task = TeacherTask(stored, reader, NATIVE_2_STEP, face_masks())
    task.model.load_state_dict(load_file(run / "dit.safetensors"))
    train(task, recipe.teacher, run, "teacher", dict)


def dit(recipe: TinyRecipe, run: Path) -> None:
    """The causal model by regression alone, under the serving mask."""
    from avatar.sampling.policy import NATIVE_2_STEP
    from training.export import face_masks
    from training.tasks.audio_projection import give_code
    from training.tasks.dit import DiTTask, new_model

    stored, reader = stored_latents(run)
    model = new_model(stored)
    give_code(model, load_file(run / "audio_projection.safetensors"))
    task = DiTTask(stored, reader, NATIVE_2_STEP, face_masks(), model=model)
    train(task, recipe.dit, run, "dit", dict)


def self_forcing(recipe: TinyRecipe, run: Path) -> None:
    """The causal model on its own rollouts: it meets its own past and its own first guess."""
    from avatar.sampling.policy import NATIVE_2_STEP
    from training.export import face_masks
    from training.tasks.distill import SELF_FORCING, DistillTask

    stored, reader = stored_latents(run)
    causal = trained_dit(run, "dit")
    task = DistillTask(
        stored, reader, None, causal, NATIVE_2_STEP, face_masks(), weights=SELF_FORCING
    )
    train(task, recipe.self_forcing, run, "self_forcing", dict)


def spoken(recipe: TinyRecipe, run: Path) -> None:
    """The causal model hears more speech than there are clips."""
    from avatar.sampling.policy import NATIVE_2_STEP
    from training.export import face_masks
    from training.tasks.audio_encoder import make_spoken
    from training.tasks.distill import SELF_FORCING, DistillTask
    from training.tasks.spoken import Spoken, SpokenTask

    path = run / "spoken.npz"
    if parallel.rank() == 0:
        make_spoken(path, recipe.spoken_hours, recipe.seed + 7, recipe.engines)
    parallel.wait_for_all()
    stored, reader = stored_latents(run)
    causal = trained_dit(run, "self_forcing")
    usual = DistillTask(
        stored, reader, None, causal, NATIVE_2_STEP, face_masks(), weights=SELF_FORCING
    )
    task = SpokenTask(usual, Spoken.load(path), trained_encoder(run, "audio_rest"))
    train(task, recipe.spoken, run, "spoken", dict)


def student(recipe: TinyRecipe, run: Path) -> None:
    from avatar.sampling.policy import NATIVE_2_STEP
    from training.export import face_masks
    from training.tasks.distill import STUDENT, DistillTask

    stored, reader = stored_latents(run)
    taught, causal = (trained_dit(run, name) for name in ("teacher", "self_forcing"))
    task = DistillTask(stored, reader, taught, causal, NATIVE_2_STEP, face_masks(), weights=STUDENT)
    train(task, recipe.student, run, "student", dict)


def decoder(recipe: TinyRecipe, run: Path) -> None:
    """The VAE once more, with a decoder that knows what the DiT makes."""
    from avatar.sampling.policy import NATIVE_2_STEP
    from training.data.dataset import read_clips
    from training.data.made import make_latents, true_latents
    from training.export import face_masks
    from training.meters.mouth_reader import MouthReader
    from training.meters.reconstruction import measure_vae
    from training.tasks.decoder import DecoderTask

    stored, _ = stored_latents(run)
    found, model = read_clips(run / "clips"), trained_dit(run, recipe.shipped)
    made = make_latents(model, stored, face_masks(), NATIVE_2_STEP, run / "made.safetensors")
    task = DecoderTask(trained_vae(run), found.train, made, true_latents(stored))

    def validate() -> dict[str, float]:
        reader = restored(MouthReader(), run, "mouth_reader")
        return measure_vae(task.vae, found.held_out, reader).figures()

    train(task, recipe.decoder, run, "decoder", validate)


def export(recipe: TinyRecipe, run: Path) -> None:
    from training.export import export_assets

    encoder = trained_encoder(run, "audio_rest")
    dit = trained_dit(run, recipe.shipped)
    export_assets(run, encoder, dit, restored(VAE(VAEConfig()), run, "decoder"))


def cpu(recipe: TinyRecipe, run: Path) -> None:
    """What was exported, once more as int8 graphs."""
    from training.export_cpu import export as export_cpu

    export_cpu("tiny")


STAGES: dict[str, Callable[[TinyRecipe, Path], None]] = {
    "speech": speech,
    "audio_encoder": audio_encoder,
    "audio_rest": audio_rest,
    "audio_projection": audio_projection,
    "clips": clips,
    "mouth_reader": mouth_reader,
    "vae": vae,
    "latents": latents,
    "latent_reader": latent_reader,
    "dit": dit,
    "self_forcing": self_forcing,
    "spoken": spoken,
    "teacher": teacher,
    "student": student,
    "decoder": decoder,
    "export": export,
    "cpu": cpu,
}


LEARNED = (
    "audio_encoder",
    "audio_rest",
    "audio_projection",
    "mouth_reader",
    "vae",
    "latents",
    "latent_reader",
    "dit",
    "self_forcing",
    "spoken",
    "teacher",
    "student",
    "decoder",
)
"""Stages in which several processes share the work; the first does the others alone."""


def train(
    task: Task,
    schedule: Schedule,
    run: Path,
    name: str,
    validate: Callable[[], dict[str, float]],
) -> None:
    """Fit, load the averaged weights, measure them, and leave both in the run's folder."""
    final = run / f"{name}.safetensors"
    if final.exists():
        return
    averaged = fit(task, schedule, run / name)
    if parallel.rank():
        return
    task.model.load_state_dict(averaged)
    task.model.eval()
    figures = validate()
    log.info("trained", run=name, **figures)
    (run / f"{name}.json").write_text(
        json.dumps({"schedule": dataclasses.asdict(schedule), "figures": figures}, indent=1)
    )
    save_file({k: v.contiguous() for k, v in task.model.state_dict().items()}, final)


def restored(model: Model, run: Path, name: str, prefix: str = "") -> Model:
    """`model` with the averaged weights of a finished stage."""
    tensors: dict[str, Tensor] = load_file(run / f"{name}.safetensors")
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    model.load_state_dict(own)
    return model.eval().requires_grad_(False)


def trained_vae(run: Path) -> VAE:
    return restored(VAE(VAEConfig()), run, "vae", "vae.")


def trained_dit(run: Path, name: str) -> DiT:
    """A student is stored with its critic."""
    tensors = load_file(run / f"{name}.safetensors")
    own = "student."
    tensors = {k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)} or tensors
    channels, controls = tensors["latent_scale"].shape[0], tensors[CONTROLS].shape[1]
    model = DiT(tiny(channels, trained_encoder(run).config.dim, controls))
    model.load_state_dict(tensors)
    return model.eval()


def stored_latents(run: Path) -> tuple[LatentClips, LatentReader]:
    from training.data.latents import read_latents
    from training.tasks.latent_reader import LatentReader

    stored = read_latents(run / "latents.safetensors")
    reader = restored(LatentReader(stored.latents[0].shape[1]), run, "latent_reader")
    return stored, reader


CONTROLS = "control_embedder.linear_1.weight"


def trained_encoder(run: Path, name: str = "audio_encoder") -> AudioEncoder:
    return restored(AudioEncoder(AudioEncoderConfig()), run, name)


if __name__ == "__main__":
    main()
