"""How lines, tubes and other devices are drawn."""

from __future__ import annotations

import numpy as np

from wetread.studies.phantom.anatomy import LUNG_CENTRE, Scene, ramp
from wetread.studies.phantom.catalogue import Lesion
from wetread.studies.phantom.drawing import add, arc, ellipse, line
from wetread.studies.phantom.findings import Draw, signs


def endotracheal_tube(scene: Scene, lesion: Lesion) -> None:
    """Two walls of a tube in the trachea, ending above the carina."""
    x = scene.shift + 0.01 * (lesion.place[0] - 0.5)
    tip = -0.42 + 0.10 * lesion.place[1]
    lean = 0.03 * (lesion.place[2] - 0.5)
    for wall in (-0.024, 0.024):
        drawn = line(scene, ((x + wall + lean, -1.05), (x + wall, -0.7), (x + wall, tip)), 0.011)
        add(scene, drawn, 0.44 * lesion.conspicuity)


def enteric_tube(scene: Scene, lesion: Lesion) -> None:
    """A line down the oesophagus that turns to the left below the diaphragm."""
    x = scene.shift - 0.02 + 0.03 * lesion.place[0]
    points = [(x + 0.03, -1.05), (x, -0.6), (x + 0.015, -0.1), (x + 0.03, 0.35)]
    points += arc((x + 0.03, 0.35), (0.06, 0.66), (0.30 + 0.12 * lesion.place[1], 0.74 + 0.10 * lesion.place[2]))[1:]
    add(scene, line(scene, points, 0.012), 0.40 * lesion.conspicuity)


def venous_catheter(scene: Scene, lesion: Lesion) -> None:
    """A line from the neck or from under the clavicle to the superior vena cava, right of the midline."""
    (sign,) = signs(lesion.side)
    end = (-0.105 + scene.shift, 0.02 + 0.14 * lesion.place[0])
    vena = (-0.110 + scene.shift, -0.36)
    if lesion.place[1] < 0.5:
        points = arc((sign * 0.17, -1.05), (sign * 0.20, -0.62), vena)
    else:
        points = arc((sign * 0.66, -0.50), (sign * 0.28, -0.66), vena)
    add(scene, line(scene, [*points, end], 0.012), 0.44 * lesion.conspicuity)


def pacemaker(scene: Scene, lesion: Lesion) -> None:
    """A metal box under the clavicle with one or two leads to the heart."""
    (sign,) = signs(lesion.side)
    x, y = sign * (0.56 + 0.06 * lesion.place[0]), -0.46 + 0.05 * lesion.place[1]
    c = lesion.conspicuity
    window = scene.window(x - 0.12, x + 0.12, y - 0.10, y + 0.10)
    dx, dy = (scene.U[window] - np.float32(x)) / 0.105, (scene.V[window] - np.float32(y)) / 0.085
    box = ramp((1.0 - (dx**4 + dy**4)) * 4.0)
    scene.img[window] += (0.97 - scene.img[window]) * box * np.float32(0.9 * c)
    vena = (-0.09 + scene.shift, -0.34)
    entry = arc((x - sign * 0.08, y - 0.06), (sign * 0.25, -0.62), vena)
    tips = [(0.22, 0.40)] if lesion.place[2] < 0.4 else [(0.22, 0.40), (-0.10, 0.16)]
    for tip in tips:
        add(scene, line(scene, [*entry, *arc(vena, (-0.16, 0.30), tip, 4)[1:]], 0.010), 0.34 * c)


def chest_tube(scene: Scene, lesion: Lesion) -> None:
    """A thick tube with a bright stripe from the side wall up towards the apex."""
    (sign,) = signs(lesion.side)
    start = (sign * 1.0, 0.24 + 0.12 * lesion.place[0])
    points = arc(start, (sign * 0.55, 0.22), (sign * (0.26 + 0.12 * lesion.place[1]), -0.36 + 0.1 * lesion.place[2]))
    add(scene, line(scene, points, 0.026), 0.16 * lesion.conspicuity)
    add(scene, line(scene, points, 0.010), 0.30 * lesion.conspicuity)


def sternotomy_wires(scene: Scene, lesion: Lesion) -> None:
    """Five or six bright loops down the midline."""
    x = scene.shift * 1.3
    for k in range(5 + (lesion.place[0] < 0.5)):
        y = LUNG_CENTRE - 0.80 + 0.135 * k
        half = 0.042 + 0.008 * ((k * 7 + round(10 * lesion.place[1])) % 3)
        window, disc = ellipse(scene, (x, y), (half, 0.036), 4.0)
        hole = ellipse(scene, (x, y), (half, 0.036), 1.4)[1]
        add(scene, (window, np.maximum(disc - 0.75 * hole, 0.0)), 0.50 * lesion.conspicuity)


DEVICES: dict[str, Draw] = {
    "sternotomy wires": sternotomy_wires,
    "pacemaker": pacemaker,
    "chest tube": chest_tube,
    "central venous catheter": venous_catheter,
    "enteric tube": enteric_tube,
    "endotracheal tube": endotracheal_tube,
}
"""In drawing order, over everything else."""
