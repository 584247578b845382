"""What is known of a public checkpoint before its file is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from avatar.models.checkpoints.names import Rename

APACHE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
MIT = ("MIT", "https://opensource.org/license/mit")


def _nothing(_: Any) -> tuple[str, ...]:
    return ()


def _as_it_is(config: Any, _: Mapping[str, Any]) -> Any:
    return config


@dataclass(frozen=True)
class Layout:
    """One way in which the weights are published.

    `names`: what our tensors are called there, of a configuration. `prefixes`: the first that names
    begin with is cut off them. `ignored`: patterns of names that are there and that nothing needs;
    every other name must have a use.
    """

    name: str
    names: Callable[[Any], Rename]
    prefixes: tuple[str, ...] = ()
    ignored: Callable[[Any], tuple[str, ...]] = _nothing


@dataclass(frozen=True)
class Preset:
    """`file` is what the weights become in the destination.

    `added`: a word in the names of layers that begin anew where the source has none of them.
    `policies`: what a DiT of these weights may be denoised by, the default first. `geometry`: the
    configuration that a `config.json` beside the weights speaks of. `lora_scale`: by what changes
    of low rank in a source are multiplied (alpha / rank); None: there are none.
    """

    name: str
    file: str
    config: Callable[[], Any]
    build: Callable[[Any], nn.Module]
    layouts: tuple[Layout, ...]
    licence: str
    licence_url: str
    where: str
    non_commercial: bool = False
    added: str | None = None
    policies: tuple[str, ...] = ()
    lora_scale: float | None = None
    geometry: Callable[[Any, Mapping[str, Any]], Any] = _as_it_is
