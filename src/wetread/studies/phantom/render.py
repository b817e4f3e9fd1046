"""From one visit's truth to its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetread.studies.phantom.anatomy import Body, Plane, Pose, Scene, ramp
from wetread.studies.phantom.catalogue import Lesion
from wetread.studies.phantom.devices import DEVICES
from wetread.studies.phantom.findings import OVERLAY, STRUCTURE
from wetread.studies.phantom.sites import Site

LEAST_SIZE, GREATEST_SIZE = 64, 1024
"""Pictures are square, of 64 to 1024 pixels a side."""

_OVERLAY = OVERLAY | DEVICES
_LETTERS = {
    "L": ("1000", "1000", "1000", "1000", "1000", "1111"),
    "R": ("1110", "1001", "1001", "1110", "1010", "1001"),
}


@dataclass(frozen=True)
class Exposure:
    """How one picture came out of its site's machine."""

    gamma: float
    """Exponent on the grey values."""
    contrast: float
    """Factor about mid grey."""
    brightness: float
    """Offset."""
    noise: float
    """Standard deviation of the grain at 128 pixels a side."""
    border: tuple[float, float, float, float]
    """Widths of the collimated border at left, right, top and bottom, as shares of half the picture."""


def render(
    body: Body,
    pose: Pose,
    lesions: tuple[Lesion, ...],
    site: Site,
    exposure: Exposure,
    size: int,
    seed: tuple[int, ...],
) -> NDArray[np.uint8]:
    """Return the picture, shape (size, size), 8 bit, bright = dense.

    Parameters
    ----------
    body, pose
        The patient and the position.
    lesions
        What is to be seen.
    site, exposure
        Whose marker it bears and how it was exposed.
    size
        Pixels a side, 64 to 1024.
    seed
        Seed of the grain and the slow texture.
    """
    rng = np.random.Generator(np.random.SFC64(list(seed)))
    scene = Scene(body, pose, size, rng)
    scene.abdomen = scene.below_diaphragm()
    by_name = {lesion.name: lesion for lesion in lesions}
    for name, draw in STRUCTURE.items():
        if name in by_name:
            draw(scene, by_name[name])
    scene.settle()
    scene.compose()
    for name, draw in _OVERLAY.items():
        if name in by_name:
            draw(scene, by_name[name])
    return _expose(scene, site, exposure)


def _expose(scene: Scene, site: Site, exposure: Exposure) -> NDArray[np.uint8]:
    img = ramp(scene.img)
    img = _blur(img, (0.55 if scene.pose.view == "PA" else 0.95) * scene.size / 128)
    if exposure.gamma != 1.0:
        img = img ** np.float32(exposure.gamma)
    img = (img - 0.5) * np.float32(exposure.contrast) + np.float32(0.5 + exposure.brightness)
    img += _grain(scene.rng, scene.size) * np.float32(exposure.noise)
    _collimate(img, exposure)
    _mark(img, site)
    return np.asarray(ramp(img) * 255.0 + 0.5, dtype=np.uint8)


def _blur(img: Plane, sigma: float) -> Plane:
    """Blur with repeated (w, 1 - 2w, w) steps, each of variance 2w, until the variance is ``sigma`` squared."""
    steps = max(1, math.ceil(sigma * sigma / 0.66))
    w = np.float32(sigma * sigma / steps / 2)
    stride = 1
    if steps > 4:  # large pictures: steps with a stride s spread s squared times as far
        stride = math.ceil(math.sqrt(steps / 3))
        steps = 3
        w = np.float32(sigma * sigma / steps / 2 / stride**2)
    for _ in range(steps):
        inner = img[:, stride:-stride] * (1 - 2 * w) + (img[:, : -2 * stride] + img[:, 2 * stride :]) * w
        img[:, stride:-stride] = inner
        inner = img[stride:-stride] * (1 - 2 * w) + (img[: -2 * stride] + img[2 * stride :]) * w
        img[stride:-stride] = inner
    return img


def _grain(rng: np.random.Generator, size: int) -> Plane:
    """Return grain of unit variance: white at 128 pixels and below, coarser in larger pictures so that it hides as much."""
    if size <= 128:
        return rng.standard_normal((size, size), dtype=np.float32)
    repeat = math.ceil(size / 128)
    cells = math.ceil(size / repeat)
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    coarse = np.repeat(np.repeat(coarse, repeat, axis=0), repeat, axis=1)[:size, :size]
    return np.asarray(coarse * 0.85 + rng.standard_normal((size, size), dtype=np.float32) * 0.5, dtype=np.float32)


def _collimate(img: Plane, exposure: Exposure) -> None:
    half = img.shape[0] / 2
    left, right, top, bottom = (round(width * half) for width in exposure.border)
    for edge in (np.s_[:, :left], np.s_[:, img.shape[1] - right :], np.s_[:top], np.s_[img.shape[0] - bottom :]):
        img[edge] *= 0.12


def _mark(img: Plane, site: Site) -> None:
    """Put the side marker: L on the patient's left (the right of the picture), R on the other side."""
    u, v = site.marker
    letter = _LETTERS["L" if u > 0 else "R"]
    unit = max(1, img.shape[0] // 128)
    stamp = np.repeat(np.repeat(np.array([[c == "1" for c in row] for row in letter]), unit, 0), unit, 1)
    size = img.shape[0]
    row = min(max(0, int((v + 1) * size / 2) - stamp.shape[0] // 2), size - stamp.shape[0])
    col = min(max(0, int((u + 1) * size / 2) - stamp.shape[1] // 2), size - stamp.shape[1])
    patch = img[row : row + stamp.shape[0], col : col + stamp.shape[1]]
    patch[stamp] = 0.97


__all__ = ["GREATEST_SIZE", "LEAST_SIZE", "Exposure", "render"]
