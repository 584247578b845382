"""Hair and beard: a mass behind the head, a mass before it, and single strands."""

import random
from collections.abc import Callable
from math import cos, pi, sin

import skia  # type: ignore[import-not-found]  # skia-python has no stubs

from training.data.features import Mouth, Palette
from training.data.looks import Look
from training.data.paint import (
    Point,
    View,
    clipped,
    curve,
    fill,
    glow,
    linear,
    mix,
    stroke,
)


def draw_hair_back(
    canvas: skia.Canvas, look: Look, tones: Palette, view: View, roll_deg: float
) -> None:
    """Hair behind neck and ears; it follows the head half way."""
    canvas.save()
    canvas.rotate(0.5 * roll_deg)
    shift = -0.35 * view.yaw_deg
    canvas.translate(shift, -0.2 * view.pitch_deg)
    if look.hair_style == "waves":
        _draw_waves_back(canvas, look, tones)
    elif look.hair_style == "curls":
        _draw_curls(canvas, look, tones)
    canvas.restore()


def draw_hair_front(canvas: skia.Canvas, look: Look, tones: Palette, view: View) -> None:
    """Hair over the forehead and temples."""
    {
        "waves": _draw_waves_front,
        "swept": _draw_swept,
        "curls": _draw_curls_front,
        "tousled": _draw_tousled,
    }[look.hair_style](canvas, look, tones, view)


def draw_beard(canvas: skia.Canvas, look: Look, tones: Palette, view: View, mouth: Mouth) -> None:
    """A short full beard with moustache; the mouth is drawn over it afterwards."""
    drop, w = mouth.jaw_drop, look.jaw_width
    colour = mix(tones.hair, tones.skin, 0.16)

    def at(x: float, y: float, z: float) -> Point:
        return view.project(x, y, z)

    # (x, y) around the cheeks, under the chin, and back over the lip.
    mass = curve(
        at(-look.face_width - 4, 10, 4),
        (at(-w + 2, 30, 20), at(-38, 42, 34), at(-27, 36, 44)),
        (at(-14, 30, 56), at(14, 30, 56), at(27, 36, 44)),
        (at(38, 42, 34), at(w - 2, 30, 20), at(look.face_width + 4, 10, 4)),
        (at(look.face_width + 8, 70 + drop, 4), at(30, 104 + drop, 20), at(0, 104 + drop, 24)),
        (
            at(-30, 104 + drop, 20),
            at(-look.face_width - 8, 70 + drop, 4),
            at(-look.face_width - 4, 10, 4),
        ),
        close=True,
    )
    paint = linear(
        at(0, 30, 40), at(0, 92 + drop, 30), [colour, mix(colour, tones.hair_dark, 0.45)]
    )
    canvas.drawPath(mass, paint)
    with clipped(canvas, mass):
        strands = random.Random(look.seed)
        for _ in range(70):
            x = strands.uniform(-58, 58)
            y = 32 + strands.uniform(0, 60) + drop * 0.7
            z = view.depth(min(max(x, -50), 50), 40)
            start, end = at(x, y, z), at(x * 0.95, y + strands.uniform(5, 10), z)
            tone = strands.choice([tones.hair_light, tones.hair_dark])
            canvas.drawLine(*start, *end, stroke(tone, 1.0, strands.uniform(0.18, 0.4)))
        for side in (-1, 1):
            half = curve(
                at(0, 33, 62),
                (at(side * 10, 31, 60), at(side * 26, 36, 52), at(side * 34, 51, 44)),
                (at(side * 24, 45, 52), at(side * 12, 42, 58), at(0, 41, 62)),
                close=True,
            )
            canvas.drawPath(half, fill(mix(tones.hair, tones.hair_light, 0.35), 0.9))
            for step in range(6):
                x = side * (5 + 4.5 * step)
                start, end = at(x, 33.5 + 0.2 * step, 56), at(x + side * 4, 42 + 0.9 * step, 54)
                canvas.drawLine(*start, *end, stroke(tones.hair_dark, 0.9, 0.35))
        centre = at(0, look.mouth_y + 15 + 0.8 * drop, 58)
        glow(canvas, centre, 15, 5, tones.hair_dark, 0.35)


def _strand(
    canvas: skia.Canvas, tones: Palette, rng: random.Random, start: Point, bend: Point, end: Point
) -> None:
    tone = rng.choice([tones.hair_light, tones.hair_light, tones.hair_dark])
    width, alpha = rng.uniform(0.9, 2.2), rng.uniform(0.28, 0.6)
    canvas.drawPath(curve(start, (bend, bend, end)), stroke(tone, width, alpha))


def _gloss(look: Look, tones: Palette) -> skia.Paint:
    side = look.light * look.face_width
    return linear((side, -90), (-side, 20), [tones.hair_light, tones.hair_dark])


def _draw_waves_back(canvas: skia.Canvas, look: Look, tones: Palette) -> None:
    w = look.face_width
    mass = curve(
        (0, -96),
        ((-w - 24, -98), (-w - 22, -30), (-w - 17, 10)),
        ((-w - 12, 42), (-w - 30, 60), (-w - 22, 92)),
        ((-w - 16, 118), (-w - 20, 134), (-w + 6, 150)),
        ((-20, 120), (20, 120), (w - 6, 150)),
        ((w + 20, 134), (w + 16, 118), (w + 22, 92)),
        ((w + 30, 60), (w + 12, 42), (w + 17, 10)),
        ((w + 22, -30), (w + 24, -98), (0, -96)),
        close=True,
    )
    canvas.drawPath(mass, _gloss(look, tones))
    with clipped(canvas, mass):
        glow(canvas, (0, 70), 62, 70, tones.hair_dark, 0.9)


def _waves_edges(look: Look, view: View, side: int, inset: float) -> list[Point]:
    """Ten control points down one side; `inset` 0 is the outer edge, 1 the one at the face."""
    w, hx = look.face_width, 0.25 * view.yaw_deg
    outer = [
        *((side * 30 + hx, -99), (side * (w + 15), -92), (side * (w + 17), -18)),
        *((side * (w + 15), 16), (side * (w + 31), 40), (side * (w + 21), 78)),
        *((side * (w + 14), 104), (side * (w + 24), 116), (side * (w + 4), 140)),
    ]
    inner = [
        *((side * 18 + 2 * hx, -64), (side * (w - 13), -46), (side * (w - 5), -18)),
        *((side * (w + 3), 10), (side * (w - 14), 36), (side * (w - 5), 60)),
        *((side * (w + 6), 86), (side * (w - 16), 112), (side * (w - 2), 136)),
    ]
    top = view.project(-7 * look.light, -82, 30)
    between = [
        (a[0] + (b[0] - a[0]) * inset, a[1] + (b[1] - a[1]) * inset)
        for a, b in zip(outer, inner, strict=True)
    ]
    return [top, *between]


def _flow(points: list[Point]) -> skia.Path:
    cubics = [(points[i], points[i + 1], points[i + 2]) for i in range(1, len(points) - 2, 3)]
    return curve(points[0], *cubics)


def _draw_waves_front(canvas: skia.Canvas, look: Look, tones: Palette, view: View) -> None:
    for side in (-look.light, look.light):
        outer = _waves_edges(look, view, side, 0.0)
        back = _waves_edges(look, view, side, 1.0)[::-1]
        lock = _flow(outer)
        lock.lineTo(*back[0])
        for i in range(1, len(back) - 2, 3):
            lock.cubicTo(*back[i], *back[i + 1], *back[i + 2])
        lock.close()
        canvas.drawPath(lock, _gloss(look, tones))
        rng = random.Random(look.seed + side)
        with clipped(canvas, lock):
            glow(canvas, (side * (look.face_width - 6), -62), 34, 18, tones.hair_light, 0.5)
            glow(canvas, (side * (look.face_width + 12), 36), 16, 26, tones.hair_light, 0.35)
        for _ in range(13):
            inset = rng.uniform(0.06, 0.94)
            tone = rng.choice([tones.hair_light, tones.hair_dark, tones.hair_dark])
            paint = stroke(tone, rng.uniform(0.9, 2.4), rng.uniform(0.25, 0.55))
            canvas.drawPath(_flow(_waves_edges(look, view, side, inset)), paint)
        canvas.drawPath(lock, stroke(tones.hair_dark, 1.0, 0.5))


def _cap(
    look: Look,
    view: View,
    hairline: Callable[[View], list[tuple[Point, Point, Point]]],
    height: float,
    side_y: float,
    puff: float,
) -> skia.Path:
    """A cap of hair from temple to temple; `hairline` runs back from right to left."""
    w = look.face_width
    return curve(
        (-w - 2, side_y),
        ((-w - puff, -40), (-w - puff + 2, -height), (0, -height)),
        ((w + puff - 2, -height), (w + puff, -40), (w + 2, side_y)),
        *hairline(view),
        close=True,
    )


def _draw_swept(canvas: skia.Canvas, look: Look, tones: Palette, view: View) -> None:
    w, s = look.face_width, look.light

    def hairline(view: View) -> list[tuple[Point, Point, Point]]:
        high, part = view.project(-12 * s, -66, 42), view.project(34 * s, -60, 36)
        right, left = (part, high) if s > 0 else (high, part)
        return [
            ((w - 3, -6), (w - 8, -34), right),
            ((right[0] - 14, right[1] - 12), (left[0] + 10, left[1] + 2), left),
            ((left[0] - 22, left[1] + 8), (-w + 6, -34), (-w - 2, 8)),
        ]

    cap = _cap(look, view, hairline, height=101, side_y=8, puff=9)
    canvas.drawPath(cap, _gloss(look, tones))
    with clipped(canvas, cap):
        glow(canvas, (s * 22, -86), 40, 16, (1, 1, 1), 0.4)
        rng = random.Random(look.seed)
        for _ in range(26):
            u = rng.uniform(0, 1)
            start = view.project(s * (36 - 8 * u), -60 - 26 * u, 36)
            end = (-s * (w + 4), -22 - 48 * u)
            _strand(canvas, tones, rng, start, (-s * 18, -78 - 22 * u), end)


def _draw_curls(canvas: skia.Canvas, look: Look, tones: Palette) -> None:
    """A round crown of curls behind the face, clipped to no outline but its own."""
    rng, w = random.Random(look.seed), look.face_width
    for ring, (radius, tone) in enumerate(
        [(w + 21, tones.hair_dark), (w + 15, tones.hair), (w + 4, tones.hair_dark)]
    ):
        for step in range(22):
            angle = pi * (0.16 - 1.32 * step / 21) + rng.uniform(-0.06, 0.06)
            reach = radius + rng.uniform(-4, 4)
            x, y = reach * cos(angle), reach * 1.03 * sin(angle) - 16
            size = rng.uniform(13, 17)
            shade = mix(tone, tones.hair_light, rng.uniform(0.0, 0.16) + 0.05 * ring)
            canvas.drawCircle(x, y, size, fill(shade))
            arc = skia.Rect.MakeXYWH(x - size * 0.6, y - size * 0.6, size * 1.2, size * 1.2)
            turn = rng.uniform(0, 360)
            canvas.drawArc(arc, turn, 200, False, stroke(tones.hair_light, 1.5, 0.4))


def _draw_curls_front(canvas: skia.Canvas, look: Look, tones: Palette, view: View) -> None:
    rng, w = random.Random(look.seed + 1), look.face_width
    for step in range(17):
        u = step / 16 * 2 - 1
        x, y = u * (w - 2), -90 + 40 * u * u * u * u + 6 * u * u + rng.uniform(-3, 3)
        z = 34 * (1 - u * u)
        px, py = view.project(x, y + 14 * (1 - abs(u)), z)
        size = rng.uniform(11, 14)
        canvas.drawCircle(
            px, py, size, fill(mix(tones.hair, tones.hair_light, rng.uniform(0, 0.2)))
        )
        for scale in (0.45, 0.8):
            arc = skia.Rect.MakeXYWH(
                px - size * scale, py - size * scale, 2 * size * scale, 2 * size * scale
            )
            canvas.drawArc(
                arc, rng.uniform(0, 360), 190, False, stroke(tones.hair_light, 1.4, 0.45)
            )


def _draw_tousled(canvas: skia.Canvas, look: Look, tones: Palette, view: View) -> None:
    rng, w = random.Random(look.seed), look.face_width

    def hairline(view: View) -> list[tuple[Point, Point, Point]]:
        tufts: list[tuple[Point, Point, Point]] = []
        tufts.append(((w - 1, -12), (w - 6, -26), view.project(w - 12, -40, 20)))
        for x, y in ((34, -52), (20, -44), (6, -56), (-10, -46), (-26, -57), (-44, -44)):
            point = view.project(x, y, 42)
            notch = view.project(x + 8, y - 12, 40)
            tufts.append((notch, notch, point))
        tufts.append(((-w + 5, -26), (-w + 1, -12), (-w - 2, 4)))
        return tufts

    for index in range(12):  # tufts above the crown, combed towards the light
        angle = pi * (0.27 + 0.46 * index / 11)
        base = (-cos(angle) * (w - 4), -sin(angle) * 84 - 10)
        lean = look.light * rng.uniform(4, 16)
        tip = (base[0] * 1.14 + lean, base[1] - rng.uniform(9, 19))
        tuft = curve(
            (base[0] - 17, base[1] + 12),
            ((base[0] - 15, base[1] - 7), (tip[0] - 9, tip[1] - 1), tip),
            ((tip[0] - 2, tip[1] + 9), (base[0] + 14, base[1] + 2), (base[0] + 16, base[1] + 12)),
            close=True,
        )
        canvas.drawPath(tuft, _gloss(look, tones))
        ridge = curve(base, ((base[0], base[1] - 5), (tip[0] - 5, tip[1] + 3), tip))
        canvas.drawPath(ridge, stroke(tones.hair_light, 1.1, 0.4))
    cap = _cap(look, view, hairline, height=103, side_y=4, puff=8)
    canvas.drawPath(cap, _gloss(look, tones))
    with clipped(canvas, cap):
        glow(canvas, (look.light * 20, -84), 34, 14, tones.hair_light, 0.6)
        for _ in range(30):
            u = rng.uniform(-1, 1)
            start = (u * (w - 8), -98 + 14 * u * u)
            end = view.project(u * (w - 10) + rng.uniform(-10, 4), -50 + rng.uniform(-10, 8), 40)
            bend = (start[0] + rng.uniform(2, 12), (start[1] + end[1]) / 2)
            _strand(canvas, tones, rng, start, bend, end)
