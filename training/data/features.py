"""The parts of a face that move: eyes, brows, nose, mouth, and what is worn on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import skia  # type: ignore[import-not-found]  # skia-python has no stubs

from training.data.looks import Look
from training.data.paint import (
    WHITE,
    Colour,
    View,
    clipped,
    curve,
    fill,
    glow,
    linear,
    mix,
    oval,
    radial,
    stroke,
)

MOUTH_GAIN = 31.0
"""Pixels between the lips at open = 1."""


@dataclass(frozen=True)
class Palette:
    """Tones of one skin and one head of hair."""

    skin: Colour
    hair: Colour

    @cached_property
    def light(self) -> Colour:
        return mix(self.skin, (1.0, 0.95, 0.86), 0.38)

    @cached_property
    def shade(self) -> Colour:
        return mix(self.skin, (0.42, 0.13, 0.10), 0.26)

    @cached_property
    def deep(self) -> Colour:
        return mix(self.skin, (0.28, 0.07, 0.06), 0.52)

    @cached_property
    def hair_dark(self) -> Colour:
        return mix(self.hair, (0.05, 0.02, 0.05), 0.45)

    @cached_property
    def hair_light(self) -> Colour:
        return mix(self.hair, (1.0, 0.92, 0.78), 0.28)


@dataclass(frozen=True)
class Mouth:
    open: float
    wide: float
    round: float
    teeth: float
    tongue: float

    @classmethod
    def of(cls, shape: Iterable[float]) -> "Mouth":
        return cls(*(float(value) for value in shape))

    @property
    def gap(self) -> float:
        """Pixels between the lips."""
        return self.open * MOUTH_GAIN * (1.0 - 0.1 * self.round)

    @property
    def jaw_drop(self) -> float:
        return 0.42 * self.gap


def draw_eye(
    canvas: skia.Canvas,
    look: Look,
    tones: Palette,
    side: int,
    blink: float,
    gaze: tuple[float, float],
    smile: float,
) -> None:
    """One eye around (0, 0); `side` -1 is the picture's left."""
    w, h = look.eye_width, look.eye_height
    canvas.save()
    canvas.scale(side, 1.0)  # from here on the inner corner is at -w
    glow(canvas, (0, -3), w + 9, h + 9, tones.deep, 0.34)
    low = h * (0.70 - 0.14 * smile)
    lid = -h + (h + 0.75 * low) * blink  # height of the upper lid's middle
    inner, outer = (-w, 1.8 + 1.2 * blink), (w, -1.2 + 3.6 * blink)
    upper = ((-w * 0.55, lid * 1.36 - 0.3), (w * 0.45, lid * 1.36 - 1.3), outer)
    lower = ((w * 0.5, low * 1.36), (-w * 0.45, low * 1.30), inner)
    if blink > 0.05:  # the lid itself
        lid_top = ((w * 0.5, -h * 1.55), (-w * 0.5, -h * 1.45), inner)
        canvas.drawPath(
            curve(inner, upper, lid_top, close=True),
            linear((0, -h * 1.2), (0, low), [tones.skin, mix(tones.shade, tones.deep, 0.35)]),
        )
    opening = curve(inner, upper, lower, close=True)
    if blink < 0.94:
        with clipped(canvas, opening):
            _draw_eyeball(canvas, look, side, gaze, h, low)
    crease = mix(tones.deep, tones.skin, 0.15)
    crease_lift = 4.0 * (1.0 - blink)
    canvas.drawPath(
        curve(
            (-w * 0.92, -h * 0.45),
            (
                (-w * 0.45, -h * 1.28 - crease_lift),
                (w * 0.5, -h * 1.38 - crease_lift),
                (w * 1.08, -h * 0.35),
            ),
        ),
        stroke(crease, 1.3, 0.55),
    )
    lash = mix(tones.hair_dark, (0.07, 0.04, 0.05), 0.75)
    canvas.drawPath(curve(inner, upper), stroke(lash, look.lash))
    if look.lash >= 2.8:
        wing = curve(
            outer, ((w + 2, -2 + 3 * blink), (w + 4, -4 + 4 * blink), (w + 5, -6.0 + 6 * blink))
        )
        canvas.drawPath(wing, stroke(lash, 2.0))
    canvas.drawPath(curve(outer, lower), stroke(tones.deep, 1.2, 0.55))
    bag = curve(
        (-w * 0.8, low + 3.4), ((-w * 0.3, low + 6.6), (w * 0.4, low + 6.4), (w * 0.9, low + 2.2))
    )
    canvas.drawPath(bag, stroke(tones.deep, 1.2, 0.07 + 0.3 * look.wrinkles + 0.12 * smile))
    if look.wrinkles:
        for rise in (-2.5, 1.5, 5.0):
            foot = curve(
                (w + 3.5, 0.5 + 0.3 * rise),
                ((w + 6, rise * 0.5), (w + 8, rise), (w + 10, rise * 1.5)),
            )
            canvas.drawPath(foot, stroke(tones.deep, 1.0, 0.32 * look.wrinkles))
    canvas.restore()


def _draw_eyeball(
    canvas: skia.Canvas, look: Look, side: int, gaze: tuple[float, float], h: float, low: float
) -> None:
    w, r = look.eye_width, look.iris_radius
    canvas.drawPaint(linear((0, -h), (0, low), [(0.84, 0.83, 0.86), (0.985, 0.98, 0.97)]))
    x, y = 4.6 * gaze[0] * side, 2.6 * gaze[1] - 1.5
    light = look.light * side
    dark = mix(look.eye, (0.02, 0.02, 0.05), 0.72)
    canvas.drawCircle(x, y, r, fill(dark))
    tones = [mix(look.eye, (1.0, 0.95, 0.8), 0.42), look.eye, mix(look.eye, dark, 0.6)]
    canvas.drawCircle(x, y, r - 1.0, radial((x, y + 2.4), r, tones, [0.1, 0.6, 1.0]))
    canvas.drawCircle(x, y, r * 0.46, fill((0.03, 0.02, 0.03)))
    # The upper lid's shadow lies on eyeball and iris, the catch-light over both.
    canvas.drawPath(
        curve((-w, -h * 1.6), ((-w, -h * 0.1), (w, -h * 0.1), (w, -h * 1.6)), close=True),
        fill((0.16, 0.07, 0.09), 0.34),
    )
    canvas.drawCircle(x + 2.3 * light, y - 2.5, 2.25, fill(WHITE, 0.97))
    canvas.drawCircle(x - 2.4 * light, y + 2.7, 1.05, fill(WHITE, 0.55))


def draw_brow(canvas: skia.Canvas, look: Look, tones: Palette, side: int, brow: float) -> None:
    """A tapered brow around (0, 0); brow 1 is raised, -1 drawn together."""
    canvas.save()
    canvas.scale(side, 1.0)
    t, arch = look.brow_thickness, look.brow_arch + 1.6 * brow
    knit = 2.2 * max(0.0, -brow)
    colour = mix(mix(tones.hair_dark, tones.hair, 0.35), tones.skin, 0.06)
    canvas.drawPath(
        curve(
            (-15.5 - knit * 0.6, 1.5 + knit),
            ((-8, -arch), (4, -arch - 2.0), (18.0, 2.5)),
            ((6, -arch + t * 0.75), (-6, -arch + t + 1.0), (-15.0 - knit * 0.6, 1.5 + t + knit)),
            close=True,
        ),
        fill(colour, 0.94),
    )
    canvas.restore()


def draw_nose(canvas: skia.Canvas, look: Look, tones: Palette) -> None:
    """Nose around its tip at (0, 0)."""
    w, light = look.nose_width, look.light
    glow(canvas, (-light * 6.5, -12), 7.5, 22, tones.deep, 0.22)
    glow(canvas, (light * 1.0, -18), 4.2, 19, tones.light, 0.55)
    glow(canvas, (-light * 3.0, -1), w + 3, 9, tones.shade, 0.55)
    glow(canvas, (light * 1.4, -4), 5.5, 5.0, mix(tones.light, WHITE, 0.35), 0.75)
    glow(canvas, (0, 9), w + 4, 5.5, tones.deep, 0.30)
    for side in (-1, 1):
        wing = curve(
            (side * w * 0.74, -6.0),
            ((side * w * 1.22, -4.5), (side * w * 1.22, 3.6), (side * w * 0.72, 3.6)),
        )
        canvas.drawPath(wing, stroke(tones.deep, 1.5, 0.62))
        nostril = curve(
            (side * w * 0.22, 4.2),
            ((side * w * 0.3, 1.8), (side * w * 0.75, 1.6), (side * w * 0.78, 4.0)),
            ((side * w * 0.6, 4.9), (side * w * 0.35, 5.0), (side * w * 0.22, 4.2)),
        )
        canvas.drawPath(nostril, fill(mix(tones.deep, (0.1, 0.02, 0.02), 0.5), 0.85))


def draw_mouth(canvas: skia.Canvas, look: Look, tones: Palette, mouth: Mouth, smile: float) -> None:
    """Mouth around the middle of the seam between the closed lips at (0, 0)."""
    gap, pucker = mouth.gap, mouth.round
    w = look.mouth_width * (1.0 + 0.19 * mouth.wide - 0.24 * pucker + 0.16 * smile)
    w *= 1.0 - 0.06 * mouth.open
    up, down = 0.24 * gap, 0.76 * gap
    upper = look.upper_lip * (1.0 + 0.45 * pucker - 0.12 * smile)
    lower = look.lower_lip * (1.0 + 0.35 * pucker - 0.08 * mouth.open)
    corner = -9.0 * smile * (1.0 - 0.6 * pucker) + 0.8 - 0.5 * mouth.wide + 0.16 * gap

    def reach(y: float) -> float:
        """Height of the controls of a cubic between the corners that passes its middle at y."""
        return (y - 0.25 * corner) / 0.75

    left, right = (-w, corner), (w, corner)
    inner_left, inner_right = (-w + 2.0, corner), (w - 2.0, corner)
    seam_top = reach(-up)
    seam_bottom = reach(down)
    lip_bottom = ((w * 0.62, reach(down + lower)), (-w * 0.62, reach(down + lower)), left)
    bow = -up - upper
    outline = curve(
        left,
        ((-w * 0.62, bow + 1.2 + 0.35 * corner), (-w * 0.36, bow - 1.4), (-w * 0.19, bow - 0.6)),
        ((-w * 0.1, bow - 0.2), (-w * 0.06, bow + 1.2), (0, bow + 1.2)),
        ((w * 0.06, bow + 1.2), (w * 0.1, bow - 0.2), (w * 0.19, bow - 0.6)),
        ((w * 0.36, bow - 1.4), (w * 0.62, bow + 1.2 + 0.35 * corner), right),
        lip_bottom,
        close=True,
    )
    glow(canvas, (0, down + lower + 4.5), w * 0.75, 6.0, tones.deep, 0.42)
    glow(canvas, (0, bow - 6.5), 5.0, 7.0, tones.deep, 0.16)
    for side in (-1, 1):
        glow(canvas, (side * (w + 1.5), corner), 5.0, 5.0, tones.deep, 0.45)
    lip_dark = mix(look.lip, (0.25, 0.02, 0.06), 0.26)
    lip_light = mix(look.lip, (1.0, 0.80, 0.76), 0.22)
    canvas.drawPath(outline, linear((0, bow), (0, down + lower), [lip_dark, lip_light]))
    # Upper lip in shade, lower lip with a soft shine.
    with clipped(canvas, outline):
        glow(canvas, (0, -up), w, upper + 1.5, lip_dark, 0.55)
        glow(canvas, (look.light * 4.0, down + lower * 0.5), 9.0, 2.6, WHITE, 0.42)
    if gap > 0.3:
        opening = curve(
            inner_left,
            ((-w * 0.55, seam_top), (w * 0.55, seam_top), inner_right),
            ((w * 0.60, seam_bottom), (-w * 0.60, seam_bottom), inner_left),
            close=True,
        )
        with clipped(canvas, opening):
            _draw_inner_mouth(canvas, mouth, w, up, down)
        canvas.drawPath(opening, stroke(mix(lip_dark, (0.15, 0.0, 0.02), 0.5), 1.1, 0.6))
    seam_alpha = max(0.0, 1.0 - gap / 1.6)
    if seam_alpha > 0.0:
        seam = curve(
            (-w, corner),
            ((-w * 0.55, reach(0.6)), (-w * 0.2, 0.2), (0, 0.8)),
            ((w * 0.2, 0.2), (w * 0.55, reach(0.6)), (w, corner)),
        )
        canvas.drawPath(seam, stroke(mix(lip_dark, (0.15, 0.0, 0.03), 0.6), 1.7, seam_alpha))


def _draw_inner_mouth(canvas: skia.Canvas, mouth: Mouth, w: float, up: float, down: float) -> None:
    canvas.drawPaint(linear((0, -up), (0, down), [(0.16, 0.02, 0.04), (0.34, 0.07, 0.09)]))
    # The tongue lies low, and its tip rises with the tongue control.
    tip = down * (0.62 - 0.62 * mouth.tongue) + 1.0
    tongue = oval((0, tip + down * 0.55 + 3.0), w * 0.62, down * 0.55 + 3.0)
    canvas.drawOval(tongue, linear((0, tip), (0, down), [(0.86, 0.46, 0.46), (0.68, 0.27, 0.30)]))
    canvas.drawLine(0, tip + 2.5, 0, down + 2, stroke((0.55, 0.18, 0.22), 1.0, 0.5))
    if mouth.teeth > 0.3:
        rise = (1.0 + 4.2 * (mouth.teeth - 0.3)) * min(1.0, down / 6.0)
        lower = skia.Rect.MakeLTRB(-w * 0.56, down - rise, w * 0.56, down + 8.0)
        canvas.drawRoundRect(lower, 2.5, 2.5, fill((0.87, 0.85, 0.82)))
    edge = -up + 3.0 + 6.0 * mouth.teeth * min(1.0, 0.35 + mouth.gap / 16.0)
    upper = skia.Rect.MakeLTRB(-w * 0.74, -up - 8.0, w * 0.74, edge)
    teeth = linear((0, edge - 7), (0, edge), [(0.86, 0.84, 0.82), (0.985, 0.98, 0.96)])
    canvas.drawRoundRect(upper, 3.0, 3.0, teeth)
    if mouth.gap > 5.0:
        for x in (-0.48, -0.25, 0.0, 0.25, 0.48):
            canvas.drawLine(x * w, -up, x * w, edge - 1.0, stroke((0.62, 0.56, 0.56), 0.7, 0.5))
    canvas.drawRect(skia.Rect.MakeLTRB(-w, -up - 2.0, w, -up + 2.2), fill((0.12, 0.0, 0.02), 0.28))


def draw_glasses(canvas: skia.Canvas, look: Look, view: View) -> None:
    frame: Colour = (0.20, 0.15, 0.13)
    for side in (-1, 1):
        with view.anchored(canvas, side * look.eye_x, look.eye_y + 1.5, lift=7.0):
            lens = oval((0, 0), 22.5, 20.5)
            canvas.drawOval(lens, fill(WHITE, 0.06))
            shine = curve((-15, -6), ((-11, -13), (-7, -15), (-2, -16)))
            canvas.drawPath(shine, stroke(WHITE, 2.4, 0.35))
            canvas.drawOval(lens, stroke(frame, 2.6))
            canvas.drawPath(
                curve((side * 22, -4), ((side * 27, -5), (side * 31, -5), (side * 34, -4))),
                stroke(frame, 2.8),
            )
    with view.anchored(canvas, 0, look.eye_y, lift=10.0):
        canvas.drawPath(curve((-5.6, 0), ((-3, -4), (3, -4), (5.6, 0))), stroke(frame, 2.6))
