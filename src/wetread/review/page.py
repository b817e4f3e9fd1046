"""The result page: one HTML file that asks nothing of the network.

Text is escaped by the template engine; pictures are data URIs; charts are inline SVG; there is no script. A content
security policy in the page forbids the browser to fetch anything, whatever a report's text may hold.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wetread.errors import RunError, UsageError
from wetread.review.charts import line_chart
from wetread.review.data import Better, Cell, Column, Example, Mark, PageData, TableRow

_ARROWS: dict[Better, tuple[str, str]] = {
    "higher": ("↑", "higher is better"),
    "lower": ("↓", "lower is better"),
    "one": ("→1", "nearer to 1 is better"),
    "": ("", "neither way is better"),
}
_MINUS = "−"


@dataclass(frozen=True)
class Segment:
    """A stretch of text under the same marks from end to end."""

    text: str
    """The characters."""
    marks: tuple[int, ...]
    """Places, in the list of marks, of those that cover all of it; none: plain text."""
    ending: tuple[int, ...] = ()
    """Those among ``marks`` that end where it ends."""


def segments(text: str, marks: Sequence[Mark]) -> list[Segment]:
    """Cut ``text`` at the ends of the marks; the pieces joined are the text again.

    Raises
    ------
    UsageError
        When a mark reaches beyond the text.

    >>> [(piece.text, piece.marks) for piece in segments("no effusion", [Mark(3, 11, "false finding")])]
    [('no ', ()), ('effusion', (0,))]
    """
    for mark in marks:
        if mark.end > len(text):
            raise UsageError(f"a mark ends at character {mark.end} of {len(text)}; mark the very text that is shown.")
    cuts = sorted({0, len(text), *(mark.start for mark in marks), *(mark.end for mark in marks)})
    pieces = []
    for start, end in itertools.pairwise(cuts):
        over = tuple(place for place, mark in enumerate(marks) if mark.start <= start and end <= mark.end)
        pieces.append(Segment(text[start:end], over, tuple(place for place in over if marks[place].end == end)))
    return pieces


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Return ``value`` with ``digits`` after the point and a true minus sign.

    >>> number(-0.0312, 3), number(0.0312, 3, signed=True)
    ('−0.031', '+0.031')
    """
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", _MINUS)


def best_rows(column: int, better: Better, rows: Sequence[TableRow], digits: int) -> frozenset[int]:
    """Return the rows that are best in ``column`` as shown: rows that tie at ``digits`` are all best.

    >>> rows = (TableRow("a", (Cell(0.5),)), TableRow("b", (Cell(None),)), TableRow("c", (Cell(0.7),)))
    >>> sorted(best_rows(0, "higher", rows, 3))
    [2]
    """
    values = {index: row.cells[column].value for index, row in enumerate(rows)}
    known = {index: round(value, digits) for index, value in values.items() if value is not None}
    if not known or not better:
        return frozenset()
    costs = {index: _cost(value, better) for index, value in known.items()}
    least = min(costs.values())
    return frozenset(index for index, cost in costs.items() if cost - least < 1e-9)


def _cost(value: float, better: Better) -> float:
    if better == "one":
        return abs(value - 1)
    return -value if better == "higher" else value


def render_page(data: PageData) -> str:
    """Return the page as HTML; the same data give the same text.

    Raises
    ------
    UsageError
        When a mark reaches beyond the text that it marks.
    """
    template = _environment().get_template("page.html.j2")
    return template.render(
        data=data,
        arrows=_ARROWS,
        table=_table(data),
        charts=[Markup(line_chart(curve, f"chart-{index}")) for index, curve in enumerate(data.curves)],
        examples=[_example(example) for example in data.examples],
    )


def write_page(path: Path, data: PageData) -> Path:
    """Write the result page to ``path`` and return it; the folder is made, and a page that is there is replaced whole.

    Raises
    ------
    UsageError
        When a mark reaches beyond the text that it marks.
    RunError
        When the file cannot be written (disk full, no permission).
    """
    html = render_page(data)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(html, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        why = error.strerror or type(error).__name__
        raise RunError(f"{path}: the page cannot be written ({why}); free space or choose another folder.") from error
    return path


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("wetread.review", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _table(data: PageData) -> dict[str, Any]:
    best = [best_rows(index, column.better, data.rows, column.digits) for index, column in enumerate(data.columns)]
    rows = [
        {
            "label": row.label,
            "note": row.note,
            "cells": [
                _cell(cell, column, best=place in best[index])
                for index, (cell, column) in enumerate(zip(row.cells, data.columns, strict=True))
            ],
        }
        for place, row in enumerate(data.rows)
    ]
    differences = [
        {
            "label": row.label,
            "note": row.note,
            "cells": [_difference(cell, column) for cell, column in zip(row.cells, data.columns, strict=True)],
        }
        for row in data.differences
    ]
    return {"rows": rows, "differences": differences}


def _cell(cell: Cell, column: Column, *, best: bool = False, signed: bool = False) -> dict[str, Any]:
    interval = ""
    if cell.low is not None and cell.high is not None:
        ends = (number(end, column.digits, signed=signed) for end in (cell.low, cell.high))
        interval = " to ".join(ends)
    value = "n/a" if cell.value is None else number(cell.value, column.digits, signed=signed)
    return {"value": value, "interval": interval, "best": best, "note": cell.note, "verdict": "", "tone": ""}


def _difference(cell: Cell, column: Column) -> dict[str, Any]:
    shown = _cell(cell, column, signed=True)
    if cell.value is None or cell.excludes_zero is None:
        return shown
    if not cell.excludes_zero:
        return shown | {"verdict": "includes 0", "tone": "open"}
    if column.better not in ("higher", "lower"):
        return shown | {"verdict": "excludes 0", "tone": "plain"}
    gain = (cell.value > 0) == (column.better == "higher")
    return shown | {"verdict": f"excludes 0, {'better' if gain else 'worse'}", "tone": "gain" if gain else "loss"}


def _tip(marks: Sequence[Mark]) -> str:
    return "; ".join(dict.fromkeys(f"{mark.kind}: {mark.detail}" if mark.detail else mark.kind for mark in marks))


def _marked(text: str, marks: Sequence[Mark]) -> list[dict[str, Any]]:
    pieces = []
    for piece in segments(text, marks):
        over = [marks[place] for place in piece.marks]
        tone = "false" if any(mark.kind.startswith("false") for mark in over) else "wrong"
        pieces.append({"text": piece.text, "tip": _tip(over), "tone": tone, "marked": bool(over), "tag": ""})
    return pieces


def _reference(example: Example) -> list[dict[str, Any]]:
    """The reference in pieces; where a marked stretch ends, a tag names the systems that left it out."""
    marks = [mark for draft in example.drafts for mark in draft.omitted]
    systems = [draft.system for draft in example.drafts for _ in draft.omitted]
    pieces = []
    for piece in segments(example.reference, marks):
        tip = "; ".join(f"{systems[place]}: {_tip([marks[place]])}" for place in piece.marks)
        tag = ", ".join(dict.fromkeys(systems[place] for place in piece.ending))
        pieces.append({"text": piece.text, "tip": tip, "tone": "omitted", "marked": bool(piece.marks), "tag": tag})
    return pieces


def _kinds(errors: Mapping[str, tuple[str, ...]]) -> list[tuple[str, int, str]]:
    return [(kind, len(items), "; ".join(items)) for kind, items in errors.items() if items]


def _example(example: Example) -> dict[str, Any]:
    pictures = [
        {
            "source": "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii"),
            "caption": picture.caption,
            "alt": f"Radiograph of study {example.study}" + (f", {picture.caption}" if picture.caption else ""),
        }
        for picture in example.pictures
    ]
    drafts = [
        {
            "system": draft.system,
            "note": draft.note,
            "pieces": _marked(draft.text, draft.marks),
            "kinds": _kinds(draft.errors),
            "count": sum(len(items) for items in draft.errors.values()),
            "empty": not draft.text.strip(),
        }
        for draft in example.drafts
    ]
    return {
        "study": example.study,
        "context": example.context,
        "pictures": pictures,
        "reference": _reference(example),
        "drafts": drafts,
    }
