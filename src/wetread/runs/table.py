"""The table of an evaluation: systems down, metrics across, intervals under the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wetread.runs.evaluate import Row

if TYPE_CHECKING:
    from rich.table import Table

    from wetread.rewards import FindingCalls
    from wetread.runs.compare import Paired


class Heading(NamedTuple):
    """How a metric is shown."""

    metric: str
    """Name of the metric or guard."""
    label: str
    """Heading for people."""
    better: str
    """``higher``, ``lower``, ``one`` (near 1) or empty."""
    digits: int
    """Digits after the point."""


HEADINGS = (
    Heading("findings_f1", "finding F1 micro", "higher", 3),
    Heading("findings_f1_macro", "finding F1 macro", "higher", 3),
    Heading("errors_total", "errors per report", "lower", 2),
    Heading("bleu_2_rexrank", "BLEU-2 (ReXrank)", "higher", 3),
    Heading("rouge_l", "ROUGE-L", "higher", 3),
    Heading("length_ratio", "length ratio", "one", 2),
    Heading("duplicate_share", "duplicate share", "", 2),
    Heading("template_share", "template share", "", 2),
    Heading("contradiction_share", "contradicting", "", 2),
)
"""The columns that every table shows."""
WIDTH = 144
"""Columns that the table needs to be read; a narrower terminal wraps its lines, which loses less than cutting them."""
_ARROW = {"higher": " ↑", "lower": " ↓", "one": " →1", "": ""}


def table(rows: Sequence[Row], title: str, differences: Mapping[str, Mapping[str, Paired]] | None = None) -> Table:
    """Return a rich table of ``rows``; ``differences`` (label to metric to difference) go below a rule."""
    from rich.table import Table

    shown = Table(
        title=title, caption="95% bootstrap intervals over patients. AI drafts, research use only.", show_lines=False
    )
    shown.add_column("system", overflow="fold")
    for heading in HEADINGS:
        shown.add_column(heading.label + _ARROW[heading.better], justify="right")
    by_system: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_system.setdefault(row.system, {})[row.metric] = row
    for system, cells in by_system.items():
        shown.add_row(system, *(_cell(cells.get(h.metric), h.digits) for h in HEADINGS))
    for label, items in (differences or {}).items():
        shown.add_section()
        shown.add_row(label, *(_difference(items.get(h.metric), h.digits) for h in HEADINGS))
    return shown


def thinking_table(rows: Sequence[Row], title: str) -> Table | None:
    """Return a table of what thoughts and passes are worth, systems across; None where there is nothing to say."""
    from rich.table import Table

    from wetread.runs.thinking import MEASURES

    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.metric in MEASURES and row.value is not None:
            cells.setdefault(row.metric, {})[row.system] = row
    if not cells:
        return None
    systems = list(dict.fromkeys(system for found in cells.values() for system in found))
    shown = Table(title=title, caption="95% bootstrap intervals over patients. AI drafts, research use only.")
    shown.add_column("measure")
    for system in systems:
        shown.add_column(system, justify="right")
    for name, measure in MEASURES.items():
        if name in cells:
            shown.add_row(
                f"{measure.source}{_ARROW[measure.better]}", *(_cell(cells[name].get(one), 3) for one in systems)
            )
    return shown


def calls_table(calls: Mapping[str, Sequence[FindingCalls]], title: str) -> Table:
    """Return a rich table of how often systems call findings falsely and miss them; ``calls`` is system to its calls."""
    from rich.table import Table

    shown = Table(title=title, caption="Share of studies without it that claim it / with it that miss it.")
    shown.add_column("finding", overflow="fold")
    shown.add_column("studies", justify="right")
    for system in calls:
        shown.add_column(system, justify="right")
    by_system = {system: {call.name: call for call in found} for system, found in calls.items()}
    studies = {call.name: call.tp + call.fn for found in calls.values() for call in found}
    for name in sorted(studies, key=lambda one: (-studies[one], one)):
        cells = []
        for found in by_system.values():
            call = found.get(name)
            over, under = (call.over_calling, call.under_calling) if call else (0.0, None)
            cells.append(f"{_share(over)} / {_share(under)}")
        shown.add_row(name, str(studies[name]), *cells)
    return shown


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def markdown(rows: Sequence[Row], differences: Mapping[str, Mapping[str, Paired]] | None = None) -> str:
    """Return the same table as Markdown."""
    head = ["system", *(h.label + _ARROW[h.better] for h in HEADINGS)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * len(HEADINGS) + "|"]
    by_system: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_system.setdefault(row.system, {})[row.metric] = row
    for system, cells in by_system.items():
        lines.append(
            "| "
            + " | ".join([system, *(_cell(cells.get(h.metric), h.digits).replace("\n", " ") for h in HEADINGS)])
            + " |"
        )
    for label, items in (differences or {}).items():
        lines.append(
            "| "
            + " | ".join([label, *(_difference(items.get(h.metric), h.digits).replace("\n", " ") for h in HEADINGS)])
            + " |"
        )
    return "\n".join(lines) + "\n"


def _cell(row: Row | None, digits: int) -> str:
    if row is None or row.value is None:
        return "not scored"
    interval = "" if row.low is None or row.high is None else f"\n[{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return f"{row.value:.{digits}f}{interval}".replace("[", r"\[") if interval else f"{row.value:.{digits}f}"


def _difference(found: Paired | None, digits: int) -> str:
    if found is None or found.value is None or found.low is None or found.high is None:
        return "not scored"
    return f"{found.value:+.{digits}f}\n({found.low:+.{digits}f}, {found.high:+.{digits}f})"
