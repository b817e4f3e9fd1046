"""Strokes and blobs in body coordinates, each drawn in the smallest window that holds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from wetread.studies.phantom.anatomy import Plane, Scene, ramp

Window = tuple[slice, slice]
Point = tuple[float, float]


def ellipse(
    scene: Scene, centre: Point, radii: Point, hardness: float = 3.0, angle: float = 0.0
) -> tuple[Window, Plane]:
    """Return (window, shape) of an ellipse: 1 inside, falling to 0 at its edge, steeper the greater ``hardness``."""
    (x, y), (rx, ry) = centre, radii
    reach = max(rx, ry)
    window = scene.window(x - reach, x + reach, y - reach, y + reach)
    dx, dy = scene.U[window] - np.float32(x), scene.V[window] - np.float32(y)
    if angle:
        c, s = math.cos(angle), math.sin(angle)
        dx, dy = dx * c + dy * s, dy * c - dx * s
    q = (dx * (1.0 / rx)) ** 2 + (dy * (1.0 / ry)) ** 2
    return window, np.asarray(ramp((1.0 - q) * hardness), dtype=np.float32)


def haze(scene: Scene, centre: Point, radii: Point) -> tuple[Window, Plane]:
    """Return (window, shape) of a soft cloud that fades to 0 at its radii, 1 in the middle."""
    (x, y), (rx, ry) = centre, radii
    window = scene.window(x - rx, x + rx, y - ry, y + ry)
    dx, dy = scene.U[window] - np.float32(x), scene.V[window] - np.float32(y)
    q = np.maximum(1.0 - (dx * (1.0 / rx)) ** 2 - (dy * (1.0 / ry)) ** 2, 0.0)
    return window, np.asarray(q * (2.0 - q), dtype=np.float32)


def line(scene: Scene, points: Sequence[Point], half_width: float) -> tuple[Window, Plane]:
    """Return (window, shape) of a line through ``points``; never thinner than about one and a half pixels."""
    width = max(half_width, 1.3 / scene.size)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    reach = 2.0 * width
    window = scene.window(min(xs) - reach, max(xs) + reach, min(ys) - reach, max(ys) + reach)
    U, V = scene.U[window], scene.V[window]
    least: Plane | None = None
    for (x0, y0), (x1, y1) in pairwise(points):
        dx, dy = x1 - x0, y1 - y0
        norm = max(dx * dx + dy * dy, 1e-9)
        px, py = U - np.float32(x0), V - np.float32(y0)
        t = ramp((px * (dx / norm)) + (py * (dy / norm)))
        px -= t * np.float32(dx)
        py -= t * np.float32(dy)
        square = px * px + py * py
        least = square if least is None else np.minimum(least, square)
    assert least is not None
    return window, np.asarray(ramp(1.6 - np.sqrt(least) * (1.0 / width)), dtype=np.float32)


def arc(start: Point, bend: Point, end: Point, pieces: int = 6) -> list[Point]:
    """Return the points of a quadratic Bezier curve from ``start`` to ``end`` pulled towards ``bend``."""
    points = []
    for k in range(pieces + 1):
        t = k / pieces
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        points.append((a * start[0] + b * bend[0] + c * end[0], a * start[1] + b * bend[1] + c * end[1]))
    return points


def add(scene: Scene, drawn: tuple[Window, Plane], amount: float, mask: Plane | None = None) -> None:
    """Add ``amount`` times the shape to the grey values, within ``mask`` when given."""
    window, shape = drawn
    scene.img[window] += shape * np.float32(amount) if mask is None else shape * mask[window] * np.float32(amount)
