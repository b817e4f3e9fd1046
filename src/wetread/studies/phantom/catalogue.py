"""The 28 findings of the phantom: how often, on which side, how graded, and how each behaves over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Course = Literal["acute", "growing", "steady", "fixed", "device"]

LEFT_RIGHT = ("left", "right")
EITHER_OR_BOTH = ("left", "right", "left", "right", "bilateral")
ZONES = ("upper zone", "middle zone", "lower zone")


@dataclass(frozen=True)
class Spec:
    """How one finding is sampled."""

    name: str
    """Name in the knowledge file."""
    ward: float
    """Weight among patients of the ward and of the outpatient clinic."""
    icu: float
    """Weight among patients of intensive care, who are examined AP."""
    course: Course = "fixed"
    """``acute`` comes, goes, grows and shrinks; ``growing`` stays or grows; ``steady`` stays, and reports say that it is
    unchanged; ``fixed`` stays, and reports do not speak of change; ``device`` is put in and taken out without comment."""
    sides: tuple[str, ...] = ("",)
    """Sides to draw from; a side that occurs twice is twice as likely."""
    zones: tuple[str, ...] = ("",)
    """Locations to draw from."""
    graded: bool = False
    """Whether it is mild, moderate or severe."""
    least_age: int = 18
    """Youngest patient who has it, in years."""
    region: str = "lungs"
    """Where reports speak of it: lungs, pleura, heart, bones, abdomen or devices."""
    rank: int = 2
    """Place in the impression: 0 first (urgent), 3 last."""


SPECS: tuple[Spec, ...] = (
    Spec("cardiomegaly", 10, 8, "steady", graded=True, least_age=35, region="heart", rank=1),
    Spec("enlarged cardiomediastinum", 5, 4, "steady", region="heart", rank=1),
    Spec("lung opacity", 9, 9, "acute", EITHER_OR_BOTH, ZONES, rank=1),
    Spec("nodule", 7, 1, "growing", LEFT_RIGHT, ZONES, least_age=30, rank=1),
    Spec("mass", 6, 1, "growing", LEFT_RIGHT, ZONES, least_age=40, rank=0),
    Spec("pulmonary edema", 3, 11, "acute", graded=True, least_age=30, rank=0),
    Spec("consolidation", 6, 6, "acute", LEFT_RIGHT, ZONES, rank=0),
    Spec("atelectasis", 8, 9, "acute", EITHER_OR_BOTH, rank=2),
    Spec("pneumothorax", 4, 6, "acute", LEFT_RIGHT, graded=True, region="pleura", rank=0),
    Spec("pleural effusion", 9, 11, "acute", EITHER_OR_BOTH, graded=True, region="pleura", rank=1),
    Spec("pleural thickening", 7, 1, "fixed", EITHER_OR_BOTH, least_age=30, region="pleura", rank=2),
    Spec("rib fracture", 5, 2, "fixed", LEFT_RIGHT, region="bones", rank=1),
    Spec("emphysema", 7, 1, "fixed", least_age=45, rank=2),
    Spec("interstitial pattern", 7, 2, "steady", least_age=30, rank=2),
    Spec("calcified granuloma", 7, 1, "fixed", LEFT_RIGHT, ZONES, least_age=25, rank=3),
    Spec("hilar enlargement", 7, 1, "fixed", EITHER_OR_BOTH, rank=1),
    Spec("elevated hemidiaphragm", 7, 1, "fixed", LEFT_RIGHT, region="abdomen", rank=2),
    Spec("scoliosis", 7, 1, "fixed", region="bones", rank=3),
    Spec("aortic calcification", 6, 2, "fixed", least_age=55, region="heart", rank=3),
    Spec("hiatal hernia", 7, 1, "fixed", least_age=45, region="abdomen", rank=2),
    Spec("pneumoperitoneum", 4, 3, "fixed", region="abdomen", rank=0),
    Spec("subcutaneous emphysema", 4, 5, "fixed", EITHER_OR_BOTH, region="bones", rank=1),
    Spec("endotracheal tube", 0, 17, "device", region="devices", rank=2),
    Spec("enteric tube", 1, 12, "device", region="devices", rank=2),
    Spec("central venous catheter", 3, 14, "device", LEFT_RIGHT, region="devices", rank=2),
    Spec("pacemaker", 6, 3, "device", ("left", "left", "left", "right"), least_age=50, region="devices", rank=3),
    Spec("chest tube", 2, 8, "device", LEFT_RIGHT, region="devices", rank=2),
    Spec("sternotomy wires", 5, 5, "device", least_age=45, region="devices", rank=3),
)
"""Every finding, in the order of the knowledge file's label space."""

SPEC: dict[str, Spec] = {spec.name: spec for spec in SPECS}
"""The same by name."""

FINDINGS: tuple[str, ...] = tuple(SPEC)
"""The 28 names."""

EXCLUDES: tuple[frozenset[str], ...] = (
    frozenset({"cardiomegaly", "enlarged cardiomediastinum"}),
    frozenset({"pulmonary edema", "interstitial pattern"}),
    frozenset({"pulmonary edema", "emphysema"}),
    frozenset({"emphysema", "interstitial pattern"}),
    frozenset({"emphysema", "elevated hemidiaphragm"}),
    frozenset({"lung opacity", "consolidation"}),
    frozenset({"nodule", "mass"}),
    frozenset({"elevated hemidiaphragm", "pleural effusion"}),
    frozenset({"pleural thickening", "pleural effusion"}),
    frozenset({"pleural thickening", "pneumothorax"}),
    frozenset({"pneumoperitoneum", "elevated hemidiaphragm"}),
)
"""Pairs that are not drawn together: one would hide the other or make its truth doubtful."""

COMPANIONS: dict[str, tuple[float, tuple[str, ...]]] = {
    "chest tube": (3.0, ("pneumothorax", "pleural effusion")),
    "enteric tube": (2.5, ("endotracheal tube",)),
    "pulmonary edema": (1.6, ("endotracheal tube", "cardiomegaly")),
    "lung opacity": (1.6, ("endotracheal tube",)),
    "pleural effusion": (1.6, ("pulmonary edema", "cardiomegaly")),
    "subcutaneous emphysema": (2.5, ("pneumothorax", "rib fracture")),
}
"""Factor on a finding's weight when one of its usual companions is there already."""


@dataclass(frozen=True)
class Lesion:
    """One finding of one study, with all that its drawing needs."""

    name: str
    """Name in the catalogue."""
    side: str = ""
    """left, right, bilateral or empty."""
    zone: str = ""
    """upper zone, middle zone, lower zone or empty."""
    severity: str = ""
    """mild, moderate, severe or empty."""
    change: str = ""
    """Change against the prior study; empty without one."""
    conspicuity: float = 1.0
    """Contrast factor, 0 to 1."""
    extent: float = 1.0
    """Factor on its drawn size, about 0.6 to 1.7; follows increase and decrease."""
    place: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Three numbers in 0..1 that place and shape it; the same at every visit."""
