"""Tables of reports into tables of labels, in the form that the CheXpert labeler writes, one row at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from wetread.errors import RunError, UsageError, nearest
from wetread.knowledge import LABEL_SETS, Knowledge, extract, label_set, load
from wetread.studies.tables import ReportTable
from wetread.studies.texts import keep_apart

CHEXPERT_LABELER: tuple[str, ...] = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Lung Opacity", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""The 14 observations in the order of the labeler's columns (Irvin et al. 2019; ``labeled_reports.csv`` of
github.com/stanfordmlgroup/chexpert-labeler), which is not the order of CheXbert's heads."""

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType({**LABEL_SETS, "chexpert14": CHEXPERT_LABELER})
"""Label sets and their classes in the order of the columns."""

REPORTS = "Reports"
"""Heading of the column that holds the texts, as the labeler writes it."""

KEPT_PROBLEMS = 20
"""Problems that a tally keeps in words; the others are only counted."""

_VALUES: Mapping[int | None, str] = {1: "1.0", 0: "0.0", -1: "-1.0", None: ""}
_MUST_QUOTE = frozenset(',"\r\n')


@dataclass
class Tally:
    """What came of labelling a table."""

    labelled: int = 0
    """Rows written."""
    left_out: int = 0
    """Rows that could not be read."""
    problems: list[str] = field(default_factory=list)
    """The first of them in words, with their lines."""


def check_set(which: str) -> None:
    """Raise when there is no such label set.

    Raises
    ------
    UsageError
        Names the sets that exist.
    """
    if which not in COLUMNS:
        raise UsageError(f"unknown --set {which!r}.{nearest(which, COLUMNS)} Allowed: {', '.join(COLUMNS)}.")


def write(
    table: ReportTable,
    which: str,
    out: Path,
    knowledge: Knowledge | None = None,
    progress: Callable[[int], None] = lambda position: None,
) -> Tally:
    """Label every report of ``table`` and write one row each, in its order; return what came of it.

    Parameters
    ----------
    table
        The reports (``studies.tables.open_table``); a row that cannot be read is left out and counted.
    which
        Label set: ``chexpert14`` or ``nih14``.
    out
        File to write, whole or not at all; ``-`` for standard output.
    knowledge
        Whose findings to look for; None: chest X-ray.
    progress
        Called with the bytes of the table that are read, after each row.

    Raises
    ------
    UsageError
        There is no such set, or ``out`` is a folder or the table itself.
    StudyError
        The table cannot be read on.
    RunError
        ``out`` cannot be written.
    """
    check_set(which)
    known = load() if knowledge is None else knowledge
    keep_apart({"--out": out}, [table.path])
    tally = Tally()
    with _whole(out) as file:
        lead = (table.id_column,) if table.id_column else ()
        file.write(_line((*lead, REPORTS, *COLUMNS[which])))
        for report in table:
            progress(table.position)
            if report.problem:
                tally.left_out += 1
                if len(tally.problems) < KEPT_PROBLEMS:
                    tally.problems.append(f"line {report.line}: {report.problem}")
                continue
            labels = label_set(which, extract(report.text, known), known)
            values = (_VALUES[labels[name]] for name in COLUMNS[which])
            file.write(_line((*((report.id,) if lead else ()), report.text, *values)))
            tally.labelled += 1
    return tally


def _line(cells: Iterable[str]) -> bytes:
    """Return one line of CSV; csv.writer of Python before 3.13 leaves a lone carriage return unquoted."""
    quoted = (cell if _MUST_QUOTE.isdisjoint(cell) else '"' + cell.replace('"', '""') + '"' for cell in cells)
    return (",".join(quoted) + "\n").encode()


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` so that it appears when the block has ended well, and is not touched when it has not."""
    if str(path) == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.is_dir():
        raise UsageError(f"--out {path.name} is a folder; name a file.")
    device = path.exists() and not path.is_file()  # nothing can be renamed over /dev/null or a pipe
    part = path if device else path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            if not device:
                os.fsync(file.fileno())
        if not device:
            part.replace(path)
    except OSError as error:
        raise RunError(
            f"cannot write {path.name} ({error.strerror or error}); free space or choose another --out."
        ) from error
    finally:
        if not device:
            with suppress(OSError):  # where it could not be made either
                part.unlink()
