"""An avatar says a text; the video goes to a file.

python say_to_file.py "Good morning." hello.mp4
"""

import sys

from talkingmachines import Client, TalkError

text, path = sys.argv[1:3]
try:
    with Client(retry_busy_s=60.0) as client:
        client.wait_ready()
        saved = client.say(text).save(path)
except TalkError as error:
    sys.exit(f"{error.reason}: {error}")
except KeyboardInterrupt:
    sys.exit(130)
print(f"{saved.path}: {saved.summary.audio_s:.1f} s, made in {saved.summary.total_s:.1f} s")
