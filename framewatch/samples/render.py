"""Renders the script of a clip to pictures."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from framewatch.samples.camera import FPS, HEIGHT, WIDTH, Camera
from framewatch.samples.furniture import Occluder, Scene, lobby
from framewatch.samples.luggage import Luggage
from framewatch.samples.people import Figure
from framewatch.samples.poses import ANGLES, GESTURES, gait
from framewatch.samples.room import BACK_Y_M
from framewatch.samples.script import WALK, Actor, Bag, Clip, Step
from framewatch.samples.skeleton import STATURE_M, place, skeleton

_STRIDE_M = 1.35
_CAMERA = Camera()


def frames(clip: Clip) -> Iterator[np.ndarray]:
    """Draw a clip.

    Yields:
        FPS pictures for each second: uint8 BGR, shape (HEIGHT, WIDTH, 3). The same clip always gives the
        same pictures.
    """
    count = round(clip.duration_s * FPS)
    times_s = np.arange(count) / FPS
    scene = lobby(_CAMERA)
    tracks = [_Track(actor, times_s) for actor in clip.actors]
    things: list[Figure | Luggage] = [
        Figure(actor.look, track.joints, _CAMERA) for actor, track in zip(clip.actors, tracks, strict=True)
    ]
    things += [_luggage(bag, tracks, times_s) for bag in clip.bags]
    sensor = _Sensor(clip)
    for index in range(count):
        frame = scene.background.copy()
        _cast_shadows(frame, things, index)
        _draw(frame, scene, things, index)
        yield sensor.develop(frame, index)


class _Track:
    """The motion of one actor: position, heading and joints in each frame."""

    def __init__(self, actor: Actor, times_s: np.ndarray) -> None:
        steps = actor.steps
        knots = [steps[0].start_s, *(step.end_s for step in steps)]
        points = np.array([steps[0].start_xy, *(step.end_xy for step in steps)])
        xy = np.stack([np.interp(times_s, knots, points[:, axis]) for axis in (0, 1)], axis=-1)
        self.xy = _smooth(xy, 7)
        which = np.clip(np.searchsorted(knots, times_s, side="right") - 1, 0, len(steps) - 1)
        self.heading = _smooth(np.unwrap(np.array([_heading(step) for step in steps])[which]), 11)
        travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(self.xy, axis=0), axis=1))])
        stride = 2 * np.pi * travelled / (_STRIDE_M * actor.look.height_m / STATURE_M) + actor.phase
        angles = np.empty((len(times_s), len(ANGLES)))
        for number, step in enumerate(steps):
            during = which == number
            since_s = times_s[during] - step.start_s
            if step.gesture == WALK:
                angles[during] = gait(stride[during])
            else:
                progress = np.clip(since_s / (step.end_s - step.start_s), 0, 1)
                angles[during] = GESTURES[step.gesture](since_s, progress, actor.phase)
        # Smooths the transitions between gestures and limits the speed of the joints.
        self.joints = place(skeleton(_smooth(angles, 7), actor.look.height_m), self.xy, self.heading)


def _heading(step: Step) -> float:
    if step.heading is not None:
        return step.heading
    return float(np.arctan2(step.end_xy[1] - step.start_xy[1], step.end_xy[0] - step.start_xy[0]))


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the moving average along the first axis, padded with the values at the ends."""
    half = window // 2
    padded = np.concatenate([np.repeat(values[:1], half, 0), values, np.repeat(values[-1:], half, 0)])
    sums = np.cumsum(np.concatenate([np.zeros_like(padded[:1]), padded]), axis=0)
    return (sums[window:] - sums[:-window]) / window


def _luggage(bag: Bag, tracks: list[_Track], times_s: np.ndarray) -> Luggage:
    base, heading = np.zeros((len(times_s), 3)), np.zeros(len(times_s))
    for stay in bag.stays:
        during = (times_s >= stay.start_s) & (times_s < stay.end_s)
        if stay.actor is None:
            put = max(int(np.argmax(during)) - 1, 0)
            base[during, :2], heading[during] = base[put, :2], heading[put]
            continue
        track = tracks[stay.actor]
        turn = track.heading[during]
        right = np.stack([np.sin(turn), -np.cos(turn)], axis=-1)
        ahead = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        base[during, :2] = track.xy[during] + 0.24 * right - 0.36 * ahead
        heading[during] = turn
    return Luggage(bag.colour, _smooth(base, 9), heading, _CAMERA)


def _cast_shadows(frame: np.ndarray, things: list[Figure | Luggage], index: int) -> None:
    mask = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    for thing in things:
        thing.shade(mask, index)
    mask = cv2.blur(cv2.blur(mask, (7, 5)), (5, 3))
    light = cv2.resize(cv2.convertScaleAbs(mask, alpha=-0.42, beta=255), (WIDTH, HEIGHT))
    cv2.multiply(frame, cv2.merge([light, light, light]), frame, scale=1 / 255)


def _draw(frame: np.ndarray, scene: Scene, things: list[Figure | Luggage], index: int) -> None:
    """Paint reflections, then figures, bags and occluders from far to near."""
    shown = [thing for thing in things if _in_sight(thing.boxes[index])]
    for thing in shown:
        if thing.y_m[index] < BACK_Y_M:
            thing.reflect(frame, index)
    layers: list[tuple[float, Figure | Luggage | Occluder]] = [(float(t.y_m[index]), t) for t in shown]
    layers += [(occluder.y_m, occluder) for occluder in scene.occluders]
    for y_m, layer in sorted(layers, key=lambda item: -item[0]):
        if not isinstance(layer, Occluder):
            layer.draw(frame, index)
        elif any(_touches(layer, thing.boxes[index]) for thing in shown if thing.y_m[index] > y_m - 1.5):
            _hide(frame, scene.background, layer)


def _in_sight(box: np.ndarray) -> bool:
    return bool(box[0] < WIDTH and box[2] > 0 and box[1] < HEIGHT and box[3] > 0)


def _touches(occluder: Occluder, box: np.ndarray) -> bool:
    """Return whether a figure or bag, its shadow or its reflection may overlap the occluder."""
    rows, columns = occluder.alpha.shape[:2]
    height = box[3] - box[1]
    return bool(
        box[0] < occluder.column + columns
        and box[2] + height > occluder.column
        and box[1] < occluder.row + rows
        and box[3] + height > occluder.row
    )


def _hide(frame: np.ndarray, background: np.ndarray, occluder: Occluder) -> None:
    rows = slice(occluder.row, occluder.row + occluder.alpha.shape[0])
    columns = slice(occluder.column, occluder.column + occluder.alpha.shape[1])
    alpha = occluder.alpha[..., 0]
    frame[rows, columns] = cv2.blendLinear(
        np.ascontiguousarray(background[rows, columns]),
        np.ascontiguousarray(frame[rows, columns]),
        alpha,
        1 - alpha,
    )


class _Sensor:
    """Light, lens and sensor of one clip: drifting gain, vignette, noise, and the clock overlay."""

    def __init__(self, clip: Clip) -> None:
        rng = np.random.default_rng(clip.rng_key)
        self._rng = rng
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        radius = np.hypot((columns - WIDTH / 2) / WIDTH, (rows - HEIGHT / 2) / HEIGHT)
        vignette = np.round(255 * 0.985 * (1 - 0.38 * radius**2)).astype(np.uint8)
        self._lens = cv2.merge([vignette] * 3)
        self._period_s = rng.uniform(15, 30)
        self._phase = rng.uniform(0, 2 * np.pi)
        self._start_s = int(rng.integers(7 * 3600, 19 * 3600))
        self._day = int(rng.integers(1, 29))
        self._noise = [_noise(rng) for _ in range(4)]

    def develop(self, frame: np.ndarray, index: int) -> np.ndarray:
        gain = 1.0 + 0.025 * np.sin(2 * np.pi * index / FPS / self._period_s + self._phase)
        cv2.multiply(frame, self._lens, frame, scale=gain / 255)
        tile = self._noise[int(self._rng.integers(len(self._noise)))]
        row, column = self._rng.integers(0, 33, 2)
        frame = cv2.add(frame, tile[row : row + HEIGHT, column : column + WIDTH], dtype=cv2.CV_8U)
        second = self._start_s + index // FPS
        clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        _write(frame, f"CAM 02  2026-03-{self._day:02}  {clock}", (8, HEIGHT - 9))
        return frame


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Return sensor noise, int16, slightly larger than a frame so that each frame uses another crop."""
    shape = (HEIGHT + 32, WIDTH + 32)
    luma = cv2.GaussianBlur(rng.normal(0, 2.0, shape).astype(np.float32), (0, 0), 0.5)
    chroma = cv2.GaussianBlur(rng.normal(0, 2.0, (*shape, 3)).astype(np.float32), (0, 0), 1.2)
    return np.round(luma[..., None] + chroma).astype(np.int16)


def _write(frame: np.ndarray, text: str, origin: tuple[int, int]) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.36
    cv2.putText(frame, text, (origin[0] + 1, origin[1] + 1), font, size, (30, 30, 30), 1, cv2.LINE_AA)
    cv2.putText(frame, text, origin, font, size, (235, 235, 235), 1, cv2.LINE_AA)
