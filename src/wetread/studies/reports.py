"""Files of reports, one entry a study: JSONL, CSV and ReXrank JSON, read one entry at a time.

What is read
------------
Every entry has an id and a report. The report is ``findings`` and ``impression``, or ``report`` (a text, or an object with
these two), in ReXrank's JSON ``model_prediction`` (drafts), ``report`` or ``section_findings`` and ``section_impression``
(references); there a draft is ``model_prediction`` and nothing else, for the other texts are the references. All further columns
whose values are words or numbers are metadata. Ids are compared as text, so 7 and "7"
are the same study.

What cannot be used
-------------------
An entry without an id, without text or that cannot be read says so (``Entry.problem``), and so does one of JSON with a key
twice: nobody can tell which is meant. The others go on. A CSV with a column twice is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wetread.errors import StudyError, UsageError
from wetread.records import Report
from wetread.studies.tables import ID_COLUMNS, SECTION_COLUMNS, TEXT_COLUMNS, JsonObject, csv_rows, json_lines
from wetread.studies.texts import BOM, check, empty

Role = Literal["references", "drafts"]
IDS = (*ID_COLUMNS, "dicom_id")
"""Names of the column with the id, compared without regard to case; the first that is there counts."""
IMAGES = ("images", "image", "image_paths", "image_path", "path")
"""Names of the column with the images' paths, the first that is there counts."""
PREDICTION = "model_prediction"
"""Where ReXrank's JSON holds the draft."""
SUFFIXES = (".jsonl", ".csv", ".json")
"""Kinds of file that can be read."""
_HELD_TEXTS = (*TEXT_COLUMNS, *SECTION_COLUMNS, PREDICTION, "section_findings", "section_impression")
_NOT_META = frozenset({*IDS, *_HELD_TEXTS})
_BOARD = frozenset({PREDICTION, "section_findings", "section_impression", "context", "image_path"})
_TEXTS = ("report", *(name for name in TEXT_COLUMNS if name != "report"))


class Entry(NamedTuple):
    """One entry of a file."""

    line: int
    """Line of the file, or the number of the entry in JSON; counted from 1."""
    id: str = ""
    """Its id as text."""
    report: Report = Report()
    """The report; empty when there is none."""
    meta: Mapping[str, Any] = {}
    """Further columns: words and numbers."""
    problem: str = ""
    """Kind of problem (``unreadable``, ``no_id``, ``non_text``), empty when it can be used."""
    reason: str = ""
    """The problem in words."""
    images: tuple[str, ...] = ()
    """Paths of the images, where a column names them; a text is cut at ``;`` and ``|``."""


def open_entries(
    path: Path, role: Role, read: Callable[[str], Report] = lambda text: Report(findings=text)
) -> Iterator[Entry]:
    """Yield the entries of a file, one at a time (ReXrank's JSON is one object and is held whole).

    Parameters
    ----------
    path
        A file that ends in ``.jsonl``, ``.csv`` or ``.json``.
    role
        Which of the texts of ReXrank's JSON is meant.
    read
        Makes a report of one text; by default the text is the findings.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is a folder, of another kind, or names no column of text.
    StudyError
        It is empty, binary, or CSV or JSON that is broken.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES and not path.is_dir():
        raise UsageError(f"{path.name}: allowed are files that end in {', '.join(SUFFIXES)}; name or convert it so.")
    check(path)
    records = {".jsonl": _jsonl, ".csv": _csv, ".json": _json}[suffix](path, role)
    for line, record in records:
        if isinstance(record, str):
            yield Entry(line, problem="unreadable", reason=record)
        else:
            yield _entry(line, record, role, read)


def _jsonl(path: Path, role: Role) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    with path.open("rb") as file:
        file.seek(-1, 2)
        ended = file.read(1) == b"\n"
    last: tuple[int, Mapping[str, Any] | str] | None = None
    for item in json_lines(path):
        if last is not None:
            yield last
        last = item
    if last is None:
        raise empty(path.name)
    if isinstance(last[1], str) and not ended:
        yield last[0], f"half-written, the file ends within it: {last[1]}"
    else:
        yield last


def _csv(path: Path, role: Role) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    rows = csv_rows(path)
    first = next(rows, None)
    if first is None:
        raise empty(path.name)
    header = [cell.strip() for cell in first[1]]
    names = {cell.lower() for cell in header}
    if not names & set(IDS) or not names & set(_HELD_TEXTS):
        raise UsageError(
            f"{path.name}: the header must name an id ({', '.join(IDS)}) and a text ({', '.join(_HELD_TEXTS)}); "
            f"there are: {', '.join(header[:20])}."
        )
    twice = [name for name, count in Counter(cell.lower() for cell in header).items() if name and count > 1]
    if twice:
        raise UsageError(f"{path.name}: columns are there more than once: {', '.join(twice)}; keep one of each.")
    for line, row in rows:
        if len(row) != len(header):
            yield line, f"{len(row)} fields where {len(header)} must be; quote texts with commas"
        elif any("\0" in cell for cell in row):
            yield line, "a NUL byte in it"
        else:
            yield line, dict(zip(header, row, strict=True))


def read_json(path: Path) -> Any:
    """Return what a JSON file holds, its objects as ``JsonObject`` (``StudyError`` when it is no JSON in UTF-8)."""
    try:
        return json.loads(path.read_bytes().decode("utf-8").removeprefix(BOM), object_pairs_hook=JsonObject)
    except UnicodeDecodeError as error:
        raise StudyError(f"{path.name}: not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path.name}: not JSON ({error}); one object by study id must be in it.") from None


def _json(path: Path, role: Role) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    data = read_json(path)
    if isinstance(data, list):
        found = data
    elif isinstance(data, JsonObject) and data:
        found = [_named(study, one) for study, one in data.pairs or data.items()]
    else:
        raise StudyError(f"{path.name}: {{study id: {{…}}}} or a list of objects must be in it.")
    board = any(isinstance(one, dict) and any(key.strip().lower() in _BOARD for key in one) for one in found)
    for number, one in enumerate(found, start=1):
        if not isinstance(one, JsonObject):
            yield number, f"a JSON {type(one).__name__} where an object must be"
        elif one.twice:
            yield number, one.twice
        else:
            yield number, _predicted(one) if board and role == "drafts" else one


def _named(study: str, held: Any) -> JsonObject:
    """Return the entry of ReXrank's object with its id in it; a value that is no object is the report."""
    if not isinstance(held, JsonObject):
        return JsonObject([("study", study), ("report", held)])
    pairs = [(key, value) for key, value in held.pairs or held.items() if key.strip().lower() not in IDS]
    return JsonObject([("study", study), *pairs])


def _predicted(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of ReXrank's JSON without its reference, which must never stand in for a draft."""
    other = {*_HELD_TEXTS} - {PREDICTION}
    return {key: value for key, value in entry.items() if key.strip().lower() not in other}


def _entry(line: int, record: Mapping[str, Any], role: Role, read: Callable[[str], Report]) -> Entry:
    names: dict[str, Any] = {}
    for key, value in record.items():
        names.setdefault(key.strip().lower(), value)
    raw = next((names[name] for name in IDS if name in names), None)
    if raw is None or isinstance(raw, bool | dict | list) or not str(raw).strip():
        return Entry(line, problem="no_id", reason="no id")
    study = str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw).strip()
    meta = {
        name: value
        for name, value in names.items()
        if name not in _NOT_META and isinstance(value, str | int | float) and value != ""
    }
    if isinstance(names.get("context"), str):
        meta = {**_context(names["context"]), **meta}
        meta.pop("context", None)
    try:
        study.encode()
        if "\0" in study:
            raise ValueError("a NUL character in the id")
        report = _report(names, role, read)
        report.text.encode()
    except UnicodeEncodeError:
        return Entry(line, study.encode("utf-8", "replace").decode(), Report(), meta, "non_text", "half a character")
    except ValueError as error:
        return Entry(line, study, Report(), meta, "non_text", str(error))
    return Entry(line, study, report, meta, images=_images(names))


def _images(names: Mapping[str, Any]) -> tuple[str, ...]:
    held = next((names[name] for name in IMAGES if name in names), None)
    paths = held if isinstance(held, list) else held.replace("|", ";").split(";") if isinstance(held, str) else []
    return tuple(path.strip() for path in paths if isinstance(path, str) and path.strip())


def _report(names: Mapping[str, Any], role: Role, read: Callable[[str], Report]) -> Report:
    """Return the report of one entry; ``ValueError`` when what is there is no text."""
    order = (PREDICTION, *_TEXTS) if role == "drafts" else _TEXTS
    for name in order:
        held = names.get(name)
        if name in names and (held is not None or name == PREDICTION):
            if isinstance(held, Mapping):
                return _sections(held, SECTION_COLUMNS)
            text = _text(held, name)
            return read(text) if text.strip() else Report()
    if any(name in names for name in SECTION_COLUMNS):
        return _sections(names, SECTION_COLUMNS)
    if role == "references" and any(f"section_{name}" in names for name in SECTION_COLUMNS):
        return _sections(names, tuple(f"section_{name}" for name in SECTION_COLUMNS))
    if any(name in names for name in order):
        return Report()
    raise ValueError(f"no text in it, in ReXrank's JSON no {PREDICTION!r}" if role == "drafts" else "no text in it")


def _sections(held: Mapping[str, Any], names: Sequence[str]) -> Report:
    return Report(*(_text(held.get(name), name) for name in names))


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is a {type(value).__name__}")
    if "\0" in value:  # no text has one; as a bare byte it makes the file a binary one
        raise ValueError(f"a NUL character in {name!r}")
    return value


def _context(text: str) -> dict[str, str]:
    """Return age band and sex of ReXrank's context line.

    >>> _context("Age:50-60.Gender:M.Indication: Cough. Comparison: None.")
    {'age_band': '50-60', 'sex': 'male'}
    """
    found = {}
    for part in text.split("."):
        key, _, value = part.partition(":")
        if key.strip().lower() == "age" and value.strip():
            found["age_band"] = value.strip()
        elif key.strip().lower() in ("gender", "sex") and value.strip():
            found["sex"] = {"m": "male", "f": "female"}.get(value.strip().lower(), value.strip().lower())
    return found
