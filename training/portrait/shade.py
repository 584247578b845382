"""The colour of each pixel: light on skin, hair, eyes, cloth and polished things."""

# Compiled functions call none of other files: numba would not notice when those change.

import numpy as np
from numba import njit
from numpy.typing import NDArray

from training.portrait.light import (
    FILL,
    FILL_RGB,
    GROUND,
    KEY,
    KEY_HALF,
    KEY_RGB,
    RIM,
    RIM_LEFT,
    RIM_RGB,
    SKY,
    SUBSURFACE,
)
from training.portrait.mesh import Material

Floats = NDArray[np.float32]

ATTRIBUTES = 15
"""Of a vertex: normal 0-2, colour 3-5, open sky 6, key light 7, uv 8-9, tangent 10-12,
both rim lights 13 and 14."""

NORMAL, COLOUR, OPEN, LIT, UV, TANGENT, RIMS = 0, 3, 6, 7, 8, 10, 13

SKIN, LIP, MOUTH, TOOTH = Material.SKIN, Material.LIP, Material.MOUTH, Material.TOOTH
EYE, HAIR, CLOTH, SMOOTH = Material.EYE, Material.HAIR, Material.CLOTH, Material.SMOOTH
FUR, GLOW, LASH = Material.FUR, Material.GLOW, Material.LASH

SKIN_SPAN = 11.0
"""The skin's texture reaches this far from the middle of the face, in units."""


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _sample(texture: Floats, x: float, y: float, channel: int) -> float:
    """Bilinear, repeated at the edges; x and y in texels, sides powers of two."""
    rows, columns = texture.shape[0] - 1, texture.shape[1] - 1
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    a, b = x0 & columns, (x0 + 1) & columns
    c, d = y0 & rows, (y0 + 1) & rows
    top = texture[c, a, channel] * (1 - fx) + texture[c, b, channel] * fx
    bottom = texture[d, a, channel] * (1 - fx) + texture[d, b, channel] * fx
    return top * (1 - fy) + bottom * fy


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _wrapped(cosine: float, wrap: float) -> float:
    """Diffuse light that reaches a little around the edge of shadow, without a hard end."""
    x = (cosine + wrap) / (1.0 + wrap)
    return x * x * (3.0 - 2.0 * x) * 0.35 + x * 0.65 if x > 0.0 else 0.0


@njit(cache=True, fastmath=True, error_model="numpy")
def shade(
    owner: NDArray[np.int32],
    weights: Floats,
    triangles: NDArray[np.int32],
    materials: NDArray[np.int32],
    gloss: Floats,
    attributes: Floats,
    light: Floats,
    skin: Floats,
    strands: Floats,
    background: Floats,
    view_tilt: float,
    out: Floats,
) -> None:
    """Linear light (H, W, 3) from the visible triangles, over `background`."""
    height, width = owner.shape
    for row in range(height):
        for column in range(width):
            t = owner[row, column]
            if t < 0:
                for ch in range(3):
                    out[row, column, ch] = background[row, column, ch]
                continue
            b, c = weights[row, column, 0], weights[row, column, 1]
            a = 1.0 - b - c
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            p, q, r = attributes[i], attributes[j], attributes[k]
            nx = a * p[0] + b * q[0] + c * r[0]
            ny = a * p[1] + b * q[1] + c * r[1]
            nz = a * p[2] + b * q[2] + c * r[2]
            scale = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            # towards the camera, which stands before the middle of the picture
            vx, vy = (0.5 * width - column) * view_tilt, (row - 0.5 * height) * view_tilt
            turned = nx * vx + ny * vy + nz
            if turned < 0.0:
                scale = -scale
            nx, ny, nz = nx * scale, ny * scale, nz * scale
            facing = min(max(nx * vx + ny * vy + nz, 0.0), 1.0)
            red = a * p[3] + b * q[3] + c * r[3]
            green = a * p[4] + b * q[4] + c * r[4]
            blue = a * p[5] + b * q[5] + c * r[5]
            # weights may miss 0 by rounding, and roots are taken of these
            sky_seen = max(a * p[6] + b * q[6] + c * r[6], 0.0)
            lit = max(a * p[7] + b * q[7] + c * r[7], 0.0)
            u, v = a * p[8] + b * q[8] + c * r[8], a * p[9] + b * q[9] + c * r[9]
            kind = materials[t]
            if kind == EYE:  # `eyes.shade_eyes` paints them
                continue
            if kind == GLOW:
                out[row, column, 0], out[row, column, 1], out[row, column, 2] = red, green, blue
                continue
            key = nx * light[KEY, 0] + ny * light[KEY, 1] + nz * light[KEY, 2]
            fill = nx * light[FILL, 0] + ny * light[FILL, 1] + nz * light[FILL, 2]
            rim_a = nx * light[RIM, 0] + ny * light[RIM, 1] + nz * light[RIM, 2]
            rim_b = nx * light[RIM_LEFT, 0] + ny * light[RIM_LEFT, 1] + nz * light[RIM_LEFT, 2]
            up = 0.5 + 0.5 * ny
            shine_r, shine_g, shine_b = 0.0, 0.0, 0.0
            edge = 1.0 - facing
            edge3 = edge * edge * edge
            seen_a = a * p[13] + b * q[13] + c * r[13]
            seen_b = a * p[14] + b * q[14] + c * r[14]
            grazing = edge3
            rim_light = (
                max(rim_a + 0.15, 0.0) * seen_a + 0.7 * max(rim_b + 0.15, 0.0) * seen_b
            ) * grazing
            half = nx * light[KEY_HALF, 0] + ny * light[KEY_HALF, 1] + nz * light[KEY_HALF, 2]
            wrap_r, wrap_g, wrap_b = 0.2, 0.2, 0.2
            open_r = open_g = open_b = sky_seen
            if kind == SKIN or kind == LIP or kind == MOUTH:
                wrap_r, wrap_g, wrap_b = (
                    light[SUBSURFACE, 0],
                    light[SUBSURFACE, 1],
                    light[SUBSURFACE, 2],
                )
                # light leaks into folds red: a fold in skin is never grey
                root = np.sqrt(sky_seen)
                open_r = sky_seen * 0.5 + 0.5 * root
                open_g = sky_seen * (0.7 + 0.3 * root)
                open_b = open_g
                oil = 1.0
                if kind == SKIN:
                    tx = (u / SKIN_SPAN * 0.5 + 0.5) * skin.shape[1]
                    ty = (0.5 - v / SKIN_SPAN * 0.5) * skin.shape[0]
                    red *= _sample(skin, tx, ty, 0)
                    green *= _sample(skin, tx, ty, 1)
                    blue *= _sample(skin, tx, ty, 2)
                    oil = _sample(skin, tx, ty, 3)
                broad = max(half, 0.0) ** 14
                sharp = max(half, 0.0) ** 46
                if kind == SKIN:
                    s = (0.028 * broad + 0.10 * sharp) * oil
                elif kind == LIP:
                    s = 0.05 * broad + 0.30 * max(half, 0.0) ** 70
                else:
                    s = 0.04 * broad + 0.25 * max(half, 0.0) ** 90
                s *= lit * sky_seen
                s += 0.035 * edge3 * sky_seen * oil
                shine_r, shine_g, shine_b = s, s, s
                rim_light *= 0.9
            elif kind == HAIR or kind == FUR or kind == LASH:
                tx = a * p[10] + b * q[10] + c * r[10]
                ty = a * p[11] + b * q[11] + c * r[11]
                tz = a * p[12] + b * q[12] + c * r[12]
                length = 1.0 / np.sqrt(tx * tx + ty * ty + tz * tz + 1e-12)
                tx, ty, tz = tx * length, ty * length, tz * length
                grain = _sample(strands, u * strands.shape[1], v * strands.shape[0] * 0.25, 0)
                tone = 1.0 + gloss[t] * (grain - 0.5)
                red, green, blue = red * tone, green * tone, blue * tone
                shift = 0.10 * (grain - 0.5)
                along = tx * light[KEY_HALF, 0] + ty * light[KEY_HALF, 1] + tz * light[KEY_HALF, 2]
                first = max(1.0 - (along + shift - 0.08) ** 2, 0.0) ** 28
                second = max(1.0 - (along + shift + 0.12) ** 2, 0.0) ** 9
                gate = min(max(0.25 + 0.9 * key, 0.0), 1.0) * lit * sky_seen
                if kind == FUR:
                    first, second = 0.25 * first, 0.4 * second
                if kind == LASH:
                    first, second = 0.1 * first, 0.1 * second
                shine_r = gate * (0.055 * first + 0.55 * second * red)
                shine_g = gate * (0.051 * first + 0.55 * second * green)
                shine_b = gate * (0.046 * first + 0.55 * second * blue)
                wrap_r, wrap_g, wrap_b = 0.45, 0.38, 0.32
                rim_light *= 0.75
            elif kind == CLOTH:
                rim_light *= 0.35
                grain = _sample(strands, u * strands.shape[1], v * strands.shape[0], 1)
                tone = 1.0 + gloss[t] * (grain - 0.5)
                red, green, blue = red * tone, green * tone, blue * tone
                s = 0.10 * edge3 * sky_seen
                shine_r, shine_g, shine_b = s * (0.3 + red), s * (0.3 + green), s * (0.3 + blue)
                wrap_r, wrap_g, wrap_b = 0.28, 0.28, 0.28
            elif kind == TOOTH:
                s = 0.22 * max(half, 0.0) ** 60 * sky_seen
                shine_r, shine_g, shine_b = s, s, s
                wrap_r, wrap_g, wrap_b = 0.7, 0.62, 0.55
            else:
                polish = gloss[t]
                s = polish * (0.9 * max(half, 0.0) ** (20.0 + 140.0 * polish) * lit)
                s += (0.04 + 0.30 * polish) * edge3 * edge * (0.4 + 0.6 * up) * sky_seen
                s += 0.10 * polish * max(fill, 0.0) ** 12
                shine_r, shine_g, shine_b = s, s, s
            key_r, key_g, key_b = (
                _wrapped(key, wrap_r),
                _wrapped(key, wrap_g),
                _wrapped(key, wrap_b),
            )
            lit_r = lit
            lit_g, lit_b = lit, lit
            if kind == SKIN or kind == LIP:
                root = np.sqrt(lit)
                lit_r = 0.55 * lit + 0.45 * root
                lit_g = lit_b = lit * (0.7 + 0.3 * root)
            soft = _wrapped(fill, 0.5)
            red = red * (
                light[KEY_RGB, 0] * key_r * lit_r
                + open_r
                * (light[FILL_RGB, 0] * soft + light[SKY, 0] * up + light[GROUND, 0] * (1 - up))
            )
            green = green * (
                light[KEY_RGB, 1] * key_g * lit_g
                + open_g
                * (light[FILL_RGB, 1] * soft + light[SKY, 1] * up + light[GROUND, 1] * (1 - up))
            )
            blue = blue * (
                light[KEY_RGB, 2] * key_b * lit_b
                + open_b
                * (light[FILL_RGB, 2] * soft + light[SKY, 2] * up + light[GROUND, 2] * (1 - up))
            )
            glow_r = glow_g = glow_b = rim_light
            if (
                kind == HAIR or kind == FUR or kind == CLOTH
            ):  # light takes the colour it shines through
                glow_r, glow_g, glow_b = (
                    rim_light * (0.25 + 1.5 * red),
                    rim_light * (0.25 + 1.5 * green),
                    rim_light * (0.25 + 1.5 * blue),
                )
            red += shine_r * light[KEY_RGB, 0] + glow_r * light[RIM_RGB, 0]
            green += shine_g * light[KEY_RGB, 1] + glow_g * light[RIM_RGB, 1]
            blue += shine_b * light[KEY_RGB, 2] + glow_b * light[RIM_RGB, 2]
            out[row, column, 0], out[row, column, 1], out[row, column, 2] = red, green, blue
