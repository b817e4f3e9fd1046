"""How each finding of the lungs, pleura, heart, bones and abdomen is drawn.

Structural findings change the organs' masks before the picture is composed (``STRUCTURE``); the others add to the grey
values afterwards (``OVERLAY``). ``conspicuity`` is always the factor on the contrast; size follows severity and extent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wetread.studies.phantom.anatomy import LUNG_CENTRE, Plane, Scene, cloud, ramp
from wetread.studies.phantom.catalogue import Lesion
from wetread.studies.phantom.drawing import Point, add, ellipse, haze, line

Draw = Callable[[Scene, Lesion], None]

ZONE_V = {"upper zone": (-0.46, -0.30), "middle zone": (-0.14, 0.06), "lower zone": (0.22, 0.38)}
"""Between which V a focal finding's centre lies."""
_GRADE = {"mild": 0, "moderate": 1, "severe": 2}


def signs(side: str) -> tuple[int, ...]:
    """Return the signs of U on which a finding of that side lies: the patient's left is positive."""
    return {"left": (1,), "right": (-1,)}.get(side, (-1, 1))


def graded(lesion: Lesion, mild: float, moderate: float, severe: float) -> float:
    """Return the value for the lesion's severity times its extent (extent moves it by less than half a grade)."""
    return (mild, moderate, severe)[_GRADE[lesion.severity]] * (1.0 + 0.3 * (lesion.extent - 1.0))


def focus(scene: Scene, lesion: Lesion, sign: int, reach: float = 0.0) -> Point:
    """Return the centre of a focal lesion in its zone, inside the aerated lung and ``reach`` away from its edge."""
    low, high = ZONE_V[lesion.zone]
    v = low + (high - low) * lesion.place[0]
    outer = scene.width * math.sqrt(max(0.05, 1.0 - (min(v - LUNG_CENTRE, 0.0) / scene.apex) ** 2)) - 0.10
    inner = 0.22 if lesion.zone != "lower zone" else (0.44 if sign > 0 else 0.30)
    outer = max(inner + 0.04, outer - 0.5 * reach)
    x = inner + 0.04 + (outer - inner - 0.04) * (0.15 + 0.7 * lesion.place[1])
    return sign * x, min(v, scene.dome - 0.02 + 0.05 * (sign > 0))


# ---------------------------------------------------------------------------------------------- structure


def cardiomegaly(scene: Scene, lesion: Lesion) -> None:
    """A wider heart: by about 30, 55 or 85 percent."""
    scale = 1.0 + graded(lesion, 0.30, 0.55, 0.85)
    scene.heart = np.maximum(scene.heart, scene.heart_mask(scale) * lesion.conspicuity)


def wide_mediastinum(scene: Scene, lesion: Lesion) -> None:
    """The upper mediastinum twice to two and a half times as wide."""
    wide = scene.mediastinum_mask(2.15 + 0.5 * lesion.place[0])
    scene.mediastinum = np.maximum(scene.mediastinum, wide * lesion.conspicuity)


def raised_diaphragm(scene: Scene, lesion: Lesion) -> None:
    """One dome raised by about a fifth of the chest."""
    up = 0.24 + 0.10 * lesion.place[0]
    right, left = (up, 0.0) if lesion.side == "right" else (0.0, up + 0.04)
    scene.abdomen = np.maximum(scene.abdomen, scene.below_diaphragm(right, left) * lesion.conspicuity)


def emphysema(scene: Scene, lesion: Lesion) -> None:
    """Dark, wide lungs with few vessels, over a flat and low diaphragm."""
    c = lesion.conspicuity
    scene.depth += 0.09 * c
    scene.vascularity *= 1.0 - 0.65 * c
    scene.flatten = c
    scene.dome += 0.13 * c
    scene.abdomen = scene.below_diaphragm()


def scoliosis(scene: Scene, lesion: Lesion) -> None:
    """A spine that curves to one side by more than its own half width."""
    scene.spine_curve += (0.13 + 0.05 * lesion.place[1]) * lesion.conspicuity * (1 if lesion.place[0] < 0.5 else -1)
    scene.mediastinum = scene.mediastinum_mask(1.0)


def effusion(scene: Scene, lesion: Lesion) -> None:
    """Fluid from the costophrenic angle upwards, its upper edge a meniscus that climbs towards the chest wall."""
    level = scene.dome + 0.20 - graded(lesion, 0.16, 0.40, 0.78)
    climb = 0.30 * np.maximum(scene.X - 0.30, 0.0) ** 1.5 / 0.35
    fluid = ramp((scene.V - (level - climb)) * 14.0) * scene.sided(lesion.side)
    scene.fluid = np.maximum(scene.fluid, fluid * np.float32(lesion.conspicuity))


STRUCTURE: dict[str, Draw] = {
    "emphysema": emphysema,
    "scoliosis": scoliosis,
    "cardiomegaly": cardiomegaly,
    "enlarged cardiomediastinum": wide_mediastinum,
    "elevated hemidiaphragm": raised_diaphragm,
    "pleural effusion": effusion,
}
"""In the order in which they must act: emphysema moves the diaphragm that the others build on."""


# ------------------------------------------------------------------------------------------------ overlay


def opacity(scene: Scene, lesion: Lesion) -> None:
    """A hazy patch without edges."""
    for sign in signs(lesion.side):
        radius = (0.21 + 0.05 * lesion.place[2]) * lesion.extent
        drawn = haze(scene, focus(scene, lesion, sign, radius), (radius, radius * 0.9))
        add(scene, drawn, 0.30 * lesion.conspicuity, scene.outer)


def consolidation(scene: Scene, lesion: Lesion) -> None:
    """A dense wedge with a straight lower edge and dark bronchi in it."""
    (sign,) = signs(lesion.side)
    x, y = focus(scene, lesion, sign, 0.2)
    rx, ry = 0.24 * lesion.extent, 0.17 * lesion.extent
    window, shape = ellipse(scene, (x, y), (rx, ry * 1.5), 2.5)
    slope = 0.25 * (lesion.place[2] - 0.5)
    edge = ramp((y + ry * 0.55 + slope * (scene.U[window] - x) - scene.V[window]) * 22.0)
    shape = shape * edge
    add(scene, (window, shape), 0.40 * lesion.conspicuity, scene.air)
    for k in (-1, 0, 1):
        start = (x - sign * rx * 0.6, y + k * 0.02)
        end = (x + sign * rx * 0.55, y + k * 0.10 - 0.02)
        add(scene, line(scene, (start, end), 0.010), -0.12 * lesion.conspicuity, scene.air)


def nodule(scene: Scene, lesion: Lesion) -> None:
    """A small round shadow with a clear edge."""
    (sign,) = signs(lesion.side)
    radius = (0.058 + 0.022 * lesion.place[2]) * (1.0 + 0.5 * (lesion.extent - 1.0))
    add(scene, ellipse(scene, focus(scene, lesion, sign), (radius, radius), 2.0), 0.36 * lesion.conspicuity)


def mass(scene: Scene, lesion: Lesion) -> None:
    """A large, dense, lobed shadow with a clear edge."""
    (sign,) = signs(lesion.side)
    x, y = focus(scene, lesion, sign, 0.14)
    radius = (0.125 + 0.04 * lesion.place[2]) * (1.0 + 0.4 * (lesion.extent - 1.0))
    window, shape = ellipse(scene, (x, y), (radius * 1.3, radius * 1.3), 1.0)
    angle = np.arctan2(scene.V[window] - np.float32(y), scene.U[window] - np.float32(x))
    lobes = 0.10 * np.cos(angle * 3.0 + np.float32(6.3 * lesion.place[1]))
    add(scene, (window, ramp((shape - 0.36 + lobes) * 7.0)), 0.40 * lesion.conspicuity, scene.outer)


def granuloma(scene: Scene, lesion: Lesion) -> None:
    """A tiny dot, brighter than bone."""
    (sign,) = signs(lesion.side)
    radius = max(0.030 + 0.012 * lesion.place[2], 2.6 / scene.size)
    add(scene, ellipse(scene, focus(scene, lesion, sign), (radius, radius), 4.0), 0.60 * lesion.conspicuity)


def edema(scene: Scene, lesion: Lesion) -> None:
    """Haze around both hila that spreads to the whole lung with severity."""
    reach = graded(lesion, 0.36, 0.50, 0.68)
    amount = graded(lesion, 0.17, 0.25, 0.33) * lesion.conspicuity
    q = ((scene.X - 0.22) / reach) ** 2 + ((scene.V - 0.04) / (reach * 1.1)) ** 2
    patchy = 1.0 + 0.35 * cloud(scene.rng, scene.size, 14)
    scene.img += np.maximum(1.0 - q, 0.0) * patchy * scene.air * np.float32(amount * 1.3)


def interstitial(scene: Scene, lesion: Lesion) -> None:
    """A net of fine lines, densest below and at the edge of both lungs."""
    net = np.abs(cloud(scene.rng, scene.size, 26))
    lines = np.maximum(0.22 - net, 0.0) * 4.5
    weight = np.clip(0.55 + 0.7 * scene.V + 0.45 * scene.X, 0.15, 1.2) * scene.air
    scene.img += lines * weight * np.float32(0.30 * lesion.conspicuity)


def atelectasis(scene: Scene, lesion: Lesion) -> None:
    """One to three flat bands above the diaphragm."""
    for sign in signs(lesion.side):
        base = scene.dome - 0.05 + 0.05 * (sign > 0)
        inner = 0.34 if sign > 0 else 0.24
        for k in range(1 + round(lesion.extent * 1.2)):
            y = base - 0.085 * k - 0.03 * lesion.place[0]
            start = (sign * (inner + 0.04 * k), y + 0.05 * (lesion.place[1] - 0.5))
            end = (sign * (inner + (0.30 + 0.08 * lesion.place[2]) * min(1.2, lesion.extent)), y - 0.02)
            add(scene, line(scene, (start, end), 0.021), 0.32 * lesion.conspicuity, scene.outer)


def hilar(scene: Scene, lesion: Lesion) -> None:
    """A bulky lobed hilum."""
    for sign in signs(lesion.side):
        x, y = sign * 0.215, -0.01 + 0.03 * lesion.place[0]
        size = 0.125 + 0.03 * lesion.place[1]
        window, upper = ellipse(scene, (x, y - 0.05), (size, size), 2.0)
        add(scene, (window, upper), 0.22 * lesion.conspicuity, scene.outer)
        add(scene, ellipse(scene, (x, y + 0.08), (size * 0.8, size), 2.0), 0.16 * lesion.conspicuity, scene.outer)


def pneumothorax(scene: Scene, lesion: Lesion) -> None:
    """Black air without vessels outside a thin line, over the apex and along the wall; the lung falls with severity."""
    fall = graded(lesion, 0.10, 0.20, 0.36)
    up = np.minimum(scene.V - (LUNG_CENTRE + 0.10 * fall), 0.0)
    inner = (scene.X / (scene.width - fall)) ** 2 + (up / (scene.apex - fall * 1.25)) ** 2
    mask = scene.air * scene.sided(lesion.side)
    beyond = ramp((inner - 1.0) * 14.0) * mask
    c = np.float32(lesion.conspicuity)
    dark = 0.53 - scene.depth - 0.06
    scene.img += (dark - scene.img) * beyond * (0.9 * c)
    edge = np.maximum(1.0 - np.abs(inner - 1.0) * min(14.0, scene.size / 9.0), 0.0)
    scene.img += edge * mask * (0.24 * c)
    if lesion.severity != "mild":
        scene.img += (1.0 - beyond) * mask * (0.05 * _GRADE[lesion.severity] * c)


def thickening(scene: Scene, lesion: Lesion) -> None:
    """A dense rind along the chest wall, of uneven width."""
    wave = 0.06 * np.cos(scene.V * np.float32(9.0) + np.float32(6.3 * lesion.place[1]))
    rind = ramp((scene.cage - (0.72 + wave - 0.06 * lesion.place[0])) * 9.0)
    lower = ramp((scene.V + 0.50) * 5.0)
    scene.img += rind * lower * scene.air * scene.sided(lesion.side) * np.float32(0.34 * lesion.conspicuity)


def fracture(scene: Scene, lesion: Lesion) -> None:
    """A rib whose two ends are bright, stepped and parted by a dark gap."""
    (sign,) = signs(lesion.side)
    x, y = sign * (0.44 + 0.14 * lesion.place[1]), -0.26 + 0.34 * lesion.place[0]
    step = 0.035 + 0.02 * lesion.place[2]
    c = lesion.conspicuity
    add(scene, line(scene, ((x - sign * 0.15, y - 0.05), (x - sign * 0.02, y)), 0.022), 0.42 * c)
    add(scene, line(scene, ((x + sign * 0.03, y + step), (x + sign * 0.14, y + step + 0.06)), 0.022), 0.42 * c)
    add(scene, line(scene, ((x + sign * 0.012, y - 0.05), (x - sign * 0.006, y + 0.08)), 0.012), -0.16 * c)


def aortic_calcium(scene: Scene, lesion: Lesion) -> None:
    """A bright crescent on the aortic knob."""
    x, y = 0.115 + scene.shift, -0.26
    ring = [
        (x + 0.085 * math.cos(a), y + 0.085 * math.sin(a)) for a in (-2.0, -1.4, -0.8, -0.2, 0.4, 0.9 + lesion.place[0])
    ]
    add(scene, line(scene, ring, 0.013), 0.42 * lesion.conspicuity)


def hernia(scene: Scene, lesion: Lesion) -> None:
    """A round pouch behind the heart with air above a level."""
    x, y = 0.03 + 0.05 * lesion.place[0], scene.dome - 0.14
    radius = 0.15 + 0.03 * lesion.place[1]
    window, shape = ellipse(scene, (x, y), (radius, radius), 5.0)
    above = ramp((y + 0.01 - scene.V[window]) * 40.0)
    ring = shape * ramp(1.0 - ellipse(scene, (x, y), (radius, radius), 1.6)[1])
    c = lesion.conspicuity
    add(scene, (window, shape * above), -0.24 * c)
    below = np.asarray(ring * 0.8 + shape * (1.0 - above) * 0.5, dtype=np.float32)
    add(scene, (window, below), 0.18 * c)


def free_air(scene: Scene, lesion: Lesion) -> None:
    """A black crescent under each dome, with the diaphragm a thin line above it."""
    depth = scene.V - scene.diaphragm_line()
    thick = 0.105 + 0.035 * lesion.place[0]
    under = ramp(depth * 30.0) * ramp((thick - depth) * 30.0 + 0.5)
    reach = ramp((0.33 - np.abs(scene.X - 0.42)) * 12.0)
    left = 0.45 + 0.5 * lesion.place[1]
    crescent = under * reach * np.where(scene.U < 0, np.float32(1.0), np.float32(left)) * scene.outer
    dome = np.maximum(1.0 - np.abs(depth) * min(60.0, scene.size / 2.6), 0.0) * reach * scene.outer
    c = np.float32(lesion.conspicuity)
    scene.img += dome * (0.12 * c) - crescent * (0.44 * c)


def wall_air(scene: Scene, lesion: Lesion) -> None:
    """Dark streaks in the soft tissue beside the rib cage and above the clavicle."""
    streaks = ramp(np.cos((scene.X * 48.0 + scene.V * 14.0) + 5.0 * cloud(scene.rng, scene.size, 9)) * 1.6)
    beyond = ramp((scene.cage - 1.03) * 8.0)
    band = beyond * ramp((1.75 - scene.cage) * 5.0) * ramp((0.45 - scene.V) * 5.0)
    inside: Plane | float = scene.sided(lesion.side)
    scene.img -= streaks * band * inside * np.float32(0.26 * lesion.conspicuity)


OVERLAY: dict[str, Draw] = {
    "pneumothorax": pneumothorax,
    "pleural thickening": thickening,
    "pulmonary edema": edema,
    "interstitial pattern": interstitial,
    "lung opacity": opacity,
    "consolidation": consolidation,
    "atelectasis": atelectasis,
    "hilar enlargement": hilar,
    "mass": mass,
    "nodule": nodule,
    "calcified granuloma": granuloma,
    "hiatal hernia": hernia,
    "pneumoperitoneum": free_air,
    "subcutaneous emphysema": wall_air,
    "aortic calcification": aortic_calcium,
    "rib fracture": fracture,
}
"""In drawing order: what lies in the lung before what lies over it."""
