"""Hears, thinks and speaks: the deployment that turns a question or a text into speech."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from avatar.bus import Lease
from avatar.cast.avatars import character_of
from avatar.cast.characters import CAST, Character
from avatar.cast.profiles import Kind
from avatar.errors import InvalidInput, TooLarge
from avatar.media import SPEECH_RATE, AudioChunk, StageName, Stamp, TimedCue, TurnEvent, TurnKind
from avatar.speech.asr import RemoteRecognizer, WhisperRecognizer
from avatar.speech.chat import ChatClient, ReplyStyle
from avatar.speech.hibari_tts import HibariSynthesizer
from avatar.speech.local_chat import open_local_chat
from avatar.speech.marker import MarkerSynthesizer
from avatar.speech.remote import ModelServer
from avatar.speech.tts import RemoteSynthesizer, Synthesizer
from avatar.speech.vad import VoiceDetector
from avatar.transport import Inbound
from services.audio_llm.backend import LiveBackend, Outbound
from services.audio_llm.cascade import Cascade, Heard, TurnPiece
from services.audio_llm.conversation import Conversation
from services.audio_llm.live import CascadeLive
from services.audio_llm.realtime import RealtimeLive
from services.replica import Wiring, new_worker_id
from services.settings import AppConfig, Environment
from services.worker import SessionHost, task_group

Load = Callable[[AppConfig, Environment, Executor], Cascade]
LoadLive = Callable[[AppConfig, Environment, Cascade], LiveBackend]


class AudioLlm:
    """One conversation a session: questions and texts in, sentences and their speech out."""

    stage: ClassVar[StageName] = "audio_llm"

    def __init__(
        self,
        config: AppConfig,
        environment: Environment,
        wiring: Wiring,
        load: Load | None = None,
        load_live: LoadLive | None = None,
    ) -> None:
        self._config = config
        self._environment = environment
        self._wiring = wiring
        self._load = load or load_cascade
        self._load_live = load_live or load_live_backend
        self._cascade: Cascade | None = None
        self._live: LiveBackend | None = None
        # each session may hear and speak at the same time
        self._threads = ThreadPoolExecutor(2 * config.num_slots, thread_name_prefix="speech")
        worker = new_worker_id(self.stage)
        self.host = SessionHost(
            self.stage, worker, wiring.bus, wiring.transport, slots=config.num_slots
        )

    async def start(self) -> None:
        self._cascade = await asyncio.to_thread(
            self._load, self._config, self._environment, self._threads
        )
        first = CAST[0]
        await self._cascade.warm([character.persona for character in CAST], first.voice)
        self._live = self._load_live(self._config, self._environment, self._cascade)
        await self._live.start()
        await self.host.start(self.serve)

    def check_health(self) -> None:
        self.host.check_health()

    async def load(self) -> dict[str, float]:
        return await self.host.load()

    async def drain(self, limit_s: float) -> None:
        await self.host.drain(limit_s)

    async def close(self) -> None:
        await self.host.close()
        if self._live is not None:
            await self._live.close()
            self._live = None
        if self._cascade is not None:
            await self._cascade.close()
            self._cascade = None
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await self._wiring.close()

    async def serve(self, inbound: Inbound, lease: Lease) -> None:
        """Serve one session's conversation until its gateway has finished.

        Raises:
            NotFound: There is no avatar of that name.
            InvalidInput: A piece does not belong into a conversation; TooLarge, NoSpeech.
            ModelServerUnreachable: The server that hears or speaks does not answer.
        """
        character = character_of(inbound.request.avatar, self._config.avatars_dir)
        if inbound.request.options.get("mode") == "live":
            await self._serve_live(inbound, lease, character)
        else:
            await self._serve_question(inbound, lease, character)

    async def _serve_live(self, inbound: Inbound, lease: Lease, character: Character) -> None:
        assert self._live is not None, "serve() before start()"
        out = Outbound(inbound, lease.fence)
        async with task_group() as tasks:
            tasks.create_task(out.run())
            answers = inbound.request.options.get("answers") != "client"
            await self._live.converse(inbound, out, character, answers)
            out.finish()

    async def _serve_question(self, inbound: Inbound, lease: Lease, character: Character) -> None:
        assert self._cascade is not None, "serve() before start()"
        conversation = Conversation(self._cascade, character.persona, character.voice)
        ears, chat, voice = self._cascade.labels
        reply = _Reply(inbound, lease)
        question = _Question(self._config.limits.question_s)
        while (piece := await inbound.receive()) is not None:
            match piece:
                case AudioChunk():
                    question.add(piece)
                case TurnEvent(kind="text", text=text):
                    await reply.send(conversation.say(text), voice)
                case TurnEvent(kind="prompt", text=text):
                    await reply.send(conversation.reply(text), chat, voice)
                case TurnEvent(kind="end_of_question"):
                    await reply.send(conversation.answer(question.take()), ears, chat, voice)
                case TurnEvent(kind=kind):
                    raise InvalidInput(f"audio_llm says {kind}, it is not told it")
                case _:
                    raise InvalidInput(
                        f"audio_llm takes AudioChunk and TurnEvent, {type(piece).__name__} given"
                    )


class _Question:
    """A question's sound, as it comes in."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._pieces: list[NDArray[np.float32]] = []
        self._num_samples = 0

    def add(self, piece: AudioChunk) -> None:
        if piece.sample_rate != SPEECH_RATE:
            raise InvalidInput(f"{piece.sample_rate} Hz given, {SPEECH_RATE} Hz expected")
        self._pieces.append(piece.samples)
        self._num_samples += piece.samples.size
        if self._num_samples > self._max_seconds * SPEECH_RATE:
            raise TooLarge(f"the question is longer than {self._max_seconds:g} s")

    def take(self) -> NDArray[np.float32]:
        pieces, self._pieces, self._num_samples = self._pieces, [], 0
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


class _Reply:
    """The way back: each sentence, then its speech, and at the end which models made them."""

    def __init__(self, inbound: Inbound, lease: Lease) -> None:
        self._inbound = inbound
        self._lease = lease
        self._num_sent = 0

    async def send(self, turn: AsyncGenerator[TurnPiece], *models: str) -> None:
        async with aclosing(turn) as pieces:
            async for piece in pieces:
                if isinstance(piece, Heard):
                    await self._tell("transcript", piece.text)
                    continue
                await self._tell("reply", piece.text, piece.cues)
                speech = piece.speech
                await self._inbound.send(
                    AudioChunk(self._stamp(), speech.samples, sample_rate=speech.sample_rate)
                )
        await self._tell("end_of_reply", "\n".join(models))

    async def _tell(self, kind: TurnKind, text: str, cues: tuple[TimedCue, ...] = ()) -> None:
        await self._inbound.send(TurnEvent(self._stamp(), kind, text, cues=cues))

    def _stamp(self) -> Stamp:
        seq, self._num_sent = self._num_sent, self._num_sent + 1
        request = self._inbound.request
        return Stamp(request.session, self._inbound.epoch, seq, self._lease.fence, pts=0)


def load_live_backend(config: AppConfig, environment: Environment, cascade: Cascade) -> LiveBackend:
    """What holds live conversations: a speech-to-speech model if the settings name one.

    Else the same engines that answer single questions.
    """
    chat = environment.chat

    def find(name: str) -> Character:
        return character_of(name, config.avatars_dir)

    if chat.realtime_model:
        server = ModelServer(chat.base_url, chat.realtime_model, chat.api_key.get_secret_value())
        return RealtimeLive(
            server, chat.realtime_voice, chat.asr_model, config.limits.reply_s, find
        )
    return CascadeLive(cascade, config.limits.question_s, find=find)


def load_cascade(config: AppConfig, environment: Environment, executor: Executor) -> Cascade:
    """The engines that the settings name: local ones, or those of an OpenAI-compatible server."""
    chat = environment.chat

    def server(model: str) -> ModelServer:
        return ModelServer(chat.base_url, model, chat.api_key.get_secret_value())

    return Cascade(
        RemoteRecognizer(server(chat.asr_model)) if chat.asr_model else WhisperRecognizer(),
        ChatClient(server(chat.chat_model), ReplyStyle(offers_cues=True))
        if chat.chat_model
        else open_local_chat(slots=config.num_slots),
        _voice(config.model.kind, server(chat.tts_model) if chat.tts_model else None),
        VoiceDetector(),
        executor,
    )


def _voice(kind: Kind, server: ModelServer | None) -> Synthesizer:
    if kind == "marker":
        return MarkerSynthesizer()
    return RemoteSynthesizer(server) if server is not None else HibariSynthesizer()
