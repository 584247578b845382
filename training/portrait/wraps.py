"""Cloth wound around a head: turban and scarf."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.body import BodyShape, around, body_field
from training.portrait.garment import inflated, loft
from training.portrait.mesh import Mesh
from training.portrait.sdf import Distances, Field, Points, cast, ellipsoid, join
from training.portrait.shape import CENTRE
from training.portrait.topology import from_plane

Floats = NDArray[np.float64]


def _from_centre(field: Field, azimuth: Floats, rise: Floats) -> Points:
    out = np.stack(
        [np.sin(azimuth) * np.cos(rise), np.sin(rise), np.cos(azimuth) * np.cos(rise)], 1
    )
    return cast(field, np.broadcast_to(CENTRE, out.shape), out, 24.0)


def turban(colour: str) -> list[Mesh]:
    """Bands that cross over the forehead, each lying on the one before."""

    def form(p: Points) -> Distances:
        d = ellipsoid(p, (0.0, 6.4, -1.8), (7.5, 5.6, 8.2))
        return join(d, ellipsoid(p, (0.0, 1.0, -1.0), (7.1, 6.0, 7.7)), 2.0)

    azimuth = np.linspace(-2.4, 2.4, 110)
    bands: list[Mesh] = []
    layers = 6
    for layer in range(layers):
        share = layer / (layers - 1)
        for side in (-1.0, 1.0):
            # the first pair crosses highest; each later one lies over it, lower and flatter
            middle = 1.32 - 0.50 * share
            rise = middle + side * (0.30 - 0.10 * share) * np.tanh(1.3 * azimuth)
            rise = rise - 0.32 * np.clip(np.abs(azimuth) - 0.75, 0, None) * (0.5 + 0.5 * share)
            width = 0.165 + 0.015 * np.sin(3 * azimuth + layer)
            height = 0.15 + 0.17 * layer + (0.085 if side > 0 else 0.0)
            curves = []
            for t in np.linspace(-1, 1, 15):
                pleat = 0.07 * np.cos(4.5 * np.pi * t + 0.9 * azimuth + layer)
                bulge = height + 0.34 * (1 - t**4) + pleat * (1 - t * t)
                base = _from_centre(form, azimuth, np.clip(rise - t * width, -0.3, 1.56))
                out = base - CENTRE
                curves.append(
                    base + out / np.linalg.norm(out, axis=1, keepdims=True) * bulge[:, None]
                )
            band = loft(curves, colour, knit=0.16, head_weight=1.0)
            # folds are darker at their edges, finer than the baked light can show
            shade = np.repeat(1.0 - 0.45 * np.linspace(-1, 1, 15) ** 6, len(azimuth))
            band.colour *= shade[:, None].astype(np.float32)
            bands.append(band)
    a, r = np.meshgrid(np.linspace(-np.pi, np.pi, 60), np.linspace(1.57, 0.5, 14))
    dome = _from_centre(form, a.ravel(), r.ravel()).reshape(14, 60, 3)
    return [*bands, loft(dome, colour, knit=0.16, head_weight=1.0)]


def scarf(colour: str, body: BodyShape, seed: int) -> list[Mesh]:
    """A scarf that frames the face and lies in folds on neck and shoulders."""
    rng = np.random.default_rng([seed, 4])

    def form(p: Points) -> Distances:
        d = ellipsoid(p, (0.0, 1.6, -0.9), (8.2, 10.2, 9.4))
        d = join(d, ellipsoid(p, (0.0, -4.0, -0.3), (7.8, 8.2, 8.6)), 3.0)
        return join(d, ellipsoid(p, (0.0, -12.0, -1.0), (6.6, 5.5, 5.8)), 3.0)

    turn = np.linspace(0, 2 * np.pi, 120)
    # the opening, as seen from the head's centre: an egg around the face
    wide, high = 0.80, np.where(np.sin(turn) > 0, 0.86, 1.0)
    edge = np.stack([wide * np.cos(turn) * (1 + 0.06 * np.sin(turn)), high * np.sin(turn)], 1)
    curves = []
    phases = rng.uniform(0, 6, 4)
    for t in (-0.05, *np.linspace(0.0, 1.3, 64)):
        radius = np.linalg.norm(edge, axis=1)
        plane = edge * ((radius + t * 1.25) / radius)[:, None]
        plane *= np.minimum(1.0, 2.5 / np.linalg.norm(plane, axis=1))[:, None]
        base = cast(form, np.broadcast_to(CENTRE, (120, 3)), from_plane(plane), 24.0)
        out = base - CENTRE
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        # folds run along the edge and loosen away from it
        low = 0.35 + 0.65 * np.clip(0.4 - np.sin(turn), 0, 1)
        fold = 0.20 * np.sin(21 * t + 1.6 * np.cos(turn) + phases[0]) * np.clip(6 * t, 0, 1) * low
        fold = (
            fold
            + 0.09 * np.sin(40 * t - 2.2 * np.sin(turn) + phases[1]) * np.clip(4 * t, 0, 1) * low
        )
        lip = 0.22 * np.exp(-(((t - 0.03) / 0.05) ** 2)) - (1.3 if t < 0 else 0.0)
        curves.append(base + out * (fold + lip)[:, None])
    hood = loft(curves, colour, knit=0.12, head_weight=1.0)
    hood.head_weight = np.clip((hood.points[:, 1] + 17.0) / 8.0, 0.0, 1.0).astype(np.float32)
    return [hood, *_drape(colour, body, form, phases)]


def _drape(colour: str, body: BodyShape, form: Field, phases: Floats) -> list[Mesh]:
    shoulders = body_field(body)

    def under(p: Points) -> Distances:
        return join(form(p) - 0.1, shoulders(p) - 1.0, 3.0)

    angle = np.linspace(-2.7, 2.7, 170)
    out = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    sheets = []
    layers = ((-11.0, -21.5, 0.15, 0.12), (-10.2, -17.2, 0.75, -0.16))
    for layer, (top, bottom, grow, lean) in enumerate(layers):
        curves = []
        for t in np.linspace(0, 1, 48):
            y = top + (bottom - top) * t + lean * 10 * np.sin(angle) * (0.3 + t)
            y = y - 1.5 * np.exp(-((angle / 0.7) ** 2)) * t
            swag = np.sin(13 * t + 1.6 * np.cos(angle + phases[2 + layer]) + 2.0 * np.sin(angle))
            relief = 0.28 * swag * np.sin(np.pi * min(1.0, t * 1.15))
            edge = -1.0 * max(0.0, 1 - t / 0.08) - 0.5 * max(0.0, (t - 0.95) / 0.05)
            base = around(inflated(under, grow), angle, y)
            curves.append(base + out * (relief + edge)[:, None])
        sheet = loft(curves, colour, knit=0.12)
        follow = 0.55 * np.clip((sheet.points[:, 1] + 16.0) / 6.0, 0.0, 1.0)
        sheet.head_weight = follow.astype(np.float32)
        sheets.append(sheet)
    return sheets
