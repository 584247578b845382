"""A run of a recipe: stage after stage, each from what the one before left."""

from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed.device_mesh import DeviceMesh

from avatar.errors import AvatarError, InvalidInput, NotFound
from avatar.models.dit import DiT
from avatar.parallel.sequence import Split
from avatar.telemetry.logging import get_logger
from training import parallel
from training.recipes.tm_18b import LargeRecipe, Stage
from training.scale.checkpoint import export
from training.scale.clips import ShardedClips
from training.scale.load import check_base, fill, sharded_model
from training.scale.lora import LoraLinear
from training.scale.plan import check_sharing, freeze_all_but_audio, memory_of_device, plan
from training.scale.shard import mesh_of_all, split_of
from training.scale.tasks import Batches, CausalTask, FlowTask, StudentTask
from training.scale.trainer import fit
from training.trainer import Task

log = get_logger(__name__)
CONVERTED = "dit.safetensors"
"""What `python -m avatar convert` calls a network's weights."""
TEACHER = "teacher.safetensors"


def run_recipe(
    recipe: LargeRecipe,
    shards: Path,
    folder: Path,
    *,
    base: Path | None = None,
    from_scratch: bool = False,
    only: str = "",
    recompute: bool = True,
    together: int = 1,
    say: bool = True,
) -> None:
    """All processes call it. Stages whose weights stand in `folder` are skipped.

    Args:
        recipe: What to do.
        shards: Clips, see `training.scale.clips`.
        folder: Of the run: `<stage>.safetensors`, and `<stage>/` with its checkpoints.
        base: Weights to begin with, of the recipe's model without its audio layers or with: a file,
            or a folder that `python -m avatar convert` wrote.
        from_scratch: Without a base the first stage begins with random weights.
        only: One stage.
        recompute: Keep only the inputs of blocks.
        together: So many processes share each batch, see `avatar.parallel.sequence`.
        say: Print each stage's memory plan.

    Raises:
        Refused: Before a stage begins, in all processes: there is no base, and no `from_scratch`;
            no teacher for the student to learn from; clips are missing; so many cannot share a
            batch; or it does not fit into memory, and the message has the sum and the ways out.
    """
    found: AvatarError | None = None
    try:
        check_sharing(recipe, parallel.count(), together)
    except AvatarError as error:
        found = error
    parallel.agree(found)
    mesh, split = mesh_of_all(), split_of(together)
    available = memory_of_device() // (1 if torch.cuda.is_available() else parallel.count())
    before = base
    for stage in recipe.stages:
        final = folder / f"{stage.name}.safetensors"
        if only in ("", stage.name) and not final.exists():
            needed = plan(
                recipe, stage, parallel.count(), available, recompute=recompute, together=together
            )
            if say and parallel.rank() == 0:
                print(f"{stage.name}: {needed}", flush=True)
            found, weights = None, None
            try:
                needed.check()
                weights = begins_with(stage, before, folder, from_scratch)
                if weights is not None:
                    check_base(weights, recipe.model)
                ShardedClips(shards, recipe.model, stage.mix, torch.device("cpu"))
            except AvatarError as error:
                found = error
            parallel.agree(found)
            run_stage(recipe, stage, shards, folder, mesh, split, weights, recompute)
            parallel.wait_for_all()
        elif only in ("", stage.name) and parallel.rank() == 0:
            log.info("stage_stands", stage=stage.name, file=str(final))
        before = final if final.exists() else before


def begins_with(stage: Stage, before: Path | None, folder: Path, from_scratch: bool) -> Path | None:
    """The weights' file; None for random ones, which have to be asked for.

    Raises:
        InvalidInput: Nobody said what to begin with.
        NotFound: The weights, or the teacher that is to be learned from.
    """
    if stage.kind == "student" and not (teacher := folder / TEACHER).exists():
        raise NotFound(
            f"{teacher} is missing, and the student learns from it: run the stage teacher first"
        )
    if before is None:
        if from_scratch:
            return None
        raise InvalidInput(
            f"the stage {stage.name} has nothing to begin with: --base names what `python -m "
            "avatar convert --preset wan2.1-i2v-14b` wrote; or say --from-scratch, and it begins "
            "with random weights"
        )
    path = before / CONVERTED if before.is_dir() else before
    if not path.is_file():
        raise NotFound(f"{path} is missing, to begin with: `python -m avatar convert` makes it")
    return path


def run_stage(
    recipe: LargeRecipe,
    stage: Stage,
    shards: Path,
    folder: Path,
    mesh: DeviceMesh,
    split: Split,
    weights: Path | None,
    recompute: bool,
) -> None:
    if parallel.rank() == 0:
        log.info("stage_begins", stage=stage.name, weights=str(weights or "random"))
    device = torch.device(mesh.device_type)
    clips = ShardedClips(shards, recipe.model, stage.mix, device)
    compute = torch.bfloat16 if recipe.bfloat16 else torch.float32
    batches = Batches(clips, stage.batch_size, stage.num_chunks, recipe.policy, compute)

    def network(*, trained: bool = True) -> DiT:
        adapted = stage.trained == "lora" and trained
        made = sharded_model(
            recipe.model,
            mesh,
            weights=weights,
            compute=compute,
            stored=torch.bfloat16
            if recipe.bfloat16 and (adapted or not trained)
            else torch.float32,
            lora=recipe.lora if adapted else None,
            recompute=recompute and trained,
            seed=recipe.seed,
        )
        made.split_tokens(split)
        return made if trained else made.requires_grad_(False)

    model = network()
    task: Task
    rates: dict[str, float] = {}
    if stage.trained == "audio":
        freeze_all_but_audio(model)
    if stage.kind == "flow":
        task = FlowTask(model, batches, shift=recipe.shift, bfloat16=recipe.bfloat16)
    elif stage.kind == "causal":
        task = CausalTask(model, batches, bfloat16=recipe.bfloat16)
    else:
        scores = folder / TEACHER
        critic, teacher = network(), network(trained=False)
        fill(critic, scores)
        fill(teacher, scores)
        task = StudentTask(
            model, critic, teacher, batches, stage.distillation, bfloat16=recipe.bfloat16
        )
        rates = {"critic": stage.critic_share}
    # each stage draws other batches
    schedule = replace(stage.schedule, seed=recipe.seed + recipe.stages.index(stage))
    average = fit(task, schedule, stage.pace, folder / stage.name, rates=rates, together=split.size)
    finish(model, average, "student." if stage.kind == "student" else "", recipe, folder, stage)


def finish(
    model: DiT,
    average: dict[str, torch.Tensor],
    prefix: str,
    recipe: LargeRecipe,
    folder: Path,
    stage: Stage,
) -> None:
    """Write the averaged weights, adapters merged, for the next stage and for serving."""
    tensors = model.state_dict()
    for name in tensors:
        tensors[name] = average.get(prefix + name, tensors[name])
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            low = tensors.pop(f"{name}.lora_A.weight"), tensors.pop(f"{name}.lora_B.weight")
            tensors[f"{name}.weight"] = merged(tensors[f"{name}.weight"], *low, layer.scale)
    dtype = torch.bfloat16 if recipe.bfloat16 else torch.float32
    export(tensors, recipe.model, folder / f"{stage.name}.safetensors", dtype)
    if parallel.rank() == 0:
        log.info("stage_done", stage=stage.name, file=f"{stage.name}.safetensors")


def merged(
    weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float
) -> torch.Tensor:
    """W + scale B A of shards, in float32."""
    return (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)
