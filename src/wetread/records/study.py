"""What goes in: images and the study they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wetread.errors import StudyError
from wetread.records.report import Finding, Report

View = Literal["PA", "AP", "lateral", "unknown"]
Sex = Literal["female", "male", "unknown"]
VIEWS: tuple[View, ...] = get_args(View)
SEXES: tuple[Sex, ...] = get_args(Sex)
FRONTAL_FIRST: Mapping[View, int] = {"PA": 0, "AP": 1, "unknown": 2, "lateral": 3}
"""Place of a view in the order of a study's images."""

Pixels = NDArray[np.float32]
"""Grey values, shape (rows, columns), 0.0 to 1.0, where 1.0 is bone (bright) and 0.0 is air, whatever the file's photometry."""


def _group(data: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """Return the keys and values under ``key``; None where there are none (``TypeError`` where it is something else)."""
    held = data.get(key)
    if held and not isinstance(held, Mapping):
        raise TypeError(f"{key} is not a mapping of keys to values but {type(held).__name__}; give one, or null")
    return held or None


def _groups(data: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    """Return the list of mappings under ``key``, which may be missing (``TypeError`` where it is something else)."""
    held = data.get(key, ())
    if not isinstance(held, list | tuple) or not all(isinstance(item, Mapping) for item in held):
        raise TypeError(f"{key} is not a list of mappings of keys to values; give one")
    return held


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
    file: Path | None = field(default=None, compare=False, repr=False)
    """Where its file is, while this program runs; never written anywhere. None where there is no file of its own."""

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
        """Return the prior that ``to_json`` wrote; ``KeyError`` or ``TypeError`` names the key that is missing or wrong."""
        report = _group(data, "report")
        return cls(
            study=data["study"],
            date=data.get("date", ""),
            images=tuple(Image.from_json(item) for item in _groups(data, "images")),
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
        """Return the study that ``to_json`` wrote, without pixels (``wetread.studies`` attaches them).

        Raises
        ------
        KeyError
            A key is missing.
        TypeError
            A key does not hold what it is to hold; names the key.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"not a mapping of keys to values but {type(data).__name__}")
        report, prior, meta = (_group(data, key) for key in ("report", "prior", "meta"))
        truth = None if data.get("truth") is None else _groups(data, "truth")
        if "images" not in data:
            raise KeyError("images")
        return cls(
            id=data["study"],
            patient=data.get("patient", ""),
            modality=data.get("modality", "chest_xray"),
            images=tuple(Image.from_json(item) for item in _groups(data, "images")),
            indication=data.get("indication", ""),
            comparison=data.get("comparison", ""),
            age=data.get("age"),
            sex=data.get("sex", "unknown"),
            site=data.get("site", ""),
            date=data.get("date", ""),
            split=data.get("split", ""),
            prior=_prior(prior) if prior else None,
            report=Report.from_json(report) if report else None,
            findings=None if truth is None else tuple(Finding.from_json(item) for item in truth),
            source=data.get("source", ""),
            meta=meta or {},
        )


def _prior(data: Mapping[str, Any]) -> Prior:
    """Return the prior; an error says that its key is one of the prior's."""
    try:
        return Prior.from_json(data)
    except KeyError as error:
        raise KeyError(f"prior.{error.args[0]}") from error
    except TypeError as error:
        raise TypeError(f"prior.{error}") from error
