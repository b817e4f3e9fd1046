"""Tables of reports, CSV or JSONL, read one row at a time.

What names the columns
----------------------
Names are compared without regard to case. The text is the column that the caller names, else ``reports``, ``report`` or
``text`` in this order, else ``findings`` and ``impression`` joined as ``Report.text``. In JSONL ``report`` may also be an
object with these two. The id is ``study``, ``study_id``, ``id`` or ``filename`` in this order.

When a CSV has no header
------------------------
It has one when the caller names a column, when its first row names one of the columns above, or when that row has more
than one field. A first row of one field that is none of these names is a report already: the form that the CheXpert
labeler reads.
"""

from __future__ import annotations

import csv
import gzip
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple

from wetread.errors import StudyError, UsageError, nearest
from wetread.records import Report
from wetread.studies.texts import BOM, check, empty, not_utf8

TEXT_COLUMNS = ("reports", "report", "text")
"""Names of a column that holds whole reports, the first that is there counts."""
SECTION_COLUMNS = ("findings", "impression")
"""Names of the columns that hold the sections of a report."""
ID_COLUMNS = ("study", "study_id", "id", "filename")
"""Names of the column that says which report it is, the first that is there counts."""
SUFFIXES = (".csv", ".jsonl")
"""Kinds of table that can be read."""
LONGEST_FIELD = 2**24
"""Most characters of one CSV field; more are taken for a quotation mark that is never closed."""

DAMAGED_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError,
)  # fmt: skip
"""How ``zipfile`` fails on archives that are damaged, encrypted or packed in a way it does not know."""


@dataclass(frozen=True)
class ReportText:
    """One row of a table of reports."""

    line: int
    """Line of the file on which it begins, counted from 1."""
    text: str = ""
    """The report, as it stands in the file; empty when there is none."""
    id: str = ""
    """What the id column says; empty when it says nothing or is not there."""
    problem: str = ""
    """Why the row could not be read, in words; empty when it could."""


class ReportTable:
    """The reports of one file in its order; iterating reads the file anew and holds one row at a time.

    Use ``open_table``.
    """

    def __init__(self, path: Path, column: str | None) -> None:
        self.path = path
        self.column = column
        self.id_column = ""
        """Name of the id column as the file writes it; empty: none."""
        self.headless = False
        """Whether the first row was taken for a report, since no header was recognised."""
        self.size = check(path)
        """Bytes of the file."""
        self.position = 0
        """Bytes read so far, from a buffer ahead of the row."""

    def __iter__(self) -> Iterator[ReportText]:
        """Yield the rows; one that cannot be read has its ``problem``.

        Raises
        ------
        StudyError
            When the file as a whole cannot be read on: CSV with broken quotes or not in UTF-8; names the line.
        """
        try:
            yield from self._reports()
        except OSError as error:
            raise StudyError(f"{self.path.name}: cannot be read ({error.strerror or error}).") from error

    def _reports(self) -> Iterator[ReportText]:
        raise NotImplementedError

    def _moved(self, position: int) -> None:
        self.position = position


class _Csv(ReportTable):
    def __init__(self, path: Path, column: str | None) -> None:
        super().__init__(path, column)
        first = next(self._rows(), None)
        if first is None:
            raise empty(path.name)
        self._header = tuple(cell.strip() for cell in first[1])
        self._layout = _layout(self._header, column)
        if self._layout is None:
            if len(self._header) > 1 or column is not None or self._header[0].lower() in ID_COLUMNS:
                raise UsageError(_no_text(path.name, self._header, column))
            for mark in ";\t":
                if _layout(tuple(cell.strip() for cell in self._header[0].split(mark)), None):
                    raise UsageError(f"{path.name}: the columns are separated by {mark!r}; save it with commas.")
            self.headless = True
        else:
            self.id_column = self._layout.id

    def _reports(self) -> Iterator[ReportText]:
        rows = self._rows()
        if not self.headless:
            next(rows, None)
        width = len(self._header)
        for line, row in rows:
            if len(row) != width:
                yield ReportText(
                    line, problem=f"{_count(len(row), 'field')} where {width} must be; quote texts with commas"
                )
            elif self._layout is None:
                yield ReportText(line, row[0])
            else:  # reversed, so that the first of two columns with one name counts
                record = dict(zip(reversed(self._header), reversed(row), strict=True))
                yield _report(line, record, self._layout)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        return csv_rows(self.path, self._moved)


class _Jsonl(ReportTable):
    def __init__(self, path: Path, column: str | None) -> None:
        super().__init__(path, column)
        seen: tuple[str, ...] = ()
        wrong = None
        for line, record in self._records():
            keys = tuple(record) if isinstance(record, dict) else ()
            layout = _layout(keys, column)
            if layout is not None:
                self.id_column = layout.id
                return
            seen = seen or keys
            wrong = wrong or f"line {line}: {record if isinstance(record, str) else 'no text in it'}"
        if seen:
            raise UsageError(_no_text(path.name, seen, column))
        if wrong:
            raise StudyError(f"{path.name}: no line holds a report ({wrong}); every line is one JSON object.")
        raise empty(path.name)

    def _reports(self) -> Iterator[ReportText]:
        for line, record in self._records():
            if isinstance(record, str):
                yield ReportText(line, problem=record)
                continue
            layout = _layout(tuple(record), self.column)
            if layout is None:
                yield ReportText(line, problem=_no_text("", tuple(record), self.column))
            else:
                yield _report(line, record, layout)

    def _records(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        return json_lines(self.path, self._moved)


def open_table(path: Path, column: str | None = None) -> ReportTable:
    """Return the reports of a CSV or JSONL file; its first rows are read to see how it is built.

    Parameters
    ----------
    path
        A file that ends in ``.csv`` or ``.jsonl``.
    column
        Name of the column that holds the text; None: as the module says.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is a folder, of another kind, or has no such column; names the columns that it has.
    StudyError
        It is empty, binary, not UTF-8, or holds no report.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES and not path.is_dir():
        raise UsageError(f"{path.name}: allowed are files that end in {' or '.join(SUFFIXES)}; name or convert it so.")
    return _Csv(path, column) if suffix == ".csv" else _Jsonl(path, column)


def csv_rows(path: Path, moved: Callable[[int], None] = lambda position: None) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank, each with the line on which it begins.

    ``moved`` is called with the bytes read so far. A file that ends in ``.gz``, or in ``.zip`` with one table in it, is
    unpacked while it is read.

    Raises
    ------
    StudyError
        The quotes are broken, it is not UTF-8, or what it is packed in is damaged; names the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    line = 1
    with _unpacked(path) as file:
        rows = csv.reader(TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
        try:
            for row in rows:
                moved(file.tell())
                if row:
                    yield line, row
                line = rows.line_num + 1
        except csv.Error as error:
            raise StudyError(
                f"{path.name}, line {line}: not CSV ({error}); put a text with commas, quotes or line breaks "
                "in double quotes, and double those within."
            ) from error
        except UnicodeDecodeError:
            with _unpacked(path) as raw:
                raise not_utf8(path.name, raw) from None
        except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise StudyError(
                f"{path.name}, line {line}: damaged or cut short ({str(error) or 'it ends too early'}); fetch it again."
            ) from error


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, or what is packed in it."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path, "rb") as file:
            yield file  # type: ignore[misc]
    elif suffix == ".zip":
        with _member(path) as member:
            yield member
    else:
        with path.open("rb") as file:
            yield file


def _member(path: Path) -> IO[bytes]:
    """Open the one table of an archive."""
    try:
        pack = zipfile.ZipFile(path)
        names = [name for name in pack.namelist() if name.lower().endswith(".csv") and "/." not in f"/{name}"]
        if len(names) == 1:
            return pack.open(names[0])
    except DAMAGED_ZIP as error:
        raise StudyError(
            f"{path.name}: no readable archive ({error or type(error).__name__}); fetch it again."
        ) from error
    raise StudyError(f"{path.name}: {len(names)} tables in it; unpack it and leave one.")


class JsonObject(dict[str, Any]):
    """A JSON object that remembers its repeated keys; for ``json.loads(…, object_pairs_hook=JsonObject)``."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs if len(pairs) != len(self) else None
        """All keys and values, where a key is repeated; else None."""

    @property
    def twice(self) -> str:
        """Says which key is repeated, here or in an object of its values; empty: none."""
        if self.pairs is not None:
            seen: set[str] = set()
            key = next(key for key, _ in self.pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            return f"the key {key!r} is there more than once"
        return next((one.twice for one in self.values() if isinstance(one, JsonObject) and one.twice), "")


def json_lines(
    path: Path, moved: Callable[[int], None] = lambda position: None
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the objects of a JSONL file, each with its line; what is none comes as the words that say why.

    ``moved`` is called with the bytes read so far.
    """
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            moved(position)
            data = line.removeprefix(BOM.encode()) if number == 1 else line
            if not data.strip():
                continue
            try:
                record = json.loads(data.decode("utf-8"), object_pairs_hook=JsonObject)
            except UnicodeDecodeError as error:
                yield number, f"not UTF-8 (byte 0x{data[error.start]:02x})"
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON ({str(error).partition(':')[0]})"
            else:
                if isinstance(record, JsonObject):
                    yield number, record.twice or record
                else:
                    yield number, f"a JSON {type(record).__name__} where an object must be"


class _Layout(NamedTuple):
    """Which keys hold what; those that are not there are empty."""

    id: str
    text: str
    sections: tuple[str, str]


@lru_cache(maxsize=256)
def _layout(keys: tuple[str, ...], column: str | None) -> _Layout | None:
    """Return where the text is, None when it is nowhere."""
    names: dict[str, str] = {}
    for key in keys:
        names.setdefault(key.strip().lower(), key)
    if column is not None:
        text = column if column in keys else names.get(column.strip().lower(), "")
    else:
        text = next((names[name] for name in TEXT_COLUMNS if name in names), "")
    sections = ("", "") if text or column is not None else (names.get("findings", ""), names.get("impression", ""))
    if not text and not any(sections):
        return None
    return _Layout(next((names[name] for name in ID_COLUMNS if name in names), ""), text, sections)


def _report(line: int, record: Mapping[str, Any], layout: _Layout) -> ReportText:
    try:
        name = record[layout.id] if layout.id else ""
        if isinstance(name, bool | dict | list):
            raise ValueError(f"the id {layout.id!r} is {name!r}; a word or a number must be")
        if layout.text:
            held = record[layout.text]
            text = _sections(held, layout.text) if isinstance(held, dict) else _string(held, layout.text)
        else:
            text = Report(*(_string(record[key], key) if key else "" for key in layout.sections)).text
        return ReportText(line, text, "" if name is None else _string(str(name), layout.id))
    except ValueError as error:
        return ReportText(line, problem=str(error))


def _sections(held: Mapping[str, Any], key: str) -> str:
    layout = _layout(tuple(held), None)
    if held and (layout is None or layout.text):
        raise ValueError(f"{key!r} holds neither {' nor '.join(SECTION_COLUMNS)}")
    return Report(*(_string(held[one], one) if one else "" for one in layout.sections)).text if layout else ""


def _string(value: Any, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is a {type(value).__name__}; a text must be")
    if "\0" in value:
        raise ValueError(f"{key!r} holds a NUL character, which no text has")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key!r} holds half of a surrogate pair, which is no character") from None
    return value


def _no_text(name: str, keys: tuple[str, ...], column: str | None) -> str:
    where = f"{name}: " if name else ""
    have = ", ".join(keys[:20]) or "none"
    if column is not None:
        return f"{where}no column {column!r}.{nearest(column, keys)} There are: {have}."
    known = ", ".join((*TEXT_COLUMNS, *SECTION_COLUMNS))
    unquoted = " If the file has no header, put every report in double quotes." if name.lower().endswith(".csv") else ""
    return f"{where}no column of text ({known}) among: {have}. Name it with --text.{unquoted}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
