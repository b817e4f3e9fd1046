"""PadChest-GR: sentences with boxes, in Spanish and English, an image a study.

Layout (BIMCV, arXiv 2411.05085; keys and columns as printed by readers of the release of 2024-08-19):
``grounded_reports_20240819.json``, a list of StudyID, ImageID, PreviousStudyID, PreviousImageID and findings, each with
sentence_en, sentence_es, abnormal, boxes, extra_boxes, labels, locations, progression; ``master_table.csv`` (also ``.zip``),
a row a study and sentence, with StudyID, PatientID, split (train, validation, test), PatientAge, PatientSex_DICOM,
StudyDate_DICOM, StudyDate and more. Images are 16-bit PNGs in ``Padchest_GR_files/PadChest_GR/``, those of priors in
``PadChest_GR_progression_prior_studies/``.

The sentences of a study in their order are its findings; there is no impression. PadChest's own text of the report is stemmed
and is not read. The files say nothing of the view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wetread.records import Image, Prior, Report, Study
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import Index, beside, check_columns, first_of, must_exist, wrong_layout
from wetread.studies.reports import read_json

TITLE = "PadChest-GR"
_MASTER = ("StudyID", "PatientID", "split")


def open_set(place: Place) -> Opened:
    """Find the JSON and the master table; see ``DataSet.open``."""
    must_exist(place)
    folders = [place.root] if place.root.is_dir() else [place.root.parent]
    listing = (
        place.root if place.root.is_file() else first_of(folders, ["grounded_reports_*.json", "grounded_reports.json"])
    )
    master = first_of(folders, ["master_table.csv", "master_table.csv.zip", "master_table.csv.gz"])
    if listing is None or master is None:
        raise wrong_layout(place, TITLE, "grounded_reports_20240819.json and master_table.csv")
    check_columns(master, _MASTER)
    return Opened(f"{listing.name} and {master.name}", partial(_rows, place, listing, master), (listing, master))


def _rows(place: Place, listing: Path, master: Path) -> Iterator[Row]:
    problems: list[Dropped] = []
    about: dict[str, Mapping[str, str]] = {}
    for row in beside(master, problems):
        about.setdefault(row["StudyID"].strip(), row)
    yield from problems
    entries = read_json(listing)
    if not isinstance(entries, list):
        yield Dropped("a file that holds no list of studies", listing.name)
        return
    top = place.images or (place.root if place.root.is_dir() else place.root.parent)
    index = Index([top]) if place.look else None
    for number, entry in enumerate(entries, start=1):
        yield _entry(entry, f"{listing.name}, entry {number}", about, index, place.language)


def _entry(entry: Any, where: str, about: Mapping[str, Mapping[str, str]], index: Index | None, language: str) -> Row:
    if not isinstance(entry, dict) or not isinstance(entry.get("findings"), list):
        return Dropped("an entry without findings", where)
    study, name = wording.plain(entry.get("StudyID")), wording.plain(entry.get("ImageID"))
    if not study:
        return Dropped("a row without its ids", where)
    row = about.get(study)
    if row is None:
        return Dropped("a study that is not in the master table", where, study)
    split = wording.split_of(row["split"])
    if split is None:
        return Dropped("a split that is none of train, validation, test", where, study)
    sentences = [one for one in entry["findings"] if isinstance(one, dict)]
    texts = [wording.said(one.get(f"sentence_{language}")) for one in sentences]
    prior, prior_files = _prior(entry, index)
    made = Study(
        id=study,
        images=(Image(name),) if name else (),
        patient=wording.plain(row["PatientID"]),
        age=wording.age_of(row.get("PatientAge")),
        sex=wording.sex_of(row.get("PatientSex_DICOM")),
        date=wording.date_of(row.get("StudyDate_DICOM")) or wording.date_of(row.get("StudyDate")),
        split=split,
        prior=prior,
        report=Report(findings=" ".join(text for text in texts if text)),
        source=TITLE,
        meta={"abnormal": any(one.get("abnormal") is True for one in sentences)},
    )
    file = index.get(name) if index is not None and name else None
    return Found(made, (file,) if name else (), prior_files, where)


def _prior(entry: Mapping[str, Any], index: Index | None) -> tuple[Prior | None, tuple[Path, ...]]:
    """Return the prior that an entry names, with its image where that is there."""
    study, name = wording.plain(entry.get("PreviousStudyID")), wording.plain(entry.get("PreviousImageID"))
    if not study:
        return None, ()
    file = index.get(name) if index is not None and name else None
    return Prior(study, images=(Image(name),) if file else ()), (file,) if file else ()


SET = DataSet(
    name="padchest-gr",
    title=TITLE,
    open=open_set,
    reference="the sentences of a study in their order, as findings; English, Spanish with `--language es`",
    context="none is in it",
    splits="official: column `split` of `master_table.csv`",
    priors="as the set names them (`PreviousStudyID`), with the image; where it names none, by study date",
    dropped="boxes, labels, locations, progression; the stemmed Spanish report; studies that the master table does not have",
    images="Padchest_GR_files/PadChest_GR/*.png",
    languages=("en", "es"),
)
