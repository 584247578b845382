"""The few drawing calls that every part of a portrait is made of."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, radians, sin, sqrt

import skia  # type: ignore[import-not-found]  # skia-python has no stubs

Colour = tuple[float, float, float]
Point = tuple[float, float]

WHITE: Colour = (1.0, 1.0, 1.0)


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    r, g, b = (x + (y - x) * amount for x, y in zip(first, second, strict=True))
    return r, g, b


def argb(colour: Colour, alpha: float = 1.0) -> int:
    r, g, b = (min(max(x, 0.0), 1.0) for x in colour)
    packed: int = skia.Color4f(r, g, b, alpha).toColor()
    return packed


def fill(colour: Colour, alpha: float = 1.0) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=argb(colour, alpha))


def stroke(colour: Colour, width: float, alpha: float = 1.0) -> skia.Paint:
    return skia.Paint(
        AntiAlias=True,
        Color=argb(colour, alpha),
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=width,
        StrokeCap=skia.Paint.kRound_Cap,
        StrokeJoin=skia.Paint.kRound_Join,
    )


def linear(start: Point, end: Point, colours: Sequence[Colour]) -> skia.Paint:
    points = [skia.Point(*start), skia.Point(*end)]
    shader = skia.GradientShader.MakeLinear(points, [argb(colour) for colour in colours])
    return skia.Paint(AntiAlias=True, Shader=shader)


def radial(
    centre: Point, radius: float, colours: Sequence[Colour], stops: Sequence[float]
) -> skia.Paint:
    shader = skia.GradientShader.MakeRadial(
        skia.Point(*centre), radius, [argb(colour) for colour in colours], list(stops)
    )
    return skia.Paint(AntiAlias=True, Shader=shader)


def glow(
    canvas: skia.Canvas, centre: Point, rx: float, ry: float, colour: Colour, alpha: float
) -> None:
    """A soft elliptic spot; a gradient, because blur filters cost ten times as much."""
    canvas.save()
    canvas.translate(*centre)
    canvas.scale(rx, ry)
    colours = [argb(colour, alpha * level) for level in (1.0, 0.78, 0.3, 0.0)]
    shader = skia.GradientShader.MakeRadial(skia.Point(0, 0), 1.0, colours, [0.0, 0.35, 0.7, 1.0])
    canvas.drawCircle(0, 0, 1.0, skia.Paint(AntiAlias=True, Shader=shader))
    canvas.restore()


def oval(centre: Point, rx: float, ry: float) -> skia.Rect:
    return skia.Rect.MakeXYWH(centre[0] - rx, centre[1] - ry, 2 * rx, 2 * ry)


def curve(start: Point, *cubics: tuple[Point, Point, Point], close: bool = False) -> skia.Path:
    """A path through cubic Béziers, each given as (control, control, end)."""
    path = skia.Path()
    path.moveTo(*start)
    for first, second, end in cubics:
        path.cubicTo(*first, *second, *end)
    if close:
        path.close()
    return path


@contextmanager
def clipped(canvas: skia.Canvas, path: skia.Path) -> Iterator[None]:
    canvas.save()
    canvas.clipPath(path, True)
    yield
    canvas.restore()


@dataclass(frozen=True)
class View:
    """A turned head: where a point of the frontal drawing appears.

    The face is half an ellipsoid of radii (`rx`, `ry`, `rz`) around the head's centre.
    """

    yaw_deg: float
    pitch_deg: float
    rx: float
    ry: float
    rz: float

    def depth(self, x: float, y: float) -> float:
        """Distance of the face's surface in front of the head's centre."""
        return self.rz * sqrt(max(0.04, 1.0 - (x / self.rx) ** 2 - (y / self.ry) ** 2))

    def project(self, x: float, y: float, z: float) -> Point:
        yaw, pitch = radians(self.yaw_deg), radians(self.pitch_deg)
        turned = -x * sin(yaw) + z * cos(yaw)
        return x * cos(yaw) + z * sin(yaw), y * cos(pitch) - turned * sin(pitch)

    @contextmanager
    def anchored(
        self, canvas: skia.Canvas, x: float, y: float, lift: float = 0.0
    ) -> Iterator[None]:
        """Draw around (0, 0) as if painted on the face at (x, y), `lift` above its surface."""
        z = self.depth(x, y) + lift
        slope = -(x / self.rx**2) * self.rz**2 / z
        yaw, pitch = radians(self.yaw_deg), radians(self.pitch_deg)
        canvas.save()
        canvas.translate(*self.project(x, y, z))
        canvas.scale(cos(yaw) + slope * sin(yaw), cos(pitch))
        yield
        canvas.restore()
