"""Rows of a data set merged into studies: one report a study, all its images, patients and splits that agree.

Everything goes into one SQLite file that has no name and vanishes with the process, so that memory does not grow with the
texts. It lies where SQLite keeps its temporary files, see ``studies.matching``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from wetread.records import FRONTAL_FIRST, Study
from wetread.studies.datasets.base import Dropped, Found
from wetread.studies.datasets.llava import NO_ANSWER, SEVERAL

NO_TEXT = "no findings and no impression"
NO_IMAGE = "no image file"
TWO_REPORTS = "rows with different reports"
TWO_PATIENTS = "rows of different patients"
TWO_SPLITS = "rows of different splits"
BY_RULE = frozenset({NO_TEXT, TWO_REPORTS, NO_ANSWER, SEVERAL})
"""Reasons that are no fault of the files: what nobody could use as a reference."""


class Stage:
    """Studies of a data set between reading and writing; a context manager."""

    def __init__(self, twice: Literal["drop", "first"] = "drop") -> None:
        self._twice = twice
        self._store = sqlite3.connect("")
        self._store.execute("PRAGMA journal_mode=OFF")
        self._store.execute("PRAGMA synchronous=OFF")
        self._store.execute(
            "CREATE TABLE studies (number INTEGER PRIMARY KEY, id TEXT UNIQUE, body TEXT, conflict TEXT, place TEXT)"
        )
        self.other_texts = 0
        """Rows whose report differs from the first of their study, which stands."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()

    def __len__(self) -> int:
        found: int = self._store.execute("SELECT COUNT(*) FROM studies").fetchone()[0]
        return found

    def add(self, found: Found) -> None:
        """Add a row: a new study, or further images of one that is there."""
        key = f"{found.study.source}\0{found.study.id}"
        row = self._store.execute("SELECT body, conflict FROM studies WHERE id = ?", [key]).fetchone()
        if row is None:
            self._store.execute(
                "INSERT INTO studies (id, body, conflict, place) VALUES (?, ?, '', ?)", [key, _pack(found), found.where]
            )
            return
        before = _unpack(row[0])
        conflict = row[1] or self._conflict(before.study, found.study)
        self._store.execute(
            "UPDATE studies SET body = ?, conflict = ? WHERE id = ?", [_pack(_merged(before, found)), conflict, key]
        )

    def _conflict(self, one: Study, other: Study) -> str:
        if one.patient != other.patient:
            return TWO_PATIENTS
        if one.split != other.split:
            return TWO_SPLITS
        if one.report and other.report and one.report != other.report:
            if self._twice == "drop":
                return TWO_REPORTS
            self.other_texts += 1
        return ""

    def settle(self, *, images: bool, limit: int = 0) -> Iterator[Dropped]:
        """Take out the studies that cannot be used, and yield each with its reason.

        Parameters
        ----------
        images
            Whether a study must have an image.
        limit
            Keep the first so many; 0: all.
        """
        out: list[int] = []
        kept = 0
        rows = self._store.execute("SELECT number, body, conflict, place FROM studies ORDER BY number")
        for number, body, conflict, where in rows:
            found = _unpack(body)
            reason = conflict
            if not reason and not found.study.report:
                reason = NO_TEXT
            if not reason and images and not found.study.images:
                reason = NO_IMAGE
            if reason or (limit and kept >= limit):
                out.append(number)
                if reason:
                    yield Dropped(reason, where, found.study.id)
                continue
            kept += 1
        self._store.executemany("DELETE FROM studies WHERE number = ?", [(number,) for number in out])

    def __iter__(self) -> Iterator[Found]:
        """Yield the studies in the order in which they came, frontal images first."""
        for (body,) in self._store.execute("SELECT body FROM studies ORDER BY number"):
            yield _frontal_first(_unpack(body))

    def get(self, source: str, study: str) -> Found | None:
        """Return a study by its id, frontal images first; None where there is none."""
        row = self._store.execute("SELECT body FROM studies WHERE id = ?", [f"{source}\0{study}"]).fetchone()
        return None if row is None else _frontal_first(_unpack(row[0]))


def _merged(one: Found, other: Found) -> Found:
    """Return a study with the images, and whatever it does not have, of another row."""
    had = set(one.files)
    more = [(image, file) for image, file in zip(other.study.images, other.files, strict=True) if file not in had]
    study = replace(
        one.study,
        images=(*one.study.images, *(image for image, _ in more)),
        report=one.study.report or other.study.report,
        indication=one.study.indication or other.study.indication,
        comparison=one.study.comparison or other.study.comparison,
        date=min(one.study.date, other.study.date) or one.study.date or other.study.date,
    )
    return replace(one, study=study, files=(*one.files, *(file for _, file in more)))


def _frontal_first(found: Found) -> Found:
    pairs = sorted(zip(found.study.images, found.files, strict=True), key=lambda pair: FRONTAL_FIRST[pair[0].view])
    images = tuple(image for image, _ in pairs)
    return replace(found, study=replace(found.study, images=images), files=tuple(file for _, file in pairs))


def _pack(found: Found) -> str:
    files = [[None if file is None else str(file) for file in files] for files in (found.files, found.prior_files)]
    return json.dumps([found.study.to_json(), *files, found.where], ensure_ascii=False, separators=(",", ":"))


def _unpack(body: str) -> Found:
    study, files, prior_files, where = json.loads(body)
    return Found(
        Study.from_json(study),
        tuple(None if file is None else Path(file) for file in files),
        tuple(None if file is None else Path(file) for file in prior_files),
        where,
    )
