"""References and drafts matched by study id, never by position.

Duplicate, missing, extra, empty and non-text entries and lines that cannot be read are counted and the first of them named
(``Coverage.problems``); whether they end the command is for the caller. A study that is there twice in one of the files is
matched with nothing, since nobody can tell which of them is meant.

Both files go into one SQLite file that has no name and vanishes with the process, so that memory does not grow with them. It
lies where SQLite keeps its temporary files: in the folder that ``SQLITE_TMPDIR`` or ``TMPDIR`` names, else in /var/tmp.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from wetread.records import Report
from wetread.studies.reports import Entry, Role, open_entries

PATIENTS = ("patient", "patient_id", "subject_id")
"""Names of the column with the patient, the first that is there counts."""
BUILT_IN = ("reference", "finding")
"""Names of the strata that every scoring has; a metadata column of such a name is called ``column:`` and its name."""
SHOWN = 10
"""Entries of each kind of problem that are named."""
_BATCH = 512
_AGES = ((18, "0-17"), (40, "18-39"), (65, "40-64"), (80, "65-79"))
_TABLES = {"drafts": "drafts", "references": "refs"}
_KINDS = {
    "unreadable": "cannot be read",
    "no_id": "have no id",
    "duplicate": "are there more than once",
    "non_text": "hold no text",
    "empty": "are empty",
}


class Text(NamedTuple):
    """One report among those of its file that were matched."""

    report: Report
    """The report."""
    digest: bytes
    """16 bytes that stand for its text, in the form in which two are called the same."""
    copies: int
    """Matched reports of the file with that text, this one among them."""


class Pair(NamedTuple):
    """One study to be scored."""

    study: str
    """Its id."""
    draft: Text
    """What was written."""
    reference: Report
    """What it is compared with."""
    meta: Mapping[str, Any]
    """Metadata of the reference, then of the draft; ``age`` also as ``age_band``."""
    patient: str
    """``patient`` and the patient, or ``study`` and the id where none is named: an id may be another's patient."""


@dataclass(frozen=True)
class Problems:
    """Entries of one kind that cannot be used as they are."""

    role: Role
    """Which file."""
    kind: str
    """``duplicate``, ``missing``, ``extra``, ``empty``, ``non_text``, ``unreadable`` or ``no_id``."""
    count: int
    """How many."""
    first: tuple[str, ...]
    """The first of them: ids, or lines where there is none."""

    def __str__(self) -> str:
        named = ", ".join(self.first) + (" …" if self.count > len(self.first) else "")
        if self.kind == "missing":
            return f"{self.count} references have no draft: {named}"
        if self.kind == "extra":
            return f"{self.count} drafts have no reference: {named}"
        return f"{self.count} {self.role} {_KINDS[self.kind]}: {named}"


@dataclass(frozen=True)
class Coverage:
    """What of two files can be scored."""

    references: int
    """Entries in the references, readable or not."""
    drafts: int
    """Entries in the drafts."""
    matched: int
    """Studies that both have, once and as text; empty reports among them."""
    problems: tuple[Problems, ...] = field(default=())
    """What is wrong, by file and kind."""


class Matched:
    """Two files matched by id; use ``match``."""

    def __init__(self, store: sqlite3.Connection, coverage: Coverage) -> None:
        self._store = store
        self.coverage = coverage
        """What was found, and what is wrong with it."""

    def __len__(self) -> int:
        return self.coverage.matched

    def chunks(self, size: int) -> Iterator[list[Pair]]:
        """Yield the studies in the order of their ids, ``size`` at a time."""
        cursor = self._store.execute(
            "SELECT p.id, d.findings, d.impression, p.drafts, t.copies, r.findings, r.impression, r.meta, d.meta, p.patient "
            "FROM pairs p CROSS JOIN drafts d ON d.id = p.id CROSS JOIN refs r ON r.id = p.id "
            "CROSS JOIN drafts_texts t ON t.digest = p.drafts ORDER BY p.number"
        )
        while rows := cursor.fetchmany(size):
            yield [
                Pair(row[0], Text(Report(*row[1:3]), *row[3:5]), Report(*row[5:7]), _meta(*row[7:9]), row[9])
                for row in rows
            ]

    def references(self, numbers: Sequence[int]) -> list[Text]:
        """Return the references of the studies with these numbers (in the order of the ids, from 0)."""
        marks = ",".join("?" * len(numbers))
        rows = self._store.execute(
            "SELECT p.number, r.findings, r.impression, p.refs, t.copies FROM pairs p JOIN refs r ON r.id = p.id "
            f"JOIN refs_texts t ON t.digest = p.refs WHERE p.number IN ({marks})",
            [int(number) for number in numbers],
        )
        found = {row[0]: Text(Report(*row[1:3]), *row[3:]) for row in rows}
        return [found[number] for number in numbers]

    def patients(self, most: int) -> list[str]:
        """Return the first ``most`` of the distinct patients, in order."""
        rows = self._store.execute("SELECT DISTINCT patient FROM pairs ORDER BY patient LIMIT ?", [most])
        return [patient for (patient,) in rows]

    def count_patients(self) -> int:
        """Return the number of distinct patients."""
        return self._number("SELECT COUNT(DISTINCT patient) FROM pairs")

    def distinct(self, role: Role) -> int:
        """Return the number of distinct texts among the matched entries."""
        return self._number(f"SELECT COUNT(*) FROM {_TABLES[role]}_texts")

    def most_copies(self, role: Role, *, blank: bool = False) -> int:
        """Return how often the most frequent report occurs; an empty one as in ``most_frequent``."""
        table = _TABLES[role]
        nothing = b"" if blank else digest(Report())
        most = self._number(f"SELECT COALESCE(MAX(copies), 0) FROM {table}_texts WHERE digest != ?", nothing)
        return most or len(self)

    def most_frequent(self, role: Role, *, blank: bool = False) -> Text:
        """Return the most frequent report; of several the first in the alphabet.

        An empty one counts only with ``blank``, or where there is nothing else.
        """
        table = _TABLES[role]
        rows = self._store.execute(
            f"SELECT r.findings, r.impression, t.digest, t.copies FROM pairs p CROSS JOIN {table}_texts t ON t.digest = p.{table} "
            f"CROSS JOIN {table} r ON r.id = p.id WHERE t.copies = ? AND t.digest != ?",
            [self.most_copies(role, blank=blank), b"" if blank else digest(Report())],
        )
        texts = (Text(Report(*row[:2]), *row[2:]) for row in rows)
        return min(texts, key=lambda one: one.report.text, default=Text(Report(), digest(Report()), len(self)))

    def empty(self, role: Role) -> int:
        """Return the number of matched entries without text."""
        nothing = digest(Report())
        return self._number(f"SELECT COALESCE(SUM(copies), 0) FROM {_TABLES[role]}_texts WHERE digest = ?", nothing)

    def one_sided(self, section: str, role: Role) -> int:
        """Return the number of studies of which this file alone has the section; an empty report has none to compare."""
        has = {table: f"TRIM({table}.{section}, ' ' || CHAR(9, 10, 11, 12, 13)) != ''" for table in _TABLES.values()}
        mine = _TABLES[role]
        (other,) = set(_TABLES.values()) - {mine}
        nothing = digest(Report())
        return self._number(
            "SELECT COUNT(*) FROM pairs p JOIN refs ON refs.id = p.id JOIN drafts ON drafts.id = p.id "
            f"WHERE {has[mine]} AND NOT {has[other]} AND p.refs != ? AND p.drafts != ?", nothing, nothing,
        )  # fmt: skip

    def _number(self, query: str, *given: bytes) -> int:
        found: int = self._store.execute(query, given).fetchone()[0]
        return found

    def fingerprint(self, role: Role) -> str:
        """Return 16 hex digits that stand for the ids and texts of the matched entries."""
        found = hashlib.blake2b(digest_size=8)
        for study, text in self._store.execute(f"SELECT id, {_TABLES[role]} FROM pairs ORDER BY number"):
            found.update(study.encode() + b"\0" + text)
        return found.hexdigest()

    def columns(self, most: int) -> dict[str, int]:
        """Return the metadata columns with their number of distinct values, counted up to ``most`` + 1."""
        seen: dict[str, set[Any]] = {}
        for ref, draft in self._store.execute(
            "SELECT r.meta, d.meta FROM pairs p JOIN refs r ON r.id = p.id JOIN drafts d ON d.id = p.id"
        ):
            for name, value in _meta(ref, draft).items():
                values = seen.setdefault(name, set())
                if len(values) <= most:
                    values.add(value)
        return {name: len(values) for name, values in sorted(seen.items())}


def match(
    references: Path,
    drafts: Path,
    *,
    read: Callable[[str], Report] = lambda text: Report(findings=text),
    normalise: Callable[[Report], str] = lambda report: report.text,
) -> Matched:
    """Read both files and match them by id.

    Parameters
    ----------
    references, drafts
        Files as in ``open_entries``.
    read
        Makes a report of a text without sections.
    normalise
        Form in which two texts are called the same.

    Raises
    ------
    MissingError, UsageError, StudyError
        As in ``open_entries``.
    """
    store = sqlite3.connect("")  # a file without a name: memory while it is small, disk when it is not
    store.execute("PRAGMA journal_mode=OFF")
    store.execute("PRAGMA synchronous=OFF")
    found: list[Problems] = []
    totals = {}
    for role, table, path in (("references", "refs", references), ("drafts", "drafts", drafts)):
        totals[role], problems = _load(store, table, open_entries(path, role, read), normalise)  # type: ignore[arg-type]
        for kind in _KINDS:
            count, first = problems.get(kind, (0, []))
            if count:
                found.append(Problems(role, kind, count, tuple(first)))  # type: ignore[arg-type]
    for kind, role, here, there in (("missing", "references", "refs", "drafts"), ("extra", "drafts", "drafts", "refs")):
        query = f"FROM {here} WHERE id NOT IN (SELECT id FROM {there})"
        count = store.execute(f"SELECT COUNT(*) {query}").fetchone()[0]
        if count:
            names = store.execute(f"SELECT id {query} ORDER BY line LIMIT {SHOWN}").fetchall()
            found.append(Problems(role, kind, count, tuple(name for (name,) in names)))  # type: ignore[arg-type]
    store.execute("CREATE TABLE pairs (number INTEGER PRIMARY KEY, id TEXT, patient TEXT, drafts BLOB, refs BLOB)")
    store.execute(
        "INSERT INTO pairs SELECT ROW_NUMBER() OVER (ORDER BY r.id) - 1, r.id, "
        "CASE WHEN r.patient != '' THEN 'patient ' || r.patient WHEN d.patient != '' THEN 'patient ' || d.patient "
        "ELSE 'study ' || r.id END, d.digest, r.digest "
        "FROM refs r JOIN drafts d ON d.id = r.id WHERE r.usable = 1 AND d.usable = 1 AND r.copies = 1 AND d.copies = 1"
    )
    for table in _TABLES.values():
        store.execute(f"CREATE TABLE {table}_texts (digest BLOB PRIMARY KEY, copies INTEGER) WITHOUT ROWID")
        store.execute(f"INSERT INTO {table}_texts SELECT {table}, COUNT(*) FROM pairs GROUP BY {table}")
    matched = store.execute("SELECT COUNT(*) FROM pairs").fetchone()[0]
    return Matched(store, Coverage(totals["references"], totals["drafts"], matched, tuple(found)))


def digest(report: Report, normalise: Callable[[Report], str] = lambda report: report.text) -> bytes:
    """Return 16 bytes that stand for a report's text."""
    return hashlib.blake2b(normalise(report).encode(), digest_size=16).digest()


def _load(
    store: sqlite3.Connection, table: str, entries: Iterator[Entry], normalise: Callable[[Report], str]
) -> tuple[int, dict[str, tuple[int, list[str]]]]:
    """Fill one table; return the number of entries and the problems by kind."""
    store.execute(
        f"CREATE TABLE {table} (id TEXT PRIMARY KEY, line INTEGER, findings TEXT, impression TEXT, meta TEXT, "
        "patient TEXT, digest BLOB, usable INTEGER, copies INTEGER) WITHOUT ROWID"
    )
    problems: dict[str, tuple[int, list[str]]] = {}
    total = 0

    def note(kind: str, name: str) -> None:
        count, first = problems.get(kind, (0, []))
        problems[kind] = (count + 1, [*first, name] if count < SHOWN else first)

    rows: list[tuple[Any, ...]] = []

    def flush() -> None:
        store.executemany(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT(id) DO UPDATE SET copies = copies + 1",
            rows,
        )
        rows.clear()

    for entry in entries:
        total += 1
        if entry.problem:
            name = f"line {entry.line}" + (f" ({entry.reason})" if entry.problem == "unreadable" else "")
            note(entry.problem, f"{entry.id} ({entry.reason})" if entry.id else name)
        elif not entry.report:
            note("empty", entry.id)
        if entry.id:
            patient = next((str(entry.meta[name]) for name in PATIENTS if name in entry.meta), "")
            rows.append((
                entry.id, entry.line, entry.report.findings, entry.report.impression, json.dumps(dict(entry.meta)),
                patient, digest(entry.report, normalise), int(not entry.problem),
            ))  # fmt: skip
        if len(rows) >= _BATCH:
            flush()
    flush()
    count = store.execute(f"SELECT COUNT(*) FROM {table} WHERE copies > 1").fetchone()[0]
    if count:
        names = store.execute(f"SELECT id FROM {table} WHERE copies > 1 ORDER BY line LIMIT {SHOWN}")
        problems["duplicate"] = (count, [name for (name,) in names])
    return total, problems


def column(name: str) -> str:
    """Return what a metadata column is called as a stratum.

    >>> column("Site"), column("reference")
    ('site', 'column:reference')
    """
    return f"column:{name.lower()}" if name.lower() in BUILT_IN else name.lower()


def _meta(ref: str, draft: str) -> dict[str, Any]:
    meta = {column(name): value for name, value in (json.loads(draft) | json.loads(ref)).items()}
    if "age" in meta and "age_band" not in meta:
        band = age_band(meta["age"])
        if band:
            meta["age_band"] = band
    return meta


def age_band(age: Any) -> str:
    """Return the band of an age in years, empty when it is none.

    >>> age_band(64), age_band("80"), age_band("old")
    ('40-64', '80+', '')
    """
    try:
        years = float(age)
    except ValueError:
        return ""
    return next((name for limit, name in _AGES if years < limit), "80+") if years >= 0 else ""
