"""MIMIC-CXR and MIMIC-CXR-JPG: text files, images and the CSVs beside them.

Layout (PhysioNet, ``mimic-cxr`` 2.x and ``mimic-cxr-jpg`` 2.x; https://mimic.mit.edu/docs/iv/modules/cxr and the files'
own names): reports ``files/p10/p10……/s5…….txt``, in ``mimic-cxr-reports.zip`` or unpacked; images
``files/p10/p10……/s5……./DICOM-ID.dcm`` or ``.jpg``. Of the JPG set, each also ``.csv.gz``:

- ``mimic-cxr-2.0.0-metadata.csv``: dicom_id, subject_id, study_id, ViewPosition, StudyDate (YYYYMMDD, shifted into the
  years 2100 to 2200 patient by patient, so that the order and the days between studies hold), StudyTime (HHMMSS.fff, leading
  zeros missing), ViewCodeSequence_CodeMeaning, and more;
- ``mimic-cxr-2.0.0-split.csv``: dicom_id, study_id, subject_id, split (train, validate, test);
- ``mimic-cxr-2.0.0-chexpert.csv``: subject_id, study_id and 14 labels (1, 0, -1 or empty).

Of the DICOM set: ``cxr-record-list.csv`` (subject_id, study_id, dicom_id, path). It has neither view nor date, so these
come from the DICOM headers where there is no metadata CSV. Which text is what, is told in ``mimic_sections``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from wetread.errors import StudyError
from wetread.knowledge import CHEXPERT14
from wetread.records import Image, Study, View
from wetread.studies.datasets import mimic_sections, wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import (
    Anchor,
    anchor,
    beside,
    check_columns,
    first_of,
    must_exist,
    wrong_layout,
)
from wetread.studies.tables import DAMAGED_ZIP

TITLE = "MIMIC-CXR"
PATTERN = "files/pNN/pNNNNNNNN/sNNNNNNNN/*"
_IDS = ("subject_id", "study_id", "dicom_id")


@dataclass
class _Study:
    """What the tables say of one study."""

    patient: str
    images: list[tuple[str, View]] = field(default_factory=list)
    date: str = ""
    split: str | None = ""


@dataclass(frozen=True)
class _Texts:
    """Where the reports are: a folder, or an archive that is read in place."""

    path: Path
    inside: str = ""

    @cached_property
    def _pack(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def read(self, patient: str, study: str) -> str:
        """Return a report's text; ``KeyError`` or ``OSError`` where there is none."""
        name = f"p{patient[:2]}/p{patient}/s{study}.txt"
        folder = self.path.is_dir()
        data = (self.path / name).read_bytes() if folder else self._pack.read(self.inside + name)
        return data.decode("utf-8")


def open_set(place: Place, suffix: str) -> Opened:
    """Find reports, tables and images; see ``DataSet.open``."""
    must_exist(place)
    here = [place.root] if place.root.is_dir() else []
    tables = {
        name: first_of(here, [f"mimic-cxr-*-{name}.csv", f"mimic-cxr-*-{name}.csv.gz"])
        for name in ("metadata", "split", "chexpert")
    }
    listing = tables["metadata"] or first_of(here, ["cxr-record-list.csv", "cxr-record-list.csv.gz"])
    texts = _find_texts(place)
    if listing is None or texts is None:
        missing = "mimic-cxr-2.0.0-metadata.csv(.gz) or cxr-record-list.csv(.gz)" if listing is None else ""
        report = "reports in files/pNN/pNNNNNNNN/sNNNNNNNN.txt or mimic-cxr-reports.zip (elsewhere: --reports)"
        wanted = " and ".join(one for one in (missing, report if texts is None else "") if one)
        raise wrong_layout(place, TITLE, wanted)
    check_columns(listing, _IDS)
    if tables["split"]:
        check_columns(tables["split"], ("study_id", "split"))
    if tables["chexpert"]:
        check_columns(tables["chexpert"], ("study_id",))
    layout = f"{listing.name}, reports in {texts.path.name}"
    rows = partial(_rows, place, listing, tables, texts, suffix)
    return Opened(layout, rows, tuple(path for path in (listing, *tables.values()) if path))


def _find_texts(place: Place) -> _Texts | None:
    """Return where the reports are; None where nothing looks like them."""
    top = place.reports or place.root
    folders = [top / inner for inner in ("", "files", "mimic-cxr-reports/files", "reports/files", "reports")]
    for folder in (folder for folder in folders if folder.is_dir()):
        patient = next(iter(sorted(folder.glob("p1?/p1*"))), None)  # the whole walk would take minutes
        if patient is not None and any(patient.glob("s*.txt")):
            return _Texts(folder)
    for file in (top, top / "mimic-cxr-reports.zip") if not top.is_file() else (top,):
        if file.is_file() and file.suffix == ".zip":
            try:
                names = (name for name in zipfile.ZipFile(file).namelist() if name.endswith(".txt"))
            except DAMAGED_ZIP as error:
                raise StudyError(f"{file.name}: no readable archive ({error}); fetch it again.") from error
            first = next((name for name in names if "/s" in name), None)
            if first is not None:
                return _Texts(file, first[: first.rfind("p", 0, first.rfind("/p"))])
    return None


def _rows(place: Place, listing: Path, tables: Mapping[str, Path | None], texts: _Texts, suffix: str) -> Iterator[Row]:
    problems: list[Dropped] = []
    studies = _listed(listing, problems)
    if tables["split"] is not None:
        for row in beside(tables["split"], problems):
            named = studies.get(row["study_id"])
            if named is not None:
                named.split = wording.split_of(row["split"])
    labels = _labels(tables["chexpert"], problems)
    yield from problems
    names = [str(_image(one.patient, study, dicom)) for study, one in studies.items() for dicom, _ in one.images]
    images = anchor(place, names, f"{PATTERN}{suffix}", suffixes=[suffix, ".jpg", ".png", ".dcm"])
    for number, (study, one) in enumerate(studies.items(), start=1):
        yield _study(study, one, f"study {number} of {listing.name}", texts, images, labels)


def _listed(listing: Path, problems: list[Dropped]) -> dict[str, _Study]:
    """Return the studies of the metadata or record list, study number to what is said of it."""
    studies: dict[str, _Study] = {}
    for row in beside(listing, problems):
        patient, study, dicom = (row[name].strip() for name in _IDS)
        if not (patient and study and dicom) or not (patient + study).isalnum():
            problems.append(Dropped("a row without its ids", listing.name))
            continue
        one = studies.setdefault(study, _Study(patient))
        if one.patient != patient:
            problems.append(Dropped("a study of two patients", listing.name, study))
            continue
        view = row.get("ViewPosition", "") or row.get("ViewCodeSequence_CodeMeaning", "")
        one.images.append((dicom, wording.view_of(view)))
        date = wording.date_of(row.get("StudyDate", ""), row.get("StudyTime", ""))
        one.date = min(one.date, date) if one.date and date else one.date or date
    return studies


def _labels(path: Path | None, problems: list[Dropped]) -> dict[str, dict[str, float | None]] | None:
    """Return the labels of each study by the CheXpert labeler, None where the table is not there."""
    if path is None:
        return None
    labels = {}
    for row in beside(path, problems):
        labels[row["study_id"]] = {name: _number(row.get(name, "")) for name in CHEXPERT14}
    return labels


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _image(patient: str, study: str, dicom: str) -> PurePosixPath:
    return PurePosixPath(f"files/p{patient[:2]}/p{patient}/s{study}/{dicom}.jpg")


def _study(
    study: str, one: _Study, where: str, texts: _Texts, images: Anchor,
    labels: Mapping[str, dict[str, float | None]] | None,
) -> Row:  # fmt: skip
    try:
        text = texts.read(one.patient, study)
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return Dropped("no report file", where, study)
    except DAMAGED_ZIP as error:  # a text that is not UTF-8 is a ValueError too
        return Dropped("the report file cannot be read", where, study, type(error).__name__)
    if one.split is None:
        return Dropped("a split that is none of train, validate, test", where, study)
    read = mimic_sections.read(text, study)
    files = [_image(one.patient, study, dicom) for dicom, _ in one.images]
    meta: dict[str, Any] = {"sections_by": read.by}
    if labels is not None:
        meta["chexpert"] = labels.get(study) or dict.fromkeys(CHEXPERT14)
    made = Study(
        id=study,
        images=tuple(Image(str(name), view) for name, (_, view) in zip(files, one.images, strict=True)),
        patient=one.patient,
        indication=wording.said(read.indication),
        comparison=wording.said(read.comparison),
        date=one.date,
        split=one.split,
        report=replace(
            read.report, findings=wording.said(read.report.findings), impression=wording.said(read.report.impression)
        ),
        source=TITLE,
        meta=meta,
    )
    found = Found(made, tuple(images.file(name) for name in files), where=where)
    return found if one.date or images.suffix != ".dcm" else _by_headers(found)


def _by_headers(found: Found) -> Found:
    """Return a study with the views and the date that its DICOM headers say; unreadable ones say nothing."""
    from wetread.studies.dicom import read_dataset  # pydicom is slow to import
    from wetread.studies.dicom_header import read_view, text

    images, dates = [], []
    for image, file in zip(found.study.images, found.files, strict=True):
        if file is None:
            continue
        try:
            tags = ["ViewPosition", "ViewCodeSequence", "StudyDate", "StudyTime", "Modality"]
            ds = read_dataset(file, "a DICOM file", tags=tags)
        except StudyError:
            images.append(image)
            continue
        images.append(replace(image, view=read_view(ds)))
        dates.append(wording.date_of(text(ds, "StudyDate"), text(ds, "StudyTime")))
    date = min((one for one in dates if one), default="")
    return replace(found, study=replace(found.study, images=tuple(images), date=date))


JPG_SET = DataSet(
    name="mimic-cxr-jpg",
    title=TITLE,
    open=partial(open_set, suffix=".jpg"),
    reference="sections FINDINGS and IMPRESSION of the text file by the official rules (the last of several); where neither is "
    "there, the last paragraph as findings (`meta.sections_by` says so)",
    context="INDICATION, else HISTORY; COMPARISON",
    splits="official: `mimic-cxr-2.0.0-split.csv`",
    priors="by StudyDate and StudyTime of the metadata, of the same patient and split",
    dropped="WET READ, TECHNIQUE, EXAMINATION, RECOMMENDATION(S), NOTIFICATION and addenda; studies without a report file or "
    "without any of the sections",
    images=f"{PATTERN}.jpg",
    reports_elsewhere=True,
    key=lambda name: name.strip().removeprefix("s"),
)
DICOM_SET = replace(
    JPG_SET,
    name="mimic-cxr",
    open=partial(open_set, suffix=".dcm"),
    splits="official where `mimic-cxr-2.0.0-split.csv` of the JPG set lies beside, else none",
    priors="by StudyDate and StudyTime, of the JPG set's metadata where it lies beside, else of the DICOM headers",
    images=f"{PATTERN}.dcm",
)
