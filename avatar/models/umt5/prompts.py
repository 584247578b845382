"""Embeddings of prompts on disk, so that 11 GB of text encoder need not be loaded again."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.models.umt5.tokenizer import cleaned

NAME = "embedding"


class PromptCache:
    """One file a prompt: `<folder>/<key>.safetensors` with `embedding` (L, dim).

    The key is of the weights, the tokenizer and the prompt: other weights, another file. The prompt
    itself is in no file and no name.
    """

    def __init__(self, folder: Path, weights: str, tokenizer: str) -> None:
        """`weights` and `tokenizer` are sha256 of what the embeddings are made with."""
        self.folder = folder
        self._made_with = f"{weights} {tokenizer}"

    def path(self, prompt: str) -> Path:
        key = hashlib.sha256(f"{self._made_with} {cleaned(prompt)}".encode()).hexdigest()
        return self.folder / f"{key}.safetensors"

    def get(self, prompt: str, make: Callable[[str], Tensor]) -> Tensor:
        """The embedding (L, dim) of a prompt: read, or made by `make` and kept.

        A damaged file is made anew.
        """
        path = self.path(prompt)
        with contextlib.suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
            kept: Tensor = file.get_tensor(NAME)
            return kept
        embedding = make(prompt).detach().to("cpu").contiguous()
        self.folder.mkdir(parents=True, exist_ok=True)
        # two processes may make the same: each its own file, and the last of them stays
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({NAME: embedding.to(torch.bfloat16)}, partial)
        partial.replace(path)
        return embedding.to(torch.bfloat16)
