"""Phantom studies in memory, and in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from wetread.errors import RunError, UsageError
from wetread.records import Finding, Image, Pixels, Prior, Report, Study, View
from wetread.studies.folder import StudyLog
from wetread.studies.phantom.catalogue import Lesion
from wetread.studies.phantom.config import PhantomConfig
from wetread.studies.phantom.patients import Patient, Visit, locate, sample_patient
from wetread.studies.phantom.render import GREATEST_SIZE, LEAST_SIZE, render
from wetread.studies.phantom.reports import indication, write_report
from wetread.studies.splits import split_of
from wetread.studies.temporal import temporal

Format = Literal["png", "dicom"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIX: dict[Format, str] = {"png": ".png", "dicom": ".dcm"}
PHANTOM_VERSION = 1
"""Raised whenever the same seed would give other studies; a folder of another version is not continued."""

DEFAULT_CONFIG = PhantomConfig()
Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` after every study."""


def generate(
    studies: int,
    seed: int = 0,
    size: int = 128,
    *,
    start: int = 0,
    config: PhantomConfig = DEFAULT_CONFIG,
) -> Iterator[Study]:
    """Yield the studies ``start`` to ``start + studies - 1`` of a seed, each with report, truth and lazy pixels.

    Study i is a pure function of (seed, i, config), so processes can share the work and any range can be made alone. A
    study's prior is the study before it in number, always of the same patient.

    Parameters
    ----------
    studies
        How many; at least 0.
    seed
        Seed of the data set.
    size
        Pixels a side, 64 to 1024.
    start
        Number of the first one.
    config
        What is drawn.

    Raises
    ------
    UsageError
        When ``studies``, ``start`` or ``size`` is out of range.

    Examples
    --------
    >>> study = next(generate(1, seed=0))
    >>> study.id, study.images[0].pixels().shape
    ('phantom-0-000000', (128, 128))
    """
    _check(studies, seed, size, start)
    return (make_study(seed, index, size, config) for index in range(start, start + studies))


def _check(studies: int, seed: int, size: int, start: int = 0) -> None:
    for name, value in (("studies", studies), ("seed", seed), ("start", start)):
        if value < 0:
            raise UsageError(f"{name} is {value}; allowed is 0 or more.")
    if not LEAST_SIZE <= size <= GREATEST_SIZE:
        raise UsageError(f"size is {size}; allowed is {LEAST_SIZE} to {GREATEST_SIZE} pixels a side.")


def study_id(seed: int, index: int) -> str:
    """Return the id of study ``index``."""
    return f"phantom-{seed}-{index:06d}"


def picture(seed: int, index: int, size: int, config: PhantomConfig = DEFAULT_CONFIG) -> NDArray[np.uint8]:
    """Return the picture of study ``index``, shape (size, size), 8 bit, bright = dense."""
    patient, visit = _case(seed, index, config)
    return render(patient.body, visit.pose, visit.lesions, patient.site, visit.exposure, size, (seed, index))


def draw_pixels(seed: int, index: int, size: int, config: PhantomConfig = DEFAULT_CONFIG) -> Pixels:
    """Return the same as grey values in 0..1, float32: exactly what a PNG of it reads back as."""
    return np.asarray(picture(seed, index, size, config), dtype=np.float32) / np.float32(255.0)


def _case(seed: int, index: int, config: PhantomConfig) -> tuple[Patient, Visit]:
    number, visit, visits = locate(seed, index, config.prior_share)
    patient = sample_patient(seed, number, visits, config)
    return patient, patient.visits[visit]


@lru_cache(maxsize=256)
def _report(seed: int, index: int, config: PhantomConfig) -> tuple[str, Report]:
    """Return (indication, report); a study's report is asked for again as the next one's prior."""
    patient, visit = _case(seed, index, config)
    rng = Random(f"wetread:text:{seed}:{index}")
    return indication(patient, visit, rng), write_report(patient, visit, rng)


def make_study(
    seed: int, index: int, size: int = 128, config: PhantomConfig = DEFAULT_CONFIG, suffix: str = ".png"
) -> Study:
    """Return study ``index`` of a seed; its pixels are drawn when they are asked for."""
    number, k, visits = locate(seed, index, config.prior_share)
    patient = sample_patient(seed, number, visits, config)
    visit = patient.visits[k]
    why, report = _report(seed, index, config)
    key = f"PHANTOM-{seed}-{number:06d}"
    prior = None
    if k:
        before = patient.visits[k - 1]
        prior = Prior(
            study=study_id(seed, index - 1),
            date=before.when.isoformat(),
            images=(_image(seed, index - 1, size, config, before, suffix),),
            report=_report(seed, index - 1, config)[1],
        )
    study = Study(
        id=study_id(seed, index),
        images=(_image(seed, index, size, config, visit, suffix),),
        patient=key,
        indication=why,
        comparison=f"Chest radiograph of {prior.date}." if prior else "",
        age=visit.age,
        sex="female" if patient.sex == "female" else "male",
        site=patient.site.name,
        date=visit.when.isoformat(),
        split="test" if patient.site.unseen else split_of(key),
        prior=prior,
        report=report,
        findings=tuple(_truth(lesion) for lesion in (*visit.lesions, *visit.resolved)),
        source="phantom",
        meta={
            "index": index,
            "encounter": k + 1,
            "view": visit.pose.view,
            "unseen_site": patient.site.unseen,
            "conspicuity": {lesion.name: lesion.conspicuity for lesion in visit.lesions},
        },
    )
    return replace(study, meta={**study.meta, "temporal": temporal(study)})


def _truth(lesion: Lesion) -> Finding:
    if lesion.change == "resolved":
        return Finding(lesion.name, "absent", lesion.side, lesion.zone, "", "resolved")  # type: ignore[arg-type]
    return Finding(lesion.name, "present", lesion.side, lesion.zone, lesion.severity, lesion.change)  # type: ignore[arg-type]


def _image(seed: int, index: int, size: int, config: PhantomConfig, visit: Visit, suffix: str) -> Image:
    view: View = "AP" if visit.pose.view == "AP" else "PA"
    name = f"images/{study_id(seed, index)}{suffix}"
    return Image(name, view, load=partial(draw_pixels, seed, index, size, config))


def write(
    out: Path | str,
    studies: int,
    seed: int = 0,
    size: int = 128,
    format: str = "png",
    progress: Progress | None = None,
    *,
    config: PhantomConfig = DEFAULT_CONFIG,
) -> int:
    """Write ``studies`` phantom studies to the folder ``out`` and return how many of them were made by this call.

    ``studies.jsonl`` gets one line per study once its picture is on disk. A writing that was stopped at any moment is
    continued by the same call: finished studies are not made again, a half-written line is dropped, and the bytes are
    those of an undisturbed writing. A greater ``studies`` makes the folder longer; a smaller one leaves it.

    Raises
    ------
    UsageError
        When an argument is out of range.
    RunError
        When the folder holds a phantom of another seed, size, format or config, or cannot be written.
    """
    _check(studies, seed, size)
    if format not in FORMATS:
        raise UsageError(f"format is {format!r}; allowed are {' and '.join(FORMATS)}.")
    kind: Format = "dicom" if format == "dicom" else "png"
    out = Path(out)
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        _claim(out, {"version": PHANTOM_VERSION, "seed": seed, "size": size, "format": kind, **config.to_json()})
        return _write_all(out, studies, (seed, size, kind, config), progress)
    except OSError as error:
        raise RunError(
            f"{out.name}: the folder cannot be written ({error.strerror}); free space or choose another."
        ) from error


def _write_all(out: Path, studies: int, what: tuple[int, int, Format, PhantomConfig], progress: Progress | None) -> int:
    seed, size, kind, config = what
    with StudyLog(out) as log:
        first = len(log.ids)
        expected = [study_id(seed, index) for index in range(first)]
        if log.ids != expected:
            raise RunError(
                f"{out.name}/studies.jsonl: the studies are not 0 to {first - 1} of seed {seed}; use a new folder."
            )
        for index in range(first, studies):
            study = make_study(seed, index, size, config, SUFFIX[kind])
            _save(out / study.images[0].name, study, (seed, index, size, config), kind)
            log.append(study)
            if progress:
                progress(index + 1, studies)
    return max(0, studies - first)


def _save(path: Path, study: Study, what: tuple[int, int, int, PhantomConfig], kind: Format) -> None:
    seed, index, size, config = what
    grey = picture(seed, index, size, config)
    if kind == "png":
        PilImage.fromarray(grey).save(path, "PNG", compress_level=1)
        return
    from wetread.studies.phantom.dicom_out import save_dicom  # pydicom is slow to import

    patient, _ = _case(seed, index, config)
    save_dicom(path, study, grey, patient.site)


def _claim(out: Path, wanted: dict[str, Any]) -> None:
    """Write ``phantom.json``, or check that the folder's own says the same."""
    path = out / "phantom.json"
    if not path.exists():
        if (out / "studies.jsonl").exists():
            raise RunError(f"{out.name}: holds studies that are not from a phantom; choose an empty folder.")
        partial_path = out / "phantom.json.part"
        partial_path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        partial_path.replace(path)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{out.name}/phantom.json: not JSON; the folder is damaged, choose another.") from error
    differing = [key for key in sorted({*wanted, *found}) if wanted.get(key) != found.get(key)]
    if differing:
        told = ", ".join(f"{key} {found.get(key)!r} (asked for: {wanted.get(key)!r})" for key in differing)
        raise RunError(f"{out.name}: the folder was made with another {told}; give the same or choose another folder.")
