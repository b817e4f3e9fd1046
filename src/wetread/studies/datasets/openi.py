"""Open-i, the Indiana University chest X-ray collection (IU X-ray), in its three layouts.

- **XML** (openi.nlm.nih.gov, ``NLMCXR_reports.tgz``): ``ecgen-radiology/*.xml``, a file a study, in the archive or unpacked.
  ``uId`` is the study (``CXR4``); ``AbstractText`` labelled FINDINGS, IMPRESSION, INDICATION and COMPARISON are the sections;
  ``parentImage id`` names an image (``CXR4_IM-2050-1001``), ``NLMCXR_png.tgz`` and ``NLMCXR_dcm.tgz`` have them.
- **CSV** (Kaggle, raddar/chest-xrays-indiana-university): ``indiana_reports.csv`` (uid, MeSH, Problems, image, indication,
  comparison, findings, impression), ``indiana_projections.csv`` (uid, filename, projection: Frontal or Lateral), images in
  ``images/images_normalized/4_IM-2050-1001.dcm.png``. ``image`` of the first is a description, not a file.
- **R2Gen's** ``annotation.json``, see ``r2gen``: findings alone.

A study has the same key in all three. The collection names no patients and no dates. Its DICOM headers give every study a
PatientID of its own, equal to its number, so each study counts as a patient and none has a prior. A frontal view is not told
from PA and AP, so it stays ``unknown`` and comes before the lateral one.

It has no splits of its own; R2Gen's are what papers use. They are taken from ``annotation.json`` or ``splits.csv`` (study_id,
split) beside the reports, or from ``--splits``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from wetread.records import Image, Report, Study, View
from wetread.studies.datasets import r2gen, splits_file, wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import (
    CUT,
    Index,
    beside,
    check_columns,
    first_of,
    must_exist,
    records,
    wrong_layout,
)

TITLE = r2gen.IU
LARGEST_XML = 2**22
"""Most bytes of one XML file; the collection's have about 10,000."""
_ARCHIVES = ["NLMCXR_reports.tgz", "NLMCXR_reports.tar.gz", "reports.tar.gz", "reports.tgz"]
_SECTIONS = ("FINDINGS", "IMPRESSION", "INDICATION", "COMPARISON")
_REPORTS, _PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"


def open_set(place: Place) -> Opened:
    """Find one of the layouts; see ``DataSet.open``."""
    must_exist(place)
    root = place.root
    splits = _split_file(place.root)
    if root.is_file() and root.suffix == ".json":
        return r2gen.open_set(place)
    table = first_of([root], [_REPORTS, f"{_REPORTS}.gz"])
    views = first_of([root], [_PROJECTIONS, f"{_PROJECTIONS}.gz"])
    if table is not None and views is not None:
        check_columns(table, ("uid", "indication", "comparison", "findings", "impression"))
        check_columns(views, ("uid", "filename", "projection"))
        listings = [one for one in (table, views, splits) if one is not None]
        return Opened(
            f"{table.name} and {views.name}", partial(_csv_rows, place, table, views, splits), tuple(listings)
        )
    folder = next(
        (one for one in (root, root / "ecgen-radiology", root / "NLMCXR_reports" / "ecgen-radiology") if any(one.glob("*.xml"))), None
    ) if root.is_dir() else None  # fmt: skip
    archive = root if root.is_file() and tarfile.is_tarfile(root) else first_of([root], _ARCHIVES)
    if folder is not None or archive is not None:
        source = folder or archive
        assert source is not None
        listings = [one for one in (source, splits) if one is not None]
        return Opened(f"XML in {source.name}", partial(_xml_rows, place, source, splits), tuple(listings))
    if first_of([root], ["annotation.json"]) is not None:
        return r2gen.open_set(place)
    wanted = f"ecgen-radiology/*.xml or {_ARCHIVES[0]}, {_REPORTS} with {_PROJECTIONS}, or annotation.json"
    raise wrong_layout(place, TITLE, wanted)


def _split_file(root: Path) -> Path | None:
    """Return the file beside the reports that has R2Gen's splits; None where there is none."""
    found = first_of([root if root.is_dir() else root.parent], ["splits.csv", "annotation.json"])
    if found is not None:
        splits_file.check(found)
    return found


def _splits(path: Path | None, problems: list[Dropped]) -> dict[str, str | None]:
    return {} if path is None else splits_file.read(path, key_of, problems)


def key_of(uid: str) -> str:
    """Return the collection's key of a study from ``4``, ``CXR4`` or R2Gen's ``CXR4_IM-2050``.

    >>> key_of("4"), key_of(" CXR4"), key_of("CXR4_IM-2050"), key_of("")
    ('CXR4', 'CXR4', 'CXR4', '')
    """
    uid = uid.strip()
    return r2gen.iu_key(uid) or (uid if uid.startswith("CXR") or not uid else f"CXR{uid}")


def _index(place: Place) -> Index | None:
    """Return the images below the place, None where they are not looked for."""
    if not place.look:
        return None
    top = place.images or (place.root if place.root.is_dir() else place.root.parent)
    return Index([top])


def _xml_rows(place: Place, source: Path, splits: Path | None) -> Iterator[Row]:
    problems: list[Dropped] = []
    chosen = _splits(splits, problems)
    yield from problems
    index = _index(place)
    for where, data in _files(source):
        yield data if isinstance(data, Dropped) else _xml(data, where, chosen, index)


def _files(source: Path) -> Iterator[tuple[str, bytes | Dropped]]:
    """Yield the XML files of a folder or an archive, each with where it is, without its name."""
    if source.is_dir():
        for number, path in enumerate(sorted(source.glob("*.xml")), start=1):
            try:
                with path.open("rb") as file:
                    yield f"file {number}", _limited(file)
            except OSError as error:
                yield "", Dropped("a report that cannot be read", f"file {number}", detail=error.strerror or "")
        return
    try:
        with tarfile.open(source, "r:*") as pack:
            for number, member in enumerate(pack, start=1):
                held = pack.extractfile(member) if member.isfile() and member.name.endswith(".xml") else None
                if held is not None:
                    yield f"{source.name}, member {number}", _limited(held)
    except (tarfile.TarError, EOFError, OSError) as error:
        yield "", Dropped(CUT, source.name, detail=str(error) or type(error).__name__)


def _limited(file: IO[bytes]) -> bytes:
    return file.read(LARGEST_XML + 1)


def _xml(data: bytes, where: str, splits: Mapping[str, str | None], index: Index | None) -> Row:
    if len(data) > LARGEST_XML or b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        return Dropped(
            "a report that cannot be read", where, detail="too long, or with declarations that no file of the set has"
        )
    try:
        tree = ElementTree.fromstring(data)  # no entities are in it, see above
    except (ElementTree.ParseError, ValueError) as error:
        return Dropped("a report that cannot be read", where, detail=f"not XML ({error})")
    uid = tree.find(".//uId")
    key = key_of(uid.get("id", "") if uid is not None else "")
    if not key:
        return Dropped("a row without its ids", where)
    texts = dict.fromkeys(_SECTIONS, "")
    for section in tree.iter("AbstractText"):
        label = section.get("Label", "")
        if label in texts:
            texts[label] = f"{texts[label]} {wording.said(''.join(section.itertext()))}".strip()
    names = [wording.plain(one.get("id")) for one in tree.iter("parentImage")]
    images = [(name, "unknown") for name in names if name]
    return _study(key, texts, images, where, splits, index)


def _csv_rows(place: Place, table: Path, views: Path, splits: Path | None) -> Iterator[Row]:
    problems: list[Dropped] = []
    chosen = _splits(splits, problems)
    images: dict[str, list[tuple[str, str]]] = {}
    for row in beside(views, problems):
        images.setdefault(key_of(row["uid"]), []).append((row["filename"].strip(), row["projection"]))
    yield from problems
    index = _index(place)
    for found in records(table):
        if isinstance(found, Dropped):
            yield found
            continue
        line, row = found
        where = f"{table.name}, line {line}"
        key = key_of(row["uid"])
        if not key:
            yield Dropped("a row without its ids", where)
            continue
        texts = {name: wording.said(row[name.lower()]) for name in _SECTIONS}
        yield _study(key, texts, images.get(key, []), where, chosen, index)


def _study(
    key: str, texts: Mapping[str, str], images: list[tuple[str, str]], where: str, splits: Mapping[str, str | None],
    index: Index | None,
) -> Row:  # fmt: skip
    split = splits.get(key, "")
    if split is None:
        return Dropped("a split that is none of train, val, test", where, key)
    made: list[Image] = []
    files: list[Path | None] = []
    for name, projection in images:
        view: View = "lateral" if projection.strip().lower() == "lateral" else "unknown"
        made.append(Image(name, view))
        # the PNGs of the collection are called CXR4_…, its DICOM files and Kaggle's PNGs 4_…
        files.append(None if index is None else index.get(name) or index.get(name.removeprefix("CXR")))
    study = Study(
        id=key,
        images=tuple(made),
        patient=key.removeprefix("CXR"),
        indication=texts["INDICATION"],
        comparison=texts["COMPARISON"],
        split=split,
        report=Report(texts["FINDINGS"], texts["IMPRESSION"]),
        source=TITLE,
    )
    return Found(study, tuple(files), where=where)


SET = DataSet(
    name="openi",
    title=TITLE,
    open=open_set,
    reference="FINDINGS and IMPRESSION of the XML or columns of the CSV; of R2Gen's `annotation.json` its findings alone",
    context="INDICATION and COMPARISON (none in `annotation.json`)",
    splits="none of its own; R2Gen's from `annotation.json`, `splits.csv` or `--splits`",
    priors="none: no dates, and one study a patient by the DICOM headers",
    dropped="MeSH terms, captions; studies without findings and impression",
    images="CXRN_IM-NNNN-NNNN.png, N_IM-NNNN-NNNN.dcm.png or .dcm",
    key=key_of,
)
