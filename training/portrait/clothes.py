"""What is worn below the chin: cloth over the shoulders, and its collar."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.portrait.body import BodyShape, around, body_field
from training.portrait.garment import garment, inflated, loft
from training.portrait.look import Clothes, linear
from training.portrait.mesh import Material, Mesh, tube
from training.portrait.sdf import Field

Floats = NDArray[np.float64]


def dress(look: Clothes, body: BodyShape, seed: int) -> list[Mesh]:
    if look.kind == "none":
        return []
    makers: dict[str, Callable[[Clothes, Field, int], list[Mesh]]] = {
        "crew": _crew,
        "vneck": _vneck,
        "shirt": _shirt,
        "hood": _hood,
        "roll": _roll,
        "jacket": _jacket,
    }
    return makers[look.kind](look, body_field(body), seed)


def _crew(look: Clothes, field: Field, seed: int) -> list[Mesh]:
    mesh, edge = garment(look, field, lambda a: -14.2 + 0.9 * (1 - np.cos(a)) * 0.7, seed)
    return [mesh, _band(edge, 0.42, look.trim, look.knit)]


def _band(edge: Floats, radius: float, colour: str, knit: float) -> Mesh:
    path = edge[::3] + np.array([0, 0.05, 0.05])
    return tube(
        path,
        radius,
        Material.CLOTH,
        linear(colour),
        sides=10,
        flatness=0.75,
        normal=(0, 1, 0.2),
        gloss=knit,
        head_weight=0.0,
    )


def _vneck(look: Clothes, field: Field, seed: int) -> list[Mesh]:
    def line(a: Floats) -> Floats:
        return -13.3 - 5.6 * np.maximum(0.0, 1 - np.abs(a) / 0.62) ** 0.9

    mesh, edge = garment(look, field, line, seed)
    inner = edge * np.array([1.0, 1.0, 1.0])
    normal = inner - np.array([0.0, -16.0, -2.0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    down = np.array([0.0, -1.0, 0.0])
    curves = [
        inner + 0.12 * normal,
        inner + 0.26 * normal + 0.25 * down,
        inner + 0.30 * normal + 0.6 * down,
        inner + 0.16 * normal + 0.85 * down,
    ]
    return [mesh, loft(curves, look.trim, knit=look.knit)]


def _shirt(look: Clothes, field: Field, seed: int) -> list[Mesh]:
    mesh, _ = garment(
        look, field, lambda a: -13.6 + 0.0 * a - 0.8 * np.exp(-((a / 0.3) ** 2)), seed
    )
    return [mesh, *collar_flaps(field, look.second, look.knit * 0.5), *_buttons(field, look.trim)]


def collar_flaps(
    field: Field, colour: str, knit: float, *, tip: float = -16.4, over_cloth: float = 0.0
) -> list[Mesh]:
    """A turned-down collar: two flaps that meet at the throat, `over_cloth` above a shirt's."""
    flaps = []
    for side in (-1.0, 1.0):
        t = np.linspace(0, 1, 40)
        angle = side * (0.10 + 2.6 * t)
        high = around(inflated(field, 0.55 + 0.5 * over_cloth), angle, -12.6 + 1.0 * t)
        over = around(inflated(field, 0.95 + over_cloth), angle, -12.7 + 0.9 * t)
        point = np.exp(-((t / 0.16) ** 2))
        low_angle = side * (0.10 + 0.14 * point + 2.5 * t)
        low = around(
            inflated(field, 0.80 + over_cloth), low_angle, -13.9 + 0.9 * t + (tip + 13.9) * point
        )
        middle = 0.5 * (over + low) + 0.22 * _outward(over, low)
        near = over + 0.12 * _outward(over, low)
        flaps.append(
            loft(
                [
                    high,
                    near,
                    0.75 * near + 0.25 * low + 0.1 * _outward(over, low),
                    middle,
                    0.3 * middle + 0.7 * low,
                    low,
                ],
                colour,
                knit=knit,
                flip=side < 0,
            )
        )
    return flaps


def _outward(a: Floats, b: Floats) -> Floats:
    out = 0.5 * (a + b) - np.array([0.0, -14.0, -3.0])
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def _buttons(field: Field, colour: str) -> list[Mesh]:
    made = []
    for y in (-16.9, -19.6):
        at = around(inflated(field, 0.62), np.zeros(1), np.array([y]))[0]
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        ring = at + 0.28 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
        made.append(
            tube(
                ring, 0.13, Material.SMOOTH, linear(colour), closed=True, gloss=0.5, head_weight=0.0
            )
        )
    return made


def _hood(look: Clothes, field: Field, seed: int) -> list[Mesh]:
    mesh, _ = garment(look, field, lambda a: -14.0 + 0.5 * (1 - np.cos(a)), seed, inflate=0.75)
    angle = np.linspace(-2.7, 2.7, 60)
    rolls = []
    for grow, level, radius, colour in (
        (1.15, -13.3, 1.0, look.colour),
        (0.75, -12.9, 0.75, look.second),
    ):
        y = level - 1.5 * np.exp(-((angle / 0.5) ** 2)) + 0.9 * (1 - np.cos(angle)) * 0.8
        path = around(inflated(field, grow), angle, y)
        size = radius * (1.0 + 0.35 * np.abs(np.sin(angle)) - 0.45 * np.exp(-((angle / 0.28) ** 2)))
        rolls.append(
            tube(
                path,
                size,
                Material.CLOTH,
                linear(colour),
                sides=16,
                flatness=0.8,
                normal=(0, 1, 0.3),
                gloss=look.knit,
                head_weight=0.0,
            )
        )
    strings = []
    for side in (-1.0, 1.0):
        t = np.linspace(0, 1, 16)
        path = around(inflated(field, 1.25), side * (0.30 + 0.04 * np.sin(5 * t)), -15.2 - 5.0 * t)
        strings.append(
            tube(path, 0.2, Material.CLOTH, linear(look.trim), gloss=0.3, head_weight=0.0)
        )
    return [mesh, *rolls, *strings]


def _roll(look: Clothes, field: Field, seed: int) -> list[Mesh]:
    mesh, _ = garment(look, field, lambda a: -13.8 + 0.4 * (1 - np.cos(a)), seed)
    angle = np.linspace(-np.pi, np.pi, 90)
    curves = []
    for level, grow in (
        (-10.6, 0.25),
        (-10.2, 0.5),
        (-10.25, 0.95),
        (-10.7, 1.2),
        (-11.6, 1.3),
        (-12.6, 1.25),
        (-13.3, 1.05),
        (-13.6, 0.75),
        (-14.3, 0.55),
    ):
        y = level + 0.25 * (1 - np.cos(angle)) - 0.15 * np.exp(-((angle / 0.8) ** 2))
        ribs = 0.05 * np.sin(angle * 64)
        curves.append(
            around(inflated(field, grow), angle, y)
            + ribs[:, None] * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
        )
    return [mesh, loft(curves, look.colour, knit=look.knit)]


def _jacket(look: Clothes, field: Field, seed: int) -> list[Mesh]:
    """A jacket with lapels over a shirt."""
    shirt, _ = garment(look, field, lambda a: -13.6 + 0 * a, seed, inflate=0.35, colour=look.second)

    def line(a: Floats) -> Floats:
        return -13.0 - 10.0 * np.maximum(0.0, 1 - np.abs(a) / 0.72)

    coat, _ = garment(look, field, line, seed, inflate=0.58)
    lapels = []
    for side in (-1.0, 1.0):
        t = np.linspace(0, 1, 40)
        y = -12.7 - 9.5 * t
        inner_angle = side * (0.80 - 0.72 * t)
        inner = around(inflated(field, 0.98), inner_angle, y)
        notch = 0.55 - 0.22 * np.exp(-(((t - 0.28) / 0.035) ** 2))
        wide = notch * np.sin(np.pi * np.clip(0.16 + 0.84 * t, 0, 1)) ** 0.8
        outer = around(inflated(field, 1.16), inner_angle + side * wide, y + 0.7 * wide)
        middle = 0.5 * (inner + outer) + 0.16 * _outward(inner, outer)
        lapels.append(
            loft(
                [inner, 0.8 * inner + 0.2 * outer + 0.14 * _outward(inner, outer), middle, outer],
                look.trim,
                knit=look.knit,
                flip=side > 0,
            )
        )
    return [
        shirt,
        coat,
        *lapels,
        *collar_flaps(field, look.second, 0.1, tip=-15.6, over_cloth=0.12),
    ]
