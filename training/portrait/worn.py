"""Glasses, earrings and a hair band."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.lids import EyeShape
from training.portrait.look import Worn, linear
from training.portrait.mesh import Material, Mesh, f32, tube
from training.portrait.sdf import Field, front
from training.portrait.shape import HeadShape

Floats = NDArray[np.float64]


def wear(look: Worn, head: HeadShape, eyes: EyeShape, skin: Field) -> list[Mesh]:
    made: list[Mesh] = []
    if look.glasses:
        made += _glasses(look, head, eyes)
    if look.earrings:
        made += _earrings(look, head)
    return made


def _glasses(look: Worn, head: HeadShape, eyes: EyeShape) -> list[Mesh]:
    assert look.glasses is not None
    colour = linear(look.glasses)
    depth = eyes.z + eyes.radius + 1.75
    turn = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    power = 1.0 if look.glasses_round >= 1.0 else 0.45 + 0.55 * look.glasses_round
    c, s = np.cos(turn), np.sin(turn)
    x = 2.55 * np.sign(c) * np.abs(c) ** power
    y = 2.30 * np.sign(s) * np.abs(s) ** power
    y = np.where(y < 0, y * 1.08, y)
    made = []
    for side in (-1.0, 1.0):
        bend = 0.035 * np.maximum(x + 2.6, 0.0) ** 1.5
        rim = np.stack([side * (eyes.x + 0.12 + x), y - 0.25, depth - bend], 1)
        made.append(_rod(rim, 0.20, colour, closed=True))
        hinge = np.array([side * (eyes.x + 2.62), 0.55, depth - 0.9])
        ear = np.array([side * (head.face + 0.95), 0.9, -1.4])
        t = np.linspace(0, 1, 12)[:, None]
        arm = hinge + (ear - hinge) * t
        arm[:, 0] += side * 0.55 * np.sin(np.pi * t[:, 0])
        made.append(_rod(arm, 0.19, colour))
    t = np.linspace(-1, 1, 14)
    gap = eyes.x + 0.12 - 2.5
    bridge = np.stack([t * gap, 0.42 + 0.35 * (1 - t * t), depth + 0.12 * (1 - t * t)], 1)
    made.append(_rod(bridge, 0.19, colour))
    return made


def _rod(
    path: Floats, radius: float, colour: tuple[float, float, float], *, closed: bool = False
) -> Mesh:
    return tube(path, radius, Material.SMOOTH, colour, sides=8, closed=closed, gloss=0.45)


def _earrings(look: Worn, head: HeadShape) -> list[Mesh]:
    assert look.earrings is not None
    colour, made = linear(look.earrings), []
    for side in (-1.0, 1.0):
        lobe = np.array([side * (head.face + 1.25), -3.2, -0.4])
        turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        if look.earring == "hoop":
            ring = lobe + np.stack(
                [
                    side * 0.25 * np.cos(turn) + side * 0.2,
                    1.25 * np.cos(turn) - 1.2,
                    1.25 * np.sin(turn),
                ],
                1,
            )
            ring = lobe + np.stack(
                [1.15 * np.sin(turn), 1.25 * np.cos(turn) - 1.25, 0.35 * np.sin(turn)], 1
            )
            made.append(tube(ring, 0.17, Material.SMOOTH, colour, closed=True, gloss=0.9))
        else:
            drop = 0.0 if look.earring == "stud" else -0.9
            made.append(ball(lobe + np.array([0.1 * side, drop, 0.35]), 0.42, colour, 0.9))
    return made


def ball(
    centre: Floats,
    radius: float | tuple[float, float, float],
    colour: tuple[float, float, float],
    gloss: float,
    material: Material = Material.SMOOTH,
) -> Mesh:
    a, b = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, 18),
        np.linspace(0, 2 * np.pi, 28, endpoint=False),
        indexing="ij",
    )
    out = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], -1).reshape(-1, 3)
    from training.portrait.mesh import grid_triangles

    return Mesh(
        (centre + np.asarray(radius) * out).astype(np.float32),
        grid_triangles(18, 28, closed=True),
        material,
        f32(colour),
        gloss=gloss,
    )


__all__ = ["ball", "front", "wear"]
