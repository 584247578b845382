"""Does the generated face say the words, look like the drawn one, and stay so for hours?"""

import math
import os
from collections.abc import Iterable

import torch

from avatar.cast.characters import character_of
from avatar.cast.motion import MOTION_FPS
from avatar.render import Pipeline
from bench.machine import say
from bench.options import Options
from bench.quality_cast import Avatar, load_avatars, load_readers
from bench.quality_rollouts import BRIEF, SEED, USUAL, Plan, measure_rollouts
from bench.quality_sentences import TRAINED, UNHEARD, judged, sentences, watch
from bench.quality_sheet import Picture, draw_sheet, save_sheet
from bench.results import Values, bars, table
from training.data.motions import CHUNK_FRAMES, session_controls
from training.meters.movement import Movement

Row = tuple[str, object, str, bool]
VISIBLE = 0.5
"""Levels of 255, as white noise: what a rounding to whole levels makes is 0.3."""
MOVED = tuple(Movement.__dataclass_fields__)


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    pipeline, readers = Pipeline.load(), load_readers()
    avatars = load_avatars(pipeline)
    seen = watch(pipeline, readers, avatars, sentences(options))
    plan = BRIEF if options.brief else USUAL
    rollouts, last = measure_rollouts(pipeline, readers, avatars, plan)
    later = {name: (frame, render_last(avatars[name], plan)) for name, frame in last.items()}
    save_sheet(draw_sheet(seen.rows, later), options.sheet)
    say(f"quality: {options.sheet}")
    return judged(seen) | {
        "rollouts": rollouts,
        "minute_s": plan.minute_s,
        "sheet": os.path.relpath(options.sheet, options.folder),
    }


def render_last(avatar: Avatar, plan: Plan) -> Picture:
    """The real render, mouth shut, of the last frame of the rollout."""
    chunks = round(plan.minute_s * MOTION_FPS / CHUNK_FRAMES) * plan.minutes
    temperament = character_of(avatar.name).temperament
    moved = session_controls(SEED, temperament, ["speaking"] * chunks)
    return avatar.renderer.frame([0.0] * 5, moved[-1])


def report(values: Values) -> str:
    return "\n".join(
        [
            "The shipped model by the shipped pipeline, on sentences never trained on, against "
            "what the same speech and the same movements give when drawn. Readers of mouths and "
            "controls learnt from real renders only.\n",
            bars(list(bar_rows(values))),
            "### Lips\n",
            "Correlation of the opening with the true one at the best lag, means over clips (lag: "
            "median); speaking: without the pauses; others: with other sentences' curves. Pixels: "
            "the second method, which counts pixels of colours that the shut mouth lacks; agree: "
            "both methods. Rest: opening at least 320 ms from speech as a share of that in "
            "speech.\n",
            lips_table(values["lips"]),
            "### Movement\n",
            movement_table(values),
            "### Pictures\n",
            "Beside real renders of the same frames. Eyes, mouth: gradient over the real one's; "
            "fast: of the fifth of frames with most movement of the mouth. Grain and flicker in "
            "levels of 255, as white noise would make them, where the real picture is flat or "
            "still. Seam: frame difference at chunk borders over that inside.\n",
            looks_table(values),
            "### Hours\n",
            drift_table(values),
            f"![Every avatar, generated above and drawn below]({values['sheet']})",
        ]
    )


def bar_rows(values: Values) -> Iterable[Row]:
    """What must hold of the face."""
    yield from lip_bars(values["lips"])
    yield from movement_bars(values)
    yield from drift_bars(values["rollouts"])
    yield from look_bars(values["look"])
    yield from clean_bars(values)


def lip_bars(lips: Values) -> Iterable[Row]:
    ours = lips["trained"]
    yield at_least("training voices: opening", ours["correlation"], 0.85)
    voices = ("trained", *UNHEARD)
    for voice in UNHEARD:
        yield at_least(f"{voice}, never heard: opening", of(lips, voice, "correlation"), 0.78)
    lags = [abs(of(lips, voice, "lag_ms")) for voice in voices]
    yield at_most("lag either way, worst voice, ms", worst(lags), 40)
    yield at_least("training voices: width", ours["width"], 0.7)
    yield at_least("training voices: rounding", ours["rounding"], 0.7)
    yield between("amplitude ratio, training voices", ours["amplitude_ratio"], 0.8, 1.2)
    shuffled = worst(of(lips, voice, "shuffled") for voice in voices)
    yield at_most("with other utterances, worst voice", shuffled, 0.15)
    rest = worst(of(lips, voice, "rest_share") for voice in voices)
    yield at_most("open at rest, worst voice", rest, 0.08)


def movement_bars(values: Values) -> Iterable[Row]:
    """Ratios to the sampler's, the worst avatar of each; spreads as the reader sees them drawn."""
    rollouts = values["rollouts"].values()
    for name in MOVED:
        ratios = [
            each["movement_ratio"][name] / each["reader_ratio"].get(name, 1.0) for each in rollouts
        ]
        furthest = max(ratios, key=lambda ratio: abs(ratio - 1))
        drawn = " when drawn and read alike" if name.endswith("spread") else ""
        label = f"{name.replace('_', ' ')} over the sampler's{drawn}"
        yield between(label, furthest, 0.75, 1.25)


def drift_bars(rollouts: Values) -> Iterable[Row]:
    for name, each in rollouts.items():
        drift = each["drift"]
        label = f"{name}, {drift['num_minutes']} minutes: "
        lost = drift["identity_first"] - drift["identity_last"]
        share = lost / drift["identity_first"] if drift["identity_first"] > 0 else math.nan
        apart = abs(drift["opening_last"] - drift["opening_first"])
        yield at_most(label + "colour change", drift["colour"], 1)
        yield at_most(label + "identity lost", share, 0.01)
        yield at_most(label + "opening differs by", apart, 0.05)
        yield between(label + "sharpness of the eyes", drift["eyes"], 0.95, 1.05)
        yield between(label + "sharpness of the mouth", drift["mouth"], 0.95, 1.05)


def look_bars(look: Values) -> Iterable[Row]:
    yield between("sharpness of the eyes over real", look["eyes"], 0.92, 1.08)
    yield between("sharpness of the mouth over real", look["mouth"], 0.92, 1.08)
    yield at_most("frame difference at borders over inside", look["seam"], 1.15)


def clean_bars(values: Values) -> Iterable[Row]:
    """No smear, grain, flicker or wobbling iris: what that means in figures is this table's own."""
    look = values["look"]
    yield between("sharpness of the fast mouth over real", look["mouth_fast"], 0.92, 1.08)
    yield at_most("grain more than real, of 255", look["grain"] - look["grain_real"], VISIBLE)
    yield at_most("flicker more than real, of 255", look["flicker"] - look["flicker_real"], VISIBLE)
    wobbles = values["following"]["wobble"] / values["following_real"]["wobble"]
    yield at_most("wobble of resting eyes over real", wobbles, 1.5)


def lips_table(lips: Values) -> str:
    columns = {
        "opening": "correlation", "worst clip": "worst_correlation", "lag, ms": "lag_ms",
        "largest, ms": "largest_lag_ms", "width": "width", "rounding": "rounding",
        "range": "amplitude_ratio", "speaking": "while_speaking", "others": "shuffled",
        "rest": "rest_share", "pixels": "by_pixels", "agree": "agreement", "clips": "num_clips",
    }  # fmt: skip
    names = {
        **{engine: f"{engine}, heard in training" for engine in TRAINED},
        **{engine: f"{engine}, never heard" for engine in UNHEARD},
        "trained": "all training voices",
        "real": "real renders: the meters' own ceiling",
    }
    rows = [[names[name], *(each[c] for c in columns.values())] for name, each in lips.items()]
    return table(["", *columns], rows)


def movement_table(values: Values) -> str:
    rows = []
    for name, each in values["rollouts"].items():
        for title, key in (("asked for", "movement_true"), ("seen", "movement")):
            rows.append([f"{name}, {title}", *(each[key][figure] for figure in MOVED)])
        read = [each["reader_ratio"].get(figure, "") for figure in MOVED]
        rows.append([f"{name}, drawn and read, over asked for", *read])
    head = ["", *(name.replace("_", " ") for name in MOVED)]
    followed = [
        [title, *values[key].values()]
        for title, key in (("generated", "following"), ("real renders", "following_real"))
    ]
    return "\n".join(
        [
            "Read from the frames of the long rollouts; spreads in the units of the controls.\n",
            table(head, rows),
            "How the curves that are read follow those asked for, on the sentences (correlation); "
            "wobble: what the eyes move from frame to frame while they should rest.\n",
            table(["", *values["following"]], followed),
        ]
    )


def looks_table(values: Values) -> str:
    columns = {
        "eyes": "eyes", "mouth": "mouth", "fast": "mouth_fast", "grain": "grain",
        "real grain": "grain_real", "flicker": "flicker", "real flicker": "flicker_real",
        "flicker of the eyes over real": "eyes_flicker", "seam": "seam", "real seam": "seam_real",
    }  # fmt: skip
    each = {**values["looks"], "all": values["look"]}
    return table(
        ["", *columns],
        [[name, *(look[c] for c in columns.values())] for name, look in each.items()],
    )


def drift_table(values: Values) -> str:
    columns = {
        "colour change": "colour", "worst": "colour_worst", "identity first": "identity_first",
        "last": "identity_last", "lowest": "identity_worst", "opening first": "opening_first",
        "last ": "opening_last", "lowest ": "opening_worst", "eyes": "eyes", "mouth": "mouth",
        "minutes": "num_minutes",
    }  # fmt: skip
    rows = [
        [name, *(each["drift"][c] for c in columns.values())]
        for name, each in values["rollouts"].items()
    ]
    return "\n".join(
        [
            f"Unbroken rollouts, the same {values['minute_s']:g} s of speech again and again "
            "(a minute); the last against the first. Colour of 255; identity 1 is the mean real "
            "render, 0 as far from it as the most similar other character; eyes and mouth: "
            "sharpness over that of the first minute.\n",
            table(["", *columns], rows),
        ]
    )


def of(lips: Values, voice: str, figure: str) -> float:
    """Not a number where the voice was not measured, so that its bar does not hold."""
    return float(lips[voice][figure]) if voice in lips else math.nan


def worst(figures: Iterable[float]) -> float:
    """The largest; not a number if any is none."""
    found = list(figures)
    return math.nan if any(math.isnan(each) for each in found) else max(found)


def at_least(name: str, value: float, bar: float) -> Row:
    return name, value, f"≥ {bar}", value >= bar


def at_most(name: str, value: float, bar: float) -> Row:
    return name, value, f"≤ {bar}", value <= bar


def between(name: str, value: float, low: float, high: float) -> Row:
    return name, value, f"{low} to {high}", low <= value <= high
