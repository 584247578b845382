"""The ablation table as Markdown, beside what others have reported."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from bench.ablations_rows import CAUSAL, CRITIC_STEPS, ROWS, STUDENT, base_of
from bench.results import Values, table

BEGIN = "<!-- ablations: written by `python -m bench --only ablations`, do not edit -->"
END = "<!-- ablations: end -->"
NONE = "-"
LITERATURE = {
    "chunk": (
        "chunk of 1, 2, 3, 7 latents",
        "arXiv:2512.04677, 14 B, 1 / 2 / 3 / 4 latents: sync confidence 4.12 / 5.38 / 7.03 / 6.98, "
        "first frame after 0.40 / 0.67 / 0.94 / 1.21 s; short ones go nearly still. "
        "arXiv:2511.01266, 1 against 3: LPIPS 0.597 against 0.464, latency 0.30 against 0.70 s. "
        "arXiv:2506.03099 takes 3; its figures on others are not known to us",
    ),
    "sink": (
        "sink",
        "arXiv:2511.01266, without against with: LPIPS 0.501 against 0.464; more than one chunk of "
        "it adds little. arXiv:2512.04677: the model's own first latent as the sink, against the "
        "real image: aesthetics 3.42 against 3.13 in videos of minutes",
    ),
    "previous": (
        "previous chunk",
        "arXiv:2511.01266: a window of one chunk is best, wider ones hurt (six without a sink: "
        "LPIPS 0.480 against 0.464). Nothing is reported of none at all",
    ),
    "cache": (
        "cache of the same noise, or of a clean pass",
        "arXiv:2512.04677, same step's noisy cache against clean: sync confidence 7.16 against "
        "6.11, identity 0.97 against 0.90, flicker score 0.971 against 0.876; one forward of five "
        "less",
    ),
    "still": (
        "one noise for all latents of a session",
        "arXiv:2506.03099 does not say how it draws noise; no comparison is known to us",
    ),
    "audio": (
        "speech that a latent hears",
        "arXiv:2506.03099 takes 5 latents; no comparison is known to us",
    ),
    "mask": (
        "face mask",
        "arXiv:2506.03099 confines speech to the face; arXiv:2510.01284 does without. No figures "
        "are known to us",
    ),
    "steps": (
        "steps",
        "arXiv:2506.03099: 24 evaluations to 2. arXiv:2512.04677, 2 / 3 / 4 steps: sync confidence "
        "6.41 / 6.58 / 7.03, identity 0.94 / 0.95 / 0.96",
    ),
    "regression": (
        "regression beside DMD",
        "arXiv:2506.03099 has both; its figures are not known to us",
    ),
    "generated": (
        "generated clips beside real ones",
        "arXiv:2506.03099 mixes both; its figures are not known to us",
    ),
    "rollout": (
        "self-rollout",
        "arXiv:2506.08009 brought it: 4 steps at 1.3 B. arXiv:2511.01266 names its absence, and a "
        "teacher that scores broken clips, as what arXiv:2506.03099 lacks",
    ),
}


def section(values: Values) -> str:
    """Everything below the title, for the results and for the model's card alike."""
    rows = values["rows"]
    missing = [name for name in ROWS if name not in rows]
    measured = [
        "### Quality\n",
        "Opening: correlation of the mouth as read from the pixels with the true one, mean over "
        "clips ± its standard error; less base: mean difference, clip by clip, from the row that "
        f"it is compared with (`{STUDENT}` for what follows it, `{CAUSAL}` else). Range: spread of "
        "the opening over the true one's, which a correlation does not see. Eyes, mouth: "
        "sharpness over the real render's. Seam: frame difference where one chunk meets the next "
        "over that inside, over the same of the real render. Then the last round of the long "
        "rollout against the second: change of the mean colour of 255, identity lost (1 is the "
        "distance to the most similar other character), change of the opening's correlation.\n",
        quality_table(rows),
        noise_told(rows),
        "### Cost\n",
        "Milliseconds of processor time on one core, torch in float32, of what is made at once; "
        "load: that over the time it plays. Delay: from the first sound of a chunk, heard live, to "
        "its first picture: the chunk's length and its computation. Operations of the network a "
        "second of video (without the VAE), and of the row's training.\n",
        cost_table(rows),
    ]
    parts = [
        told_budget(values["budget"]),
        f"Not measured yet with these weights: {', '.join(missing)}.\n" if missing else "",
        *(measured if rows else []),
        "### What others found\n",
        "Other models, data and meters: the direction compares, the figures do not.\n",
        "\n".join(f"- *{what}*: {reported}." for what, reported in LITERATURE.values()),
    ]
    return "\n".join(part for part in parts if part)


def told_budget(budget: Values) -> str:
    return (
        "A small budget, the same for each row: the difference between rows is meant, not their "
        f"level. Causal rows go on for {budget['causal_steps']} steps of teacher forcing from the "
        "causal weights of the run, student rows are distilled from the same weights for "
        f"{budget['student_steps']} steps, {CRITIC_STEPS} of the critic for each of the student; "
        f"batches of {budget['batch']} stretches of about {budget['latents']} latents, the same "
        "seed and clips. Where the window of speech differs, the audio projection's first layer "
        "starts as the trained one, cut to its middle or widened with zeros. The teacher is the "
        f"run's own. Measured on {budget['clips']} held-out clips of "
        f"{budget['clip_latents'] * 0.16:.1f} s of the whole cast, and on one of them "
        f"{budget['passes']} times over without a break "
        f"({budget['passes'] * budget['clip_latents'] * 0.16 / 60:.1f} min). A row again: "
        "`python -m bench --only ablations --rows chunk-1,no-sink`.\n"
    )


def quality_table(rows: Values) -> str:
    head = [
        "row", "what differs", "opening", "less base", "range", "eyes", "mouth", "seam", "colour",
        "identity lost", "opening later",
    ]  # fmt: skip
    lines = []
    for name, row in rows.items():
        clips, drift = row["clips"], row["drift"]
        drifts: list[object] = [NONE] * 3
        if drift is not None:
            drifts = [
                drift["colour"],
                drift["identity_first"] - drift["identity_last"],
                drift["opening_last"] - drift["opening_first"],
            ]
        lines.append(
            [
                f"`{name}`",
                ROWS[name].told,
                with_error([clip["opening"] for clip in clips]),
                less_base(rows, name),
                mean(clips, "amplitude"),
                mean(clips, "eyes"),
                mean(clips, "mouth"),
                seam(clips),
                *drifts,
            ]
        )
    return table(head, lines)


def cost_table(rows: Values) -> str:
    head = [
        "row", "made at once, ms", "score, ms", "VAE, ms", "load", "delay, ms",
        "GFLOP a second", "training, TFLOP", "training, CPU s", "measuring, CPU s",
    ]  # fmt: skip
    lines = []
    for name, row in rows.items():
        cost = row["cost"]
        played = 1000 * cost["video_s"]
        load = (cost["score_ms"] + cost["decode_ms"]) / played
        lines.append(
            [
                f"`{name}`", played, cost["score_ms"], cost["decode_ms"], load, cost["delay_ms"],
                cost["gflop_a_second"], cost["training_tflop"], cost["training_s"],
                cost["judging_s"],
            ]
        )  # fmt: skip
    return table(head, lines)


def noise_told(rows: Values) -> str:
    """How far two rows are apart that differ in nothing but the seed of their training."""
    told = [
        f"`{name}` against `{base_of(name)}`: {less_base(rows, name)}"
        for name, row in ROWS.items()
        if row.question == "noise" and name in rows and base_of(name) in rows
    ]
    if not told:
        return ""
    return (
        "Standard errors are over clips alone. What training's chance adds: another seed changes "
        f"the opening by ({'; '.join(told)}). A difference not clearly above both says nothing.\n"
    )


def less_base(rows: Values, name: str) -> str:
    """Paired by clip, as all rows are generated for the same clips with the same noise."""
    base = base_of(name)
    if base == name or base not in rows:
        return NONE
    own, other = ([clip["opening"] for clip in rows[each]["clips"]] for each in (name, base))
    return with_error([a - b for a, b in zip(own, other, strict=True)], sign="+")


def with_error(values: Sequence[float], sign: str = "") -> str:
    """Mean and its standard error; the mean alone of one value."""
    average = f"{np.mean(values):{sign}.3f}"
    if len(values) < 2:
        return average
    return f"{average} ± {np.std(values, ddof=1) / sqrt(len(values)):.3f}"


def mean(clips: Sequence[Values], figure: str) -> float:
    return float(np.mean([clip[figure] for clip in clips]))


def seam(clips: Sequence[Values]) -> object:
    """1 where generated chunks meet as smoothly as the real render goes on."""
    if mean(clips, "inside") == 0 or mean(clips, "border_real") == 0:
        return NONE  # a video that stands still, or is one piece, has no seam
    real = mean(clips, "border_real") / mean(clips, "inside_real")
    return mean(clips, "border") / mean(clips, "inside") / real


def with_section(text: str, body: str) -> str:
    """`text` with the body between the marks, which are put at its end where it has none."""
    marked = f"{BEGIN}\n\n{body.strip()}\n\n{END}"
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return f"{text.rstrip()}\n\n## Ablations\n\n{marked}\n".lstrip()
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the text has {BEGIN!r}, but not {END!r} after it")
    return before + marked + after
