"""A figure as flat arrays, with its baked light, ready to be drawn."""

import numpy as np
from numpy.typing import NDArray

from training.portrait import bake, light, shade
from training.portrait.action import REST, Stance
from training.portrait.figure import Figure
from training.portrait.mesh import Material, f32, vertex_normals
from training.portrait.motion import cell_motion, smooth_motion
from training.portrait.raster import project, rasterize

Floats = NDArray[np.float32]

PICTURE = 256
MOTION_CELLS = 32
"""Along a side of the picture of movement: one for each cell of the VAE's latents."""
YAW_DEG, PITCH_DEG, ROLL_DEG = 16.0, 10.0, 7.0
SHIFT_X, SHIFT_Y = 7.0, 4.5
"""What the controls' 1.0 means: degrees, and pixels of a 256-pixel picture."""
PIXELS_PER_UNIT = 8.3
"""At 256 pixels, in the plane of the head's middle."""
CAMERA_DISTANCE = 75.0
MIDDLE_Y = -1.7
"""Height that the camera looks at, in units over the eyes."""
PIVOT = np.array([0.0, -7.5, -2.0])
"""The head turns about this place in the neck."""


class Scene:
    """`size` is the side in pixels that is drawn. Holds buffers: one thread each."""

    def __init__(self, figure: Figure, lamps: Floats, size: int) -> None:
        self.figure, self.lamps, self.size = figure, lamps, size
        self.scale = PIXELS_PER_UNIT * size / PICTURE
        self._assemble()
        self.nearest, self.owner = (
            np.empty((size, size), np.float32),
            np.empty((size, size), np.int32),
        )
        self.weights = np.empty((size, size, 2), np.float32)
        self._bake()
        self._drop_unseen()
        soft = self._starts[figure.num_soft]
        self._soft_triangles = self.triangles[(self.triangles < soft).all(axis=1)]
        self._baked = self.attributes[:soft, shade.OPEN : shade.LIT + 1].copy()

    def pose(self, moved: list[Floats], stance: Stance, pose_light: Floats | None = None) -> None:
        """Put the figure's moved points in place, turn it, and find what each pixel sees."""
        points, normals, turn = self._turned(moved, stance)
        self.attributes[:, shade.NORMAL : shade.NORMAL + 3] = normals
        tangents = self._tangents + self._weight * self._turns * (
            self._tangents @ turn.T - self._tangents
        )
        self.attributes[:, shade.TANGENT : shade.TANGENT + 3] = tangents
        if pose_light is not None:
            soft = int(self._starts[self.figure.num_soft])
            self.attributes[:soft, shade.OPEN : shade.LIT + 1] = pose_light
        self._see(points)

    def motion(self, moved: list[Floats]) -> Floats:
        """(32, 32, 2): the way back, in pixels of 256, to where each cell is in the still stance.

        Of the picture that `pose` left, with the same face: only the stance differs.
        """
        points, _, _ = self._turned(moved, Stance())
        still = np.empty_like(self._screen)
        self._project(points, still)
        cells = np.empty((MOTION_CELLS, MOTION_CELLS, 3), np.float32)
        cell_motion(self.owner, self.weights, self.triangles, self._screen, still, cells)
        cells[..., :2] *= PICTURE / self.size
        return smooth_motion(cells)

    def _turned(self, moved: list[Floats], stance: Stance) -> tuple[Floats, Floats, Floats]:
        """Points and normals (V, 3) in this stance, and the head's rotation (3, 3)."""
        points, normals = self._rest.copy(), self._normals.copy()
        for start, part in zip(self._starts, moved, strict=False):
            points[start : start + len(part)] = part
        soft = int(self._starts[self.figure.num_soft])
        vertex_normals(points[:soft], self._soft_triangles, normals[:soft])
        weight, turn = self._weight, rotation(stance).astype(np.float32)
        pivot = PIVOT.astype(np.float32)
        shift = f32([SHIFT_X * stance.shift_x, -SHIFT_Y * stance.shift_y, 0.0]) / PIXELS_PER_UNIT
        head = (points - pivot) @ turn.T + (pivot + shift)
        # Shoulders follow a shift by half, and rise with the breath.
        points += f32(
            [0.45 * shift[0], 0.4 * shift[1] + 0.22 * stance.breath, 0.10 * stance.breath]
        )
        points += weight * (head - points)
        normals += weight * (normals @ turn.T - normals)
        return points, normals, turn

    @property
    def baked(self) -> Floats:
        """(V, 2) open sky and key light of the soft meshes at rest."""
        return self._baked

    def _project(self, points: Floats, screen: Floats) -> None:
        middle = 0.5 * self.size
        centre_y = middle + MIDDLE_Y * self.scale
        project(points, self.scale, CAMERA_DISTANCE, middle, centre_y, screen)

    def _see(self, points: Floats) -> None:
        self._project(points, self._screen)
        rasterize(
            self._screen, self.triangles, self._two_sided, self.nearest, self.owner, self.weights
        )

    def _assemble(self) -> None:
        meshes = self.figure.meshes
        self._starts = np.cumsum([0, *(len(m.points) for m in meshes)])
        offsets = zip(meshes, self._starts, strict=False)
        self._rest = np.concatenate([m.points for m in meshes])
        self.triangles = np.concatenate([m.triangles + o for m, o in offsets]).astype(np.int32)
        self.materials = np.concatenate(self.figure.materials).astype(np.int32)
        per_triangle, per_point = (
            [len(m.triangles) for m in meshes],
            [len(m.points) for m in meshes],
        )
        self.gloss = np.repeat([m.gloss for m in meshes], per_triangle).astype(np.float32)
        self._two_sided = np.repeat([m.two_sided for m in meshes], per_triangle)
        self._casts = np.repeat([m.casts for m in meshes], per_triangle)
        self._weight = np.concatenate([np.asarray(m.head_weight) for m in meshes])[:, None]
        self._tangents = np.concatenate([m.tangents for m in meshes])
        self._normals = np.concatenate([m.normals for m in meshes])
        # An eye's tangents are directions in the head's own frame: they do not turn.
        turns = np.repeat([m.material != Material.EYE for m in meshes], per_point)
        self._turns = turns[:, None].astype(np.float32)
        self._is_hair = np.repeat([m.material == Material.HAIR for m in meshes], per_point)[:, None]
        self.attributes = np.zeros((len(self._rest), shade.ATTRIBUTES), np.float32)
        self.attributes[:, shade.COLOUR : shade.COLOUR + 3] = np.concatenate(
            [m.colour for m in meshes]
        )
        self.attributes[:, shade.UV : shade.UV + 2] = np.concatenate([m.uv for m in meshes])
        self._screen = np.empty_like(self._rest)

    def _bake(self) -> None:
        points = self._rest
        # Of a two-sided lock the side that shows counts.
        away = self._is_hair & (self._normals[:, 2:] < -0.3)
        normals = np.where(away, -self._normals, self._normals).astype(np.float32)
        cells = bake.occupied(points, self.triangles[self._casts])
        values = np.empty(len(points), np.float32)
        bake.open_sky(points, normals, cells, bake.hemisphere(72), 8.0, values)
        sky = bake.smoothed(values, self.triangles, 2)
        self.attributes[:, shade.OPEN] = np.clip(1.08 * sky, 0.0, 1.0) ** 0.8
        lamps = (
            (light.KEY, shade.LIT, 0.28, 40),
            (light.RIM, shade.RIMS, 0.2, 12),
            (light.RIM_LEFT, shade.RIMS + 1, 0.2, 12),
        )
        for lamp, column, spread, count in lamps:
            rays = bake.cone(self.lamps[lamp], spread, count)
            bake.lamp_seen(points, normals, cells, rays, 1.0, values)
            self.attributes[:, column] = bake.smoothed(values, self.triangles, 2)

        for index, holders in self.figure.borrowed.items():
            part = slice(self._starts[index], self._starts[index + 1])
            self.attributes[part, shade.OPEN : shade.LIT + 1] = self.attributes[
                holders, shade.OPEN : shade.LIT + 1
            ]
            self.attributes[part, shade.RIMS : shade.RIMS + 2] = self.attributes[
                holders, shade.RIMS : shade.RIMS + 2
            ]

    def _drop_unseen(self) -> None:
        """Leave out rigid triangles that no pose shows: most of the hair lies under other hair."""
        moving = self._starts[self.figure.num_moving]
        seen = self.triangles.min(axis=1) < moving
        self._soft_triangles, soft = np.zeros((0, 3), np.int32), self._starts[self.figure.num_soft]
        self._soft_triangles = self.triangles[(self.triangles < soft).all(axis=1)]
        rest = self.figure.move(*REST)
        for yaw in (-1.0, -0.5, 0.0, 0.5, 1.0):
            for pitch in (-1.0, 0.0, 1.0):
                for roll in (-1.0, 1.0):
                    self.pose(rest, Stance(yaw, pitch, roll))
                    seen[np.unique(self.owner[self.owner >= 0])] = True
        # and their neighbours, for the poses between
        touched = np.zeros(len(self._rest), bool)
        touched[self.triangles[seen]] = True
        keep = touched[self.triangles].any(axis=1)
        used = np.zeros(len(self._rest), bool)
        used[:moving], used[self.triangles[keep]] = True, True
        place = (np.cumsum(used) - 1).astype(np.int32)
        self.triangles = np.ascontiguousarray(place[self.triangles[keep]])
        for name in ("materials", "gloss", "_two_sided"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[keep]))
        for name in (
            "_rest",
            "_weight",
            "_tangents",
            "_normals",
            "_turns",
            "attributes",
            "_screen",
        ):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[used]))


def rotation(stance: Stance) -> NDArray[np.float64]:
    """Yaw to the picture's right, pitch up, roll clockwise."""
    degrees = [YAW_DEG * stance.yaw, -PITCH_DEG * stance.pitch, -ROLL_DEG * stance.roll]
    y, p, r = np.radians(degrees)
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turn: NDArray[np.float64] = about_z @ about_y @ about_x
    return turn
