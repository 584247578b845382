"""A person made of parts."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # type: ignore[import-untyped]  # scipy has no stubs

from training.portrait import lips
from training.portrait.action import Movement, Pose
from training.portrait.body import ear, skin_body
from training.portrait.clothes import dress
from training.portrait.eyes import eye_rows, eyeball
from training.portrait.face import Face
from training.portrait.fox import fox_field, fox_parts, fur, neck_fur
from training.portrait.hair import grow_hair
from training.portrait.look import Look, linear
from training.portrait.mesh import Material, Mesh
from training.portrait.oral import build_oral
from training.portrait.shape import head_field
from training.portrait.strokes import Lashes, beard, brow
from training.portrait.worn import wear
from training.portrait.wraps import scarf, turban

Floats = NDArray[np.float32]


_INSIDE = np.array([0.45, 0.40, 0.38, 0.36, 0.34, 0.32])
"""Open sky of the rings behind the lips, from the lips in."""
_ON_LIDS = np.array([0.86, 0.74, 0.90, 0.95, 0.95, 0.95, 0.9, 0.7])


class Person:
    """A `Figure`: skin, mouth, eyes and strokes that move; hair, ears and clothes that do not."""

    def __init__(self, look: Look) -> None:
        self.look = look
        field = fox_field(look.head) if look.fur else head_field(look.head)
        face = self.face = Face(field, look.head, look.eyes, look.mouth)
        skin = np.array(linear(look.skin.colour))
        self._oral = build_oral(face.lips)
        self._lashes = [
            Lashes(face.lids[side], look.skin.lashes, (0.012, 0.009, 0.008)) for side in (-1, 1)
        ]
        mesh = Mesh(
            face.rest.astype(np.float32),
            face.triangles,
            Material.SKIN,
            self._skin_colours(skin),
            uv=face.rest[:, :2].astype(np.float32),
        )
        oral = self._oral
        self.meshes = [mesh, oral.upper, oral.lower, oral.tongue]
        self.num_soft = len(self.meshes)
        self._bound = [brow(look.brows, face.field, side, look.seed) for side in (-1, 1)]
        if look.beard:
            self._bound.append(beard(look.beard, look.head, face.field, look.seed))
        if look.fur:
            self._bound = [fur(look.fur, look.head, look.eyes, field, look.seed)]
        # The cells of the baked light are coarse for eye sockets: they come out too dark.
        x, y = np.abs(face.rest[:, 0]) - look.eyes.x, face.rest[:, 1] - look.eyes.y
        self._bright = (0.2 + 0.6 * np.exp(-((x / 2.7) ** 2) - (y / 2.3) ** 2)).astype(np.float32)
        # Nothing grows on lips and lids, which move most.
        bare = np.ones(len(face.rest), bool)
        for ring in (*face.eye_rings.values(), face.mouth_ring):
            bare[ring.inside] = False
        grown = np.flatnonzero(bare)
        tree = cKDTree(face.rest[grown])
        self._holders = [grown[tree.query(mesh.points)[1]] for mesh in self._bound]
        self.meshes += self._bound + [each.mesh for each in self._lashes]
        self.num_moving = len(self.meshes)
        self.borrowed = dict(enumerate(self._holders, start=self.num_soft))
        self.meshes += [eyeball(face.lids[side]) for side in (-1, 1)]
        if look.fur:
            self.meshes += [*fox_parts(look.fur), neck_fur(look.fur, look.body, look.seed)]
        elif look.ears:
            self.meshes += [ear(look.head, side, skin, look.ears) for side in (-1, 1)]
        self.meshes.append(
            skin_body(
                look.body,
                np.array(linear(look.fur.belly)) if look.fur else skin,
                bare=look.clothes.kind == "vneck",
            )
        )
        if look.hair:
            self.meshes.append(grow_hair(look.hair, face.field, look.seed))
        self.meshes += dress(look.clothes, look.body, look.seed)
        self.meshes += wear(look.worn, look.head, look.eyes, face.field)
        if look.worn.turban:
            self.meshes += turban(look.worn.turban)
        if look.worn.scarf:
            self.meshes += scarf(look.worn.scarf, look.body, look.seed)
        self.materials = [np.full(len(m.triangles), m.material, np.int32) for m in self.meshes]
        self.materials[0] = face.materials

    def move(self, pose: Pose, movement: Movement) -> list[Floats]:
        points = self.face.place(pose, movement).astype(np.float32)
        moved = points - self.meshes[0].points
        strokes = [
            mesh.points + moved[holder]
            for mesh, holder in zip(self._bound, self._holders, strict=True)
        ]
        lashes = [
            each.place(points[ring.inside][::-1].astype(np.float64), movement.blink)
            for each, ring in zip(self._lashes, self.face.eye_rings.values(), strict=True)
        ]
        return [points, *self._oral.place(pose), *strokes, *lashes]

    def lit(self, baked: Floats, pose: Pose) -> Floats:
        """Lips and lids open and close; what lies between them is dark or not by formula."""
        light = baked.copy()
        count = len(self.meshes[0].points)
        sky = baked[:count, 0] + self._bright * (1.0 - baked[:count, 0])
        fixed = light[:count, 0]
        fixed[:] = sky
        table = self.face.mouth_ring.inside
        level = np.concatenate([np.linspace(1.0, 0.72, lips.LIP_RINGS) ** 1.5, _INSIDE])
        fixed[table] = np.maximum(sky[table[0]].mean(), 0.6) * level[:, None]
        light[table[lips.LIP_RINGS :], 1] = 0.2
        for ring in self.face.eye_rings.values():
            fixed[ring.inside] = np.maximum(sky[ring.inside], _ON_LIDS[:, None])
        parted = min(1.0, self.face.lips.gap(pose) / 1.0)
        light[count:, 0], light[count:, 1] = 0.50 + 0.30 * parted, 0.35 + 0.35 * parted
        return light

    def eyes(
        self, pose: Pose, movement: Movement, turn: NDArray[np.float64], light: Floats
    ) -> tuple[Floats, Floats]:
        return eye_rows(self.face.lids, self.look.iris, pose, movement, turn, light)

    def _skin_colours(self, skin: NDArray[np.float64]) -> Floats:
        face, look = self.face, self.look.skin
        colours = np.tile(skin, (len(face.rest), 1))
        red = np.array(linear(look.lips))
        table = face.mouth_ring.inside
        upper = np.sin(2 * np.pi * np.arange(lips.NUM_AROUND) / lips.NUM_AROUND) > 0
        # The upper lip is in shade and a little darker.
        tone = np.where(upper[:, None], red * 0.80, red)
        for index, share in zip(table, (0.30, 0.80, 1.0, 1.0, 1.0, 0.95), strict=False):
            colours[index] = skin * (1 - share) + tone * share
        behind = (0.60, 0.40, 0.28, 0.20, 0.17, 0.15)
        for index, shade in zip(table[lips.LIP_RINGS :], behind, strict=True):
            colours[index] = tone * shade * np.array([1.3, 0.75, 0.75])
        dark = skin * 0.10 + np.array([0.015, 0.008, 0.006])
        for ring in face.eye_rings.values():
            half = ring.inside.shape[1] // 2
            wet = skin * np.array([1.02, 0.72, 0.70])
            lined = skin + (dark - skin) * look.liner
            edge, rim, inside = ring.inside[-3], ring.inside[-2], ring.inside[-1]
            t = np.sin(np.pi * np.arange(half + 1) / half)[:, None] ** 0.5
            colours[edge[: half + 1]] = skin + (lined - skin) * t
            colours[rim[: half + 1]] = skin + (lined - skin) * t
            colours[rim[half + 1 :]] = wet
            colours[edge[half + 1 :]] = skin + (dark - skin) * 0.30 * look.liner
            colours[inside] = wet * 0.7
        return colours.astype(np.float32)
