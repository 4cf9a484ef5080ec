"""Renders the empty lobby by casting one ray per subpixel: floor, walls, corridor, daylight."""

from __future__ import annotations

import cv2
import numpy as np

from framewatch.samples.camera import Camera

SUPERSAMPLE = 3
BACK_Y_M = 10.5
SIDE_X_M = 4.6
CORRIDOR_X_M = (-1.95, -0.55)
CORRIDOR_Z_M = 2.2
_CORRIDOR_END_Y_M = 14.0
_TILE_M = 0.6


def _checker_noise(u: np.ndarray, v: np.ndarray, salt: int) -> np.ndarray:
    """Return a number in [0, 1) for each tile (floor(u), floor(v)), equal on every machine."""
    i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    mixed = (i * 374761393 + j * 668265263 + salt * 1442695041) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65536.0


def _marble(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return soft veins with values in about [-1, 1]."""
    warp = np.sin(x * 1.9 + 1.3 * np.sin(y * 2.3)) + 0.6 * np.sin(y * 5.1 + 2.0 * np.sin(x * 3.7))
    return np.sin(3.0 * warp + 2.1 * x - 1.7 * y) * 0.6 + 0.4 * np.sin(9.0 * x + 4.0 * warp)


def _floor(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u, v = x / _TILE_M, y / _TILE_M
    light_tile = (np.floor(u) + np.floor(v)) % 2 == 0
    colour = np.where(light_tile[..., None], (176, 188, 196), (152, 165, 175)).astype(np.float32)
    # Each stone has its own veins and tint.
    own = _checker_noise(u, v, 1)
    colour *= (0.955 + 0.09 * own + 0.022 * _marble(x + 17 * own, y - 9 * own))[..., None]
    band = (np.abs(np.abs(x) - 2.7) < 0.15) & (np.abs(y - 7.2) < 2.55)
    band |= (np.abs(np.abs(y - 7.2) - 2.4) < 0.15) & (np.abs(x) < 2.85)
    colour[band] = colour[band] * (0.56, 0.55, 0.55) + (6, 4, 4)
    edge = np.minimum(np.minimum(u % 1, 1 - u % 1), np.minimum(v % 1, 1 - v % 1)) * _TILE_M
    colour *= np.clip(0.80 + edge * 16, 0, 1)[..., None]
    return colour


def _paint(colour: np.ndarray, where: np.ndarray, bgr: tuple[float, float, float]) -> None:
    colour[where] = bgr


def _back_wall(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = (196, 205, 209)
    colour *= (0.90 + 0.04 * z + 0.035 * np.sin(x * 1.7 + 1))[..., None]
    _paint(colour, z < 0.95, (126, 142, 152))
    _paint(colour, np.abs(z - 0.95) < 0.03, (92, 106, 118))
    _paint(colour, z < 0.12, (62, 70, 80))
    _window(colour, x, z)
    _lift(colour, x, z)
    _reception_panel(colour, x, z)
    left, right = CORRIDOR_X_M
    frame = (x > left - 0.09) & (x < right + 0.09) & (z < CORRIDOR_Z_M + 0.09)
    _paint(colour, frame, (70, 84, 98))
    sign = (np.abs(x - (left + right) / 2) < 0.38) & (np.abs(z - 2.46) < 0.11)
    _paint(colour, sign, (74, 128, 52))
    _paint(
        colour, sign & (np.abs(x - (left + right) / 2) < 0.22) & (np.abs(z - 2.46) < 0.035), (225, 238, 228)
    )
    return colour


def _window(colour: np.ndarray, x: np.ndarray, z: np.ndarray) -> None:
    """Render a window to the street: sky, a row of houses, trees."""
    glass = (x > -4.4) & (x < -2.5) & (z > 1.05) & (z < 2.75)
    sky = np.stack([238 - 8 * (2.75 - z), 226 - 10 * (2.75 - z), 208 - 6 * (2.75 - z)], axis=-1)
    colour[glass] = sky[glass]
    roof = 1.75 + 0.22 * np.floor(2 * np.sin(np.floor(x * 3.1) * 2.7)) / 2
    houses = glass & (z < roof)
    colour[houses] = np.stack([150 + 18 * np.sin(np.floor(x * 3.1)), 0 * x + 158, 0 * x + 168], axis=-1)[
        houses
    ]
    trees = glass & (z < 1.42 + 0.1 * np.sin(x * 9) + 0.05 * np.sin(x * 23))
    _paint(colour, trees, (92, 128, 108))
    bars = (np.abs((x + 4.4) % 0.633) < 0.045) | (np.abs(z - 2.2) < 0.03) | (z < 1.10) | (x > -2.56)
    _paint(colour, glass & bars, (214, 219, 222))


def _lift(colour: np.ndarray, x: np.ndarray, z: np.ndarray) -> None:
    frame = (np.abs(x - 0.85) < 0.62) & (z < 2.22)
    _paint(colour, frame, (96, 100, 104))
    doors = (np.abs(x - 0.85) < 0.54) & (z < 2.14)
    brushed = 158 + 16 * np.sin(x * 5.5 + 1.0) + 4 * np.sin(z * 40)
    colour[doors] = np.stack([brushed + 4, brushed, brushed - 4], axis=-1)[doors]
    _paint(colour, doors & (np.abs(x - 0.85) < 0.012), (70, 72, 75))
    _paint(colour, (np.abs(x - 1.58) < 0.035) & (np.abs(z - 1.15) < 0.08), (80, 160, 235))
    _paint(colour, (np.abs(x - 0.85) < 0.16) & (np.abs(z - 2.36) < 0.055), (40, 44, 120))


def _reception_panel(colour: np.ndarray, x: np.ndarray, z: np.ndarray) -> None:
    """Render the back wall: oak slats, a lit sign behind the desk, and a screen."""
    panel = (x > 1.95) & (x < 4.35) & (z < 2.8)
    oak = 0.90 + 0.10 * _checker_noise(x / 0.12, z * 0, 3) - 0.28 * ((x / 0.12) % 1 < 0.12)
    colour[panel] = (oak[..., None] * np.array([86, 124, 158]))[panel]
    screen = (np.abs(x - 3.55) < 0.52) & (np.abs(z - 1.95) < 0.31)
    _paint(colour, screen, (46, 42, 40))
    lit = (np.abs(x - 3.55) < 0.48) & (np.abs(z - 1.95) < 0.27)
    glow = np.stack([190 - 40 * np.sin(z * 4), 150 + 30 * np.sin(x * 3), 96 + 30 * np.sin(x * 5)], axis=-1)
    colour[lit] = glow[lit]
    _paint(colour, lit & (np.abs((z - 1.95) % 0.13) < 0.035) & (x < 3.6), (236, 232, 226))
    ring = np.hypot(x - 2.5, z - 2.0)
    _paint(colour, (ring > 0.17) & (ring < 0.235), (226, 236, 240))
    _paint(colour, (ring < 0.10), (226, 236, 240))


def _side_wall(y: np.ndarray, z: np.ndarray, shade: float) -> np.ndarray:
    colour = np.empty((*y.shape, 3), np.float32)
    colour[:] = (186, 196, 202)
    _paint(colour, z < 0.95, (126, 142, 152))
    _paint(colour, np.abs(z - 0.95) < 0.03, (92, 106, 118))
    _paint(colour, z < 0.12, (62, 70, 80))
    picture = (np.abs(y - 9.0) < 0.5) & (np.abs(z - 1.75) < 0.38)
    _paint(colour, picture, (60, 78, 96))
    art = (np.abs(y - 9.0) < 0.44) & (np.abs(z - 1.75) < 0.33)
    blot = np.stack(
        [150 + 50 * np.sin(y * 7), 140 + 40 * np.sin(z * 9 + y), 170 + 40 * np.sin(y * 4 - z * 6)], -1
    )
    colour[art] = blot[art]
    return colour * shade


def _corridor(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = (118, 128, 134)
    _paint(colour, z < 0.95, (84, 95, 104))
    _paint(colour, (np.abs(x + 2.0) < 0.42) & (z < 2.0), (74, 92, 112))
    return colour


def _hit(position: float | np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the distance along each ray to a plane; infinite if the ray points away from it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = position / direction
    return np.where(distance > 0, distance, np.inf)


def _reflect(camera: Camera, rays: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the reflection of the back wall in the polished floor, and its strength."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = (BACK_Y_M - y) / rays[..., 1]
    wall = _back_wall(x + rays[..., 0] * rise, np.clip(-rays[..., 2] * rise, 0, 3.2))
    # Stone is not a perfect mirror, so distant reflections are blurred.
    wall = cv2.GaussianBlur(wall, (0, 0), sigmaX=5, sigmaY=16)
    slant = -rays[..., 2] / np.linalg.norm(rays, axis=-1)
    return wall, 0.06 + 0.42 * (1 - slant) ** 3


def _daylight(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the light on the floor: sun through tall windows outside the picture, brighter on the left."""
    slanted = x + 0.55 * (y - 6.0)
    stripe = (np.abs((slanted + 3.4) % 1.15 - 0.5) < 0.36) & (slanted > -3.4) & (slanted < 0.05)
    patch = stripe & (y > 5.0) & (y < 8.6) & (np.abs((y - 5.0) % 1.8 - 0.05) > 0.10)
    soft = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 5)
    return 1.0 + 0.13 * soft - 0.018 * x


def shell(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Paint the empty lobby.

    Returns:
        The picture, float32 BGR of shape (HEIGHT * SUPERSAMPLE, WIDTH * SUPERSAMPLE, 3), and a bool mask of
        the same height and width where the back wall hides the corridor.
    """
    rays = camera.rays(SUPERSAMPLE)
    dx, dy, dz = rays[..., 0], rays[..., 1], rays[..., 2]
    to_floor = _hit(-camera.height_m, dz)
    to_back = _hit(BACK_Y_M, dy)
    to_side = _hit(np.where(dx < 0, -SIDE_X_M, SIDE_X_M), dx)
    nearest = np.minimum(np.minimum(to_floor, to_back), to_side)
    x, y, z = dx * nearest, dy * nearest, camera.height_m + dz * nearest

    picture = _side_wall(y, z, 0.93)
    on_floor = to_floor <= nearest
    mirrored, strength = _reflect(camera, rays, x, y)
    floor = _floor(x, y) * _daylight(x, y)[..., None]
    floor = floor * (1 - strength[..., None]) + mirrored * strength[..., None]
    near_wall = np.minimum(np.abs(BACK_Y_M - y), np.abs(SIDE_X_M - np.abs(x)))
    floor *= np.clip(0.78 + near_wall * 0.5, 0, 1)[..., None]
    picture[on_floor] = floor[on_floor]
    on_back = to_back <= nearest
    opening = on_back & (x > CORRIDOR_X_M[0]) & (x < CORRIDOR_X_M[1]) & (z < CORRIDOR_Z_M)
    picture[on_back] = _back_wall(x, z)[on_back]

    beyond = np.minimum(to_floor, _hit(_CORRIDOR_END_Y_M, dy))
    bx, by, bz = dx * beyond, dy * beyond, camera.height_m + dz * beyond
    corridor = np.where((to_floor <= beyond)[..., None], _floor(bx, by) * 0.62, _corridor(bx, bz))
    picture[opening] = corridor[opening]
    return picture.astype(np.float32), on_back & ~opening
