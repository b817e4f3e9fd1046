"""R2Gen's ``annotation.json``: the prepared form in which IU X-ray and MIMIC-CXR are passed around.

Layout (github.com/zhjohnchan/R2Gen, after Chen et al., EMNLP 2020; an entry is quoted in the code of clinicgen and of R2Gen's
data set classes): one object with ``train``, ``val`` and ``test``, each a list of entries with ``id``
(``CXR2384_IM-0942``), ``report``, ``image_path`` (a list, below ``images/``) and ``split``. Entries of MIMIC-CXR have
``subject_id`` and ``study_id`` as well, and are one an image.

The report of IU X-ray is the findings section alone: that of CXR2384, which those codes quote, is the collection's FINDINGS
word for word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wetread.errors import StudyError
from wetread.records import Image, Report, Study
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import Anchor, anchor, below, first_of, must_exist, wrong_layout
from wetread.studies.reports import read_json

TITLE = "R2Gen"
IU = "Open-i"
MIMIC = "MIMIC-CXR"
_SPLITS = ("train", "val", "test")


def open_set(place: Place) -> Opened:
    """Find ``annotation.json``; see ``DataSet.open``."""
    must_exist(place)
    path = place.root if place.root.is_file() else first_of([place.root], ["annotation.json", "*annotation*.json"])
    if path is None:
        raise wrong_layout(place, "R2Gen's data", "annotation.json")
    entries = read_annotation(path)
    layout = f"{path.name} with {', '.join(f'{len(entries[name])} {name}' for name in entries)}"
    total = sum(len(part) for part in entries.values())
    return Opened(layout, partial(_rows, place, path), (path,), total)


def read_annotation(path: Path) -> dict[str, list[Any]]:
    """Return the entries of each split (``StudyError`` where it is not of this form)."""
    data = read_json(path)
    found = {name: data.get(name) for name in _SPLITS if name in data} if isinstance(data, dict) else {}
    if not found or not all(isinstance(part, list) for part in found.values()):
        have = ", ".join(list(data)[:8]) if isinstance(data, dict) else f"a JSON {type(data).__name__}"
        raise StudyError(
            f"{path.name}: an object with lists train, val, test must be in it; there is: {have or 'nothing'}."
        )
    return {name: part for name, part in found.items() if part is not None}


def iu_key(name: str) -> str:
    """Return the collection's key of a study of IU X-ray from R2Gen's; empty where it is none.

    >>> iu_key("CXR2384_IM-0942"), iu_key("CXR1_1_IM-0001"), iu_key("50414")
    ('CXR2384', 'CXR1', '')
    """
    head = name.partition("_")[0]
    return head if head.startswith("CXR") and head[3:].isascii() and head[3:].isdigit() else ""


def _rows(place: Place, path: Path) -> Iterator[Row]:
    entries = read_annotation(path)
    every = [entry for part in entries.values() for entry in part]
    names = [name for entry in every if isinstance(entry, dict) for name in _images(entry)]
    images = anchor(place, names, SET.images, ("images", "files", "images/files"))
    for split, part in entries.items():
        for number, entry in enumerate(part, start=1):
            yield _entry(entry, split, f"{path.name}, {split} entry {number}", place, images)


def _images(entry: Mapping[str, Any]) -> list[str]:
    value = entry.get("image_path")
    values = [value] if isinstance(value, str) else value
    return [one for one in values if isinstance(one, str)] if isinstance(values, list) else []


def _entry(entry: Any, split: str, where: str, place: Place, images: Anchor) -> Row:
    if not isinstance(entry, dict) or not isinstance(entry.get("report"), str):
        return Dropped("an entry without a report", where)
    name = wording.plain(entry.get("id"))
    iu, subject = iu_key(name), wording.plain(entry.get("subject_id"))
    study = iu or wording.plain(entry.get("study_id")) or name
    if not study:
        return Dropped("a row without its ids", where)
    paths = [below(one) for one in _images(entry)]
    if None in paths:
        return Dropped("an image path that leads out of the folder", where, study)
    kept = [path for path in paths if path is not None]
    text = wording.said(entry["report"])
    made = Study(
        id=study,
        images=tuple(Image(str(one)) for one in kept),
        patient=iu[3:] or subject,
        split=split,
        report=place.read(text) if text else Report(),
        source=IU if iu else MIMIC if subject else TITLE,
    )
    return Found(made, tuple(images.file(one) for one in kept), where=where)


SET = DataSet(
    name="r2gen",
    title=TITLE,
    open=open_set,
    reference="key `report`, of IU X-ray the findings alone; one with section headers is split by them, another is the findings",
    context="none is in it",
    splits="R2Gen's: the list an entry is in",
    priors="none: no dates are in it",
    dropped="entries without a report",
    images="images/ID/0.png",
)
