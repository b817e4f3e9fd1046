"""ReXGradient-160K: one JSON a split, an entry a study.

Layout (huggingface.co/datasets/rajpurkarlab/ReXGradient-160K, arXiv 2505.00228; keys as printed by readers of the
release): ``metadata/{train,valid,test}_metadata_view_position.json``, an object of
``p<PatientID>_a<AccessionNumber>_s<StudyInstanceUid>`` to an entry with PatientID, AccessionNumber, StudyInstanceUid,
StudyDate, PatientSex, PatientAge (``054Y``), Indication, Comparison, Findings, Impression, ImagePath (a list of
``../deid_png/<patient>/<accession>/studies/<uid>/series/<uid>/instances/<uid>.png``) and, beside it, ImageViewPosition.
Images are what ``deid_png.part*`` unpack to. The CSVs of the same names have no image paths and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wetread.records import Image, Report, Study
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import Anchor, anchor, below, first_of, must_exist, wrong_layout
from wetread.studies.reports import read_json

TITLE = "ReXGradient-160K"
_SPLITS = {"train": "train", "valid": "val", "test": "test"}


def open_set(place: Place) -> Opened:
    """Find the JSON of each split; see ``DataSet.open``."""
    must_exist(place)
    folders = [place.root / "metadata", place.root, place.root / "download" / "metadata"]
    found = {name: first_of(folders, [f"{name}_metadata_view_position.json"]) for name in _SPLITS}
    listings = {name: path for name, path in found.items() if path is not None}
    if place.root.is_file():
        name = next((name for name in _SPLITS if place.root.name.startswith(name)), None)
        listings = {} if name is None else {name: place.root}
    if not listings:
        raise wrong_layout(place, TITLE, "metadata/train_metadata_view_position.json (or valid, test)")
    return Opened(f"JSON of {', '.join(listings)}", partial(_rows, place, listings), tuple(listings.values()))


def _rows(place: Place, listings: Mapping[str, Path]) -> Iterator[Row]:
    images: Anchor | None = None
    for split, path in listings.items():
        entries = read_json(path)
        if not isinstance(entries, dict):
            yield Dropped("a file that holds no object of studies", path.name)
            continue
        names = [
            name for entry in entries.values() if isinstance(entry, dict) for name in _texts(entry.get("ImagePath"))
        ]
        if images is None:
            images = anchor(place, names, SET.images, ("..", "../.."))
        for number, (key, entry) in enumerate(entries.items(), start=1):
            yield _entry(key, entry, _SPLITS[split], f"{path.name}, entry {number}", images)


def _texts(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    return [one if isinstance(one, str) else "" for one in values] if isinstance(values, list) else []


def _entry(key: str, entry: Any, split: str, where: str, images: Anchor) -> Row:
    if not isinstance(entry, dict):
        return Dropped("an entry that is no object", where)
    paths = [below(name) for name in _texts(entry.get("ImagePath"))]
    if None in paths:
        return Dropped("an image path that leads out of the folder", where)
    names = [path for path in paths if path is not None]
    views = entry.get("ImageViewPosition")
    views = (views if isinstance(views, list) else []) + [""] * len(names)
    made = Study(
        id=wording.plain(entry.get("StudyInstanceUid")) or wording.plain(key),
        images=tuple(Image(str(name), wording.view_of(view)) for name, view in zip(names, views, strict=False)),
        patient=wording.plain(entry.get("PatientID")),
        indication=wording.said(entry.get("Indication")),
        comparison=wording.said(entry.get("Comparison")),
        age=wording.age_of(entry.get("PatientAge")),
        sex=wording.sex_of(entry.get("PatientSex")),
        date=wording.date_of(entry.get("StudyDate")),
        split=split,
        report=Report(wording.said(entry.get("Findings")), wording.said(entry.get("Impression"))),
        source=TITLE,
    )
    return Found(made, tuple(images.file(name) for name in names), where=where)


SET = DataSet(
    name="rexgradient",
    title=TITLE,
    open=open_set,
    reference="keys `Findings` and `Impression`",
    context="keys `Indication` and `Comparison`",
    splits="official: the file an entry is in (valid is val)",
    priors="by `StudyDate`, of the same patient and split",
    dropped="accession number, ethnic group, device; entries without findings and impression",
    images="deid_png/PATIENT/ACCESSION/studies/UID/series/UID/instances/UID.png",
)
