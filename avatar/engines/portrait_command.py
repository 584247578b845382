"""`python -m avatar portrait`: an avatar of a photograph, for a profile of converted weights."""

import argparse
import json
import sys
from datetime import UTC, datetime

from avatar.backends.device import choose_device
from avatar.cast.description import CharacterFields, checked
from avatar.cast.profiles import MODELS, load_profile
from avatar.engines.portrait_bundle import PROMPT, Wish, look, make_avatar


def run(args: argparse.Namespace) -> None:
    """Raises AvatarError, saying what helps."""
    profile = load_profile(args.profile, models=args.models or MODELS)
    shown = args.display_name or args.name.replace("_", " ").title()
    brief = "Answer in one or two short sentences, in plain spoken English."
    content = {
        "id": args.name,
        "display_name": shown,
        "description": args.description or "Made of a photograph.",
        "persona": args.persona or f"You are {shown}, friendly and attentive. {brief}",
    }
    wish = Wish(
        args.image.expanduser(),
        checked(CharacterFields, content, "the command line"),
        args.consent,
        args.prompt or PROMPT,
    )
    if args.check:
        look(wish, profile)
        return
    place = make_avatar(
        wish,
        profile,
        args.out or profile.avatars,
        datetime.now(UTC),
        choose_device(args.device),
        tell=_tell_program if args.json else _tell,
    )
    sys.stderr.write(f"{place}\n")


def _tell(step: str) -> None:
    sys.stderr.write(f"{step} …\n")


def _tell_program(step: str) -> None:
    sys.stdout.write(json.dumps({"line": step, "done": None, "left_s": None}) + "\n")
    sys.stdout.flush()
