"""The tables of the benchmark `graph`."""

from typing import Any

from avatar.media import STAGES
from bench.results import Values, bars, table
from bench.stats import spread

COLD_BAR_S, SECOND_BAR_S = 360.0, 60.0
FIRST_BAR_S, RATE_BAR, WER_BAR, LEVEL_BAR, SIDE_BAR = 2.5, 1.3, 0.3, -40.0, 256
Told = dict[str, Any]


def report(values: Values) -> str:
    return "\n".join(
        [
            bars(bar_rows(values)),
            "The first start finds nothing of `.venv` in memory, the second finds it there.\n"
            if len(values["starts"]) > 1
            else "",
            table(
                ["start", "/healthz, s", "/readyz, s", "Ctrl-C to the end, s"],
                [
                    (i + 1, each["healthy_s"], each["ready_s"], each["stop_s"])
                    for i, each in enumerate(values["starts"])
                ],
            ),
            request_table(values),
            "First chunk: seconds from the complete request to the first chunk of video out of the "
            "graph. Rate: media seconds a second from the first chunk to the last. "
            f"Who spoke: {'; '.join(values['ask'][0]['models'])}.\n",
            question_table(values["ask"]),
            stage_table(values["stages"]),
            overlap_words(values["overlap"]),
            process_table(values),
        ]
    )


def bar_rows(values: Values) -> list[tuple[str, object, str, bool]]:
    answers = [*values["say"], *values["ask"], *values["together"]]
    first = median([each["first_chunk_s"] for each in values["ask"]])
    rates = [each["rate"] for each in values["say"] + values["ask"] if each["rate"] is not None]
    wer = max(each["wer"] for each in values["ask"])
    quietest = min(each["level_dbfs"] for each in answers)
    off = max(each["off_frames"] for each in answers)
    side = min(min(each["width"], each["height"]) for each in answers)
    fps = {each["frame_rate"] for each in answers}
    *others, last = (each["ready_s"] for each in values["starts"])
    rows: list[tuple[str, object, str, bool]] = [
        ("`/readyz`, first start, s", each, f"≤ {COLD_BAR_S:.0f} with set-up", each <= COLD_BAR_S)
        for each in others
    ]
    return [
        *rows,
        ("`/readyz`, second start, s", last, f"≤ {SECOND_BAR_S:.0f}", last <= SECOND_BAR_S),
        ("`ask`: first chunk, median, s", first, f"≤ {FIRST_BAR_S}", first <= FIRST_BAR_S),
        ("rate, slowest answer", min(rates), f"≥ {RATE_BAR}", min(rates) >= RATE_BAR),
        ("transcript, worst word error rate", wer, f"≤ {WER_BAR}", wer <= WER_BAR),
        ("sound, quietest answer, dBFS", quietest, f"> {LEVEL_BAR:.0f}", quietest > LEVEL_BAR),
        ("picture, smallest side", side, f"≥ {SIDE_BAR}", side >= SIDE_BAR),
        ("frames a second", ", ".join(f"{each:g}" for each in fps), "25", fps == {25.0}),
        ("picture and sound differ by, frames", off, "≤ 1", off <= 1),
        ("two at once: both right", together_words(values), "both", are_right(values["together"])),
        (
            "left behind after Ctrl-C",
            "; ".join(values["left"]) or "nothing",
            "nothing",
            not values["left"],
        ),
    ]


def median(values: list[float]) -> float:
    return spread(values)["median"]


def are_right(answers: list[Told]) -> bool:
    return all(each["wer"] <= WER_BAR and each["off_frames"] <= 1 for each in answers)


def together_words(values: Values) -> str:
    return "; ".join(
        f"first chunk {each['first_chunk_s']:.1f} s, rate {_number(each['rate'])}"
        for each in values["together"]
    )


def request_table(values: Values) -> str:
    rows: list[tuple[object, ...]] = []
    for name, answers in (
        ("`say`", values["say"]),
        ("`ask`", values["ask"]),
        ("`ask`, two at once", values["together"]),
    ):
        first = spread([each["first_chunk_s"] for each in answers])
        client = spread([each["client_first_s"] for each in answers])
        rates = spread([each["rate"] for each in answers if each["rate"] is not None] or [0.0])
        media = sum(each["media_s"] for each in answers)
        rows.append(
            (name, len(answers), media, first["median"], first["p95"], client["median"],
             rates["median"], rates["least"])
        )  # fmt: skip
    head = ["request", "count", "media, s", "first chunk p50, s", "p95, s", "at the client p50, s"]
    return table([*head, "rate p50", "slowest"], rows)


def question_table(asked: list[Told]) -> str:
    rows = []
    for name in dict.fromkeys(each["question"] for each in asked):
        of_it = [each for each in asked if each["question"] == name]
        first = [each["first_chunk_s"] for each in of_it]
        rows.append((name, max(each["wer"] for each in of_it), median(first), max(first)))
    return table(["question", "word error rate", "first chunk p50, s", "slowest, s"], rows)


def stage_table(stages: dict[str, dict[str, float]]) -> str:
    kinds = ("wait", "compute", "send")
    rows = [
        (stage, *(stages[stage].get(kind, 0.0) for kind in kinds))
        for stage in STAGES
        if stage in stages
    ]
    head = ["stage, ms a chunk, mean", "waits for its thread", "computes", "waits for credit"]
    return table(head, rows)


def overlap_words(told: Told) -> str:
    if not told["both_s"]:
        return f"Score worker and VAE decoder were never seen computing at once: {told}.\n"
    return (
        f"While saying {told['chunks']} chunks, score worker and VAE decoder both computed in "
        f"**{told['both_s'] / told['any_s']:.0%}** of the time in which either did: "
        f"{told['both_s'] / told['score_s']:.0%} of the score worker's {told['score_s']:.1f} s and "
        f"{told['both_s'] / told['vae_s']:.0%} of the decoder's {told['vae_s']:.1f} s.\n"
    )


def process_table(values: Values) -> str:
    """Cores, CPU seconds for each second of video, megabytes."""
    media_s = sum(each["media_s"] for each in values["say"])
    columns = ("idle_cores", "speaking_cores", "cpu_s", "uss_mb", "pss_mb", "rss_mb")
    processes = {
        name: {**each, "cpu_s": each["speaking_cores"] * values["speaking_s"] / media_s}
        for name, each in values["processes"].items()
    }
    largest_first = sorted(processes, key=lambda name: -processes[name]["uss_mb"])
    rows: list[list[object]] = [
        [name, *(processes[name][column] for column in columns)] for name in largest_first
    ]
    total = [sum(each[column] for each in processes.values()) for column in columns]
    rows.append(["**all**", *total])
    head = ["process", "cores, idle", "cores, `say`", "CPU s a second of video"]
    return table([*head, "own MB (USS)", "MB (PSS)", "MB (RSS)"], rows)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"
