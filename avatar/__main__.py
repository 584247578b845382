"""`python -m avatar`: list the characters, render a video without any server."""

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path

from avatar.cast.avatars import FOLDER, damaged, everyone
from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.errors import AvatarError, NotFound
from avatar.media import CUES, TimedCue


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m avatar", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="name the characters")
    render = commands.add_parser("render", help="make a character say a recording")
    render.add_argument("--audio", type=Path, required=True, help="any audio file with speech")
    render.add_argument("--avatar", default=DEFAULT_CHARACTER.id, help="default: %(default)s")
    render.add_argument("--out", type=Path, required=True, help="mp4 file to write")
    render.add_argument("--seed", type=int, default=0, help="another seed, other movements")
    render.add_argument(
        "--cue", type=_cue, action="append", default=[], metavar="SECONDS:NAME",
        help=f"what the face shows, and when; repeatable; {', '.join(CUES)}",
    )  # fmt: skip
    render.add_argument(
        "--mode",
        choices=["speech", "music"],
        default="speech",
        help="music: the head also moves to the beat; default: %(default)s",
    )
    render.add_argument(
        "--audio-scope",
        choices=["face", "whole"],
        help="where sound may act on the picture; default: what the model's policy says",
    )
    for command in (listing, render):
        command.add_argument(
            "--avatars",
            type=Path,
            default=FOLDER,
            help="folder of avatars of your own; default: %(default)s",
        )
    converting = commands.add_parser("convert", help="public weights into ours")
    _add_convert(converting)
    _add_profile(commands.add_parser("profile", help="make converted weights fit to serve"))
    _add_portrait(commands.add_parser("portrait", help="make an avatar of a photograph"))
    args = parser.parse_args()
    try:
        if args.command == "convert":
            from avatar.models.checkpoints.command import run

            run(args)
            return 0
        if args.command == "profile":
            from avatar.engines import profile_command

            profile_command.run(args)
            return 0
        if args.command == "portrait":
            from avatar.engines import portrait_command

            portrait_command.run(args)
            return 0
        if args.avatars != FOLDER and not args.avatars.expanduser().is_dir():
            raise NotFound(f"there is no folder {args.avatars}")
        if args.command == "list":
            for member in everyone(args.avatars):
                sys.stdout.write(f"{member.id:10} {member.display_name:10} {member.description}\n")
            for problem in damaged(args.avatars):
                sys.stderr.write(f"left out: {problem}\n")
        else:
            import torch

            from avatar.render import render_file

            torch.set_num_threads(1)  # small networks: more threads wait for one another
            render_file(
                args.audio,
                args.avatar,
                args.out,
                seed=args.seed,
                mode=args.mode,
                cues=args.cue,
                audio_scope=args.audio_scope,
                avatars=args.avatars,
                progress=_progress,
            )
            sys.stderr.write(f"\n{args.out}\n")
    except (AvatarError, OSError) as error:
        if getattr(args, "json", False):
            reason = error.reason if isinstance(error, AvatarError) else "UNAVAILABLE"
            about = {"error": {"reason": reason, "message": str(error)}}
            sys.stdout.write(json.dumps(about) + "\n")
        sys.stderr.write(f"\rerror: {error}\n")  # over a bar that was begun
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _add_profile(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="where `convert` has put the weights")
    add("--policy", default="", help="how chunks are denoised; default: the weights' own")
    add("--size", default="", metavar="WIDTHxHEIGHT", help="default: what suits the policy")
    add(
        "--decoder",
        default="vae",
        choices=["vae", "tiny_vae"],
        help="tiny_vae is taew2.1: faster, with less memory, softer; default: %(default)s",
    )
    add(
        "--hold-back",
        type=int,
        default=1,
        metavar="FRAMES",
        help="of sound that are waited for: better lips, a later answer; default: %(default)s",
    )
    add(
        "--slots",
        type=int,
        metavar="N",
        help="sessions at once, where SLOTS is not set; default: 1 of a DiT of 8 GiB or more",
    )
    add(
        "--ready-s",
        type=int,
        metavar="SECONDS",
        help="longest start, where READY_TIMEOUT_S is not set; default: by the weights' size",
    )
    add("--device", default="auto", help="that encodes the cast's portraits; default: %(default)s")


def _add_portrait(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--image", type=Path, required=True, help="JPEG, PNG or WEBP of one person, from the front")
    add("--profile", required=True, help="folder of converted weights, or its name in --models")
    add("--name", required=True, help="the avatar's name in addresses: a-z, 0-9 and _")
    add("--consent", required=True, metavar="TEXT",
        help="who agreed that this face is shown, and to what; kept with the avatar")  # fmt: skip
    add("--display-name", help="name that people see; default: from --name")
    add("--description", help="one sentence for the lobby")
    add("--persona", help="who the chat model is told to be; default: a friendly person")
    add("--prompt", help="what the video model is told to show; default: a person who talks")
    add("--out", type=Path, metavar="FOLDER",
        help="folder of avatars to put it into; default: the profile's own")  # fmt: skip
    add("--models", type=Path, metavar="FOLDER", help="where profiles are found by name")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    add("--check", action="store_true", help="only say whether the photograph will do")
    add("--json", action="store_true", help="a line of JSON for each step, and for an error")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="name the presets, and whose they are")
    parser.add_argument("--preset", metavar="NAME", help="what the weights are")
    parser.add_argument(
        "--src", type=Path, action="append", default=[], metavar="PATH",
        help="a file, or a folder of shards; repeat it for weights that build on others: what "
        "comes later replaces tensors of what came before",
    )  # fmt: skip
    parser.add_argument("--dst", type=Path, metavar="FOLDER", help="where the result goes")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="of the numbers written; default: as they are",
    )
    parser.add_argument(
        "--accept-noncommercial",
        action="store_true",
        help="your use of weights whose licence forbids commercial use is not commercial",
    )


def _cue(text: str) -> TimedCue:
    """Such as `1.2:smile`."""
    seconds, _, name = text.partition(":")
    for known in CUES:
        if name == known:
            with suppress(ValueError):
                return TimedCue(known, float(seconds))
    raise argparse.ArgumentTypeError(
        f"{text!r} is no cue; SECONDS:NAME such as 1.2:smile expected, NAME one of "
        + ", ".join(CUES)
    )


def _progress(done: int, of: int) -> None:
    width = 30
    filled = width * done // of
    sys.stderr.write(f"\r[{'#' * filled}{'.' * (width - filled)}] {done}/{of} chunks")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
