"""An avatar is made from its description, and says hello; the server wants an operator's key.

python create_avatar.py nova.toml nova.mp4

From a photograph, where the server's profile takes one, give `create_avatar` a `Portrait`.
"""

import sys

from talkingmachines import Client, Progress, TalkError


def show(now: Progress) -> None:
    left = f", {now.left_s:.0f} s left" if now.left_s is not None else ""
    print(f"{now.share:4.0%}  {now.stage}{left}", flush=True)


def main(description: str, video: str) -> None:
    with Client() as client:
        operation = client.create_avatar(description)
        try:
            made = operation.wait(on_progress=show)
        except KeyboardInterrupt:
            operation.cancel()  # else the server goes on; asked again, it goes on from here
            raise
        saved = client.say("Hello, I am new here.", made.avatar).save(video)
        print(f"{made.avatar} can be called: {saved.path}")


try:
    main(*sys.argv[1:])
except (TalkError, OSError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
except KeyboardInterrupt:
    sys.exit(130)
