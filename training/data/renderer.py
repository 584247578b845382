"""Draws one character: a picture for a mouth shape and ten movement controls."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import skia  # type: ignore[import-not-found]  # skia-python has no stubs
from numpy.typing import NDArray

from training.data.body import draw_background, draw_body, draw_neck
from training.data.features import (
    MOUTH_GAIN,
    Mouth,
    Palette,
    draw_brow,
    draw_eye,
    draw_glasses,
    draw_mouth,
    draw_nose,
)
from training.data.hair import draw_beard, draw_hair_back, draw_hair_front
from training.data.looks import Look
from training.data.paint import View, clipped, curve, fill, glow, mix, oval, radial, stroke

SIZE = 256
DRAWN_SIZE = 512

YAW_DEG, PITCH_DEG, ROLL_DEG = 12.0, 8.0, 5.0
SHIFT_X, SHIFT_Y = 7.0, 4.5
"""What the controls' 1.0 means: degrees, and pixels of the 256-pixel picture."""

PORTRAIT_SMILE = 0.35

Picture = NDArray[np.uint8]
Numbers = Sequence[float] | NDArray[np.floating[Any]]


class PortraitRenderer:
    """Renders one look; holds its canvases, so it belongs to one thread."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._tones = Palette(look.skin, look.hair)
        self._large = skia.Surface(DRAWN_SIZE, DRAWN_SIZE)
        self._pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
        self._small = skia.Surface(self._pixels)
        self._background = self._draw_background()

    def frame(self, mouth: Numbers, controls: Numbers) -> Picture:
        """(256, 256, 3) uint8 RGB of a mouth shape (5) and controls (10), see `CONTROL_NAMES`."""
        canvas = self._large.getCanvas()
        canvas.resetMatrix()
        canvas.drawImage(self._background, 0, 0)
        scale = DRAWN_SIZE / SIZE
        canvas.scale(scale, scale)
        self._draw_person(canvas, Mouth.of(mouth), [float(value) for value in controls])
        # Linear sampling at exactly half size is the mean of each 2x2 block.
        self._small.getCanvas().drawImageRect(
            self._large.makeImageSnapshot(),
            skia.Rect.MakeWH(SIZE, SIZE),
            skia.SamplingOptions(skia.FilterMode.kLinear),
        )
        return np.ascontiguousarray(self._pixels[..., :3])

    def _draw_background(self) -> skia.Image:
        surface = skia.Surface(DRAWN_SIZE, DRAWN_SIZE)
        canvas = surface.getCanvas()
        canvas.scale(DRAWN_SIZE / SIZE, DRAWN_SIZE / SIZE)
        draw_background(canvas, self.look, random.Random(self.look.seed))
        return surface.makeImageSnapshot()

    def _draw_person(self, canvas: skia.Canvas, mouth: Mouth, controls: list[float]) -> None:
        look = self.look
        yaw, pitch, roll, tx, ty, blink, brow, gaze_x, gaze_y, smile = controls
        cx, cy = look.centre
        view = View(YAW_DEG * yaw, PITCH_DEG * pitch, look.face_width + 8, 104.0, 58.0)
        x, y = cx + SHIFT_X * tx, cy + SHIFT_Y * ty
        canvas.save()
        canvas.translate(cx + 0.45 * SHIFT_X * tx, cy + 0.4 * SHIFT_Y * ty)
        draw_hair_back(canvas, look, self._tones, view, ROLL_DEG * roll)
        draw_neck(canvas, look, self._tones, 0.5 * SHIFT_X * tx)
        draw_body(canvas, look)
        canvas.restore()
        canvas.save()
        canvas.translate(x, y + 70)  # the head tilts about the neck
        canvas.rotate(ROLL_DEG * roll)
        canvas.translate(0, -70)
        self._draw_head(canvas, view, mouth, smile)
        for side in (-1, 1):
            with view.anchored(canvas, side * look.eye_x, look.eye_y):
                draw_eye(canvas, look, self._tones, side, blink, (gaze_x, gaze_y), smile)
            lift = -4.2 * brow + 1.2 * blink
            with view.anchored(canvas, side * look.eye_x, look.brow_y + lift, lift=3.0):
                draw_brow(canvas, look, self._tones, side, brow)
        with view.anchored(canvas, 0, look.nose_y, lift=14.0):
            draw_nose(canvas, look, self._tones)
        with view.anchored(canvas, 0, look.mouth_y + 0.06 * mouth.gap, lift=4.0):
            draw_mouth(canvas, look, self._tones, mouth, smile)
        draw_hair_front(canvas, look, self._tones, view)
        if look.glasses:
            draw_glasses(canvas, look, view)
        canvas.restore()

    def _draw_head(self, canvas: skia.Canvas, view: View, mouth: Mouth, smile: float) -> None:
        look, tones = self.look, self._tones
        self._draw_ears(canvas, view)
        outline = head_outline(look, view, mouth.jaw_drop)
        light = (14.0 * look.light * 1.0, -24.0)
        colours = [tones.light, tones.skin, mix(tones.skin, tones.shade, 0.6), tones.shade]
        canvas.drawPath(outline, radial(light, look.face_width * 1.75, colours, [0, 0.42, 0.8, 1]))
        with clipped(canvas, outline):
            self._shade_face(canvas, view, mouth, smile)
            if look.beard:
                draw_beard(canvas, look, tones, view, mouth)
            rim = mix(self.look.background[0], (1.0, 1.0, 1.0), 0.4)
            canvas.save()
            canvas.translate(1.5 * look.light, -0.5)
            canvas.drawPath(outline, stroke(rim, 4.0, 0.09))
            canvas.restore()
        canvas.drawPath(outline, stroke(tones.deep, 1.0, 0.35))

    def _draw_ears(self, canvas: skia.Canvas, view: View) -> None:
        look, tones = self.look, self._tones
        for side in (-1, 1):
            x, y = view.project(side * (look.face_width - 1), 4, -12)
            ear = oval((x, y), 9.5, 17.0)
            canvas.drawOval(ear, fill(mix(tones.skin, tones.shade, 0.7)))
            canvas.drawOval(oval((x - side * 0.5, y - 1), 5.5, 11.0), fill(tones.deep, 0.35))
            if look.earrings:
                canvas.drawCircle(x + side * 2, y + 22, 6.5, stroke(look.trim, 2.6))
                canvas.drawCircle(x + side * 2, y + 15, 2.0, fill(mix(look.trim, (1, 1, 1), 0.5)))

    def _shade_face(self, canvas: skia.Canvas, view: View, mouth: Mouth, smile: float) -> None:
        look, tones = self.look, self._tones
        far = -look.light
        glow(canvas, (far * look.face_width, 10), 42, 92, tones.deep, 0.42)
        glow(canvas, (look.light * (look.face_width + 2), 20), 14, 60, tones.light, 0.5)
        glow(canvas, (0, look.chin_y + mouth.jaw_drop + 6), 50, 16, tones.deep, 0.45)
        with view.anchored(canvas, 6 * look.light, -50):
            glow(canvas, (0, 0), 38, 24, tones.light, 0.55)
        for side in (-1, 1):
            with view.anchored(canvas, side * 34, 24 - 2.5 * smile):
                rose = mix(tones.skin, (0.85, 0.28, 0.28), 0.5)
                glow(canvas, (0, 0), 24, 18, rose, look.blush * (0.9 + 0.5 * smile))
                glow(canvas, (look.light * 2, -9), 13, 8, tones.light, 0.30)
            with view.anchored(canvas, side * 21, 33):
                depth = 0.03 + 0.28 * smile + 0.25 * look.wrinkles
                fold = curve((-side * 8, -6), ((side * 1, -2), (side * 6, 5), (side * 6, 12)))
                canvas.drawPath(fold, stroke(tones.deep, 1.5, min(0.5, depth)))
        if look.freckles:
            self._draw_freckles(canvas, view)
        if look.wrinkles:
            for y in (-56.0, -49.0, -42.5):
                with view.anchored(canvas, 0, y):
                    line = curve((-24, 0), ((-9, -3), (9, -3), (24, 0)))
                    canvas.drawPath(line, stroke(tones.deep, 1.1, 0.22 * look.wrinkles))
        with view.anchored(canvas, 0, 71 + mouth.jaw_drop, lift=4):
            glow(canvas, (look.light * 3, 0), 15, 9, tones.light, 0.5)

    def _draw_freckles(self, canvas: skia.Canvas, view: View) -> None:
        dots = random.Random(self.look.seed)
        tone = mix(self.look.skin, (0.62, 0.27, 0.12), 0.7)
        for _ in range(34):
            x, y = dots.gauss(0, 22), dots.gauss(17, 5.5)
            px, py = view.project(x, y, view.depth(x, y))
            canvas.drawCircle(px, py, dots.uniform(0.7, 1.3), fill(tone, dots.uniform(0.3, 0.6)))


def head_outline(look: Look, view: View, jaw_drop: float) -> skia.Path:
    """Silhouette of skull and jaw; the jaw lies further forward, so it turns with the face."""
    w, jaw, chin = look.face_width, look.jaw_width, look.chin_width
    bottom, cheek = look.chin_y + jaw_drop, 46 + 0.45 * jaw_drop

    def at(x: float, y: float, z: float) -> tuple[float, float]:
        return view.project(x, y, z)

    return curve(
        at(-w, -12, 0),
        (at(-w, -104, 0), at(w, -104, 0), at(w, -12, 0)),
        (at(w, 14, 2), at(jaw + 8, cheek - 14, 10), at(jaw, cheek, 14)),
        (at(jaw - 8, cheek + 17, 18), at(chin + 9, bottom + 1, 26), at(0, bottom + 1, 28)),
        (at(-chin - 9, bottom + 1, 26), at(-jaw + 8, cheek + 17, 18), at(-jaw, cheek, 14)),
        (at(-jaw - 8, cheek - 14, 10), at(-w, 14, 2), at(-w, -12, 0)),
        close=True,
    )


def portrait(look: Look) -> Picture:
    """The still reference: facing the viewer, mouth shut, a small smile."""
    controls = [0.0] * 9 + [PORTRAIT_SMILE]
    return PortraitRenderer(look).frame([0.0] * 5, controls)


def mouth_box(look: Look) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of a 96 x 80 box that holds the mouth in every pose."""
    x = round(look.centre[0])
    y = round(look.centre[1] + look.mouth_y + 0.3 * MOUTH_GAIN)
    return x - 48, y - 40, x + 48, y + 40


def face_mask(look: Look) -> NDArray[np.bool_]:
    """(256, 256) bool: the face with all its movements, hair and clothes mostly left out."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    x = (columns - look.centre[0]) / (look.face_width + 16.0)
    y = (rows - look.centre[1] - 8.0) / (look.chin_y + 24.0)
    inside: NDArray[np.bool_] = x * x + y * y <= 1.0
    return inside
