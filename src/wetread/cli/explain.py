"""``wetread explain``: what a report claims, and how a draft differs from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wetread.knowledge import Difference, Knowledge
    from wetread.records import Finding


def run(
    file: Path = typer.Argument(
        ..., help="A report as text in UTF-8; - for standard input. The reference, where two are given.", metavar="FILE"
    ),
    other: Path | None = typer.Argument(
        None, help="A draft to compare with it; - for standard input.", metavar="OTHER"
    ),
    json_: bool = typer.Option(False, "--json", help="Print findings and differences as JSON instead."),
    knowledge: Path | None = typer.Option(None, "--knowledge", help="YAML file with further knowledge."),
) -> int:
    """Show what a report claims, in its text and by region; with a second report, how that one differs."""
    from wetread.errors import UsageError
    from wetread.knowledge import differences, extract, load
    from wetread.studies.texts import read_text

    paths = [file] if other is None else [file, other]
    if [str(path) for path in paths] == ["-", "-"]:
        raise UsageError("both reports are '-', and standard input holds one; name a file for the other.")
    known = load(knowledge)
    texts = [read_text(path) for path in paths]
    claims = [extract(text, known) for text in texts]
    found = differences(claims[0], claims[1], known) if other is not None else ()
    if json_:
        from wetread.runs.store import write_json

        write_json(Path("-"), {"findings": [_finding(one) for one in claims[0]], "differences": _errors(found)})
    else:
        titles = ["report"] if other is None else ["reference", "draft"]
        names = ["standard input" if str(path) == "-" else path.name for path in paths]
        _show([f"{title}: {name}" for title, name in zip(titles, names, strict=True)], texts, claims, found, known)
    return 0


def _finding(finding: Finding) -> dict[str, Any]:
    names = ("name", "presence", "side", "location", "severity", "change")
    return {**{name: getattr(finding, name) for name in names}, "span": _span(finding)}


def _errors(found: Sequence[Difference]) -> list[dict[str, Any]]:
    return [
        {
            "kind": one.kind,
            "finding": one.finding,
            "significant": one.significant,
            "reference_span": _span(one.reference),
            "draft_span": _span(one.draft),
        }
        for one in found
    ]


def _span(finding: Finding | None) -> list[int] | None:
    return list(finding.span) if finding is not None and finding.span is not None else None


def _show(
    titles: Sequence[str],
    texts: Sequence[str],
    claims: Sequence[Sequence[Finding]],
    found: Sequence[Difference],
    known: Knowledge,
) -> None:
    import io

    from rich.console import Console
    from rich.text import Text

    from wetread.knowledge import fill
    from wetread.review import terminal

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a letter that the terminal does not know must not end the command
    console = Console(highlight=False)
    colour = console.color_system is not None and not console.no_color
    console.print(terminal.legend(colour), "", sep="\n")
    for title, text, findings in zip(titles, texts, claims, strict=True):
        console.print(Text(title, style="bold"))
        console.print(terminal.report_view(text, findings, colour), "", sep="\n")
        if findings:
            console.print(terminal.tree_view(fill(findings, known), text), "", sep="\n")
        else:
            console.print("No finding is named in this text.\n")
    if len(texts) > 1:
        console.print(terminal.differences_view(found, *texts))
