"""The normal chest: one patient's anatomy, one visit's position, and the masks that everything else is drawn on.

Body coordinates ``(U, V)``: U runs from the patient's right (-1, the left of the picture) to the left (+1), V from the
neck (-1) to the upper abdomen (+1). The picture's own coordinates ``(u, v)`` span -1 to 1 over its columns and rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.float32]
"""One value per pixel (or per pixel of a window), float32."""

LUNG_CENTRE = 0.35
"""V of the widest level of the rib cage."""


@dataclass(frozen=True)
class Body:
    """What stays the same in one patient from visit to visit; lengths in body coordinates."""

    width: float
    """Half width of the rib cage, about 0.8."""
    apex: float
    """Height of the rib cage's ellipse above its widest level, about 1.18."""
    heart: float
    """Half length of the heart, 0.30 to 0.38 (cardiothoracic ratio about 0.38 to 0.48)."""
    heart_x: float
    """Offset of the heart's centre to the patient's left."""
    heart_tilt: float
    """Tilt of the heart's long axis in radians."""
    mediastinum: float
    """Half width of the upper mediastinum."""
    dome: float
    """V of the top of the right hemidiaphragm in full inspiration."""
    rib_gap: float
    """Distance of neighbouring ribs."""
    rib_tilt: float
    """Fall of the ribs from the spine outwards."""
    rib_phase: float
    """Where the first rib lies, in rib distances."""
    clavicle: float
    """V of the inner ends of the clavicles."""
    clavicle_tilt: float
    """Rise of the clavicles outwards."""
    breast: float
    """Density of the breast shadows; 0 in most men."""
    fat: float
    """Thickness of the soft tissue at the chest wall."""
    calcium: float
    """Brightness of bone; falls with age."""
    vessels: int
    """Which vessel drawing the patient has."""
    mirror: bool
    """Whether that drawing is mirrored."""
    bow: float
    """Slight natural curve of the spine."""


@dataclass(frozen=True)
class Pose:
    """How the patient was placed and breathed at one visit."""

    view: str
    """PA or AP."""
    dx: float
    """Shift to the right of the picture."""
    dy: float
    """Shift downwards."""
    roll: float
    """Rotation in the plane of the picture, radians."""
    turn: float
    """Rotation about the long axis: moves the mediastinum against the ribs."""
    inspiration: float
    """0 is full; positive numbers raise the diaphragm."""


def sample_body(rng: Random, sex: str, age: int) -> Body:
    """Draw one patient's anatomy; women are a little narrower and have breast shadows, bone pales with age."""
    female = sex == "female"
    return Body(
        width=rng.uniform(0.72, 0.80) if female else rng.uniform(0.75, 0.84),
        apex=rng.uniform(1.12, 1.24),
        heart=rng.uniform(0.29, 0.355),
        heart_x=rng.uniform(0.09, 0.15),
        heart_tilt=rng.uniform(0.3, 0.75),
        mediastinum=rng.uniform(0.105, 0.14),
        dome=rng.uniform(0.42, 0.52),
        rib_gap=rng.uniform(0.165, 0.205),
        rib_tilt=rng.uniform(0.10, 0.34),
        rib_phase=rng.random(),
        clavicle=rng.uniform(-0.66, -0.56),
        clavicle_tilt=rng.uniform(0.02, 0.22),
        breast=rng.uniform(0.03, 0.10) if female else rng.choice((0.0, 0.0, 0.0, 0.03)),
        fat=rng.uniform(0.08, 0.22),
        calcium=1.25 - 0.006 * min(age, 90) + rng.uniform(-0.1, 0.1),
        vessels=rng.randrange(VESSEL_DRAWINGS),
        mirror=rng.random() < 0.5,
        bow=rng.uniform(-0.015, 0.015),
    )


def sample_pose(rng: Random, view: str) -> Pose:
    """Draw one visit's position; AP patients lie or sit, are turned more and breathe in less."""
    supine = view == "AP"
    spread = 1.0 if supine else 0.5
    return Pose(
        view=view,
        dx=rng.uniform(-0.06, 0.06),
        dy=rng.uniform(-0.05, 0.05),
        roll=rng.uniform(-0.05, 0.05) * spread,
        turn=rng.uniform(-0.035, 0.035) * spread,
        inspiration=rng.uniform(0.02, 0.10) if supine else rng.uniform(-0.02, 0.05),
    )


@lru_cache(maxsize=4)
def grid(size: int) -> tuple[Plane, Plane]:
    """Return ``(u, v)``, each of shape (size, size), running from -1 to 1 over columns and rows; do not write to them."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    u = np.ascontiguousarray(np.broadcast_to(axis[None, :], (size, size)))
    v = np.ascontiguousarray(np.broadcast_to(axis[:, None], (size, size)))
    u.setflags(write=False)
    v.setflags(write=False)
    return u, v


@lru_cache(maxsize=32)
def _spline(size: int, cells: int) -> Plane:
    """Return the matrix (size, cells + 3) of cubic B-spline weights that spreads coarse noise over ``size`` pixels."""
    at = (np.arange(size) + 0.5) / size * cells
    cell = np.minimum(at.astype(int), cells - 1)
    t = at - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    matrix = np.zeros((size, cells + 3), dtype=np.float32)
    for k in range(4):
        matrix[np.arange(size), cell + k] = weights[:, k]
    return matrix


def cloud(rng: np.random.Generator, size: int, cells: int) -> Plane:
    """Return smooth noise of shape (size, size), mean 0, standard deviation near 0.5, with ``cells`` bumps a side."""
    spread = _spline(size, cells)
    coarse = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    return np.asarray(spread @ coarse @ spread.T, dtype=np.float32)


VESSEL_DRAWINGS = 8


@lru_cache(maxsize=64)
def vessel_drawing(size: int, number: int, mirror: bool) -> Plane:
    """Return drawing ``number`` of the lung vessels, shape (size, size), 0 to 1: branches that thin outwards from the hila."""
    scale = 2 * size
    picture = Image.new("L", (scale, scale), 0)
    pen = ImageDraw.Draw(picture)
    rng = Random(f"vessels:{number}")
    for side in (-1, 1):
        for start in range(11):
            angle = (start / 10 - 0.5) * 2.6 + rng.uniform(-0.1, 0.1)
            _branch(pen, rng, scale, side, (side * 0.19, 0.02 + 0.05 * math.sin(angle), angle, 0.030))
    blurred = picture.filter(ImageFilter.GaussianBlur(size / 128)).resize((size, size), Image.Resampling.BOX)
    drawing = np.asarray(blurred, dtype=np.float32) / 255.0
    drawing = np.ascontiguousarray(drawing[:, ::-1]) if mirror else drawing.copy()
    drawing.setflags(write=False)
    return drawing


def _branch(
    pen: ImageDraw.ImageDraw, rng: Random, scale: int, side: int, start: tuple[float, float, float, float]
) -> None:
    """Draw one vessel from ``(x, y, angle, thickness)`` outwards, with its side branches."""
    x, y, angle, thick = start
    while thick > 0.006 and abs(x) < 0.8:
        step = rng.uniform(0.05, 0.09)
        x2, y2 = x + side * math.cos(angle) * step, y + math.sin(angle) * step
        line = [(p + 1) * scale / 2 for p in (x, y, x2, y2)]
        pen.line(line, fill=int(min(255, 90 + 4800 * thick)), width=max(1, round(thick * scale / 2)))
        if rng.random() < 0.42:
            _branch(pen, rng, scale, side, (x2, y2, angle + rng.choice((-1, 1)) * rng.uniform(0.35, 0.8), thick * 0.65))
        x, y, angle, thick = x2, y2, angle + rng.uniform(-0.18, 0.18), thick * 0.84


_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


def ramp(values: NDArray[Any]) -> Plane:
    """Return the values limited to 0..1 in a new array; quicker than ``numpy.clip`` on small pictures."""
    limited = np.maximum(values, _ZERO)
    return np.asarray(np.minimum(limited, _ONE, out=limited))


class Scene:
    """One picture while it is drawn: coordinates, masks of the organs, and the grey values.

    ``heart``, ``mediastinum``, ``abdomen`` and ``fluid`` are densities from 0 to 1; structural findings add to them
    before ``compose`` turns them into grey values. ``air`` is the share of aerated lung, 0 to 1.
    """

    def __init__(self, body: Body, pose: Pose, size: int, rng: np.random.Generator) -> None:
        self.body, self.pose, self.size, self.rng = body, pose, size, rng
        u, v = grid(size)
        self._cos, self._sin = math.cos(pose.roll), math.sin(pose.roll)
        self.U = (u - pose.dx) * np.float32(self._cos) + (v - pose.dy) * np.float32(self._sin)
        self.V = (v - pose.dy) * np.float32(self._cos) - (u - pose.dx) * np.float32(self._sin)
        self.X = np.abs(self.U)
        self.M = np.abs(self.U - np.float32(pose.turn))
        """Distance from the midline of the mediastinum."""
        self.width, self.apex = body.width, body.apex
        self.depth = 0.40
        """Grey value that air takes away."""
        self.vascularity = 0.26 if pose.view == "PA" else 0.29
        self.dome = body.dome - pose.inspiration
        self.flatten = 0.0
        """Share by which the diaphragm is flattened (hyperinflation)."""
        self.spine_curve = body.bow
        self.shift = pose.turn
        up = np.minimum(self.V - LUNG_CENTRE, 0.0)
        self.cage = (self.X / self.width) ** 2 + (up / self.apex) ** 2
        """Below 1 inside the rib cage."""
        self.outer = ramp((1.0 - self.cage) * 12.0)
        self.heart = self.heart_mask(1.0)
        self.mediastinum = self.mediastinum_mask(1.0)
        self.abdomen: Plane
        self.fluid = np.zeros_like(self.U)
        self.air: Plane
        self.img: Plane

    def sided(self, side: str) -> Plane | float:
        """Return a mask of the patient's ``side``: 1 there and 0 on the other; 1 everywhere for both or none."""
        if side == "right":
            return np.asarray(self.U < 0, dtype=np.float32)
        if side == "left":
            return np.asarray(self.U > 0, dtype=np.float32)
        return 1.0

    def heart_mask(self, scale: float) -> Plane:
        """Return the heart's silhouette, 0 to 1, enlarged by ``scale`` in width (and less in height)."""
        body = self.body
        wide = body.heart * scale * (1.10 if self.pose.view == "AP" else 1.0)
        cx = np.float32(body.heart_x * (0.5 + 0.5 * scale) + self.shift)
        cy = np.float32(0.25 + body.dome - 0.47)
        c, s = math.cos(body.heart_tilt), math.sin(body.heart_tilt)
        high = 0.76 * wide / (1.0 + 0.35 * (scale - 1.0))
        dx, dy = self.U - cx, self.V - cy
        q = ((dx * c + dy * s) / wide) ** 2 + ((dy * c - dx * s) / high) ** 2
        return np.asarray(ramp((1.0 - q) * 4.0), dtype=np.float32)

    def mediastinum_mask(self, scale: float) -> Plane:
        """Return the mediastinal band with the aortic knob, 0 to 1; ``scale`` widens its upper part."""
        half = self.body.mediastinum * (1.0 + (scale - 1.0) * np.exp(-(((self.V + 0.28) / 0.32) ** 2)))
        off = np.abs(self.U - np.float32(self.shift) - self.curve() * np.float32(0.8))
        band = ramp((half - off) * 26.0 + 0.5)
        knob = ((self.U - (0.115 + self.shift)) / 0.085) ** 2 + ((self.V + 0.26) / 0.085) ** 2
        return np.asarray(np.maximum(band, ramp((1.0 - knob) * 3.0)), dtype=np.float32)

    def diaphragm_line(self, raise_right: float = 0.0, raise_left: float = 0.0) -> Plane:
        """Return V of the diaphragm over every pixel; the left side lies lower than the right."""
        bend = ((self.X - 0.36) / 0.42) ** 2 * (0.27 * (1.0 - 0.75 * self.flatten))
        sides = np.where(self.U < 0, np.float32(self.dome - raise_right), np.float32(self.dome + 0.05 - raise_left))
        return np.asarray(sides + bend, dtype=np.float32)

    def below_diaphragm(self, raise_right: float = 0.0, raise_left: float = 0.0) -> Plane:
        """Return the abdomen's mask, 0 to 1, with either hemidiaphragm raised."""
        return np.asarray(ramp((self.V - self.diaphragm_line(raise_right, raise_left)) * 24.0 + 0.5))

    def settle(self) -> None:
        """Find the aerated lung once every structural finding has spoken."""
        solid = (1.0 - self.heart) * (1.0 - self.mediastinum)
        self.air = np.asarray(self.outer * solid * (1.0 - self.abdomen) * (1.0 - self.fluid), dtype=np.float32)

    def compose(self) -> None:
        """Turn the masks into grey values: soft tissue, air, organs, bone, vessels and slow texture."""
        body, size = self.body, self.size
        skin = ramp((self.width + body.fat - self.X) * 22.0)
        shoulder = -1.02 + 0.55 * np.maximum(self.X - 0.30, 0.0) ** 1.3
        skin *= ramp((self.V - shoulder) * 14.0 + 0.5)
        slow = cloud(self.rng, size, 5)
        dense = 0.53 + 0.035 * slow + 0.10 * self.heart + 0.07 * self.mediastinum + 0.13 * self.abdomen
        dense += 0.10 * self.fluid * self.outer
        img = skin * dense
        img -= self.air * (self.depth * (1.0 - 0.10 * slow) - 0.05 * self.V)
        img += self.air * (vessel_drawing(size, body.vessels, body.mirror) * self.vascularity)
        img += self._bones(skin)
        hilum = ((self.X - 0.19) / 0.075) ** 2 + (self.V / 0.13) ** 2
        img += np.maximum(1.0 - hilum, 0.0) * (0.12 * self.outer)
        trachea = ramp((0.045 - self.M) * 30.0) * ramp((-0.22 - self.V) * 9.0)
        img -= trachea * skin * 0.12
        if body.breast:
            breast = ((self.X - 0.46) / 0.36) ** 2 + ((self.V - 0.26) / 0.33) ** 2
            img += ramp((1.0 - breast) * 2.5) * (body.breast * skin)
        bubble = ((self.U - 0.34) / 0.14) ** 2 + ((self.V - (self.dome + 0.20)) / 0.085) ** 2
        img -= ramp((1.0 - bubble) * 2.0) * (0.16 * self.abdomen)
        self.img = np.asarray(img, dtype=np.float32)

    def curve(self) -> Plane:
        """Return how far the spine strays from the midline at every pixel."""
        return np.asarray(self.spine_curve * np.sin((self.V + 0.15) * np.float32(2.8)), dtype=np.float32)

    def rib_phase(self) -> Plane:
        """Return the running number of the posterior rib at every pixel; whole numbers are the middle of a rib."""
        body = self.body
        fall = self.X * (body.rib_tilt * 0.9) + self.X**2 * (body.rib_tilt * 0.9)
        return np.asarray((self.V - fall + 0.9) / body.rib_gap + body.rib_phase, dtype=np.float32)

    def _bones(self, skin: Plane) -> Plane:
        body = self.body
        cage = ramp((1.06 - self.cage) * 10.0)
        back = np.maximum(np.cos(self.rib_phase() * np.float32(2 * math.pi)) - 0.25, 0.0)
        front = (self.V + 0.75 * (self.X - 0.15)) / (body.rib_gap * 1.25) + body.rib_phase
        fore = np.maximum(np.cos(front * np.float32(2 * math.pi)) - 0.35, 0.0)
        bones = cage * (1.0 - self.abdomen * 0.7) * (0.12 * back + 0.06 * fore * ramp((self.X - 0.2) * 6.0))
        off = np.abs(self.U - self.shift * 0.4 - self.curve())
        column = ramp((0.095 - off) * 30.0)
        discs = np.cos(self.V * np.float32(2 * math.pi / 0.125))
        bones += column * (0.085 + 0.03 * discs)
        edge = self.V - (body.clavicle - body.clavicle_tilt * (self.X - 0.1) + 0.10 * (self.X - 0.45) ** 2)
        clavicle = ramp((0.036 - np.abs(edge)) * 45.0) * ramp((self.X - 0.07) * 20.0)
        bones += clavicle * ramp((0.80 - self.X) * 10.0) * 0.13
        return np.asarray(bones * body.calcium * skin, dtype=np.float32)

    def window(self, left: float, right: float, top: float, bottom: float) -> tuple[slice, slice]:
        """Return (rows, columns) of the smallest window that holds a box given in body coordinates."""
        pose, half = self.pose, self.size / 2
        cols, rows = [], []
        for x in (left, right):
            for y in (top, bottom):
                cols.append((x * self._cos - y * self._sin + pose.dx + 1.0) * half)
                rows.append((y * self._cos + x * self._sin + pose.dy + 1.0) * half)
        clip = self.size
        r0, r1 = max(0, min(clip - 1, int(min(rows)))), max(1, min(clip, int(max(rows)) + 2))
        c0, c1 = max(0, min(clip - 1, int(min(cols)))), max(1, min(clip, int(max(cols)) + 2))
        return slice(r0, max(r1, r0 + 1)), slice(c0, max(c1, c0 + 1))
