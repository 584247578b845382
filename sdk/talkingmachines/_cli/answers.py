"""The commands that make one video: say, ask, render; and who can be in it: avatars."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from talkingmachines._answer import Answer
from talkingmachines._cli.options import Commands
from talkingmachines._client import Client
from talkingmachines._events import ChunkReady, Event, ReplySentence, SavedAnswer, Transcript
from talkingmachines._input import MAX_AUDIO_BYTES, MAX_TEXT_CHARACTERS
from talkingmachines._terminal import Terminal


def add(commands: Commands) -> None:
    video = argparse.ArgumentParser(add_help=False)
    video.add_argument("--avatar", default="", metavar="ID", help="who speaks (see `avatars`)")
    video.add_argument("--out", required=True, type=Path, metavar="FILE", help="MP4 file to write")
    say = commands.add("say", _say, "an avatar says a text", video)
    say.add_argument("text", help="what to say, at most 2000 characters; - reads it from stdin")
    ask = commands.add("ask", _ask, "an avatar answers a question", video)
    ask.add_argument("audio", help="audio file with a spoken question; - reads it from stdin")
    render = commands.add("render", _render, "an avatar speaks with a recorded voice", video)
    render.add_argument("audio", help="audio file with speech; - reads it from stdin")
    commands.add("avatars", _avatars, "list the characters")


def _say(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    text = sys.stdin.read(MAX_TEXT_CHARACTERS + 2).strip() if options.text == "-" else options.text
    _save(client.say(text, options.avatar), options, terminal)


def _ask(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    _save(client.ask(_audio(options), options.avatar), options, terminal)


def _render(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    _save(client.render(_audio(options), options.avatar), options, terminal)


def _audio(options: argparse.Namespace) -> bytes | str:
    return sys.stdin.buffer.read(MAX_AUDIO_BYTES + 1) if options.audio == "-" else options.audio


def _save(answer: Answer, options: argparse.Namespace, terminal: Terminal) -> None:
    saved = answer.save(options.out, on_event=_shower(terminal, quiet=options.json))
    terminal.end_progress()
    if options.json:
        terminal.result(json.dumps(_as_dict(saved)))
        return
    figures = saved.summary
    terminal.result(
        f"{saved.path}: {figures.frame_count} frames at {figures.frame_rate:g} fps,"
        f" {figures.audio_s:.2f} s of sound; first chunk after {figures.first_chunk_s:.2f} s,"
        f" all after {figures.total_s:.2f} s"
    )
    for line in figures.models:
        terminal.note(line)


def _shower(terminal: Terminal, *, quiet: bool) -> Callable[[Event], None]:
    """Shows progress, and the words too unless `quiet`."""

    def show(event: Event) -> None:
        match event:
            case Transcript(text) if not quiet:
                terminal.result(f"heard: {text}")
            case ReplySentence(text) if not quiet:
                terminal.result(f"says:  {text}")
            case ChunkReady():
                terminal.update(event)
            case _:
                pass

    return show


def _avatars(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    avatars = client.avatars()
    if options.json:
        terminal.result(json.dumps([dataclasses.asdict(avatar) for avatar in avatars]))
        return
    width = max((len(avatar.id) for avatar in avatars), default=0)
    for avatar in avatars:
        terminal.result(f"{avatar.id:<{width}}  {avatar.display_name}: {avatar.description}")


def _as_dict(saved: SavedAnswer) -> dict[str, object]:
    return {**dataclasses.asdict(saved), "path": os.fspath(saved.path)}
