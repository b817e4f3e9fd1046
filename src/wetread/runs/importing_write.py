"""One study of an import as it is written: pseudonyms, shifted dates, its prior, links to its images."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wetread.errors import RunError
from wetread.records import Image, Prior, Report, Study
from wetread.studies.anonymise import DEFAULT_KEY, pseudonym, shifted
from wetread.studies.datasets import Found
from wetread.studies.datasets.wording import without_marks
from wetread.studies.folder import DEEP
from wetread.studies.priors import is_later
from wetread.studies.splits import split_of

if TYPE_CHECKING:
    from wetread.runs.importing import ImportConfig

_PNG = b"\x89PNG\r\n\x1a\n"


class Link(NamedTuple):
    """What is known of a study among those of its patient."""

    prior: str
    """The set's own id of its prior; empty where it has none."""
    encounter: int | None
    """The how many-th study of its patient it is; None where that is not known."""


class Place(NamedTuple):
    """One image file and where it goes."""

    source: Path
    """The file."""
    target: Path
    """Its place in the folder."""


@dataclass(frozen=True)
class Made:
    """A study ready to be written."""

    study: Study
    """The study, its images named as in the folder."""
    files: tuple[Place, ...]
    """Its images and those of its prior."""
    raw: str
    """The set's own id of the study."""
    where: str
    """Where its row is."""

    def without(self, failed: set[Path]) -> Study:
        """Return the study without the images whose files could not be placed."""
        if not failed:
            return self.study
        gone = {f"images/{path.parent.name}/{path.name}" for path in failed}
        images = tuple(image for image in self.study.images if image.name not in gone)
        prior = self.study.prior
        if prior is not None:
            prior = replace(prior, images=tuple(image for image in prior.images if image.name not in gone))
        return replace(self.study, images=images, prior=prior)


class Ids:
    """Keys of studies and patients: pseudonyms, or the set's own where they are kept."""

    def __init__(self, keep: bool, key: bytes = DEFAULT_KEY) -> None:
        self._keep = keep
        self._key = key

    def study(self, raw: str) -> str:
        """Return the key of a study."""
        return raw if self._keep else pseudonym("study", raw, self._key)

    def patient(self, raw: str) -> str:
        """Return the key of a patient; empty for none."""
        return raw if self._keep else pseudonym("patient", raw, self._key)

    def date(self, date: str, patient: str) -> str:
        """Return a date as it is written."""
        return date if self._keep else shifted(date, patient, self._key)


def encounters(studies: Sequence[Study]) -> list[int | None]:
    """Return the how many-th study of its patient each one is, by date.

    None for all of a patient of whom a study has no date or two cannot be ordered, and for studies without a patient. A number
    that the set gives (``meta["encounter"]``) stands.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    numbers: list[int | None] = [study.meta.get("encounter") for study in studies]
    for place, study in enumerate(studies):
        if study.patient and "encounter" not in study.meta:
            groups[study.source, study.patient].append(place)
    for places in groups.values():
        places.sort(key=lambda place: studies[place].date)
        ordered = all(is_later(studies[later].date, studies[earlier].date) for earlier, later in pairwise(places))
        if ordered and studies[places[0]].date:
            for number, place in enumerate(places, start=1):
                numbers[place] = number
    return numbers


def final_split(study: Study, how: str) -> str:
    """Return the split that a study is written with: the set's own, by a hash of its patient (else of itself), or none."""
    if how == "official":
        return study.split
    return split_of(f"{study.source}\0{study.patient or study.id}") if how == "patient" else ""


class Writer:
    """Makes what is written of a study."""

    def __init__(self, out: Path, name: str, config: ImportConfig, ids: Ids) -> None:
        self._out = out
        self._name = name
        self._config = config
        self._ids = ids

    def made(self, found: Found, link: Link, before: Found | None) -> Made:
        """Return a study with pseudonyms and its prior, and where its files go.

        Parameters
        ----------
        found
            The study as the set has it.
        link
            Its prior and its number among its patient's.
        before
            The prior as the set has it, where it is one of its studies.
        """
        raw = found.study
        images, files = self._images(found)
        prior: Prior | None = None
        if before is not None:
            shown, more = self._images(before)
            date = self._ids.date(before.study.date, before.study.patient)
            prior = Prior(self._ids.study(before.study.id), date, shown, self._report(before.study.report))
            files = (*files, *more)
        elif raw.prior is not None:
            outside = replace(
                found, study=replace(raw, id=raw.prior.study, images=raw.prior.images), files=found.prior_files
            )
            shown, more = self._images(outside)
            prior = Prior(self._ids.study(raw.prior.study), "", shown, None)
            files = (*files, *more)
        study = replace(
            raw,
            id=self._ids.study(raw.id),
            images=images,
            patient=self._ids.patient(raw.patient),
            indication=self._text(raw.indication),
            comparison=self._text(raw.comparison),
            date=self._ids.date(raw.date, raw.patient),
            split=final_split(raw, self._config.split),
            prior=prior,
            report=self._report(raw.report),
            meta={**raw.meta, "set": self._name, "encounter": link.encounter},
        )
        return Made(study, files, raw.id, found.where)

    def _images(self, found: Found) -> tuple[tuple[Image, ...], tuple[Place, ...]]:
        """Return a study's images with their names in the folder, and their files."""
        # the pseudonym also where ids are kept: a file may be called so on every system, and no two alike
        stem = pseudonym("study", found.study.id, self._config.key)
        images, files = [], []
        for number, (image, file) in enumerate(zip(found.study.images, found.files, strict=True)):
            assert file is not None
            name = f"images/{stem[-2:]}/{stem}-{number}{DEEP if deep(file) else ''}{file.suffix.lower()}"
            images.append(replace(image, name=name))
            files.append(Place(file, self._out / name))
        return tuple(images), tuple(files)

    def _text(self, text: str) -> str:
        return without_marks(text, self._config.marks)

    def _report(self, report: Report | None) -> Report | None:
        return report and Report(self._text(report.findings), self._text(report.impression))

    def place(self, file: Place) -> Path | None:
        """Link to a file, or copy it; return its place where it cannot be read.

        Raises
        ------
        RunError
            Links cannot be made here.
        """
        source, target = file.source.absolute(), file.target
        target.parent.mkdir(exist_ok=True)
        if self._config.copy:
            return self._copied(source, target)
        if target.is_symlink():
            if target.readlink() == source:
                return None
            target.unlink()
        try:
            target.symlink_to(source)
        except OSError as error:
            raise RunError(
                f"links to images cannot be made in {self._out.name} ({error.strerror}); use --copy."
            ) from error
        return None if os.access(source, os.R_OK) else target

    def _copied(self, source: Path, target: Path) -> Path | None:
        if target.exists():
            return None
        part = target.with_name(f"{target.name}.part")
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            if error.filename is not None and Path(error.filename) == source:
                return target
            raise
        part.replace(target)
        return None


def deep(path: Path) -> bool:
    """Whether a picture has more than 8 bits, whose values may not fill their depth (see ``studies.folder.DEEP``).

    Only the beginning of a PNG is looked at; a TIFF is asked through Pillow.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".png":
            with path.open("rb") as file:
                head = file.read(25)
            return head[:8] == _PNG and len(head) == 25 and head[24] > 8
        if suffix in (".tif", ".tiff"):
            from PIL import Image as PilImage  # other suffixes do not need it

            with PilImage.open(path) as picture:
                return picture.mode.startswith(("I", "F"))
    except Exception:  # what cannot be opened is found by `wetread data check`
        return False
    return False
