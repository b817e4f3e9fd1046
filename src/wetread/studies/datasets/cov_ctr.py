"""COV-CTR: slices of chest CT from published papers, with reports in Chinese and English.

Layout (github.com/mlii0117/COV-CTR, "COV-CTR with English reports"; counts as printed by an audit of the archive):
``COV-CTR/reports_ZH_EN.csv`` (image_id, findings, terminologies, COVID, impression, reports_En; 726 rows) and 746 PNG and JPEG
files in the same folder. ``image_id`` is the file's name. ``findings`` and ``impression`` are Chinese; ``reports_En`` is the
findings in English, each with a line break at its end. Six images have two rows with different reports: nobody can tell which
is meant, so both are left out. It names no patients, studies, dates or splits.

These are CT, not radiographs: their modality is ``chest_ct``, and no knowledge file speaks of it, so no labels are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from wetread.records import Image, Report, Study
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import (
    anchor,
    below,
    beside,
    check_columns,
    first_of,
    must_exist,
    records,
    wrong_layout,
)

TITLE = "COV-CTR"
_NEEDED = ("image_id", "findings", "impression", "reports_En")


def open_set(place: Place) -> Opened:
    """Find the CSV; see ``DataSet.open``."""
    must_exist(place)
    names = ["reports_ZH_EN.csv", "reports.csv"]
    listing = place.root if place.root.is_file() else first_of([place.root, place.root / "COV-CTR"], names)
    if listing is None:
        raise wrong_layout(place, TITLE, "reports_ZH_EN.csv")
    check_columns(listing, _NEEDED)
    return Opened(f"{listing.name}, a row an image", partial(_rows, place, listing), (listing,))


def _rows(place: Place, listing: Path) -> Iterator[Row]:
    names = [row["image_id"] for row in beside(listing, [])] if place.look else []
    folder = listing.parent.name if place.root.is_dir() and listing.parent != place.root else ""
    images = anchor(place, names, SET.images, ("COV-CTR", "images", folder))
    for found in records(listing):
        if isinstance(found, Dropped):
            yield found
            continue
        line, row = found
        where = f"{listing.name}, line {line}"
        name = below(row["image_id"])
        if name is None:
            yield Dropped("a row without its ids", where)
            continue
        if place.language == "zh":
            report = Report(wording.said(row["findings"]), wording.said(row["impression"]))
        else:
            report = Report(findings=wording.said(row["reports_En"]))
        made = Study(
            id=name.name,
            images=(Image(str(name)),),
            modality=SET.modality,
            report=report,
            source=TITLE,
            meta={"covid": wording.plain(row.get("COVID"))},
        )
        yield Found(made, (images.file(name),), where=where)


SET = DataSet(
    name="cov-ctr",
    title=TITLE,
    open=open_set,
    reference="`reports_En` as findings; with `--language zh` the Chinese `findings` and `impression`",
    context="none is in it",
    splits="none",
    priors="none: no patients and no dates",
    dropped="terminologies; images without a row; images with two different reports",
    images="the names in image_id",
    modality="chest_ct",
    languages=("en", "zh"),
)
