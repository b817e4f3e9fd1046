"""``wetread label``: a table of reports in, a table of labels out."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.runs.label import Tally
    from wetread.studies.tables import ReportTable

_LARGE = 2**20
"""Bytes from which on progress is shown."""


def run(
    file: Path = typer.Argument(
        ..., help="CSV (with a header, or one column of reports) or JSONL; .csv or .jsonl.", metavar="FILE"
    ),
    which: str = typer.Option(..., "--set", help="chexpert14 or nih14."),
    out: Path = typer.Option(..., "--out", help="CSV file to write, whole or not at all; - for standard output."),
    text: str | None = typer.Option(
        None, "--text", help="Column of the text. Default: Reports, report or text; else findings and impression."
    ),
    knowledge: Path | None = typer.Option(None, "--knowledge", help="YAML file with further knowledge."),
) -> int:
    """Label reports as the CheXpert labeler does: 1.0 present, 0.0 denied, -1.0 uncertain, empty not mentioned."""
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED
    from wetread.knowledge import load
    from wetread.runs import label
    from wetread.runs.progress import bar
    from wetread.studies.tables import open_table

    label.check_set(which)
    known = load(knowledge)
    table = open_table(file, text)
    with bar("labelled, percent", 100) if table.size > _LARGE else nullcontext() as line:
        tally = label.write(
            table, which, out, known, lambda position: line.to(100 * position // table.size) if line else None
        )
    _summary(tally, table, which)
    return EXIT_SOME_FAILED if tally.left_out else EXIT_OK


def _summary(tally: Tally, table: ReportTable, which: str) -> None:
    for problem in tally.problems:
        sys.stderr.write(f"wetread: {table.path.name}, {problem}\n")
    if tally.left_out > len(tally.problems):
        sys.stderr.write(f"wetread: {tally.left_out - len(tally.problems)} more lines like these\n")
    first = " (no header was recognised: the first row is a report)" if table.headless else ""
    left = f"; {tally.left_out} left out, correct them and label again" if tally.left_out else ""
    reports = "report" if tally.labelled == 1 else "reports"
    sys.stderr.write(f"{tally.labelled} {reports} labelled with {which}{first}{left}\n")
