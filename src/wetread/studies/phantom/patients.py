"""From a seed and a study's number to its patient, visits and truth.

Study numbers are dealt to patients in blocks of 36 consecutive numbers. How a block is dealt is a pure function of the
seed and the block, so any study can be made alone, on any machine, in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from random import Random

from wetread.studies.phantom.anatomy import Body, Pose, sample_body, sample_pose
from wetread.studies.phantom.catalogue import COMPANIONS, EXCLUDES, SPEC, SPECS, Lesion, Spec
from wetread.studies.phantom.config import PhantomConfig
from wetread.studies.phantom.render import Exposure
from wetread.studies.phantom.sites import SITE, Site

BLOCK = 36
"""Studies in one block."""
MOST_VISITS = 4
"""Most studies that one patient has."""
MOST_FINDINGS = 4
"""Most findings in one study."""

_GRADES = ("mild", "moderate", "severe")
_COUNTS = (1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4)
"""Findings of a newly seen abnormal patient."""


@dataclass(frozen=True)
class Visit:
    """One study's truth."""

    lesions: tuple[Lesion, ...]
    """What is there."""
    resolved: tuple[Lesion, ...]
    """What was there at the prior study and is gone; reports say so."""
    pose: Pose
    """How the patient was placed."""
    exposure: Exposure
    """How the picture was exposed."""
    when: date
    """Date of the study."""
    age: int
    """Age in whole years."""


@dataclass(frozen=True)
class Patient:
    """One patient with all visits."""

    number: int
    """Running number within the seed."""
    sex: str
    """female or male."""
    site: Site
    """Where the patient is examined."""
    body: Body
    """Anatomy, the same at every visit."""
    icu: bool
    """Whether the patient lies in intensive care."""
    visits: tuple[Visit, ...]
    """The studies, oldest first."""


@lru_cache(maxsize=256)
def _conspicuity(config: PhantomConfig, rng: Random) -> float:
    """Draw a contrast factor: mostly plain, with a tail down to the barely visible, as reported findings are."""
    low, high = config.conspicuity
    return round(low + (high - low) * math.sqrt(rng.random()), 3)


def _deal(seed: int, block: int, prior_share: float) -> tuple[int, ...]:
    """Return how many studies each patient of a block has; they add up to ``BLOCK``."""
    patients = max(BLOCK // MOST_VISITS, round(BLOCK * (1.0 - prior_share)))
    counts = [1] * patients
    rng = Random(f"wetread:deal:{seed}:{block}")
    for _ in range(BLOCK - patients):
        open_ones = [k for k, count in enumerate(counts) if count < MOST_VISITS]
        counts[rng.choice(open_ones)] += 1
    return tuple(counts)


def locate(seed: int, index: int, prior_share: float) -> tuple[int, int, int]:
    """Return (patient number, which visit from 0, how many visits) of study ``index``."""
    block, rest = divmod(index, BLOCK)
    counts = _deal(seed, block, prior_share)
    first = block * len(counts)
    for k, count in enumerate(counts):
        if rest < count:
            return first + k, rest, count
        rest -= count
    raise AssertionError("a block deals all of its studies")


@lru_cache(maxsize=64)
def sample_patient(seed: int, number: int, visits: int, config: PhantomConfig) -> Patient:
    """Draw patient ``number`` with all visits; a pure function of its arguments."""
    rng = Random(f"wetread:patient:{seed}:{number}")
    keys = config.sites
    site = SITE[rng.choices(keys, [SITE[key].share for key in keys])[0]]
    sex = rng.choice(("female", "male"))
    chance = min(1.0, (0.63 if visits == 1 else 0.74) * config.prevalence)
    sick = rng.random() < chance
    icu = rng.random() < (0.30 if sick else 0.05)
    lesions = _first(rng, icu, config) if sick else ()
    least = max([SPEC[lesion.name].least_age for lesion in lesions], default=18)
    age = rng.randint(max(least, rng.choice((18, 30, 45, 60))), 89)
    body = sample_body(rng, sex, age)
    when = date(2090, 1, 1) + timedelta(days=rng.randrange(2400))
    made: list[Visit] = []
    resolved: tuple[Lesion, ...] = ()
    for k in range(visits):
        if k:
            gap = rng.randint(1, 4) if icu else rng.randint(14, 330)
            when += timedelta(days=gap)
            lesions, resolved = _follow(rng, lesions, icu, age, config)
        view = "AP" if icu or rng.random() < 0.12 or any(x.name == "endotracheal tube" for x in lesions) else "PA"
        years = age + (when - made[0].when).days // 365 if made else age
        made.append(Visit(lesions, resolved, sample_pose(rng, view), _exposure(rng, site, view, config), when, years))
    return Patient(number, sex, site, body, icu, tuple(made))


def _exposure(rng: Random, site: Site, view: str, config: PhantomConfig) -> Exposure:
    border = [rng.uniform(0.0, site.border) if rng.random() < 0.6 else 0.0 for _ in range(4)]
    return Exposure(
        gamma=site.gamma * rng.uniform(0.93, 1.07),
        contrast=site.contrast * rng.uniform(0.92, 1.08) * (0.94 if view == "AP" else 1.0),
        brightness=site.brightness + rng.uniform(-0.04, 0.04),
        noise=site.noise * rng.uniform(0.8, 1.25) * (1.15 if view == "AP" else 1.0) * config.noise,
        border=(border[0], border[1], border[2], border[3]),
    )


def _lesion(rng: Random, spec: Spec, config: PhantomConfig, side: str = "", change: str = "") -> Lesion:
    drawn_side = rng.choice(spec.sides)
    return Lesion(
        name=spec.name,
        side=side if side in spec.sides else drawn_side,
        zone=rng.choice(spec.zones),
        severity=rng.choice(_GRADES) if spec.graded else "",
        change=change,
        conspicuity=_conspicuity(config, rng),
        extent=round(rng.uniform(0.9, 1.1), 3),
        place=(round(rng.random(), 4), round(rng.random(), 4), round(rng.random(), 4)),
    )


def _allowed(name: str, present: dict[str, Lesion]) -> bool:
    return name not in present and not any(
        name in pair and any(other in present for other in pair if other != name) for pair in EXCLUDES
    )


def _draw(rng: Random, icu: bool, present: dict[str, Lesion], allowed: tuple[Spec, ...]) -> Spec | None:
    """Draw one more finding by weight; what is in ``present`` makes its companions likelier."""
    choices = [spec for spec in allowed if _allowed(spec.name, present)]
    weights = [float(spec.icu if icu else spec.ward) for spec in choices]
    for k, spec in enumerate(choices):
        factor, causes = COMPANIONS.get(spec.name, (1.0, ()))
        if any(cause in present for cause in causes):
            weights[k] *= factor
    return rng.choices(choices, weights)[0] if sum(weights) > 0 else None


def _first(rng: Random, icu: bool, config: PhantomConfig) -> tuple[Lesion, ...]:
    """Draw the findings of a patient's first study: 1 to 4, about 2 on average, one more in intensive care."""
    present: dict[str, Lesion] = {}
    for _ in range(min(MOST_FINDINGS, rng.choice(_COUNTS) + (icu and rng.random() < 0.5))):
        spec = _draw(rng, icu, present, SPECS)
        if spec is not None:
            present[spec.name] = _lesion(rng, spec, config, _companion_side(spec.name, present))
    return tuple(present.values())


def _companion_side(name: str, present: dict[str, Lesion]) -> str:
    """Return the side on which a finding must lie because of another: a chest tube lies where the air or fluid is."""
    if name in ("chest tube", "subcutaneous emphysema"):
        for cause in ("pneumothorax", "pleural effusion", "rib fracture"):
            if cause in present and present[cause].side != "bilateral":
                return present[cause].side
    return ""


def _follow(
    rng: Random, before: tuple[Lesion, ...], icu: bool, age: int, config: PhantomConfig
) -> tuple[tuple[Lesion, ...], tuple[Lesion, ...]]:
    """Return (present, resolved) at the next visit."""
    present: dict[str, Lesion] = {}
    resolved: list[Lesion] = []
    for lesion in before:
        after = _evolve(rng, lesion)
        if after is not None:
            present[after.name] = after
        elif SPEC[lesion.name].course == "acute":
            resolved.append(replace(lesion, change="resolved"))
    gone = {lesion.name for lesion in resolved}
    chance = (0.35 if before else 0.30) * min(1.0, config.prevalence)
    while len(present) < MOST_FINDINGS and rng.random() < chance:
        comers = tuple(
            spec
            for spec in SPECS
            if spec.course in ("acute", "device") and spec.name not in gone and spec.least_age <= age
            and spec.name not in ("pacemaker", "sternotomy wires")
        )  # fmt: skip
        spec = _draw(rng, icu, present, comers)
        if spec is None:
            break
        change = "new" if spec.course == "acute" else ""
        present[spec.name] = _lesion(rng, spec, config, _companion_side(spec.name, present), change)
        chance *= 0.5
    return tuple(present.values()), tuple(resolved)


def _evolve(rng: Random, lesion: Lesion) -> Lesion | None:
    """Return the lesion at the next visit, or None when it is gone."""
    course = SPEC[lesion.name].course
    draw = rng.random()
    seen = min(1.0, round(lesion.conspicuity * rng.uniform(0.92, 1.08), 3))
    kept = replace(lesion, conspicuity=seen, change="")
    if course == "device":
        lasting = lesion.name in ("pacemaker", "sternotomy wires")
        return kept if lasting or draw < 0.7 else None
    if course == "fixed":
        return kept
    if course == "steady":
        return replace(kept, change="unchanged")
    if course == "growing":
        grows = draw < 0.4 and lesion.extent < 1.5
        return (
            replace(kept, change="increased", extent=lesion.extent * 1.4)
            if grows
            else replace(kept, change="unchanged")
        )
    return _evolve_acute(draw, kept)


def _evolve_acute(draw: float, kept: Lesion) -> Lesion | None:
    """Return what becomes of an acute finding: 34% unchanged, 21% worse, 20% better, 25% gone, where its grade allows."""
    if draw < 0.25:
        return None
    if draw < 0.46:
        if kept.severity and kept.severity != "severe":
            return replace(kept, change="increased", severity=_GRADES[_GRADES.index(kept.severity) + 1])
        if not kept.severity and kept.extent < 1.2:
            return replace(kept, change="increased", extent=kept.extent * 1.4)
    elif draw < 0.66:
        if kept.severity and kept.severity != "mild":
            return replace(kept, change="decreased", severity=_GRADES[_GRADES.index(kept.severity) - 1])
        if not kept.severity and kept.extent > 0.8:
            return replace(kept, change="decreased", extent=kept.extent / 1.4)
    return replace(kept, change="unchanged")
