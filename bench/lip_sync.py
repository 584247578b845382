"""Does the mouth say the words, and how well could it at best?"""

from dataclasses import asdict

import torch

from avatar.cast.profile import PROFILES
from avatar.render import Pipeline
from bench.clips import VOICES, clips
from bench.machine import say
from bench.options import Options
from bench.results import Values, bars, table
from training.meters.lip_sync import measure_lip_sync, read_boxes
from training.meters.mouth_reader import load_mouth_reader

NAMES = {
    "hibari": "generated, the voice of training",
    "piper": "generated, a voice never heard in training",
    "real": "real renders: the meter's own ceiling",
    "vae": "their VAE reconstruction: the ceiling of any DiT",
}
CORRELATION_BAR, LAG_BAR_MS, SHUFFLED_BAR, REST_BAR = 0.6, 80, 0.2, 0.15


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    count = options.repetitions(6, 2)
    pipeline = Pipeline.load()
    reader = load_mouth_reader(PROFILES["tiny"].folder / "mouth_reader.safetensors")
    spoken = {voice: clips(voice, count) for voice in VOICES}
    measured = {
        voice: measure_lip_sync(pipeline, reader, read_boxes(), spoken[voice]) for voice in VOICES
    }
    try:
        from bench.ceilings import ceilings
    except ImportError as error:  # the renderer belongs to training, which a server may lack
        say(f"lip_sync: no ceilings without the renderer ({error}): run make setup")
    else:
        measured |= ceilings(pipeline, reader, spoken["hibari"])
    return {name: asdict(each) for name, each in measured.items()}


def report(values: Values) -> str:
    head = ["", "opening", "worst clip", "lag, ms", "largest, ms", "width", "rounding", "range"]
    columns = ["correlation", "worst_correlation", "lag_ms", "largest_lag_ms", "width"]
    columns += ["rounding", "amplitude_ratio", "while_speaking", "shuffled", "rest_share"]
    columns += ["num_clips"]
    rows = [[NAMES[name], *(each[c] for c in columns)] for name, each in values.items()]
    return "\n".join(
        [
            "Correlation of the mouth that the shipped reader sees in the video with the true "
            "mouth of that speech, means over held-out sentences, each shown by another avatar; a "
            "positive lag is a late picture. Speaking: the same without the pauses. Others: with "
            "other sentences' curves, without the pauses. "
            "Rest: opening at least 320 ms from any speech, as a share of the speaking mean, both "
            "net of the closed mouth. Range: how far the mouth moves, compared with the truth.\n",
            table([*head, "speaking", "others", "rest", "clips"], rows),
            bars([row for voice in VOICES for row in bar_rows(voice, values[voice])]),
        ]
    )


def bar_rows(voice: str, of_it: Values) -> list[tuple[str, object, str, bool]]:
    correlation, others = of_it["correlation"], of_it["shuffled"]
    lag, rest = abs(of_it["lag_ms"]), of_it["rest_share"]
    return [
        (
            f"{voice}: correlation of the opening",
            correlation,
            f"≥ {CORRELATION_BAR}",
            correlation >= CORRELATION_BAR,
        ),
        (f"{voice}: lag either way, ms", lag, f"≤ {LAG_BAR_MS}", lag <= LAG_BAR_MS),
        (f"{voice}: with others", others, f"≤ {SHUFFLED_BAR}", others <= SHUFFLED_BAR),
        (f"{voice}: open at rest", rest, f"≤ {REST_BAR}", rest <= REST_BAR),
    ]
