"""ReXrank's JSON: study id to images, context and, on public sets, the reference. Its keys are told in ``studies.rexrank``.

The reference is ``section_findings`` and ``section_impression``, else ``report``; the literal ``None`` that the board's files
have for a missing section is nothing. The file says neither patient nor date nor, but for its own name, the split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wetread.errors import StudyError
from wetread.records import Image, Report, Study
from wetread.studies import rexrank
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import Anchor, anchor, below, first_of, must_exist, wrong_layout

TITLE = "ReXrank"


def open_set(place: Place) -> Opened:
    """Find the JSON; see ``DataSet.open``."""
    must_exist(place)
    path = place.root if place.root.is_file() else first_of([place.root], ["*.json"])
    if path is None:
        raise wrong_layout(place, "ReXrank's data", "one JSON of study id to entry")
    entries = rexrank.read(path)
    return Opened(path.name, partial(_rows, place, path), (path,), len(entries))


def _rows(place: Place, path: Path) -> Iterator[Row]:
    entries = rexrank.read(path)
    split = next(
        (split for part in path.stem.lower().replace("-", "_").split("_") if (split := wording.split_of(part))), ""
    )
    names = [name for study, entry in entries.items() for name, _ in _images(study, entry)]
    images = anchor(place, names, SET.images, ("images",))
    for number, (study, entry) in enumerate(entries.items(), start=1):
        yield _entry(study, entry, split, f"{path.name}, entry {number}", place, images)


def _images(study: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        return rexrank.image_paths(study, entry)
    except StudyError:
        return []


def _entry(study: str, entry: Mapping[str, Any], split: str, where: str, place: Place, images: Anchor) -> Row:
    study = wording.plain(study)
    if not study:
        return Dropped("a row without its ids", where)
    pairs = [(path, view) for name, view in _images(study, entry) if (path := below(name)) is not None]
    if place.look and not pairs:
        return Dropped("an entry whose images are no list of paths below the folder", where, study)
    report = Report(wording.said(entry.get("section_findings")), wording.said(entry.get("section_impression")))
    text = wording.said(entry.get("report"))
    context = entry.get("context")
    about = rexrank.context_of(context) if isinstance(context, str) else rexrank.Context()
    made = Study(
        id=study,
        images=tuple(Image(str(path), wording.view_of(view)) for path, view in pairs),
        indication=wording.said(about.indication),
        comparison=wording.said(about.comparison),
        age=about.age,
        sex=about.sex,
        split=split,
        report=report or (place.read(text) if text else report),
        source=TITLE,
    )
    return Found(made, tuple(images.file(path) for path, _ in pairs), where=where)


SET = DataSet(
    name="rexrank",
    title=TITLE,
    open=open_set,
    reference="`section_findings` and `section_impression`, else `report`; the word None is nothing",
    context="`context`: Indication (or History), Comparison, sex, age in whole years",
    splits="by the file's name (train, valid, test), else none",
    priors="none: no patients and no dates",
    dropped="`model_prediction`; entries without a reference, as on the private sets",
    images="the paths in image_path",
)
