"""Slips: a good draft made wrong on purpose in one place, for kinds of error that sampling rarely makes.

A slip changes the report where a finding is stated, and the perception alike, so that nothing but the image tells. Lessons
made of slips are marked, so that results on real and on made errors can be told apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from wetread.knowledge import extract
from wetread.records import SEVERITIES, Finding, Report, Severity, Side

_OTHER: dict[Side, Side] = {"left": "right", "right": "left"}
_GRADES: dict[str, tuple[str, ...]] = {
    "mild": ("mild", "small", "minimal", "slight", "mildly", "minimally", "slightly"),
    "moderate": ("moderate", "moderately"),
    "severe": ("severe", "large", "marked", "extensive", "severely", "markedly"),
}
_SENTENCE = re.compile(r"[^.]+\.?\s*")
KINDS = ("wrong_location", "wrong_severity", "omitted_finding")
"""Kinds of error that slips make."""


def slip(
    report: Report, findings: Sequence[Finding], chance: random.Random
) -> tuple[Report, tuple[Finding, ...]] | None:
    """Return a report with one error and what it claims; None where no slip can be made of it.

    Parameters
    ----------
    report
        A true report.
    findings
        What it claims, with spans in ``report.text``.
    chance
        Chooses kind and place.
    """
    kinds = list(_MAKERS)
    chance.shuffle(kinds)
    for kind in kinds:
        candidates = [one for one in findings if one.presence != "absent" and one.span]
        chance.shuffle(candidates)
        for one in candidates:
            for text in _MAKERS[kind](report.text, one):
                made = _report(text)
                found = extract(made)
                if made != report and _differs(kind, one, findings, found):
                    return made, found
    return None


def _sentence(text: str, one: Finding) -> tuple[int, int]:
    """Return the sentence of a report in which a finding is stated."""
    start = one.span[0] if one.span else 0
    return next((m.start(), m.end()) for m in _SENTENCE.finditer(text) if m.start() <= start < m.end())


def _swapped(text: str, one: Finding) -> Iterator[str]:
    """Yield the text with the side of a finding swapped, everywhere it is said."""
    if one.side not in _OTHER:
        return
    other = _OTHER[one.side]
    pattern = re.compile(rf"\b{one.side}\b", re.IGNORECASE)
    yield pattern.sub(lambda m: other.capitalize() if m[0][0].isupper() else other, text)


def _regraded(text: str, one: Finding) -> Iterator[str]:
    """Yield the text with another grade of a finding."""
    words = _GRADES.get(one.severity, ())
    for grade in SEVERITIES:
        if not grade or grade == one.severity:
            continue
        for place, word in enumerate(words):
            pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
            if pattern.search(text):
                into = _GRADES[grade][min(place, 1) if not word.endswith("ly") else -1]
                yield pattern.sub(lambda m, into=into: into.capitalize() if m[0][0].isupper() else into, text)  # type: ignore[misc]


def _dropped(text: str, one: Finding) -> Iterator[str]:
    """Yield the text without the sentences that state a finding."""
    names = [found for found in extract(_report(text)) if found.name == one.name and found.presence != "absent"]
    places = {_sentence(text, found) for found in names if found.span}
    kept = text
    for start, end in sorted(places, reverse=True):
        header = re.match(r"\s*(?:Findings|Impression):\s*(?:\d\.\s*)?", kept[start:end])
        kept = kept[:start] + (header[0] if header else "") + kept[end:]
    yield kept


_MAKERS: dict[str, Callable[[str, Finding], Iterator[str]]] = {
    "wrong_location": _swapped,
    "wrong_severity": _regraded,
    "omitted_finding": _dropped,
}


def _report(text: str) -> Report:
    from wetread.prompts.direct import split_sections

    return split_sections(text)


def _differs(kind: str, one: Finding, before: Sequence[Finding], after: Sequence[Finding]) -> bool:
    """Whether a slip has changed what it should and no other finding."""

    def present(findings: Sequence[Finding]) -> set[tuple[str, str, Severity]]:
        return {(f.name, f.side, f.severity) for f in findings if f.presence != "absent"}

    lost, won = present(before) - present(after), present(after) - present(before)
    if kind == "omitted_finding":
        return {name for name, _, _ in lost} == {one.name} and not won
    return {name for name, _, _ in lost} == {name for name, _, _ in won} == {one.name}
