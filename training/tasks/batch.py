"""Stretches of clips as the DiT learns from them, and what surrounds them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from avatar.models.dit import DiT, KeyValue, SelfContext
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import Portrait, sink_condition, to_model_space
from training.data.latents import LatentClips
from training.tasks.latent_reader import WINDOW, LatentReader, mouth_cells
from training.tasks.vae import EYES_ABOVE


@dataclass(frozen=True)
class Stretch:
    """B stretches of T latent frames, in the model's space.

    `clean` (B, T, C, h, w); `speech` (B, T + 2 reach, tokens, dim), silent where the clip ends;
    `controls` (B, T, K), K = 0 where nobody knows any; `visemes` (B, T, 4, 4); `sinks` (B, 3, C, h,
    w) in the VAE's space; `text` (B, L, text_dim), `image` (B, L, image_dim) and `image_channels`,
    see `Portrait`, where a model has them; `masks` (B, tokens); `weight` (B, h, w), mean 1, high on
    face and mouth; `importance` (C, h, w), mean 1, of an error in a channel there; `boxes` of the
    mouths.
    """

    clean: Tensor
    speech: Tensor
    controls: Tensor
    visemes: Tensor
    sinks: Tensor
    masks: Tensor
    weight: Tensor
    importance: Tensor
    boxes: tuple[tuple[int, int, int, int], ...]
    text: Tensor | None = None
    image: Tensor | None = None
    image_channels: Tensor | None = None

    @property
    def portrait(self) -> Portrait:
        return Portrait(self.sinks, self.masks, self.image_channels)

    @property
    def told(self) -> Tensor | None:
        """The controls, if there are any."""
        return self.controls if self.controls.shape[-1] else None

    def seen_by_chunks(self, num_chunks: int) -> tuple[Portrait, Tensor | None, Tensor | None]:
        """Portrait, text and image once for each chunk that is folded into the batch."""

        def repeated(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.repeat_interleave(num_chunks, 0)

        sinks, masks = (each.repeat_interleave(num_chunks, 0) for each in (self.sinks, self.masks))
        portrait = Portrait(sinks, masks, repeated(self.image_channels))
        return portrait, repeated(self.text), repeated(self.image)


class Stretches:
    """Draws stretches from clips that are learned from."""

    def __init__(self, clips: LatentClips, face_masks: dict[str, Tensor], reach: int) -> None:
        self.clips, self.face_masks, self.reach = clips, face_masks, reach
        self.train = [i for i in range(len(clips)) if not clips.is_held_out(i)]
        size = clips.latents[0].shape[-1]
        self.weights = {box: spatial_weight(box, size) for box in sorted(set(clips.mouth_boxes))}

    def draw(self, rng: np.random.Generator, count: int, length: int) -> Stretch:
        """`count` stretches of `length` latents, anywhere in any clip."""
        chosen = [int(i) for i in rng.choice(self.train, count)]
        starts = [int(rng.integers(0, len(self.clips.latents[i]) - length + 1)) for i in chosen]
        return self.cut(chosen, starts, length)

    def cut(self, chosen: list[int], starts: list[int], length: int) -> Stretch:
        """The stretches that begin there."""
        clips, places = self.clips, list(zip(chosen, starts, strict=True))
        reach = self.reach
        padded = [F.pad(clips.speech[i].float(), (0, 0, 0, 0, reach, reach)) for i in chosen]
        who = [clips.characters[i] for i in chosen]
        boxes = tuple(clips.mouth_boxes[i] for i in chosen)
        return Stretch(
            clean=torch.stack([clips.latents[i][s : s + length].float() for i, s in places]),
            speech=torch.stack(
                [p[s : s + length + 2 * reach] for p, s in zip(padded, starts, strict=True)]
            ),
            controls=torch.stack([clips.controls[i][s : s + length] for i, s in places]),
            visemes=torch.stack([clips.visemes[i][s : s + length] for i, s in places]),
            sinks=torch.stack([clips.sinks[name] for name in who]),
            masks=torch.stack([self.face_masks[name] for name in who]),
            weight=torch.stack([self.weights[box] for box in boxes]),
            importance=clips.importance,
            boxes=boxes,
        )


def anchored(model: DiT, stretch: Stretch, policy: Policy) -> list[KeyValue]:
    """Keys and values of the sinks, clean and silent, as `drop_anchor` makes them."""
    if not policy.sink_positions:
        return []
    still = to_model_space(model, stretch.sinks, stretch.sinks[:, :1])
    condition = sink_condition(model, stretch.portrait, still, policy)
    _, sink = model(
        still,
        still.new_zeros(len(still)),
        replace(condition, text=stretch.text, image=stretch.image),
        SelfContext(),
        policy.sink_positions,
    )
    return sink


def read_mouths(reader: LatentReader, latents: Tensor, stretch: Stretch) -> Tensor:
    """Mouth shapes (B, T, 4, 4) that the reader sees in latents (B, T, C, h, w)."""
    windows = []
    for row, box in enumerate(stretch.boxes):
        y, x = mouth_cells(box)
        windows.append(latents[row, :, :, y : y + WINDOW, x : x + WINDOW])
    read: Tensor = reader(torch.cat(windows))
    return read.unflatten(0, latents.shape[:2])


def spatial_weight(box: tuple[int, int, int, int], size: int) -> Tensor:
    """(size, size), mean 1: the face counts more than the background, eyes and mouth most."""
    x0, y0, x1, y1 = (v / 256 for v in box)
    place = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(place - (y0 + y1) / 2, place - (x0 + x1) / 2, indexing="ij")
    face = torch.exp(-(x**2 + (y + 0.15) ** 2) / (2 * 0.2**2))
    mouth = torch.exp(-((x / 0.12) ** 2) / 2 - ((y / 0.09) ** 2) / 2)
    eyes = torch.exp(-((x / 0.17) ** 2) / 2 - (((y + EYES_ABOVE / 256) / 0.06) ** 2) / 2)
    weight = 0.5 + face + 2.5 * mouth + 2.5 * eyes
    return weight / weight.mean()


def served_levels(
    rng: np.random.Generator, levels: tuple[float, ...], count: int, share: float = 0.75
) -> Tensor:
    """(count,) noise levels: mostly those that serving uses, the rest anywhere.

    Half of those begin from nothing: what that forward leaves out, no later one adds.
    """
    later = levels[1:] or levels
    served: NDArray[np.float64] = np.asarray(later)[rng.integers(0, len(later), count)]
    served = np.where(rng.random(count) < 0.5, levels[0], served)
    anywhere = rng.uniform(0.05, 1.0, count)
    return torch.from_numpy(np.where(rng.random(count) < share, served, anywhere)).float()
