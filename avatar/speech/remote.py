"""Any OpenAI-compatible server: how to reach it and what its errors mean here."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import openai

from avatar.errors import ModelServerUnreachable


@dataclass(frozen=True)
class ModelServer:
    """A model on an OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp and others."""

    base_url: str
    """Such as http://127.0.0.1:11434/v1; empty for OpenAI's own."""
    model: str
    api_key: str = field(default="", repr=False)
    timeout_s: float = 20.0
    """Longest wait for an answer, or for its next piece."""

    @property
    def label(self) -> str:
        """Model and host, without path or credentials."""
        host = urlsplit(self.base_url).hostname or "api.openai.com"
        return f"{self.model} ({host})"

    def client(self) -> openai.OpenAI:
        direct = openai.DefaultHttpxClient(trust_env=False) if self._is_loopback else None
        return openai.OpenAI(
            base_url=self.base_url or None,
            api_key=self.api_key or _NO_KEY,
            timeout=self.timeout_s,
            max_retries=0,
            default_headers=self._headers,
            http_client=direct,
        )

    def async_client(self) -> openai.AsyncOpenAI:
        direct = openai.DefaultAsyncHttpxClient(trust_env=False) if self._is_loopback else None
        return openai.AsyncOpenAI(
            base_url=self.base_url or None,
            api_key=self.api_key or _NO_KEY,
            timeout=self.timeout_s,
            max_retries=0,
            default_headers=self._headers,
            http_client=direct,
        )

    @property
    def _is_loopback(self) -> bool:
        """Whether it is on this machine, where a proxy of the environment has no say."""
        return urlsplit(self.base_url).hostname in ("127.0.0.1", "localhost", "::1")

    @property
    def _headers(self) -> dict[str, str]:
        # llama.cpp drops one kept connection in fifteen just as the next request comes; without
        # TLS a new one costs nothing
        return {"Connection": "close"} if self.base_url.startswith("http://") else {}


_NO_KEY = "none"  # the client insists on a key; local servers do not look at it


@contextmanager
def reaching(server: ModelServer) -> Iterator[None]:
    """Turn the client's errors into ModelServerUnreachable; the server's own words are left out."""
    try:
        yield
    except openai.APITimeoutError as error:
        raise ModelServerUnreachable(
            f"{server.label} did not answer within {server.timeout_s:g} s"
        ) from error
    except openai.APIConnectionError as error:
        raise ModelServerUnreachable(
            f"{server.label} cannot be reached: check that it runs and that its base URL is right"
        ) from error
    except openai.APIStatusError as error:
        hint = _HINTS.get(error.status_code, "see that server's log")
        raise ModelServerUnreachable(
            f"{server.label} answered with status {error.status_code}: {hint}"
        ) from error
    except (openai.OpenAIError, json.JSONDecodeError) as error:
        raise ModelServerUnreachable(f"{server.label} answered with nothing usable") from error


_HINTS = {
    401: "check the API key",
    403: "check the API key's rights",
    404: "check the model's name and the base URL",
    429: "its quota is used up",
}
