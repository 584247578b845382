"""`python -m avatar profile`: make a folder of converted weights something to serve from."""

import argparse
import sys

from avatar.backends.device import choose_device
from avatar.cast.avatars import own_names
from avatar.cast.characters import CAST
from avatar.cast.profile import load_appearance
from avatar.cast.profiles import CARD, parse_size
from avatar.engines.cast_portraits import draw_cast
from avatar.engines.profile_card import Chosen, make_card
from avatar.errors import AvatarError


def run(args: argparse.Namespace) -> None:
    """Raises AvatarError, saying what helps."""
    device = choose_device(args.device)  # before anything is written
    width, height = parse_size(args.size) if args.size else (None, None)
    chosen = Chosen(
        args.policy, height, width, args.decoder, args.hold_back, args.slots, args.ready_s
    )
    profile = make_card(args.folder.expanduser(), chosen)
    try:
        for number, name in enumerate(draw_cast(profile, device), start=1):
            sys.stderr.write(f"portrait {number} of {len(CAST)}: {name}\n")
    except BaseException:  # an interruption too: half of it would start, and answer no call
        (profile.folder / CARD).unlink(missing_ok=True)
        raise
    for name in own_names(profile.avatars):
        try:
            load_appearance(profile, name)
        except AvatarError as error:
            sys.stderr.write(f"{name} cannot be called: {error}\n")
    clock = profile.clock
    sys.stdout.write(
        f"{profile.folder}: {profile.width} x {profile.height} at {clock.fps} frames a second, "
        f"chunks of {1000 * clock.chunk_s:g} ms. Call it: PROFILE={profile.folder} make run\n"
    )
