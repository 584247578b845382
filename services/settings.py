"""Every service's settings; the only reader of the environment."""

import os
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from avatar.errors import InvalidInput
from avatar.timebase import ChunkClock

LIBRARIES = {
    "OMP_NUM_THREADS": "1",  # stages are processes; a second thread in one takes another's core
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime reports to its maker otherwise
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # every model is in a package
}
"""What libraries read from the environment when they are loaded."""

PROFILES = {
    "tiny": ChunkClock(fps=25, latents_per_chunk=3, frames_per_latent=4),
    "marker": ChunkClock(fps=25, latents_per_chunk=3, frames_per_latent=4),
}
"""How each profile divides media time."""


Runtime = Literal["ray", "inproc"]
RUNTIMES: dict[str, Runtime] = {"ray": "ray", "inproc": "inproc"}


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Frozen):
    """What one request may ask for."""

    text_characters: int = Field(default=2000, ge=1, description="longest text to say")
    question_bytes: int = Field(default=16 << 20, ge=1024, description="largest question file")
    question_s: float = Field(default=60.0, gt=0, description="longest question, seconds")
    reply_s: float = Field(default=240.0, gt=0, description="longest answer, seconds")
    first_reply_s: float = Field(
        default=60.0, gt=0, description="wait for the first words, seconds"
    )
    chunk_s: float = Field(
        default=15.0, gt=0, description="deadline of one chunk through the graph"
    )
    upload_s: float = Field(
        default=120.0, gt=0, description="longest time a question may take to arrive"
    )


class Chat(_Frozen):
    """Which models speak and hear; an empty `base_url` means the local ones.

    Any OpenAI-compatible server will do: OpenAI, vLLM, Ollama, llama.cpp.
    """

    base_url: str = Field(
        default="", description="OPENAI_BASE_URL, such as http://127.0.0.1:11434/v1"
    )
    api_key: SecretStr = Field(default=SecretStr(""), description="OPENAI_API_KEY")
    chat_model: str = Field(
        default="", description="OPENAI_CHAT_MODEL; empty: the local model answers"
    )
    asr_model: str = Field(default="", description="OPENAI_ASR_MODEL; empty: the local model hears")
    tts_model: str = Field(
        default="", description="OPENAI_TTS_MODEL; empty: the local model speaks"
    )


class AppConfig(_Frozen):
    """Settings of the whole graph: the `args` of ray_config.yaml, overridden by the environment.

    A misspelt key is refused at start.
    """

    profile: Literal["tiny", "marker"] = Field(
        default="tiny",
        description="PROFILE; the model and its policy, or test signals to measure time with",
    )
    slots: int = Field(
        default=2, ge=1, le=64, description="SLOTS; sessions at once, on every stage"
    )
    host: str = Field(default="127.0.0.1", description="BIND_HOST; where people connect to")
    port: int = Field(default=8000, ge=1, le=65535, description="PORT; web page and HTTP API")
    grpc_port: int = Field(default=9000, ge=0, le=65535, description="GRPC_PORT; the talk service")
    stage_host: str = Field(
        default="127.0.0.1", description="STAGE_HOST; where stages reach each other"
    )
    limits: Limits = Limits()

    @property
    def clock(self) -> ChunkClock:
        return PROFILES[self.profile]

    def with_environment(self) -> Self:
        """These settings, overridden by the environment variables named in the fields.

        Raises:
            InvalidInput: A variable holds something its setting refuses.
        """
        names = {
            "profile": "PROFILE",
            "slots": "SLOTS",
            "host": "BIND_HOST",
            "port": "PORT",
            "grpc_port": "GRPC_PORT",
            "stage_host": "STAGE_HOST",
        }
        given = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
        try:
            return type(self).model_validate({**self.model_dump(), **given})
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0]) if first["loc"] else ""
            raise InvalidInput(
                f"{names.get(key, key)}={given.get(key, '')}: {first['msg']}"
            ) from error


class Environment(_Frozen):
    """What only the environment says: addresses and secrets."""

    redis_url: str = Field(default="", description="REDIS_URL; empty: a valkey-server of our own")
    runtime: Runtime = Field(default="ray", description="RUNTIME")
    metrics_dir: str = Field(
        default="", description="PROMETHEUS_MULTIPROC_DIR, shared by all processes"
    )
    log_file: str = Field(default="", description="LOG_FILE; empty: standard error")
    chat: Chat = Chat()

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            InvalidInput: RUNTIME names no runtime, or a model server is named without a model.
        """
        runtime = RUNTIMES.get(os.environ.get("RUNTIME") or "ray")
        if runtime is None:
            raise InvalidInput(
                f"RUNTIME={os.environ['RUNTIME']}: use RUNTIME=ray or RUNTIME=inproc"
            )
        chat = Chat(
            base_url=os.environ.get("OPENAI_BASE_URL", ""),
            api_key=SecretStr(os.environ.get("OPENAI_API_KEY", "")),
            chat_model=os.environ.get("OPENAI_CHAT_MODEL", ""),
            asr_model=os.environ.get("OPENAI_ASR_MODEL", ""),
            tts_model=os.environ.get("OPENAI_TTS_MODEL", ""),
        )
        if chat.base_url and not (chat.chat_model or chat.asr_model or chat.tts_model):
            raise InvalidInput(
                "OPENAI_BASE_URL is set but no model of that server: set OPENAI_CHAT_MODEL, "
                "OPENAI_ASR_MODEL or OPENAI_TTS_MODEL, or unset OPENAI_BASE_URL"
            )
        return cls(
            redis_url=os.environ.get("REDIS_URL", ""),
            runtime=runtime,
            metrics_dir=os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""),
            log_file=os.environ.get("LOG_FILE", ""),
            chat=chat,
        )


def set_environment(values: dict[str, str]) -> None:
    """Set variables for this process and those it starts; what the operator set stays."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
