"""The mentions of a whole report, merged: one finding per name and side, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from wetread.records import Change, Finding, Severity

_PRESENCE_RANK = {"absent": 0, "uncertain": 1, "present": 2}
CHANGE_RANK = {
    change: rank for rank, change in enumerate(("", "unchanged", "decreased", "increased", "new", "resolved"))
}
"""Of two changes the higher one counts."""


class Said(NamedTuple):
    """One mention as a finding."""

    finding: Finding
    """What it says."""
    implied: bool = False
    """Whether a statement of normality denies it without naming it."""
    plain: bool = False
    """Whether it is denied outright, not only a large, new, acute or focal one, nor "otherwise"."""


def merge(mentions: Iterable[Said]) -> list[Finding]:
    """Return one finding per name and side, in reading order.

    Present beats uncertain beats absent; an absence is kept beside a presence only when their sides differ. A finding
    that is denied outright elsewhere keeps its presence and says where it is denied.
    """
    by_name: dict[str, list[Said]] = {}
    for mention in mentions:
        by_name.setdefault(mention.finding.name, []).append(mention)
    merged: list[Finding] = []
    for group in by_name.values():
        if len(group) == 1:
            merged.append(group[0].finding)
        else:
            merged.extend(_merge_name(group))
    merged.sort(key=lambda finding: (finding.span or (0, 0), finding.name))
    return merged


def _merge_name(group: Sequence[Said]) -> list[Finding]:
    """Merge the mentions of one name: the strongest presence first, named before implied, "bilateral" before one side."""
    ordered = sorted(
        group,
        key=lambda m: (
            -_PRESENCE_RANK[m.finding.presence], m.implied, m.finding.side != "bilateral", -_specific(m.finding),
            m.finding.span or (0, 0),
        ),
    )  # fmt: skip
    kept: list[Said] = []
    for said in ordered:
        finding = said.finding
        mates = [index for index, (other, _, _) in enumerate(kept) if _compatible(other, finding)]
        if not mates:
            kept.append(said)
            continue
        same = [index for index in mates if finding.presence in ("uncertain", kept[index].finding.presence)]
        for index in same[:1] if finding.side or finding.location else same:
            into = kept[index]
            kept[index] = into._replace(finding=_fill(into.finding, finding, earlier=into.implied or not said.implied))
    denials = [said.finding for said in group if said.plain]
    return [_contradicted(said.finding, denials) for said in kept] if denials else [said.finding for said in kept]


def _contradicted(finding: Finding, denials: Sequence[Finding]) -> Finding:
    if finding.presence == "absent":
        return finding
    for denial in denials:
        sided = denial.side in ("", finding.side) or finding.side == "bilateral"
        if sided and denial.location in ("", finding.location):
            return replace(finding, denied=denial.span)
    return finding


def _specific(finding: Finding) -> int:
    return 2 * bool(finding.side) + bool(finding.location)


def _compatible(one: Finding, other: Finding) -> bool:
    """Whether two mentions of one name may mean the same thing."""
    sides = {one.side, other.side}
    return not (sides == {"left", "right"} or (one.location and other.location and one.location != other.location))


def _fill(finding: Finding, other: Finding, *, earlier: bool) -> Finding:
    """Fill the gaps of ``finding``; ``earlier``: whether the span may move to the other, if that comes first."""
    severity: Severity = max(finding.severity, other.severity, key=("", "mild", "moderate", "severe").index)
    change: Change = max(finding.change, other.change, key=CHANGE_RANK.__getitem__)
    spans = [span for span in (finding.span, other.span if earlier else None) if span]
    return Finding(
        name=finding.name,
        presence=finding.presence,
        side=finding.side or other.side,
        location=finding.location or other.location,
        severity=severity,
        change=change,
        span=min(spans, default=None),
        likely=finding.presence == "uncertain" and (finding.likely or other.likely),
    )
