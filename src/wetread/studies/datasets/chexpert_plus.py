"""CheXpert Plus: one CSV with a row an image, the report cut into sections.

Layout (Stanford AIMI, ``df_chexpert_plus_240401.csv``; columns as printed by readers of the released file, 223,462 rows):
path_to_image (``train/patient1/study1/view1_frontal.jpg``), path_to_dcm, frontal_lateral, ap_pa, deid_patient_id,
patient_report_date_order, report, section_narrative, section_clinical_history, section_history, section_comparison,
section_technique, section_procedure_comments, section_findings, section_impression, section_end_of_impression,
section_summary, section_accession_number, age, sex, race, ethnicity, interpreter_needed, insurance_type, recent_bmi,
deceased, split (train, valid). Images lie in ``PNG/``, ``DICOM/`` or in the older ``CheXpert-v1.0`` as JPEG.

Several texts a study
---------------------
The rows of a study may hold the same report in other anonymisations, with other dates and names
(github.com/Stanford-AIMI/chexpert-plus, issue 13); the first stands.

Order in time
-------------
The dates in the texts were put there in place of the real ones, and differ between anonymisations of one report, so they
are not used. ``patient_report_date_order`` is what the set gives as the order of a patient's reports by date. Nothing in the
set confirms it: readers who compared it with the texts' dates found no relation, as dates that were made up would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from wetread.records import Image, Report, Study, View
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import (
    Anchor,
    anchor,
    below,
    beside,
    check_columns,
    first_of,
    must_exist,
    records,
    wrong_layout,
)

TITLE = "CheXpert Plus"
NEEDED = (
    "path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order", "section_findings",
    "section_impression", "split",
)  # fmt: skip
_FOLDERS = ("PNG", "PNG/PNG", "png", "CheXpert-v1.0", "CheXpert-v1.0-small", "DICOM", "images")


def open_set(place: Place) -> Opened:
    """Find the CSV; see ``DataSet.open``."""
    must_exist(place)
    listing = (
        place.root
        if place.root.is_file()
        else first_of([place.root], ["df_chexpert_plus*.csv", "df_chexpert_plus*.csv.gz"])
    )
    if listing is None:
        raise wrong_layout(place, TITLE, "df_chexpert_plus_240401.csv")
    check_columns(listing, NEEDED)
    return Opened(f"{listing.name}, a row an image", partial(_rows, place, listing), (listing,))


def _rows(place: Place, listing: Path) -> Iterator[Row]:
    names: list[str] = []
    if place.look:
        names = [row["path_to_image"] for row in beside(listing, [])]
    images = anchor(place, names, SET.images, _FOLDERS, [".png", ".jpg", ".dcm"])
    for row in records(listing):
        yield row if isinstance(row, Dropped) else _row(row[1], f"{listing.name}, line {row[0]}", images)


def _row(row: Mapping[str, str], where: str, images: Anchor) -> Row:
    path = below(row["path_to_image"])
    patient = row["deid_patient_id"].strip()
    if path is None or len(path.parts) < 3 or not patient:
        return Dropped("a row without its ids", where)
    split = wording.split_of(row["split"])
    study = "/".join(path.parts[-3:-1])
    if split is None:
        return Dropped("a split that is none of train, valid, test", where, study)
    order = wording.plain(row["patient_report_date_order"]).removesuffix(".0")
    history = wording.said(row.get("section_clinical_history")) or wording.said(row.get("section_history"))
    made = Study(
        id=study,
        images=(Image(str(path), _view(row)),),
        patient=patient,
        indication=history,
        comparison=wording.said(row.get("section_comparison")),
        age=wording.age_of(row.get("age")),
        sex=wording.sex_of(row.get("sex")),
        split=split,
        report=Report(wording.said(row["section_findings"]), wording.said(row["section_impression"])),
        source=TITLE,
        meta={"encounter": int(order) if order.isascii() and order.isdigit() else None},
    )
    return Found(made, (images.file(path),), where=where)


def _view(row: Mapping[str, str]) -> View:
    return "lateral" if row["frontal_lateral"].strip().lower() == "lateral" else wording.view_of(row["ap_pa"])


SET = DataSet(
    name="chexpert-plus",
    title=TITLE,
    open=open_set,
    reference="`section_findings` and `section_impression`; of several anonymisations of one report the first",
    context="`section_clinical_history`, else `section_history`; `section_comparison`",
    splits="official: column `split` (valid is val; there is no test)",
    priors="by `patient_report_date_order`, since the dates in the texts are not the real ones; the studies have no date",
    dropped="narrative, technique, procedure comments, end of impression, summary, accession number, race, ethnicity, insurance "
    "and the like; studies without findings and impression",
    images="train/patientNNNNN/studyN/viewN_frontal with .png, .jpg or .dcm",
    twice="first",
)
