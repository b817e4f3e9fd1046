"""What goes in: images and the study they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wetread.errors import StudyError
from wetread.records.report import Finding, Report

View = Literal["PA", "AP", "lateral", "unknown"]
Sex = Literal["female", "male", "unknown"]
VIEWS: tuple[View, ...] = get_args(View)
SEXES: tuple[Sex, ...] = get_args(Sex)

Pixels = NDArray[np.float32]
"""Grey values, shape (rows, columns), 0.0 to 1.0, where 1.0 is bone (bright) and 0.0 is air, whatever the file's photometry."""


@dataclass(frozen=True)
class Image:
    """One radiograph of a study. The pixels are read when they are asked for."""

    name: str
    """File name relative to the study's folder; never an absolute path."""
    view: View = "unknown"
    """Projection, from tags or the data set; ``unknown`` where neither says, never a guess."""
    notes: tuple[str, ...] = ()
    """What the reader did or noticed, in words (window chosen, inverted, several windows …)."""
    load: Callable[[], Pixels] | None = field(default=None, compare=False, repr=False)
    """Picklable function that returns the pixels; absent on an image that came from JSON alone."""

    def pixels(self) -> Pixels:
        """Return the grey values, shape (rows, columns), float32 in 0..1, bright = dense.

        Raises
        ------
        StudyError
            When the image came from JSON alone or its file cannot be decoded.
        """
        if self.load is None:
            raise StudyError(f"{self.name}: the pixels are not attached; open the study through wetread.studies.")
        return self.load()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; the pixels stay in their file."""
        return {"name": self.name, "view": self.view, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Image:
        """Return the image that ``to_json`` wrote, without pixels."""
        return cls(name=data["name"], view=data.get("view", "unknown"), notes=tuple(data.get("notes", ())))


@dataclass(frozen=True)
class Prior:
    """The most recent earlier examination of the same patient."""

    study: str
    """Id of the earlier study."""
    date: str = ""
    """ISO date of the earlier study, as ``Study.date``; empty when unknown."""
    images: tuple[Image, ...] = ()
    """Its images, frontal first."""
    report: Report | None = None
    """Its report."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "date": self.date,
            "images": [image.to_json() for image in self.images],
            "report": self.report.to_json() if self.report else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prior:
        """Return the prior that ``to_json`` wrote."""
        report = data.get("report")
        return cls(
            study=data["study"],
            date=data.get("date", ""),
            images=tuple(Image.from_json(item) for item in data.get("images", ())),
            report=Report.from_json(report) if report else None,
        )


@dataclass(frozen=True)
class Study:
    """One examination: its images, what was asked, and, where known, the reference report and the truth."""

    id: str
    """Key of the study within its data set; pseudonymous, never an accession number."""
    images: tuple[Image, ...]
    """All images, frontal first."""
    patient: str = ""
    """Pseudonymous key of the patient; splits are made by it."""
    modality: str = "chest_xray"
    """Which knowledge file speaks of it."""
    indication: str = ""
    """Why the examination was asked for; empty when unknown."""
    comparison: str = ""
    """What it is to be compared with, as the report's Comparison line says it; empty when unknown."""
    age: int | None = None
    """Age in whole years at the time of the study."""
    sex: Sex = "unknown"
    """Sex as recorded."""
    site: str = ""
    """Institution or its pseudonym."""
    date: str = ""
    """ISO date of the study, with its time where that is known; phantom dates lie in the future so that nobody takes them for real ones."""
    split: str = ""
    """``train``, ``val`` or ``test``; empty when the data set has none."""
    prior: Prior | None = None
    """The most recent earlier study, if there is one."""
    report: Report | None = None
    """The reference report."""
    findings: tuple[Finding, ...] | None = None
    """The truth, where it is known exactly (phantom); None everywhere else."""
    source: str = ""
    """Name of the data set or file format it was read from."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Further columns for strata (conspicuity, encounter number …); JSON values only."""

    def with_split(self, split: str) -> Study:
        """Return the same study in another split."""
        return replace(self, split=split)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; the pixels stay in their files."""
        return {
            "study": self.id,
            "patient": self.patient,
            "modality": self.modality,
            "images": [image.to_json() for image in self.images],
            "indication": self.indication,
            "comparison": self.comparison,
            "age": self.age,
            "sex": self.sex,
            "site": self.site,
            "date": self.date,
            "split": self.split,
            "prior": self.prior.to_json() if self.prior else None,
            "report": self.report.to_json() if self.report else None,
            "truth": None if self.findings is None else [finding.to_json() for finding in self.findings],
            "source": self.source,
            "meta": dict(self.meta),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Study:
        """Return the study that ``to_json`` wrote, without pixels (``wetread.studies`` attaches them)."""
        report, prior, truth = data.get("report"), data.get("prior"), data.get("truth")
        return cls(
            id=data["study"],
            patient=data.get("patient", ""),
            modality=data.get("modality", "chest_xray"),
            images=tuple(Image.from_json(item) for item in data["images"]),
            indication=data.get("indication", ""),
            comparison=data.get("comparison", ""),
            age=data.get("age"),
            sex=data.get("sex", "unknown"),
            site=data.get("site", ""),
            date=data.get("date", ""),
            split=data.get("split", ""),
            prior=Prior.from_json(prior) if prior else None,
            report=Report.from_json(report) if report else None,
            findings=None if truth is None else tuple(Finding.from_json(item) for item in truth),
            source=data.get("source", ""),
            meta=data.get("meta", {}),
        )
