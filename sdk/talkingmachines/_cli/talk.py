"""The command `talk`: a live conversation in a terminal."""

import argparse
import dataclasses
import json
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from talkingmachines import _live_events as live
from talkingmachines._cli.options import Commands
from talkingmachines._cli.sound_card import Loudspeaker, Microphone
from talkingmachines._client import Client
from talkingmachines._errors import InvalidInput, TalkError
from talkingmachines._recorder import Recorder
from talkingmachines._session import Session
from talkingmachines._terminal import Terminal

HELP: Final = "Type, and Enter sends it. /say TEXT, /cue NAME, /swap AVATAR, /stop, /quit"


def add(commands: Commands) -> None:
    talk = commands.add("talk", _talk, "talk with an avatar, live, in this terminal")
    talk.add_argument("--avatar", default="", metavar="ID", help="with whom (see `avatars`)")
    talk.add_argument("--save", type=Path, metavar="FILE", help="record the call as an MP4 file")
    talk.add_argument(
        "--microphone", action="store_true", help="speak and hear too; wear headphones"
    )
    talk.add_argument("--line", action="store_true", help="wait in line while every slot is taken")


def _talk(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(options.save)) if options.save else None
        speaker = stack.enter_context(Loudspeaker()) if options.microphone else None
        session = stack.enter_context(
            client.session(
                options.avatar,
                pictures="h264" if recorder else "none",
                wait_in_line=options.line,
                on_place=lambda place: terminal.note(_place(place)),
            )
        )
        call = _Call(session, terminal, options.json)
        threading.Thread(target=call.read_commands, daemon=True).start()
        if options.microphone:
            stack.enter_context(Microphone(session))
        if sys.stdin.isatty():
            terminal.note(HELP)
        for step in session:
            call.show(step)
            if recorder is not None:
                recorder.add(step)
            if speaker is not None and isinstance(step, live.Sound):
                speaker.play(step.content)
        if recorder is not None:
            terminal.note(f"saved {recorder.commit()}")
        if call.error is not None:
            raise call.error


class _Call:
    """Carries out what is typed, and shows what happens."""

    def __init__(self, session: Session, terminal: Terminal, as_json: bool) -> None:
        self.error: TalkError | None = None
        self._session = session
        self._terminal = terminal
        self._as_json = as_json
        self._answered = threading.Event()
        self._writing = threading.Lock()

    def read_commands(self) -> None:
        """Until stdin ends or says /quit, or the session is over; then ends the session."""
        try:
            for line in sys.stdin:
                if line.strip() == "/quit":
                    break
                if line.strip():
                    self._do(line.strip())
        except TalkError as error:
            self.error = error
        except ValueError:  # the session is closed already
            pass
        self._session.close()

    def _do(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        self._answered.clear()
        try:
            match command:
                case "/say":
                    self._session.say(rest)
                case "/cue":
                    self._session.cue(rest.strip())  # type: ignore[arg-type]  # checked there
                    return
                case "/swap":
                    self._session.swap(rest.strip())
                    return
                case "/stop":
                    self._session.interrupt()
                    return
                case _:
                    self._session.ask(line)
        except InvalidInput as error:
            self._note(str(error))
            return
        if not sys.stdin.isatty():  # a script's next line does not interrupt the answer to this
            self._answered.wait()

    def show(self, step: live.LiveStep) -> None:
        if not isinstance(step, live.LiveEvent):
            return
        if isinstance(step, live.ResponseDone | live.Refused | live.Ended):
            self._answered.set()
        if self._as_json:
            named = {"event": type(step).__name__, **dataclasses.asdict(step)}
            self._result(json.dumps(named))
            return
        match step:
            case live.UserTranscript(text=text, is_final=True):
                self._result(f"you:    {text}")
            case live.Sentence(text=text):
                self._result(f"avatar: {text}")
            case live.PlaybackFinished(heard=heard, interrupted=True):
                self._note(f"(interrupted; you heard: {heard.text!r})")
            case live.ResponseDone(status="failed", reason=reason):
                self._note(f"(no answer: {reason})")
            case live.Refused(message=message):
                self._note(f"(refused: {message})")
            case live.Swapped(avatar=avatar):
                self._note(f"(now with {avatar})")
            case live.LimitNotice(limit=limit, seconds_left=left) if left is not None:
                self._note(f"(the call ends in {left} s: {limit})")
            case live.LadderStep(rung=rung):
                self._note(f"(the picture is {rung} now)")
            case live.Resumed(gap_s=gap_s):
                self._note(f"(the connection was lost for {gap_s:.1f} s)")
            case live.Ended(reason=reason):
                self._note(f"(the call has ended: {reason})")
            case _:
                pass

    def _result(self, text: str) -> None:
        with self._writing:
            self._terminal.result(text)

    def _note(self, text: str) -> None:
        with self._writing:
            self._terminal.note(text)


def _place(place: live.Place) -> str:
    return (
        f"Every slot is taken: you are number {place.position} of {place.waiting} in line,"
        f" about {place.estimate_s:.0f} s."
    )
