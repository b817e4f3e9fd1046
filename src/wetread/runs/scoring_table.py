"""The result of scoring for people: a terminal table, Markdown and LaTeX with the same figures, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wetread.runs.scoring_result import BASELINES, Figure, Figures, Result
from wetread.runs.scoring_work import GUARDS

if TYPE_CHECKING:
    from rich.console import RenderableType

HEADLINES = (
    "radcliq_v1", "green", "ratescore_long", "radgraph_combined", "chexbert_f1_14_micro", "findings_f1",
    "labels14_f1_micro", "errors_total", "bleu_4", "rouge_l",
)  # fmt: skip
"""Metrics of the table of strata, the first ``STRATA_METRICS`` that were computed."""
STRATA_METRICS = 4
"""Metrics in the table of strata."""
STRATA_FINDINGS = 12
"""Findings in the table of strata, the most frequent ones; the JSON has all."""
WIDTH = 132
"""Columns that the table needs; a narrower terminal wraps its lines."""
CAPTION = "95% bootstrap intervals over patients"
_ARROWS = {"higher": "↑", "lower": "↓", "one": "→1"}
_LATEX = {"\\": r"\textbackslash{}", **{c: "\\" + c for c in "&%$#_{}"}, "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "≥": r"$\geq$"}  # fmt: skip


class Grid(NamedTuple):
    """One table, before it is dressed."""

    title: str
    """What it shows."""
    head: tuple[str, ...]
    """Headings."""
    rows: tuple[tuple[str, ...], ...]
    """Cells."""


def grids(result: Result) -> list[Grid]:
    """Return the table of all metrics beside the baselines, that of the strata and that of the classes."""
    return [_whole(result), _strata(result), _classes(result)]


def notes(result: Result) -> list[str]:
    """Return the lines below the table: alarms first, then coverage, policies and what is not above the baselines."""
    coverage = result.coverage
    lines = [f"ALARM: {alarm}" for alarm in coverage["alarms"]]
    beaten = _not_above(result)
    if beaten:
        lines.append(f"No better than a baseline that saw no image: {', '.join(beaten)}.")
    for one in coverage["one_sided_sections"]:
        mine, other = ("draft", "reference") if one["file"] == "drafts" else ("reference", "draft")
        section = "an impression" if one["section"] == "impression" else one["section"]
        lines.append(
            f"{one['count']} {one['file']} have {section} where the {other} has none; the {mine} is scored whole: "
            "compare the same sections."
        )
    lines += [
        f"left out: {one['count']} {one['file']} {one['kind'].replace('_', ' ')}: {', '.join(one['first'])}"
        for one in coverage["problems"]
        if one["kind"] != "empty"
    ]
    if coverage["empty_drafts"]:
        policies = [f"{policy} ({', '.join(names)})" for policy, names in coverage["empty_draft_policy"].items()]
        lines.append(f"empty drafts: {coverage['empty_drafts']}; each gets {'; '.join(policies)}.")
    for name, one in coverage["judges"].items():
        cost = f", cost {one['cost']:.4f}" if "cost" in one else ""
        untold = f" ({one['uncounted']} answers did not tell theirs)" if one["uncounted"] else ""
        lines.append(
            f"judge {name}: {one['asked']} asked, {one['failed']} failed, {one['cached']} distinct pairs from the cache, "
            f"{one['requests']} requests ({one['retries']} repeated), tokens {one['prompt_tokens']} in, "
            f"{one['completion_tokens']} out{untold}{cost}."
        )
    if coverage["empty_references"]:
        lines.append(f"{coverage['empty_references']} empty references: not scored by any metric that compares.")
    lines.append(
        f"{CAPTION}. Precision and recall are averaged as the F1 is. Baselines: one normal report for all; the most "
        "frequent reference for all; the reference of another study."
    )
    return lines


def signatures(result: Result) -> list[str]:
    """Return the signature of each metric and guard; precision and recall have that of their F1."""
    beside = {f"{name}_{what}" for name in result.corpus for what in ("precision", "recall")}
    return [one.signature for name, one in result.corpus.items() if name not in beside or name in result.sources]


def rich_tables(result: Result) -> Iterator[RenderableType]:
    """Yield what a terminal shows."""
    from rich.table import Table
    from rich.text import Text

    for grid in grids(result):
        if not grid.rows:
            continue
        shown = Table(title=grid.title)
        for number, name in enumerate(grid.head):
            shown.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=number < 2)
        for row in grid.rows:
            shown.add_row(*(Text(cell) for cell in row))
        yield shown
        if grid.head[0] == "metric":
            for line in notes(result):
                yield Text(line, style="bold red" if line.startswith("ALARM") else "")
    yield Text("signatures: " + "  ".join(signatures(result)), style="dim")


def markdown(result: Result) -> str:
    """Return the tables as Markdown."""
    parts = []
    for grid in grids(result):
        if grid.rows:
            lines = [f"**{grid.title}**", "", _row(grid.head), "|---" + "|--:" * (len(grid.head) - 1) + "|"]
            parts.append("\n".join([*lines, *(_row(row) for row in grid.rows)]))
    parts.append("\n".join(f"- {line}" for line in notes(result)))
    parts.append("Signatures:\n\n" + "\n".join(f"- `{line}`" for line in signatures(result)))
    return "\n\n".join(parts) + "\n"


def latex(result: Result) -> str:
    """Return the tables as LaTeX (package booktabs)."""
    parts = []
    for grid in grids(result):
        if not grid.rows:
            continue
        body = [" & ".join(map(_tex, row)) + r" \\" for row in grid.rows]
        parts.append(
            "\n".join([
                r"\begin{table}", r"\centering", rf"\caption{{{_tex(grid.title)}. {_tex(CAPTION)}.}}",
                rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}", r"\toprule",
                " & ".join(map(_tex, grid.head)) + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
                r"\end{table}",
            ])
        )  # fmt: skip
    said = [f"% {line}" for line in (*notes(result), *signatures(result))]
    return "\n\n".join(parts) + "\n\n" + "\n".join(said) + "\n"


def json_pieces(result: Result, records: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the JSON piece by piece, so that a million reports are never held: ``records`` are the stored lines.

    ``{"coverage", "corpus", "baselines", "strata", "classes", "reports"}``; a report has ``{"value", "reason"}`` per metric and guard.
    """
    head = {
        "coverage": dict(result.coverage),
        "corpus": _json(result.corpus),
        "baselines": {name: _json(figures) for name, figures in result.baselines.items()},
        "strata": {name: _json(figures) for name, figures in result.strata.items()},
        "classes": result.classes,
    }
    yield json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}") + ',\n "reports": {'
    mark = "\n"
    for record in records:
        scores = {
            name: {"value": one["value"], "reason": one.get("reason", "")} for name, one in record["scores"].items()
        }
        yield f"{mark}  {json.dumps(record['study'], ensure_ascii=False)}: {json.dumps(scores, ensure_ascii=False)}"
        mark = ",\n"
    yield "\n }\n}\n"


def _json(figures: Figures) -> dict[str, Any]:
    return {name: one.to_json() for name, one in figures.items()}


def _title(result: Result) -> str:
    coverage = result.coverage
    return (
        f"{coverage['scored']} of {coverage['references']} studies scored ({coverage['share']:.1%}), "
        f"{coverage['distinct_drafts']} distinct drafts, {coverage['distinct_references']} distinct references"
    )


def _whole(result: Result) -> Grid:
    there = [name for name in BASELINES if name in result.baselines]
    rows = []
    beside = {f"{name}_{what}" for name in result.corpus for what in ("precision", "recall")} - set(result.sources)
    for name, one in result.corpus.items():
        if name in beside:
            continue
        digits = 2 if name in GUARDS else 3
        parts = [
            result.corpus.get(f"{name}_{what}") if f"{name}_{what}" in beside else None
            for what in ("precision", "recall")
        ]
        rows.append((
            f"{name} {_ARROWS[one.better]}", _cell(one, digits), *(_plain(part, digits) for part in parts), str(one.n),
            *(_plain(result.baselines[system].get(name), digits) for system in there),
        ))  # fmt: skip
    return Grid(_title(result), ("metric", "drafts [95%]", "precision", "recall", "n", *there), tuple(rows))


def _strata(result: Result) -> Grid:
    names = [name for name in HEADLINES if name in result.corpus] or list(result.corpus)
    names = names[:STRATA_METRICS]
    findings = [name for name in result.strata if name.startswith("finding=")]
    findings.sort(key=lambda name: (-_studies(result.strata[name]), name))
    hidden = set(findings[STRATA_FINDINGS:])
    rows = [
        (name, str(_studies(figures)), *(_cell(figures.get(metric), 3) for metric in names))
        for name, figures in result.strata.items()
        if name not in hidden
    ]
    more = f"; {len(hidden)} rarer findings are in the JSON" if hidden else ""
    head = ("stratum", "studies", *(f"{name} {_ARROWS[result.corpus[name].better]}" for name in names))
    return Grid(f"strata, by reference{more}", head, tuple(rows))


def _classes(result: Result) -> Grid:
    head = ("class", "references", "tp", "fp", "fn", "precision", "recall", "F1")
    name = next((name for name in HEADLINES if name in result.classes), "") or next(iter(result.classes), "")
    rows = [
        (
            label,
            *(f"{one[count]:.0f}" for count in ("support", "tp", "fp", "fn")),
            *("" if one[share] is None else f"{one[share]:.3f}" for share in ("precision", "recall", "f1")),
        )
        for label, one in result.classes.get(name, {}).items()
    ]
    more = "; those of other metrics are in the JSON" if len(result.classes) > 1 else ""
    return Grid(f"classes of {name}{more}", head, tuple(rows))


def _studies(figures: Figures) -> int:
    return max((one.n for one in figures.values()), default=0)


def _not_above(result: Result) -> list[str]:
    found = []
    for name in result.sources:
        one = result.corpus[name]
        for figures in result.baselines.values():
            other = figures.get(name)
            if one.value is None or other is None or other.value is None:
                continue
            if other.value >= one.value if one.better == "higher" else other.value <= one.value:
                found.append(name)
                break
    return found


def _cell(one: Figure | None, digits: int) -> str:
    if one is None or one.value is None:
        return "not scored"
    if one.low is None or one.high is None:
        return f"{one.value:.{digits}f}"
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def _plain(one: Figure | None, digits: int) -> str:
    return "" if one is None else "not scored" if one.value is None else f"{one.value:.{digits}f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("[", r"\[") for cell in cells) + " |"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
