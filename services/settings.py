"""Every service's settings; the only reader of the environment."""

import os
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from avatar.backends import Attention, Capture, Linears, Running, Wish
from avatar.cast.avatars import FOLDER
from avatar.cast.profiles import MODELS, Profile, load_profile
from avatar.errors import AvatarError, InvalidInput
from avatar.media import StageName
from avatar.timebase import ChunkClock

LIBRARIES = {
    "OMP_NUM_THREADS": "1",  # stages are processes; a second thread in one takes another's core
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime reports to its maker otherwise
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # every model is in a package
}
"""What libraries read from the environment when they are loaded."""

ICE_URL = r"^(stun:[^\s?:]+(:\d+)?|turns?:[^\s?:]+(:\d+)?(\?transport=(udp|tcp))?)$"
"""What both aiortc and browsers understand."""

DEVICE = r"^(auto|cpu|cuda|cuda:\d{1,2})$"

DEFAULT_SLOTS = 2
MOST_SLOTS = 64
UNMEASURED_SLOTS = 4
"""A gateway process encodes for about so many (docs/capacity.md)."""

START_S = 300.0
COMPILING_S = 600.0
READ_BYTES_PER_S = 50e6
"""Of a slow network volume."""

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
    open_s: float = Field(
        default=10.0, gt=0, description="longest time from a gRPC talk's beginning to its open"
    )
    waiting_streams: int = Field(
        default=16,
        ge=1,
        le=10_000,
        description="gRPC streams of one address that wait, besides one for each slot: talks "
        "before their open, files on their way, health watches, reflection; a proxy is one address",
    )
    line_length: int = Field(
        default=32, ge=0, le=10_000, description="most callers who may wait for a free slot"
    )
    line_s: float = Field(default=120.0, gt=0, description="longest wait for a free slot")
    session_s: float = Field(default=3600.0, gt=0, description="longest call, seconds")
    idle_s: float = Field(
        default=300.0, gt=0, description="a call in which nobody says anything ends after this"
    )
    warning_s: float = Field(
        default=30.0, ge=0, description="how long before its end a caller is told of it"
    )
    grace_s: float = Field(
        default=30.0, gt=0, description="how long a call waits for its caller to come back"
    )
    heartbeat_s: float = Field(
        default=3.0, gt=0, description="a caller whose heartbeat stops is gone after this"
    )
    connect_s: float = Field(
        default=15.0, gt=0, description="longest time from an SDP answer to the connection"
    )
    connects_per_minute: int = Field(
        default=30, ge=1, description="SDP offers of one call that are answered"
    )
    viewers: int = Field(
        default=50, ge=0, le=1000, description="most who may watch one call, besides its caller"
    )
    viewer_connects_per_minute: int = Field(
        default=120, ge=1, description="SDP offers of viewers of one call that are answered"
    )
    sdp_bytes: int = Field(default=64 << 10, ge=1024, description="largest SDP offer")
    events_per_s: float = Field(
        default=50.0, gt=0, description="a caller who sends more events, for long, is hung up on"
    )
    texts_per_s: float = Field(
        default=2.0, gt=0, description="a caller who types more texts, for long, is hung up on"
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
    realtime_model: str = Field(
        default="",
        description="OPENAI_REALTIME_MODEL; hears, thinks and speaks in calls, in one",
    )
    realtime_voice: str = Field(
        default="",
        description="OPENAI_REALTIME_VOICE; empty: one of OpenAI's for each character",
    )


class AppConfig(_Frozen):
    """Settings of the whole graph: the `args` of ray_config.yaml, overridden by the environment.

    A misspelt key is refused at start.
    """

    models_dir: Path = Field(
        default=MODELS,
        description="MODELS_DIR; where folders of converted weights are, see docs/checkpoints.md",
    )
    profile: str = Field(
        default="tiny",
        description="PROFILE; the model and its policy: tiny, a folder of MODELS_DIR by its name, "
        "the path of such a folder, or marker, test signals to measure time with",
    )
    backend: Wish = Field(
        default="auto",
        description="BACKEND; auto, openvino or torch: what runs the networks of the picture",
    )
    score_device: str = Field(
        default="auto",
        pattern=DEVICE,
        description="SCORE_DEVICE; where the DiT runs: auto (a GPU if there is one), cpu, cuda:N",
    )
    vae_device: str = Field(
        default="auto", pattern=DEVICE, description="VAE_DEVICE; where latents become frames"
    )
    encoder_device: str = Field(
        default="auto", pattern=DEVICE, description="ENCODER_DEVICE; where wav2vec2 hears"
    )
    linears: Linears = Field(
        default="native",
        description="LINEARS; native or fp8: numbers of the DiT's large layers on a GPU",
    )
    attention: Attention = Field(
        default="auto",
        description="ATTENTION; auto, cudnn, flash, efficient or math: torch's kernel on a GPU",
    )
    capture: Capture = Field(
        default="off",
        description="CAPTURE; off, compile (torch.compile) or graph (CUDA graphs) for the DiT",
    )
    slots: Annotated[int, Field(ge=1, le=MOST_SLOTS)] | Literal["auto"] | None = Field(
        default=None,
        description="SLOTS; sessions at once that a worker takes at most; one that measures time "
        "for fewer takes fewer. Unset: as the profile's card says, else 2. auto: as many as it "
        "measures, up to 64, where memory allows; 4 where nothing is measured",
    )
    max_batch: int = Field(
        default=1,
        ge=1,
        le=16,
        description="MAX_BATCH; chunks of so many sessions may be denoised together; pays on a GPU",
    )
    host: str = Field(default="127.0.0.1", description="BIND_HOST; where people connect to")
    port: int = Field(default=8000, ge=1, le=65535, description="PORT; web page and HTTP API")
    grpc_port: int = Field(default=9000, ge=0, le=65535, description="GRPC_PORT; the talk service")
    stage_host: str = Field(
        default="127.0.0.1", description="STAGE_HOST; where stages reach each other"
    )
    ready_timeout_s: float | None = Field(
        default=None,
        gt=0,
        le=24 * 3600,
        description="READY_TIMEOUT_S; longest start of the graph, in seconds. Unset: as the "
        "profile's card says, else by the size of its weights",
    )
    drain_s: float = Field(
        default=15.0,
        ge=0,
        description="DRAIN_S; how long a replica that has to go waits for its sessions; some "
        "seconds less than graceful_shutdown_timeout_s in ray_config.yaml",
    )
    avatars_dir: Path = Field(
        default=FOLDER,
        validate_default=True,
        description="AVATARS_DIR; where the user's own avatars are, see docs/characters.md; "
        "those of a folder of weights are in its folder avatars, unless this says otherwise",
    )
    limits: Limits = Limits()

    @field_validator("models_dir", "avatars_dir")
    @classmethod
    def _is_absolute(cls, folder: Path) -> Path:
        if not folder.is_absolute() and folder.parts[:1] != ("~",):  # stages run elsewhere
            raise ValueError("a path that begins with / or ~ is needed")
        return folder

    @field_validator("slots", mode="before")
    @classmethod
    def _is_a_number_or_auto(cls, wish: object) -> object:
        if isinstance(wish, str) and wish != "auto" and not wish.lstrip("+-").isdecimal():
            raise ValueError(f"a whole number from 1 to {MOST_SLOTS}, or auto, is needed")
        return wish

    @field_validator("profile")
    @classmethod
    def _is_a_profile(cls, wish: str, info: ValidationInfo) -> str:
        try:
            load_profile(wish, models=info.data.get("models_dir", MODELS))
        except AvatarError as error:
            raise ValueError(str(error)) from error
        return wish

    @field_validator("avatars_dir")
    @classmethod
    def _belongs_to_the_weights(cls, folder: Path, info: ValidationInfo) -> Path:
        if folder != FOLDER or "profile" not in info.data:
            return folder
        return load_profile(info.data["profile"], models=info.data["models_dir"]).avatars

    @cached_property
    def model(self) -> Profile:
        """What `profile` names."""
        return load_profile(self.profile, self.avatars_dir, self.models_dir)

    @property
    def clock(self) -> ChunkClock:
        return self.model.clock

    @property
    def num_slots(self) -> int:
        """Sessions at once of a worker that does not measure what they cost it."""
        if self.slots == "auto":
            return UNMEASURED_SLOTS
        return self.slots or self.model.slots or DEFAULT_SLOTS

    @property
    def start_s(self) -> float:
        """How long the graph may take until it is ready."""
        if self.ready_timeout_s or self.model.ready_s:
            return float(self.ready_timeout_s or self.model.ready_s or 0)
        compiling_s = COMPILING_S if self.capture != "off" else 0.0
        return START_S + compiling_s + self.model.weight_bytes // READ_BYTES_PER_S

    def running(self, stage: StageName) -> Running:
        """How that stage is to run its network."""
        devices = {
            "score_worker": self.score_device,
            "vae_decoder": self.vae_device,
            "audio_encoder": self.encoder_device,
        }
        # with auto there must be room for one; how many more is seen when the weights are there
        slots = 1 if self.slots == "auto" else self.num_slots
        return Running(
            self.backend,
            devices[stage],
            self.linears,
            self.attention,
            self.capture,
            slots,
            self.max_batch,
        )

    @property
    def is_on_one_machine(self) -> bool:
        """Whether all stages are: they reach each other by addresses that lead nowhere else."""
        try:
            return ip_address(self.stage_host).is_loopback
        except ValueError:
            return self.stage_host == "localhost"

    def with_environment(self) -> Self:
        """These settings, overridden by the environment variables named in the fields.

        Raises:
            InvalidInput: A variable holds something its setting refuses.
        """
        names = {
            "profile": "PROFILE",
            "models_dir": "MODELS_DIR",
            "backend": "BACKEND",
            "score_device": "SCORE_DEVICE",
            "vae_device": "VAE_DEVICE",
            "encoder_device": "ENCODER_DEVICE",
            "linears": "LINEARS",
            "attention": "ATTENTION",
            "capture": "CAPTURE",
            "slots": "SLOTS",
            "max_batch": "MAX_BATCH",
            "host": "BIND_HOST",
            "port": "PORT",
            "grpc_port": "GRPC_PORT",
            "stage_host": "STAGE_HOST",
            "ready_timeout_s": "READY_TIMEOUT_S",
            "drain_s": "DRAIN_S",
            "avatars_dir": "AVATARS_DIR",
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


class IceServer(_Frozen):
    """A STUN or TURN server, as RTCIceServer in browsers has it."""

    urls: tuple[Annotated[str, Field(pattern=ICE_URL)], ...] = Field(min_length=1)
    username: str | None = None
    credential: SecretStr | None = None

    @field_validator("urls", mode="before")
    @classmethod
    def _one_or_more(cls, urls: object) -> object:
        return [urls] if isinstance(urls, str) else urls


class Environment(_Frozen):
    """What only the environment says: addresses and secrets."""

    redis_url: str = Field(default="", description="REDIS_URL; empty: a valkey-server of our own")
    runtime: Runtime = Field(default="ray", description="RUNTIME")
    metrics_dir: str = Field(
        default="", description="PROMETHEUS_MULTIPROC_DIR, shared by all processes"
    )
    log_file: str = Field(default="", description="LOG_FILE; empty: standard error")
    key_file: str = Field(
        default="",
        description="API_KEYS_FILE; who may use this server; needed where BIND_HOST lets others in",
    )
    chat: Chat = Chat()
    ice_servers: tuple[IceServer, ...] = Field(
        default=(),
        description="ICE_SERVERS, JSON: what calls across networks need, for us and for browsers",
    )

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            InvalidInput: RUNTIME names no runtime, a model server is named without a model,
                ICE_SERVERS is no list of servers, or API_KEYS_FILE no whole path.
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
            realtime_model=os.environ.get("OPENAI_REALTIME_MODEL", ""),
            realtime_voice=os.environ.get("OPENAI_REALTIME_VOICE", ""),
        )
        models = chat.chat_model, chat.asr_model, chat.tts_model, chat.realtime_model
        if chat.base_url and not any(models):
            raise InvalidInput(
                "OPENAI_BASE_URL is set but no model of that server: set OPENAI_CHAT_MODEL, "
                "OPENAI_ASR_MODEL, OPENAI_TTS_MODEL or OPENAI_REALTIME_MODEL, or unset "
                "OPENAI_BASE_URL"
            )
        key_file = os.environ.get("API_KEYS_FILE", "")
        if key_file and not Path(key_file).is_absolute():  # the gateway runs in another folder
            raise InvalidInput(
                f"API_KEYS_FILE={key_file}: give the whole path, API_KEYS_FILE=$PWD/{key_file}"
            )
        return cls(
            redis_url=os.environ.get("REDIS_URL", ""),
            runtime=runtime,
            metrics_dir=os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""),
            log_file=os.environ.get("LOG_FILE", ""),
            key_file=key_file,
            chat=chat,
            ice_servers=_ice_servers(os.environ.get("ICE_SERVERS") or "[]"),
        )


def _ice_servers(text: str) -> tuple[IceServer, ...]:
    try:
        return TypeAdapter(tuple[IceServer, ...]).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InvalidInput(
            f"ICE_SERVERS: {where}: {first['msg']}; such as ICE_SERVERS="
            '\'[{"urls": "turn:turn.example.org", "username": "u", "credential": "p"}]\''
        ) from error


def set_environment(values: dict[str, str]) -> None:
    """Set variables for this process and those it starts; what the operator set stays."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
