"""Two avatars talk with each other; each answers what the other was heard to say.

python two_avatars.py mira otto --turns 4 --about "What do you like about old clocks?"
"""

import argparse
import sys

from talkingmachines import Client, PlaybackFinished, Refused, ResponseDone, Session, TalkError


def answer_of(session: Session, words: str) -> str:
    """What the avatar answers, once it has said it."""
    session.ask(words)
    for event in session.events():
        match event:
            case PlaybackFinished(heard=heard):
                return heard.text
            case ResponseDone(status="failed", reason=reason) | Refused(message=reason):
                sys.exit(f"no answer: {reason}")
            case _:
                pass
    sys.exit("the call has ended")


def main(options: argparse.Namespace) -> None:
    # Sound alone: ask for pictures too to show both, or for h264 to record them with Recorder.
    with (
        Client() as client,
        client.session(options.first, pictures="none") as first,
        client.session(options.second, pictures="none") as second,
    ):
        words = options.about
        for turn in range(options.turns):
            name, session = ((options.first, first), (options.second, second))[turn % 2]
            words = answer_of(session, words)
            print(f"{name}: {words}", flush=True)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("first")
parser.add_argument("second")
parser.add_argument("--turns", type=int, default=4)
parser.add_argument("--about", default="Who are you?")
try:
    main(parser.parse_args())
except TalkError as error:
    sys.exit(f"{error.reason}: {error}")
except KeyboardInterrupt:
    sys.exit(130)
