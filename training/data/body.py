"""What does not speak: background, neck and clothes."""

import random

import skia  # type: ignore[import-not-found]  # skia-python has no stubs

from training.data.features import Palette
from training.data.looks import Look
from training.data.paint import WHITE, clipped, curve, fill, glow, linear, mix, stroke


def draw_background(canvas: skia.Canvas, look: Look, spots: random.Random) -> None:
    """A soft wall with out-of-focus lights; drawn once a character."""
    near, far = look.background
    canvas.drawPaint(linear((20, 0), (150, 256), [near, far]))
    glow(canvas, (128 + 70 * look.light, 60), 130, 120, mix(near, WHITE, 0.5), 0.55)
    for _ in range(9):
        centre = (spots.uniform(0, 256), spots.uniform(0, 190))
        radius = spots.uniform(9, 26)
        paint = fill(mix(near, WHITE, spots.uniform(0.2, 0.7)), spots.uniform(0.08, 0.22))
        paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, 3.0))
        canvas.drawCircle(*centre, radius, paint)
    glow(canvas, (128, 250), 190, 70, mix(far, (0.05, 0.04, 0.08), 0.6), 0.5)


def draw_neck(canvas: skia.Canvas, look: Look, tones: Palette, lean: float) -> None:
    """Neck and throat; its upper end leans with the head by `lean` pixels."""
    w = 0.43 * look.face_width
    neck = curve(
        (-w + lean, 55),
        ((-w + lean, 82), (-w - 1, 92), (-w - 26, 106)),
        ((-20, 150), (20, 150), (w + 26, 106)),
        ((w + 1, 92), (w + lean, 82), (w + lean, 55)),
        close=True,
    )
    base = mix(tones.skin, tones.shade, 0.45)
    canvas.drawPath(
        neck,
        linear(
            (-40 * -look.light, 80),
            (40 * -look.light, 90),
            [base, mix(tones.shade, tones.deep, 0.35)],
        ),
    )
    with clipped(canvas, neck):
        glow(canvas, (lean - 4 * look.light, 84), 52, 26, tones.deep, 0.85)
        for side in (-1, 1):
            bone = curve((side * 6, 118), ((side * 12, 114), (side * 24, 112), (side * 34, 112)))
            canvas.drawPath(bone, stroke(tones.deep, 1.4, 0.35))


def draw_body(canvas: skia.Canvas, look: Look) -> None:
    """Shoulders and collar, around the head's centre."""
    cloth, light = look.clothes, look.light
    neckline = {"vneck": 142.0, "shirt": 116.0, "blouse": 126.0, "hood": 114.0}[look.collar]
    half = 40.0 if look.collar in ("vneck", "blouse") else 35.0
    body = curve(
        (-134, 160),
        ((-128, 122), (-88, 112), (-half, 100)),
        ((-half * 0.7, neckline - 4), (-10, neckline), (0, neckline)),
        ((10, neckline), (half * 0.7, neckline - 4), (half, 100)),
        ((88, 112), (128, 122), (134, 160)),
        close=True,
    )
    tones = [mix(cloth, WHITE, 0.16), mix(cloth, (0.03, 0.0, 0.08), 0.36)]
    canvas.drawPath(body, linear((100 * light, 100), (-100 * light, 145), tones))
    dark = mix(cloth, (0.02, 0.0, 0.06), 0.5)
    with clipped(canvas, body):
        for side in (-1, 1):
            fold = curve((side * 84, 112), ((side * 74, 124), (side * 70, 134), (side * 72, 150)))
            canvas.drawPath(fold, stroke(dark, 2.4, 0.35))
    edge = curve(
        (-half, 100),
        ((-half * 0.7, neckline - 4), (-10, neckline), (0, neckline)),
        ((10, neckline), (half * 0.7, neckline - 4), (half, 100)),
    )
    if look.collar == "vneck":
        canvas.drawPath(edge, stroke(mix(cloth, WHITE, 0.2), 4.0))
        chain = curve((-30, 102), ((-20, 126), (20, 126), (30, 102)))
        canvas.drawPath(chain, stroke(look.trim, 1.2))
        canvas.drawCircle(0, 121, 3.0, fill(look.trim))
    elif look.collar == "blouse":
        canvas.drawPath(edge, stroke(mix(cloth, WHITE, 0.35), 5.5))
    elif look.collar == "hood":
        canvas.drawPath(edge, stroke(dark, 17.0))
        canvas.drawPath(edge, stroke(mix(cloth, WHITE, 0.10), 12.0))
        for side in (-1, 1):
            canvas.drawLine(side * 15, 116, side * 17, 140, stroke(look.trim, 2.4))
    else:
        _draw_shirt_collar(canvas, look)


def _draw_shirt_collar(canvas: skia.Canvas, look: Look) -> None:
    for side in (-1, 1):
        flap = skia.Path()
        for index, (x, y) in enumerate([(32, 88), (1, 116), (20, 140), (52, 106)]):
            (flap.lineTo if index else flap.moveTo)(side * x, y)
        flap.close()
        canvas.drawPath(
            flap, linear((0, 90), (0, 140), [look.trim, mix(look.trim, (0, 0, 0.1), 0.2)])
        )
        canvas.drawPath(flap, stroke((0.2, 0.2, 0.25), 1.0, 0.4))
