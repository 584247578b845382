"""The recipe of the paper's model: from public image-to-video weights to two forwards a chunk.

Stages in order, each beginning with what the one before left: new audio layers alone, the whole
bidirectional teacher, its causal twin, distillation. Rates and counts are those that public runs of
this family report (CausVid arXiv:2412.07772, Self Forcing arXiv:2506.08009, LiveTalk
arXiv:2512.23576, Live Avatar arXiv:2512.04677); nobody has run this recipe at its size yet.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from avatar.models.dit import AudioConfig, DiTConfig
from avatar.models.dit.zoo import tm_18b as tm_18b_model
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from training.scale.clips import Mix
from training.scale.trainer import Pace
from training.tasks.distill import Distillation
from training.trainer import Schedule

Kind = Literal["flow", "causal", "student"]


@dataclass(frozen=True)
class Stage:
    """`batch_size` stretches of `num_chunks` chunks a process and pass.

    `trained`: "audio" moves the audio layers alone, "all" everything, "lora" adapters of
    `LargeRecipe.lora`. `critic_share`: the critic's rate over the student's.
    """

    name: str
    kind: Kind
    schedule: Schedule
    pace: Pace
    mix: Mix
    trained: Literal["audio", "all", "lora"] = "all"
    batch_size: int = 1
    num_chunks: int = 6
    distillation: Distillation = field(default_factory=lambda: Distillation(sync=0.0))
    critic_share: float = 0.2


@dataclass(frozen=True)
class LargeRecipe:
    """`latent_size` is the height and width of latents, an eighth of the picture's."""

    model: DiTConfig
    policy: Policy
    latent_size: tuple[int, int]
    stages: tuple[Stage, ...]
    shift: float = 5.0
    lora: tuple[int, float] = (128, 64.0)
    text_tokens: int = 512
    image_tokens: int = 257
    bfloat16: bool = True
    seed: int = 0

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def tokens_per_latent(self) -> int:
        height, width = self.latent_size
        return height * width // self.model.patch**2


def tm_18b() -> LargeRecipe:
    """512 x 512, clips of 81 frames: the sink and 6 chunks, of 21 latents that the model knows."""
    return LargeRecipe(
        model=tm_18b_model(),
        policy=NATIVE_2_STEP,
        latent_size=(64, 64),
        stages=(
            # the base is a finished video model: what is new learns first, and moves nothing else
            Stage(
                "audio",
                "flow",
                Schedule(steps=5_000, learning_rate=1e-4, warmup_steps=500, ema_decay=0.999),
                Pace(save_every=500, average_from=1_000),
                Mix(motion=0.0, audio=0.9, silence=0.1),
                trained="audio",
            ),
            Stage(
                "teacher",
                "flow",
                Schedule(steps=20_000, learning_rate=1e-5, warmup_steps=500, ema_decay=0.9995),
                Pace(save_every=500, average_from=5_000),
                Mix(motion=0.1, audio=0.8, silence=0.1),
            ),
            # regression under the serving mask; unconverged ones cost the distillation that follows
            Stage(
                "causal",
                "causal",
                Schedule(steps=20_000, learning_rate=1e-5, warmup_steps=500, ema_decay=0.9995),
                Pace(save_every=500, average_from=5_000),
                Mix(motion=0.0, audio=0.9, silence=0.1),
            ),
            # short: after about a thousand steps motion fades; one step of the student in six
            Stage(
                "student",
                "student",
                Schedule(
                    steps=6_000, learning_rate=2e-6, warmup_steps=10, betas=(0.0, 0.999),
                    ema_decay=0.99, final_fraction=1.0,
                ),
                Pace(save_every=120, average_from=1_200),
                Mix(motion=0.0, audio=0.9, silence=0.1),
                distillation=Distillation(
                    regression=0.25, generated=0.0, sync=0.0, critic_steps=5, guidance=3.0
                ),
            ),
        ),
    )  # fmt: skip


def tm_18b_lora() -> LargeRecipe:
    """The same for one node: adapters of rank 128 in the place of the whole model."""
    whole = tm_18b()
    stages = tuple(
        stage
        if stage.trained == "audio"
        else replace(
            stage,
            trained="lora",
            schedule=replace(stage.schedule, learning_rate=5 * stage.schedule.learning_rate),
        )
        for stage in whole.stages
    )
    return replace(whole, stages=stages)


def toy() -> LargeRecipe:
    """Every stage of `tm_18b` with a network of a few thousand parameters: to see that it runs."""
    whole = tm_18b()
    audio = AudioConfig(6, 4, hidden_dim=16, context_tokens=3, context_dim=12)
    small = replace(
        whole.model, latent_channels=4, condition_channels=8, dim=48, ffn_dim=64, num_layers=2,
        num_heads=2, audio=audio, text_dim=10, image_dim=14,
    )  # fmt: skip
    stages = tuple(
        replace(
            stage,
            num_chunks=3,
            schedule=replace(stage.schedule, steps=4, warmup_steps=1, learning_rate=1e-3),
            pace=Pace(save_every=2, log_every=1),
            distillation=replace(stage.distillation, critic_steps=1),
        )
        for stage in whole.stages
    )
    return replace(
        whole, model=small, latent_size=(8, 8), stages=stages, lora=(4, 2.0), text_tokens=7,
        image_tokens=5, bfloat16=False,
    )  # fmt: skip


RECIPES = {"tm-18b": tm_18b, "tm-18b-lora": tm_18b_lora, "toy": toy}
