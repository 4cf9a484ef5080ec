"""Paints the furniture of the lobby from far to near, with masks that hide people behind it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from framewatch.samples.camera import HEIGHT, WIDTH, Camera
from framewatch.samples.room import BACK_Y_M, SUPERSAMPLE, shell

_SHIFT = 4

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Occluder:
    """Part of the background that hides people who are farther away than `y_m`.

    `alpha` is float32 of shape (rows, columns, 1) for the rectangle whose first pixel is (`row`, `column`).
    """

    y_m: float
    row: int
    column: int
    alpha: np.ndarray


@dataclass(frozen=True)
class Scene:
    """The empty lobby: a uint8 BGR picture, (HEIGHT, WIDTH, 3), and its occluders from far to near."""

    background: np.ndarray
    occluders: tuple[Occluder, ...]


class _Painter:
    """Draws shaded polygons, given in metres, on the supersampled picture."""

    def __init__(self, picture: np.ndarray, camera: Camera) -> None:
        self.picture = picture
        self._camera = camera

    def pixels(self, points: object) -> np.ndarray:
        pixels, _ = self._camera.project(np.asarray(points, dtype=np.float64))
        return np.round(pixels * SUPERSAMPLE * (1 << _SHIFT)).astype(np.int32)

    def polygon(self, points: object, colour: Colour) -> None:
        cv2.fillPoly(self.picture, [self.pixels(points)], colour, shift=_SHIFT)

    def line(self, points: object, colour: Colour, width_m: float) -> None:
        pixels, scale = self._camera.project(np.asarray(points, dtype=np.float64))
        thickness = max(1, round(width_m * float(scale.mean()) * SUPERSAMPLE))
        scaled = np.round(pixels * SUPERSAMPLE * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(self.picture, [scaled], False, colour, thickness, shift=_SHIFT)

    def box(
        self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], bgr: Colour
    ) -> None:
        """Draw a box that is lit from above and from the left."""
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        if x1 < 0:
            side = [(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)]
            self.polygon(side, _shade(bgr, 0.74))
        if x0 > 0:
            side = [(x0, y0, z0), (x0, y1, z0), (x0, y1, z1), (x0, y0, z1)]
            self.polygon(side, _shade(bgr, 1.04))
        self.polygon([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], _shade(bgr, 0.88))
        self.polygon([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], _shade(bgr, 1.16))

    def shadow(self, points: object, strength: float, softness_m: float = 0.16) -> None:
        """Darken the floor softly under a polygon of floor points."""
        pixels, scale = self._camera.project(np.asarray(points, dtype=np.float64))
        mask = np.zeros(self.picture.shape[:2], np.float32)
        cv2.fillPoly(mask, [np.round(pixels * SUPERSAMPLE).astype(np.int32)], 1.0)
        sigma = softness_m * float(scale.mean()) * SUPERSAMPLE
        mask = cv2.GaussianBlur(mask, (0, 0), sigmaX=sigma, sigmaY=0.6 * sigma)
        self.picture *= (1 - strength * mask)[..., None]

    def floor_rectangle(self, x: tuple[float, float], y: tuple[float, float], grow: float = 0.0) -> list:
        (x0, x1), (y0, y1) = x, y
        return [
            (x0 - grow, y0 - grow, 0),
            (x1 + grow, y0 - grow, 0),
            (x1 + grow, y1 + grow, 0),
            (x0 - grow, y1 + grow, 0),
        ]


def _shade(colour: Colour, gain: float) -> Colour:
    blue, green, red = (min(255.0, channel * gain) for channel in colour)
    return blue, green, red


def _mat(paint: _Painter) -> None:
    for grow, colour in ((0.0, (74, 66, 62)), (-0.07, (98, 86, 78)), (-0.11, (74, 66, 62))):
        paint.polygon(paint.floor_rectangle((-1.95, -0.55), (9.2, 10.3), grow), colour)


def _desk(paint: _Painter) -> None:
    x, y = (1.75, 3.95), (8.45, 9.15)
    paint.box((2.95, 3.4), (9.0, 9.06), (1.1, 1.5), (52, 50, 48))
    paint.box(x, y, (0.0, 1.04), (84, 118, 150))
    for left in np.arange(x[0] + 0.1, x[1] - 0.05, 0.2):
        paint.polygon(
            [(left, y[0], 0.12), (left + 0.03, y[0], 0.12), (left + 0.03, y[0], 1.0), (left, y[0], 1.0)],
            (58, 84, 110),
        )
    paint.polygon([(x[0], y[0], 0), (x[1], y[0], 0), (x[1], y[0], 0.1), (x[0], y[0], 0.1)], (48, 52, 58))
    paint.box((x[0] - 0.06, x[1] + 0.06), (y[0] - 0.08, y[1]), (1.04, 1.11), (206, 212, 216))
    paint.box((2.0, 2.22), (8.6, 8.9), (1.11, 1.14), (236, 238, 240))
    paint.line([(2.55, 8.75, 1.11), (2.55, 8.75, 1.42)], (60, 62, 66), 0.03)
    paint.polygon(
        [(2.42, 8.75, 1.40), (2.68, 8.75, 1.40), (2.62, 8.75, 1.54), (2.48, 8.75, 1.54)], (150, 214, 240)
    )


def _sofa(paint: _Painter) -> None:
    colour = (112, 84, 62)
    paint.box((-4.05, -2.35), (9.35, 9.6), (0.0, 0.86), _shade(colour, 0.92))
    paint.box((-4.05, -2.35), (8.75, 9.4), (0.10, 0.44), colour)
    for middle in (-3.48, -2.92):
        paint.line(
            [(middle, 8.75, 0.12), (middle, 8.75, 0.44), (middle, 9.35, 0.44)], _shade(colour, 0.62), 0.02
        )
    paint.box((-4.2, -4.03), (8.7, 9.6), (0.0, 0.62), _shade(colour, 0.9))
    paint.box((-2.37, -2.2), (8.7, 9.6), (0.0, 0.62), _shade(colour, 0.9))


def _pillar(paint: _Painter, x_m: float, y_m: float, radius_m: float = 0.26) -> None:
    """Draw a round column of vertical strips from light to dark."""
    angles = np.linspace(np.pi, 2 * np.pi, 25)
    for start, end in itertools.pairwise(angles):
        strip = [
            (x_m + radius_m * np.cos(a), y_m + radius_m * np.sin(a), z)
            for a, z in ((start, 0.0), (end, 0.0), (end, 4.2), (start, 4.2))
        ]
        gain = 0.70 + 0.36 * max(0.0, np.cos((start + end) / 2 - 1.25 * np.pi))
        paint.polygon(strip, _shade((200, 208, 212), gain))
        foot = [(px, py, min(z, 0.16)) for px, py, z in strip]
        paint.polygon(foot, _shade((84, 92, 100), gain))


def _plant(paint: _Painter, x_m: float, y_m: float, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rim = [
        (x_m + 0.2 * size * np.cos(a), y_m + 0.2 * size * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24)
    ]
    base = [
        (x_m + 0.14 * size * np.cos(a), y_m + 0.14 * size * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24)
    ]
    for band, gain in ((0, 0.85), (1, 1.05)):
        body = [(px + 0.03 * band * -size, py, 0.0) for px, py in base] + [
            (px, py, 0.42 * size) for px, py in rim
        ]
        hull = cv2.convexHull(paint.pixels(body))
        if band == 0:
            cv2.fillConvexPoly(paint.picture, hull, _shade((120, 132, 146), gain), shift=_SHIFT)
    paint.polygon([(px, py, 0.42 * size) for px, py in rim], (44, 56, 70))
    for _ in range(46):
        turn, reach, lift = (
            rng.uniform(0, 2 * np.pi),
            rng.uniform(0.22, 0.62) * size,
            rng.uniform(0.15, 0.95) * size,
        )
        tip = np.array([x_m + reach * np.cos(turn), y_m + reach * np.sin(turn), 0.45 * size + lift])
        root = np.array([x_m, y_m, 0.42 * size])
        middle = (root + tip) / 2 + (0, 0, 0.22 * size)
        across = 0.055 * size * np.array([-np.sin(turn), np.cos(turn), 0.35])
        shade = rng.uniform(0.55, 1.15) + 0.15 * (np.cos(turn) < 0)
        paint.polygon([root, middle - across, tip, middle + across], _shade((62, 116, 78), shade))


def _kiosk(paint: _Painter) -> None:
    paint.box((-0.30, 0.04), (9.72, 9.95), (0.0, 0.06), (70, 72, 76))
    paint.box((-0.26, 0.0), (9.8, 9.9), (0.06, 1.62), (64, 60, 58))
    paint.polygon(
        [(-0.23, 9.79, 0.85), (-0.03, 9.79, 0.85), (-0.03, 9.79, 1.56), (-0.23, 9.79, 1.56)], (222, 190, 120)
    )
    paint.polygon(
        [(-0.21, 9.79, 1.25), (-0.05, 9.79, 1.25), (-0.05, 9.79, 1.5), (-0.21, 9.79, 1.5)], (240, 232, 214)
    )


def _rack(paint: _Painter) -> None:
    """Draw a rack of brochures, seen from the readers' side."""
    rng = np.random.default_rng(7)
    x0, x1, y0 = 2.35, 3.15, 6.95
    paint.box((x0, x1), (y0, y0 + 0.2), (0.0, 1.35), (150, 156, 160))
    for shelf in (0.35, 0.68, 1.01):
        for left in np.arange(x0 + 0.06, x1 - 0.1, 0.18):
            corners = [(left, shelf), (left + 0.14, shelf), (left + 0.14, shelf + 0.25), (left, shelf + 0.25)]
            colour = tuple(
                float(c) for c in rng.choice([(70, 90, 190), (190, 130, 60), (80, 160, 90), (60, 170, 210)])
            )
            paint.polygon([(px, y0 - 0.01, pz) for px, pz in corners], _shade(colour, 0.95))  # type: ignore[arg-type]


def _bin(paint: _Painter, x_m: float, y_m: float) -> None:
    ring = [(x_m + 0.17 * np.cos(a), y_m + 0.17 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 20)]
    body = [(px, py, z) for z in (0.0, 0.62) for px, py in ring]
    cv2.fillConvexPoly(paint.picture, cv2.convexHull(paint.pixels(body)), (112, 110, 106), shift=_SHIFT)
    paint.polygon([(px, py, 0.62) for px, py in ring], (150, 148, 144))
    paint.polygon([(x_m + 0.6 * (px - x_m), y_m + 0.6 * (py - y_m), 0.62) for px, py in ring], (48, 48, 48))


# Name, depth of the foot, shadow on the floor (x, y), and paint function of each piece, from far to near.
_FURNITURE = (
    (9.9, ((-0.28, 0.12), (9.75, 9.98)), _kiosk),
    (9.85, ((1.42, 1.85), (9.6, 10.1)), lambda paint: _plant(paint, 1.6, 9.85, 0.95, 3)),
    (9.6, ((-4.2, -2.1), (8.7, 9.7)), _sofa),
    (9.1, ((1.7, 4.3), (8.35, 9.3)), _desk),
    (7.25, ((-3.6, -2.9), (7.0, 7.5)), lambda paint: _pillar(paint, -3.35, 7.25)),
    (7.2, ((2.3, 3.4), (6.85, 7.2)), _rack),
    (7.1, ((-3.0, -2.6), (6.95, 7.25)), lambda paint: _bin(paint, -2.85, 7.1)),
    (4.75, ((-3.3, -2.4), (4.5, 5.0)), lambda paint: _plant(paint, -2.88, 4.75, 1.05, 5)),
)


def _shrink(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _occluder(y_m: float, hides: np.ndarray) -> Occluder:
    alpha = _shrink(hides.astype(np.float32))
    rows, columns = np.flatnonzero(alpha.max(axis=1)), np.flatnonzero(alpha.max(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return Occluder(y_m, int(top), int(left), alpha[top:bottom, left:right, None].copy())


@lru_cache(maxsize=1)
def lobby(camera: Camera) -> Scene:
    """Paint the lobby, once per process; takes about a second."""
    picture, wall = shell(camera)
    occluders = [_occluder(BACK_Y_M, wall)]
    paint = _Painter(picture, camera)
    _mat(paint)
    for y_m, (x, y), draw in _FURNITURE:
        paint.shadow(paint.floor_rectangle((x[0], x[1] + 0.25), y, 0.05), 0.42)
        before = paint.picture.copy()
        draw(paint)
        occluders.append(_occluder(y_m, (paint.picture != before).any(axis=2)))
    background = np.clip(np.round(_shrink(paint.picture)), 0, 255).astype(np.uint8)
    return Scene(background, tuple(occluders))
