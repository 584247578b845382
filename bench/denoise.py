"""How long does a chunk take on this device, model by model, with weights at random?

`python -m bench.denoise --profile tm-18b --size 512` on a machine with a GPU; on one without, what
is of a size for GPUs is only counted. `--budget` counts everything and runs nothing.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from avatar.backends import Attention, Capture, Linears
from avatar.backends.device import choose_device
from avatar.cast.profiles import parse_size
from avatar.errors import AvatarError, InvalidInput
from bench.denoise_budget import GPUS, REFERENCE_GPU, Budget, budget
from bench.denoise_profiles import PROFILES, Measured
from bench.denoise_run import How, measure_profile
from bench.machine import Conditions, command_line, say
from bench.options import Options
from bench.results import Values, table, told

NO_GPU = "not run: no GPU"
MAX_SIDE = 2048
GIB = 2**30


def measure(options: Options) -> Values:
    device = choose_device("auto")
    how = How(device, chunks=options.repetitions(20, 2))
    return rows(PROFILES.values(), how)


def rows(profiles: Iterable[Measured], how: How) -> Values:
    """Each profile by name: what is counted, and what is measured or why it is not."""
    if how.device.type == "cpu":
        torch.set_num_threads(1)  # a stage's process has one
    found: Values = {"device": device_name(how.device), "how": told_of(how), "profiles": {}}
    for profile in profiles:
        row: Values = {
            "size": profile.size_text,
            "chunk_ms": profile.chunk_ms,
            "bar_ms": profile.bar_ms,
            "bar_with": way_of(*profile.bar_with),
            "counted": counted(budget(profile, how.decoder), profile),
        }
        if how.device.type == "cpu" and not profile.toy:
            row["not_run"] = NO_GPU
        else:
            say(f"denoise: {profile.name}")
            try:
                row["measured"] = measure_profile(profile, how)
            except (AvatarError, torch.OutOfMemoryError) as error:
                row["not_run"] = f"not run: {str(error).splitlines()[0]}"
        found["profiles"][profile.name] = row
    return found


def counted(each: Budget, profile: Measured) -> dict[str, Any]:
    """A budget as plain numbers, in the units of the table."""
    by_flops, by_bytes = each.least_ms(GPUS[REFERENCE_GPU])
    return {
        "parameters_b": each.parameters / 1e9,
        "forwards": each.forwards,
        "forward_tflop": each.forward_flops / 1e12,
        "of_it_attention": each.attention_flops / each.forward_flops,
        "chunk_tflop": each.chunk_flops / 1e12,
        "decoder_tflop": each.decoder_flops / 1e12,
        "weights_gib": each.weight_bytes / GIB,
        "read_kv_gib": each.read_kv_bytes / GIB,
        "session_kv_gib": each.session_kv_bytes / GIB,
        "decoder_state_gib": each.decoder_state_bytes / GIB,
        "tflops_needed": (each.chunk_flops + each.decoder_flops) / profile.chunk_ms / 1e9,
        "least_ms_by_operations": by_flops,
        "least_ms_by_bytes": by_bytes,
    }


def device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return "CPU, one thread, float32"
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"


def told_of(how: How) -> dict[str, Any]:
    return {
        "attention": how.attention, "capture": how.capture, "linears": how.linears,
        "decoder": how.decoder or "usual", "chunks": how.chunks,
    }  # fmt: skip


def report(values: Values) -> str:
    how = values["how"]
    told_how = ", ".join(f"{name} {value}" for name, value in how.items())
    profiles = values["profiles"]
    return "\n".join(
        [
            f"Device: {values['device']}; {told_how}. Weights are random.\n",
            table(
                [
                    "profile", "size", "chunk plays, ms", "forward, ms", "score, ms",
                    "decoder, ms", "one after the other, ms", "overlapped, ms", "first frame, ms",
                    "peak, GiB", "TFLOP/s", "of roofline", "of own products", "sessions",
                ],
                [measured_row(name, each) for name, each in profiles.items()],
            ),
            "One session, on the engines that serve calls. Score: all forwards of a chunk; "
            "overlapped: denoised, decoded and brought to the host, while the chunk before is "
            "decoded in a second stream; one after the other: the host waits for each. First "
            "frame: of an opened session, its first chunk on the host. Of roofline: the least time "
            "that the vendor's figures allow, over the measured; of own products: what one large "
            "product of the model's shape reaches here. Sessions: by time, and by memory where "
            "there is a GPU.\n",
            *bar_table(profiles, how),
            budget_table(profiles),
        ]
    )  # fmt: skip


def measured_row(name: str, row: Values) -> list[object]:
    size = row["size"]
    if "not_run" in row:
        return [name, size, row["chunk_ms"], row["not_run"], *["-"] * 10]
    m = row["measured"]
    sessions = [m["sessions_by_time"], m.get("sessions_by_memory")]
    return [
        name, size, row["chunk_ms"], m["forward_ms"]["median"], m["score_ms"]["median"],
        m["decoder_ms"]["median"], m["one_after_the_other_ms"], m.get("overlapped_ms", "-"),
        m["first_frame_ms"]["median"], m.get("peak_gib", "-"), m["tflops"],
        share(m.get("of_roofline")), share(m["of_own_products"]),
        " / ".join(str(each) for each in sessions if each is not None),
    ]  # fmt: skip


def bar_table(profiles: Values, how: Values) -> list[str]:
    """None of profiles without a bar."""
    bars = [bar_row(name, each, how) for name, each in profiles.items() if each["bar_ms"]]
    head = ["a chunk, denoised and decoded", "measured, ms", "must hold", "holds"]
    return [table(head, bars)] if bars else []


def bar_row(name: str, row: Values, how: Values) -> list[object]:
    """What a profile must hold is said with how it is run for that; run otherwise it is told."""
    way = row["bar_with"]
    bar = f"≤ {row['bar_ms']:.0f} ms on one H200, {way}"
    if "not_run" in row:
        return [name, row["not_run"], bar, "-"]
    if (taken := row["measured"].get("overlapped_ms")) is None:
        return [name, NO_GPU, bar, "-"]
    if way != way_of(how["capture"], how["linears"]):
        return [name, taken, bar, "- (run otherwise)"]
    return [name, taken, bar, taken <= row["bar_ms"]]


def way_of(capture: str, linears: str) -> str:
    return f"--capture {capture} --linears {linears}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def budget_table(profiles: Values) -> str:
    """What is counted, of every profile."""
    head = [
        "profile", "parameters, B", "forwards a chunk", "TFLOP a forward", "of it attention",
        "TFLOP a chunk", "decoder, TFLOP", "TFLOP/s needed", "weights, GiB",
        "keys and values read, GiB", "kept a session, GiB", "decoder state, GiB",
        f"least ms on {REFERENCE_GPU}: operations", "bytes",
    ]  # fmt: skip
    return table(head, [budget_row(name, each["counted"]) for name, each in profiles.items()])


def budget_row(name: str, c: Values) -> list[object]:
    return [
        name, c["parameters_b"], c["forwards"], c["forward_tflop"], share(c["of_it_attention"]),
        c["chunk_tflop"], c["decoder_tflop"], c["tflops_needed"], c["weights_gib"],
        c["read_kv_gib"], c["session_kv_gib"], c["decoder_state_gib"],
        c["least_ms_by_operations"], c["least_ms_by_bytes"],
    ]  # fmt: skip


def budgets(profiles: Iterable[Measured]) -> Values:
    return {
        each.name: {"counted": counted(budget(each), each), "size": each.size_text}
        for each in profiles
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.denoise", description=__doc__)
    parser.add_argument(
        "--profile", nargs="+", choices=list(PROFILES), default=list(PROFILES), metavar="NAME",
        help=f"some of {', '.join(PROFILES)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--size", type=_size, help="of the picture: WIDTHxHEIGHT, or 512")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--attention", choices=get_args(Attention), default="auto")
    parser.add_argument("--capture", choices=get_args(Capture), default="off")
    parser.add_argument("--linears", choices=get_args(Linears), default="native")
    parser.add_argument("--decoder", choices=["wan", "tiny"], default="", help="of Wan's latents")
    parser.add_argument("--chunks", type=_count, default=20, help="that are timed")
    parser.add_argument("--budget", action="store_true", help="only count, and run nothing")
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args(arguments)
    chosen = [PROFILES[name] for name in given.profile]
    if given.size:
        chosen = [replace(profile, size=given.size) for profile in chosen]
    if given.decoder:
        chosen = [profile for profile in chosen if given.decoder in profile.decoders]
    if given.budget:
        print(budget_table(budgets(chosen)), flush=True)
        return 0
    conditions = Conditions()
    try:
        how = How(
            choose_device(given.device), given.attention, given.capture, given.linears,
            given.decoder, given.chunks,
        )  # fmt: skip
    except AvatarError as error:
        say(f"denoise: {error}")
        return 1
    values = rows(chosen, how)
    measured_on = conditions.told() | {
        "command": command_line(arguments).replace("python -m bench", "python -m bench.denoise", 1),
        "brief": False,
    }
    print(f"{told(measured_on)}\n\n{report(values)}", flush=True)
    if given.json:
        given.json.write_text(
            json.dumps({"conditions": measured_on, "values": values}, indent=1) + "\n"
        )
    return 0


def _size(text: str) -> tuple[int, int]:
    """Height and width."""
    try:
        width, height = parse_size(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if any(side % 32 or not 0 < side <= MAX_SIDE for side in (width, height)):
        raise argparse.ArgumentTypeError(f"sides are multiples of 32 up to {MAX_SIDE}")
    return height, width


def _count(text: str) -> int:
    if not 1 <= (count := int(text)) <= 10_000:
        raise argparse.ArgumentTypeError("1 to 10000 chunks")
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
