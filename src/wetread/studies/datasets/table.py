"""A plain table of reports and a folder of images: CSV, JSONL or JSON as ``studies.reports`` reads them.

Columns, compared without regard to case: an id and a report or its sections, as in ``studies.reports``; ``image``, ``images``,
``image_path``, ``image_paths`` or ``path`` (in CSV several with ``;`` or ``|`` between); ``patient``, ``patient_id`` or
``subject_id``; ``indication``, ``comparison``, ``age``, ``sex``, ``date`` or ``study_date``, ``split``, ``view``, ``modality``,
``site``. All further columns go into ``meta``.

Without a column of images, a study's images are the files of the folder that are called like its id, or like it with ``_``,
``-`` or ``.`` and more behind, and those in a folder called like it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from wetread.errors import StudyError, UsageError
from wetread.records import Image, Report, Study
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import CUT, Anchor, Index, anchor, below, must_exist, wrong_layout
from wetread.studies.matching import PATIENTS
from wetread.studies.reports import IMAGES, SUFFIXES, Entry, open_entries

TITLE = "table"
LONGEST_NAME = 200
"""Characters of an id from which on no folder is looked for that is called so; file systems allow 255 bytes."""
_TAKEN = frozenset({
    *PATIENTS, *IMAGES, "indication", "comparison", "age", "sex", "gender", "date", "study_date", "split", "view",
    "modality", "site", "context",
})  # fmt: skip


def open_set(place: Place) -> Opened:
    """Find the table; see ``DataSet.open``."""
    must_exist(place)
    path = place.root
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
        if len(files) > 1:
            raise UsageError(
                f"{path.name} has {len(files)} tables ({', '.join(one.name for one in files[:8])}); name one of them."
            )
        found = files[0] if files else None
        if found is None:
            raise wrong_layout(place, "a table of reports", "one .csv, .jsonl or .json")
        path = found
    first = next(_entries(path, place), None)  # a wrong header is refused here
    if first is None:
        raise StudyError(f"{path.name}: a header and no rows; a report must be in it.")
    return Opened(path.name + (", images by column" if first.images else ""), partial(_rows, place, path), (path,))


def _entries(path: Path, place: Place) -> Iterator[Entry]:
    return open_entries(path, "references", place.read)


def _rows(place: Place, path: Path) -> Iterator[Row]:
    listed: list[str] = []
    if place.look:
        with suppress(StudyError):  # told below, when it is read
            listed += (name for entry in _entries(path, place) for name in entry.images)
    images = anchor(place, listed, SET.images, ("images", "files"))
    index = Index([images.root]) if place.look and not listed else None
    try:
        for entry in _entries(path, place):
            yield _row(entry, f"{path.name}, line {entry.line}", images, index)
    except StudyError as error:  # CSV that is broken from a line on
        yield Dropped(CUT, path.name, detail=str(error))


def _row(entry: Entry, where: str, images: Anchor, index: Index | None) -> Row:
    if entry.problem:
        return Dropped("a row that cannot be read", where, entry.id, entry.reason)
    meta = entry.meta
    split = wording.split_of(meta.get("split"))
    if split is None:
        return Dropped("a split that is none of train, val, test", where, entry.id)
    names = [below(name) for name in entry.images]
    if None in names:
        return Dropped("an image path that leads out of the folder", where, entry.id)
    files = [images.file(name) for name in names if name is not None]
    if index is not None and not files:
        files = _called(entry.id, index, images.root)
        names = [PurePosixPath(path.relative_to(images.root).as_posix()) for path in files]
    view = wording.view_of(meta.get("view"))
    made = Study(
        id=entry.id,
        images=tuple(Image(str(name), view) for name in names),
        patient=_first(meta, PATIENTS),
        modality=wording.plain(meta.get("modality")) or SET.modality,
        indication=wording.said(meta.get("indication")),
        comparison=wording.said(meta.get("comparison")),
        age=wording.age_of(meta.get("age")),
        sex=wording.sex_of(_first(meta, ("sex", "gender"))),
        site=wording.plain(meta.get("site")),
        date=wording.date_of(_first(meta, ("date", "study_date"))),
        split=split,
        report=Report(wording.said(entry.report.findings), wording.said(entry.report.impression)),
        source=TITLE,
        meta={wording.plain(name): _value(value) for name, value in meta.items() if name not in _TAKEN},
    )
    return Found(made, tuple(files), where=where)


def _called(study: str, index: Index, root: Path) -> list[Path]:
    """Return the image files that are called like a study, or lie in a folder called like it."""
    found = index.starting(Path(study).stem if re.search(r"\.(png|jpe?g|dcm)$", study, re.IGNORECASE) else study)
    path = below(study)
    folder = root / path if path is not None else root
    inside = sorted(folder.iterdir()) if path is not None and len(study) < LONGEST_NAME and folder.is_dir() else []
    return found or [one for one in inside if index.get(one.name) == one]


def _value(value: Any) -> Any:
    """Return a value as JSON can hold it everywhere: no halves of characters, no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return wording.plain(value) if isinstance(value, str) else value


def _first(meta: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((wording.plain(meta[name]) for name in names if name in meta), "")


SET = DataSet(
    name="table",
    title=TITLE,
    open=open_set,
    reference="`findings` and `impression`, or `report`; one with section headers is split by them, else it is the findings",
    context="columns `indication` and `comparison`",
    splits="column `split`, else none",
    priors="by column `date` where there is one, of the same patient and split",
    dropped="rows without id or text; ids that are there twice with different reports",
    images="the column image, or files called like the id",
)
