"""What the face networks are trained on: collages for the finder, mouths for the reader."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.data.footage.collage import collage, coloured
from training.data.footage.drawn_faces import DrawnFaces
from training.data.footage.face_net import FaceFinder, FaceNetConfig, MouthNet
from training.data.footage.mouths import cut_mouth


class FinderTask:
    """Finds the faces of collages."""

    def __init__(self, faces: DrawnFaces, config: FaceNetConfig, batch_size: int = 8) -> None:
        self.model = FaceFinder(config)
        self.faces, self.batch_size = faces, batch_size

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        made = [collage(self.faces, rng) for _ in range(self.batch_size)]
        pictures = torch.from_numpy(np.stack([each.picture for each in made]))
        truth = torch.from_numpy(np.stack([each.truth for each in made]))
        seen = self.model(pictures.permute(0, 3, 1, 2) * 2.0 - 1.0)
        is_face, weight = truth[:, 0], truth[:, 6]
        # focal: most cells are easily no face
        probability = torch.sigmoid(seen[:, 0])
        missed = torch.where(is_face > 0, 1.0 - probability, probability).square()
        each = F.binary_cross_entropy_with_logits(seen[:, 0], is_face, reduction="none")
        count = is_face.sum().clamp(min=1.0)
        found = (each * missed * weight * (1.0 + 3.0 * is_face)).sum() / count
        off = (seen[:, 1:] - truth[:, 1:6]).abs() * is_face[:, None]
        scale = torch.tensor([1.0, 0.5, 0.5, 4.0, 4.0])[:, None, None]
        place = (off * scale).sum() / count
        figures = {"found": float(found.detach()), "place": float(place.detach())}
        return found + place, figures


class MouthTask:
    """Reads mouths that were cut out a little off, under any light."""

    def __init__(self, faces: DrawnFaces, config: FaceNetConfig, batch_size: int = 64) -> None:
        self.model = MouthNet(config)
        self.faces, self.batch_size = faces, batch_size

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = rng.integers(0, len(self.faces.frames), self.batch_size)
        crops = torch.stack([self._crop(int(i), rng) for i in index])
        truth = torch.from_numpy(self.faces.mouths[index])
        if step % 2:  # as soft as a small face in a compressed video
            small = F.avg_pool2d(crops, 2)
            crops = F.interpolate(small, scale_factor=2, mode="bilinear")
        crops = crops + float(rng.uniform(0.0, 0.06)) * torch.randn(crops.shape)
        weight = torch.tensor([3.0, 1.0, 1.0])
        off = (self.model(crops) - truth).square()
        return (off * weight).mean(), {"open": float(off[:, 0].detach().mean())}

    def _crop(self, index: int, rng: np.random.Generator) -> Tensor:
        x, y, height, mouth_x, mouth_y = self.faces.places[index]
        height *= rng.uniform(0.87, 1.15)
        mouth_x += rng.normal(0.0, 0.03) * height
        mouth_y += rng.normal(0.0, 0.03) * height
        frame: NDArray[np.uint8] = self.faces.frames[index]
        lit = (coloured(frame, rng) * 255.0).astype(np.uint8)
        crop = cut_mouth(lit, mouth_x, mouth_y, height)
        return crop.flip(-1) if rng.random() < 0.5 else crop


@torch.no_grad()
def mouth_correlation(reader: MouthNet, faces: DrawnFaces) -> dict[str, float]:
    """Correlation of what is read with the truth, on these faces."""
    crops = [
        cut_mouth(frame, place[3], place[4], place[2])
        for frame, place in zip(faces.frames, faces.places, strict=True)
    ]
    read = reader(torch.stack(crops)).numpy()
    return {
        name: round(float(np.corrcoef(read[:, i], faces.mouths[:, i])[0, 1]), 3)
        for i, name in enumerate(("open", "wide", "round"))
    }
