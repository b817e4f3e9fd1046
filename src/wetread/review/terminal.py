"""Reports and what they claim, for a terminal: evidence marked in the text, the perception tree, differences.

With colour the evidence of a finding is coloured by its presence; without colour it stands in brackets with a sign, so
that nothing is lost in a pipe, in a log or to a reader who does not tell the colours apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from wetread.export.wording import clean

if TYPE_CHECKING:
    from wetread.knowledge import Branch, Difference
    from wetread.records import Finding, Presence

SIGNS: Mapping[Presence, str] = MappingProxyType({"present": "+", "uncertain": "?", "absent": "-"})
"""The sign of each presence where there is no colour, the strongest presence first."""
STYLES: Mapping[Presence, str] = MappingProxyType(
    {"present": "bold white on red", "uncertain": "bold black on yellow", "absent": "underline green"}
)
"""The style of each presence; they differ in more than their hue."""
LONGEST_QUOTE = 60
"""Most characters of evidence that are quoted in the tree and in differences."""

_ATTRIBUTES = ("side", "location", "severity", "change")
_STRENGTH = {presence: rank for rank, presence in enumerate(SIGNS)}


def legend(colour: bool) -> Text:
    """Return the line that explains the marks."""
    shown = Text()
    for presence in SIGNS:
        shown.append(" " if shown else "")
        shown.append_text(_marked(presence, presence, colour))
    return shown


def report_view(text: str, findings: Iterable[Finding], colour: bool) -> Text:
    """Return a report with the evidence of its findings marked.

    Parameters
    ----------
    text
        The report that the spans count in.
    findings
        What it claims; where spans overlap they are marked as one, by the strongest presence.
    colour
        Mark with colour; otherwise with brackets and signs.
    """
    shown, last = Text(), 0
    for start, end, presence in _stretches(findings):
        shown.append(clean(text[last:start]))
        shown.append_text(_marked(clean(text[start:end]), presence, colour))
        last = end
    shown.append(clean(text[last:]))
    shown.rstrip()
    return shown


def tree_view(branches: Iterable[Branch], text: str) -> Tree:
    """Return the perception tree of a report: region, finding, attributes, the words that say so.

    Findings that one phrase denies together ("the lungs are clear") share a line.

    Parameters
    ----------
    branches
        The filled tree (``knowledge.fill``).
    text
        The report that the spans count in.
    """
    tree, silent = Tree(Text("Findings by region", style="bold")), []
    for branch in branches:
        if not branch.claims:
            silent.append(branch.title)
            continue
        twig = tree.add(Text(branch.title, style="bold"))
        for claims in _together(branch.claims):
            twig.add(_claim(claims, text))
    if silent:
        tree.add(Text(f"nothing said of: {', '.join(silent)}", style="dim"))
    return tree


def differences_view(found: Sequence[Difference], reference: str, draft: str) -> Tree:
    """Return the differences between two reports, each with its evidence in both.

    Parameters
    ----------
    found
        The differences (``knowledge.differences``).
    reference, draft
        The texts that the spans count in.
    """
    serious = sum(one.significant for one in found)
    heading = f"Differences: {len(found)}, {serious} of them significant" if found else "No differences"
    tree = Tree(Text(heading, style="bold"))
    for one in found:
        title = Text(f"{one.kind.replace('_', ' ')}: {clean(one.finding)}", style="bold")
        title.append(" (significant)" if one.significant else " (not significant)", "red" if one.significant else "dim")
        twig = tree.add(title)
        for name, finding, text in (("reference", one.reference, reference), ("draft", one.draft, draft)):
            said = "says nothing of it" if finding is None else f"{_details(finding)}  {_quote(finding, text)}"
            twig.add(Text(f"{name}: {said}"))
    return tree


def _stretches(findings: Iterable[Finding]) -> list[tuple[int, int, Presence]]:
    """Return where evidence stands, in order and without overlaps, with its strongest presence."""
    spans = sorted((*finding.span, finding.presence) for finding in findings if finding.span)
    merged: list[tuple[int, int, Presence]] = []
    for start, end, presence in spans:
        if merged and start < merged[-1][1]:
            before = merged.pop()
            strongest = min(before[2], presence, key=_STRENGTH.__getitem__)
            merged.append((before[0], max(before[1], end), strongest))
        else:
            merged.append((start, end, presence))
    return merged


def _marked(text: str, presence: Presence, colour: bool) -> Text:
    return Text(text, STYLES[presence]) if colour else Text(f"[{SIGNS[presence]} {text}]")


def _together(claims: Iterable[Finding]) -> list[list[Finding]]:
    """Group the absent findings that have their words in common."""
    groups: dict[object, list[Finding]] = {}
    for place, claim in enumerate(claims):
        shared = claim.presence == "absent" and claim.span is not None and not _attributes(claim)
        groups.setdefault(claim.span if shared else place, []).append(claim)
    return list(groups.values())


def _claim(claims: Sequence[Finding], text: str) -> Text:
    first = claims[0]
    shown = Text(SIGNS[first.presence] + " ")
    shown.append(first.presence, STYLES[first.presence])
    shown.append("  " + ", ".join(clean(claim.name) for claim in claims))
    shown.append(f" ({_attributes(first)})" if _attributes(first) else "")
    shown.append(f"  {_quote(first, text)}", "dim")
    return shown


def _details(finding: Finding) -> str:
    return ", ".join(filter(None, (finding.presence, _attributes(finding))))


def _attributes(finding: Finding) -> str:
    stated = ((name, getattr(finding, name)) for name in _ATTRIBUTES)
    return ", ".join(f"{name} {value}" for name, value in stated if value)


def _quote(finding: Finding, text: str) -> str:
    if finding.span is None:
        return ""
    words = " ".join(clean(text[slice(*finding.span)]).split())
    return f'"{words[:LONGEST_QUOTE]}…"' if len(words) > LONGEST_QUOTE else f'"{words}"'
