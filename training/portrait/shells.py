"""The hard parts of a robot."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.look import Colour, RobotLook, linear
from training.portrait.mesh import Material, Mesh, f32, grid_triangles, tube
from training.portrait.sdf import (
    Distances,
    Field,
    Points,
    capsule,
    cast,
    ellipsoid,
    front,
    join,
    rounded_box,
)
from training.portrait.topology import from_plane
from training.portrait.worn import ball

Floats = NDArray[np.float64]

_MIDDLE = np.array([0.0, 0.5, 0.0])


def screen_depth(xy: Floats) -> Floats:
    """Depth of the screen at places (N, 2), a part of a large ball."""
    return 7.15 - 0.020 * xy[:, 0] ** 2 - 0.014 * (xy[:, 1] - 0.3) ** 2


def shine(code: str, strength: float) -> Colour:
    r, g, b = linear(code)
    return r * strength, g * strength, b * strength


def _shell(field: Field, centre: Floats, colour: str, gloss: float, weight: float = 1.0) -> Mesh:
    r, a = np.meshgrid(
        np.linspace(0.001, 2.6, 60), np.linspace(0, 2 * np.pi, 110, endpoint=False), indexing="ij"
    )
    plane = np.stack([(r * np.cos(a)).ravel(), (r * np.sin(a)).ravel()], 1)
    out = from_plane(plane)
    points = cast(field, np.broadcast_to(centre, out.shape), out, 22.0)
    return Mesh(
        points.astype(np.float32),
        grid_triangles(60, 110, closed=True),
        Material.SMOOTH,
        f32(linear(colour)),
        gloss=gloss,
        head_weight=weight,
    )


def robot_head(look: RobotLook) -> list[Mesh]:
    def skull(p: Points) -> Distances:
        d = rounded_box(p, (0, 0.6, -0.6), (7.6, 7.2, 6.4), 5.2)
        d = join(d, ellipsoid(p, (0, -3.0, 0.2), (6.6, 4.8, 6.2)), 2.0)
        return d

    parts = [_shell(skull, _MIDDLE, look.shell, 0.35)]
    # the screen: a rounded pane in a frame
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    x, y = 6.0 * np.sign(c) * np.abs(c) ** 0.55, -0.6 + 5.4 * np.sign(s) * np.abs(s) ** 0.55
    share = np.linspace(0.001, 1.0, 16)[:, None]
    xs, ys = (share * x).ravel(), (-0.6 + share * (y + 0.6)).ravel()
    pane = np.stack([xs, ys, screen_depth(np.stack([xs, ys], 1))], 1)
    parts.append(
        Mesh(
            pane.astype(np.float32),
            grid_triangles(16, 96, closed=True),
            Material.SMOOTH,
            f32(linear(look.screen)),
            gloss=0.8,
        )
    )
    rim = np.stack([x * 1.02, -0.6 + (y + 0.6) * 1.02, screen_depth(np.stack([x, y], 1)) - 0.05], 1)
    parts.append(
        tube(rim, 0.38, Material.SMOOTH, linear(look.trim), sides=12, closed=True, gloss=0.55)
    )
    for side in (-1.0, 1.0):
        parts.append(
            ball(np.array([side * 7.7, 0.2, -0.8]), (1.15, 2.3, 2.3), linear(look.trim), 0.5)
        )
        parts.append(
            ball(
                np.array([side * 8.5, 0.2, -0.8]),
                (0.6, 1.3, 1.3),
                shine(look.light, 0.9),
                0.2,
                Material.GLOW,
            )
        )
    stalk = np.stack(
        [
            0 * np.linspace(0, 1, 8),
            7.4 + 3.0 * np.linspace(0, 1, 8),
            -0.6 + 0 * np.linspace(0, 1, 8),
        ],
        1,
    )
    parts.append(tube(stalk, 0.24, Material.SMOOTH, linear(look.trim), gloss=0.6, normal=(0, 0, 1)))
    parts.append(
        ball(np.array([0.0, 10.7, -0.6]), 0.8, shine(look.second, 1.2), 0.2, Material.GLOW)
    )
    return parts


def robot_body(look: RobotLook) -> list[Mesh]:
    parts = []
    for ring in range(5):
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        y = -7.6 - 0.95 * ring
        path = np.stack([2.5 * np.cos(turn), 0 * turn + y, 2.5 * np.sin(turn) - 0.8], 1)
        parts.append(
            tube(
                path,
                0.62,
                Material.SMOOTH,
                linear(look.joint),
                sides=12,
                closed=True,
                gloss=0.4,
                normal=(0, 1, 0),
                head_weight=1.0 - ring / 5.0,
            )
        )

    def torso(p: Points) -> Distances:
        q = np.concatenate([np.abs(p[:, :1]), p[:, 1:]], axis=1)
        d = rounded_box(q, (0, -21.0, -0.8), (8.2, 8.2, 5.4), 4.2)
        return join(d, capsule(q, (8.0, -16.2, -0.8), (11.0, -18.5, -0.8), 2.6, 3.2), 1.0)

    parts.append(_shell(torso, np.array([0.0, -19.0, -0.8]), look.shell, 0.35, 0.0))
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    collar = np.stack([4.1 * np.cos(turn), 0 * turn - 12.7, 3.6 * np.sin(turn) - 0.8], 1)
    parts.append(
        tube(
            collar,
            0.7,
            Material.SMOOTH,
            linear(look.trim),
            sides=12,
            closed=True,
            gloss=0.5,
            normal=(0, 1, 0),
            head_weight=0.0,
        )
    )
    at = front(torso, np.array([0.0]), np.array([-17.3]))[0]
    parts.append(ball(at, (1.0, 1.0, 0.35), shine(look.light, 0.9), 0.2, Material.GLOW))
    parts[-1].head_weight = np.zeros(len(parts[-1].points), np.float32)
    return parts
