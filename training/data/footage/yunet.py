"""YuNet, a public detector of photographed faces, from an ONNX file that the user has.

https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet (MIT). Its outputs are,
for strides 8, 16 and 32: cls, obj (1, N, 1), bbox (1, N, 4), kps (1, N, 10).
"""

from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # has no types
from numpy.typing import NDArray
from PIL import Image

from avatar.errors import InvalidInput, NotFound
from training.data.footage.detector import Face, without_doubles

_STRIDES = (8, 16, 32)
_LONG_SIDE = 640
_SURE = 0.6
_FACE_PER_EYES_TO_MOUTH = 2.3
"""Forehead to chin over eyes to mouth."""
_MIDDLE = 0.4
"""Where from the eyes to the mouth the face's middle lies."""


class YuNetDetector:
    """Raises NotFound or InvalidInput for a file that is not there or is something else."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(f"{path} is missing: download a face_detection_yunet ONNX file first")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options)
        except Exception as error:  # onnxruntime's errors share no other base
            raise InvalidInput(f"{path} is no ONNX model: {error}") from error
        needed = {f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in _STRIDES}
        missing = needed - {each.name for each in self._session.get_outputs()}
        if missing:
            raise InvalidInput(f"{path} is no YuNet of 2023 or later: no {sorted(missing)[0]}")
        self._input = self._session.get_inputs()[0]

    def find(self, frame: NDArray[np.uint8]) -> list[Face]:
        height, width = frame.shape[:2]
        canvas_height, canvas_width = self._canvas(height, width)
        scale = min(canvas_width / width, canvas_height / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        canvas = np.zeros((canvas_height, canvas_width, 3), np.float32)
        canvas[: size[1], : size[0]] = small[..., ::-1]  # blue first
        feed = {self._input.name: canvas.transpose(2, 0, 1)[None]}
        names = [each.name for each in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(names, feed), strict=True))
        found = [
            face
            for stride in _STRIDES
            for face in faces_at(stride, canvas_width // stride, outputs, scale)
        ]
        return without_doubles(found)

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        """The model's own size where it has one, else the picture's, in whole cells."""
        fixed = self._input.shape[2:]
        if all(isinstance(each, int) for each in fixed):
            return int(fixed[0]), int(fixed[1])
        scale = min(1.0, _LONG_SIDE / max(height, width))
        return _in_cells(height * scale), _in_cells(width * scale)


def faces_at(
    stride: int, columns: int, outputs: dict[str, NDArray[np.float32]], scale: float
) -> list[Face]:
    """The faces of one stride's outputs, in pixels of a picture that was scaled by `scale`."""
    cls, obj = outputs[f"cls_{stride}"].ravel(), outputs[f"obj_{stride}"].ravel()
    sure = np.sqrt(np.clip(cls, 0.0, 1.0) * np.clip(obj, 0.0, 1.0))
    points = outputs[f"kps_{stride}"].reshape(-1, 5, 2)
    faces = []
    for index in np.flatnonzero(sure > _SURE):
        cell = np.array([index % columns, index // columns])
        # eyes, nose, corners of the mouth
        marks = (points[index] + cell) * stride / scale
        eyes, mouth = marks[:2].mean(axis=0), marks[3:].mean(axis=0)
        middle = eyes + _MIDDLE * (mouth - eyes)
        tall = _FACE_PER_EYES_TO_MOUTH * float(np.hypot(*(mouth - eyes)))
        x, y, mouth_x, mouth_y = (float(each) for each in (*middle, *mouth))
        faces.append(Face(x, y, tall, mouth_x, mouth_y, float(sure[index])))
    return faces


def _in_cells(length: float) -> int:
    return max(1, -(-round(length) // _STRIDES[-1])) * _STRIDES[-1]
