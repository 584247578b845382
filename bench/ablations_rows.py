"""The rows of the ablation table: each is the recipe with one thing changed."""

from dataclasses import dataclass, fields
from typing import Literal

from avatar.sampling.policy import Policy
from training.tasks.distill import Distillation
from training.tasks.teacher import NUM_CHUNKS, STEPS

PLACES = 21
"""In time, of a window in training: the sink first, the current chunk last."""
SINK = (0, 1, 2)
SIGMAS = {1: (1.0,), 2: (1.0, 0.5), 4: (1.0, 0.75, 0.5, 0.25)}
CRITIC_STEPS = 2
"""For each step of the student; a run in full takes 5."""
Stage = Literal["causal", "student", "teacher"]


@dataclass(frozen=True)
class Rule:
    """How a row is trained and generated.

    `stage`: "causal" goes on with the causal model by teacher forcing, "student" distils it from
    the teacher, "teacher" is the bidirectional teacher as it is, guided, 24 evaluations a stretch.
    """

    stage: Stage = "causal"
    chunk: int = 3
    sink: bool = True
    previous: bool = True
    cache: Literal["per_step", "clean_pass"] = "per_step"
    noise: Literal["fresh", "still"] = "still"
    audio_window: int = 5
    face_mask: bool = True
    steps: int = 2
    regression: bool = True
    generated: bool = True
    self_rollout: bool = True
    seed: int = 0

    @property
    def policy(self) -> Policy:
        start = PLACES - self.chunk
        return Policy(
            sigmas=SIGMAS[self.steps],
            chunk_latents=self.chunk,
            sink_positions=SINK if self.sink else (),
            previous_positions=tuple(range(start - self.chunk, start)) if self.previous else (),
            current_positions=tuple(range(start, PLACES)),
            cache=self.cache,
            noise=self.noise,
            audio_scope="face" if self.face_mask else "whole",
        )

    @property
    def distillation(self) -> Distillation:
        usual = Distillation()
        return Distillation(
            regression=usual.regression if self.regression else 0.0,
            generated=usual.generated if self.generated else 0.0,
            self_rollout=self.self_rollout,
            critic_steps=CRITIC_STEPS,
        )

    @property
    def made_at_once(self) -> int:
        """Latents."""
        return NUM_CHUNKS * self.chunk if self.stage == "teacher" else self.chunk

    @property
    def evaluations(self) -> int:
        """Of the network, for what is made at once."""
        if self.stage == "teacher":
            return 2 * STEPS
        return self.steps + (self.cache == "clean_pass")

    def differences(self, other: "Rule") -> list[str]:
        """Names of what is not the same."""
        names = [each.name for each in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True)
class Row:
    """`told` is what differs, in words; `question` the entry of the literature beside it."""

    rule: Rule
    told: str
    question: str


CAUSAL, STUDENT = "causal", "student"
ROWS = {
    CAUSAL: Row(
        Rule(),
        "chunks of 3 latents, {sink, previous, current}, a cache for each of 2 steps, one noise "
        "for all latents, 5 latents of speech within the face mask",
        "base",
    ),
    "again": Row(Rule(seed=1), "another seed in training: what nothing at all changes", "noise"),
    "chunk-1": Row(Rule(chunk=1), "chunks of 1 latent", "chunk"),
    "chunk-2": Row(Rule(chunk=2), "chunks of 2 latents", "chunk"),
    "chunk-7": Row(Rule(chunk=7), "chunks of 7 latents", "chunk"),
    "no-sink": Row(Rule(sink=False), "the sink is not attended to", "sink"),
    "no-previous": Row(Rule(previous=False), "the previous chunk is not attended to", "previous"),
    "clean-pass": Row(
        Rule(cache="clean_pass"), "one more forward, on the clean chunk, writes the cache", "cache"
    ),
    "fresh-noise": Row(Rule(noise="fresh"), "noise anew for every latent", "still"),
    "audio-1": Row(Rule(audio_window=1), "1 latent of speech", "audio"),
    "audio-3": Row(Rule(audio_window=3), "3 latents of speech", "audio"),
    "audio-7": Row(Rule(audio_window=7), "7 latents of speech", "audio"),
    "no-face-mask": Row(Rule(face_mask=False), "speech acts on the whole picture", "mask"),
    "steps-1": Row(Rule(steps=1), "1 step", "steps"),
    "steps-4": Row(Rule(steps=4), "4 steps", "steps"),
    "steps-24": Row(
        Rule(stage="teacher"),
        "the bidirectional teacher as it is: 12 steps, each with guidance",
        "steps",
    ),
    STUDENT: Row(Rule(stage="student"), "the causal base, distilled from the teacher", "student"),
    "student-again": Row(Rule(stage="student", seed=1), "another seed in training", "noise"),
    "no-regression": Row(
        Rule(stage="student", regression=False), "no regression on real clips", "regression"
    ),
    "no-generated": Row(
        Rule(stage="student", generated=False),
        "no regression on generated clips: the teacher and the reader of mouths alone judge them",
        "generated",
    ),
    "no-self-rollout": Row(
        Rule(stage="student", self_rollout=False),
        "what is judged is denoised from real clips in one masked forward, not rolled out",
        "rollout",
    ),
}
BRIEF_ROWS = (CAUSAL, "clean-pass", "audio-7", "steps-24", "no-self-rollout")


def base_of(name: str) -> str:
    """The row that this one is compared with; a stage's base is compared with the causal one."""
    students = ROWS[name].rule.stage == "student" and name != STUDENT
    return STUDENT if students else CAUSAL


@dataclass(frozen=True)
class Budget:
    """What every row gets.

    Training: optimizer steps from the same weights (the student's row learns in every third of its
    own, the critic in the others), `batch` stretches of about `latents` latents, in whole chunks.
    Measurement: `clips` held-out clips of `clip_latents` latents, and one of them `passes` times
    over without a break.
    """

    causal_steps: int = 120
    student_steps: int = 90
    batch: int = 2
    latents: int = 12
    clips: int = 18
    clip_latents: int = 30
    passes: int = 25

    def steps(self, rule: Rule) -> int:
        return {"causal": self.causal_steps, "student": self.student_steps, "teacher": 0}[
            rule.stage
        ]

    def chunks(self, rule: Rule) -> int:
        """Of a stretch in training; two at least, or there is no previous one."""
        return max(2, round(self.latents / rule.chunk))


USUAL = Budget()
BRIEF = Budget(causal_steps=2, student_steps=3, latents=6, clips=2, clip_latents=15, passes=3)
