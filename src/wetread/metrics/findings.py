"""Finding F1 and entity F1: does the draft claim what the reference claims? Read by the knowledge file, no weights.

What counts as claimed: a finding stated as present. Absent ones never count, since a template that denies everything
would be paid for each denial. Hedged ones ("possible") count only in ``entity_f1``, where the hedge is itself compared.

Names are compared as they are: "opacity" for "consolidation" is one finding invented and one missed here, although the
error metrics, which know which name is the more general one, may be milder.

A finding that a draft both claims and denies earns nothing where its reference claims it plainly, and is as wrong as any
other where the reference lacks it (``knowledge.contradicted``).

Two reports without any finding agree fully: the value of that report is 1. Corpus values are folded from counts, in
which such a pair is all zeros, so pairs of normal reports neither raise nor lower them. A corpus without any finding
on either side has no F1 (None).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wetread.metrics.entry import MACRO_F1, MICRO_F1, PRECISION, RECALL, Judge, MetricEntry, score_pairs
from wetread.metrics.facts import pair_of, present
from wetread.records import Finding, MetricSpec, Report, Score

CHEST_XRAY = frozenset({"chest_xray"})
"""Modalities whose knowledge file reads the reports."""

Claim = tuple[str, ...]
"""One thing claimed: ``("name", finding)`` or ``(attribute, finding, value)``."""


def f1(tp: float, fp: float, fn: float) -> float:
    """Return ``2·tp / (2·tp + fp + fn)``; 1 when nothing is claimed and nothing is to be found.

    >>> f1(1, 1, 0), f1(0, 0, 0), f1(0, 0, 2)
    (0.6666666666666666, 1.0, 0.0)
    """
    total = 2 * tp + fp + fn
    return 2 * tp / total if total else 1.0


def claims(findings: Sequence[Finding]) -> frozenset[Claim]:
    """Return what a report claims, piece by piece, so that a half-right finding earns part of its credit.

    Each finding that is present or uncertain gives its name and, where stated, one piece each for: being uncertain,
    left, right (bilateral gives both), location, severity, change. Absent findings give nothing, except that one which
    has resolved gives that change: it is news against the prior, not boilerplate.

    >>> sorted(claims([Finding("pleural effusion", side="bilateral", severity="mild")]))
    ... # doctest: +NORMALIZE_WHITESPACE
    [('name', 'pleural effusion'), ('severity', 'pleural effusion', 'mild'),
     ('side', 'pleural effusion', 'left'), ('side', 'pleural effusion', 'right')]
    """
    pieces: set[Claim] = set()
    for finding in findings:
        if finding.presence == "absent":
            if finding.change == "resolved":
                pieces.add(("change", finding.name, "resolved"))
            continue
        pieces.add(("name", finding.name))
        if finding.presence == "uncertain":
            pieces.add(("presence", finding.name, "uncertain"))
        for side in ("left", "right") if finding.side == "bilateral" else (finding.side,):
            if side:
                pieces.add(("side", finding.name, side))
        for attribute in ("location", "severity", "change"):
            value = getattr(finding, attribute)
            if value:
                pieces.add((attribute, finding.name, value))
    return frozenset(pieces)


def findings_f1(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the present finding names of each report; corpus: F1 of the summed counts over reports and findings."""
    return score_pairs("findings_f1", _judge_micro, drafts, references)


def findings_f1_macro(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the present finding names of each report; corpus: mean over findings of the F1 of each finding.

    The value of one report is the same as in ``findings_f1``. The corpus mean runs over the findings that the
    references of the whole corpus show at least once, fixed there and not anew in each bootstrap resample.
    """
    return score_pairs("findings_f1_macro", _judge_macro, drafts, references)


def findings_f1_sided(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the present findings with their sides: the right finding on the wrong side is invented and missed.

    "Bilateral" is left and right; a finding whose side is not stated matches only one whose side is not stated.
    Corpus: F1 of the summed counts.
    """
    return score_pairs("findings_f1_sided", _judge_sided, drafts, references)


def findings_precision(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Share of the claimed findings that are in the reference; 1 for a draft that claims none. Corpus: micro."""
    return score_pairs("findings_precision", _judge_precision, drafts, references)


def findings_recall(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Share of the reference's findings that the draft claims; 1 where there is none to find. Corpus: micro."""
    return score_pairs("findings_recall", _judge_recall, drafts, references)


def entity_f1(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the pieces that ``claims`` lists: names, hedges, sides, locations, severities and changes.

    A finding on the wrong side keeps the credit of its name and loses that of its side. It stands where UniRG's
    reward has RadGraph F1. Unlike there, two reports without findings score 1 and denials earn nothing. Corpus: micro.
    """
    return score_pairs("entity_f1", _judge_entity, drafts, references)


def set_counts(draft: frozenset[Any], reference: frozenset[Any]) -> dict[str, float]:
    """Return tp, fp and fn of one report as floats."""
    return {
        "tp": float(len(draft & reference)),
        "fp": float(len(draft - reference)),
        "fn": float(len(reference - draft)),
    }


def class_counts(draft: frozenset[str], reference: frozenset[str]) -> dict[str, float]:
    """Return ``tp:c``, ``fp:c`` and ``fn:c`` of one report, only those that are 1."""
    groups = (("tp", draft & reference), ("fp", draft - reference), ("fn", reference - draft))
    return {f"{kind}:{name}": 1.0 for kind, names in groups for name in sorted(names)}


def judge_sets(read: Callable[[Sequence[Finding]], frozenset[Any]]) -> Judge:
    """Return the judge of the F1 of two sets that ``read`` makes of the reports' findings; its counts are tp, fp and fn."""

    def judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
        counts = set_counts(*pair_of(read, draft, reference))
        return f1(**counts), counts

    return judge


def judge_classes(read: Callable[[Sequence[Finding]], frozenset[str]]) -> Judge:
    """Return the same judge with its counts by class, for averages over classes."""

    def judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
        ours, theirs = pair_of(read, draft, reference)
        return f1(**set_counts(ours, theirs)), class_counts(ours, theirs)

    return judge


def sided(findings: Sequence[Finding]) -> frozenset[tuple[str, str]]:
    """Return the present findings with their sides; "bilateral" gives both.

    >>> sorted(sided([Finding("pleural effusion", side="bilateral"), Finding("cardiomegaly")]))
    [('cardiomegaly', ''), ('pleural effusion', 'left'), ('pleural effusion', 'right')]
    """
    return frozenset(
        (finding.name, side)
        for finding in findings
        if finding.presence == "present"
        for side in (("left", "right") if finding.side == "bilateral" else (finding.side,))
    )


_judge_micro = judge_sets(present)
_judge_macro = judge_classes(present)
_judge_sided = judge_sets(sided)
_judge_entity = judge_sets(claims)


def _judge_precision(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    counts = set_counts(*pair_of(present, draft, reference))
    claimed = counts["tp"] + counts["fp"]
    return counts["tp"] / claimed if claimed else 1.0, counts


def _judge_recall(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    counts = set_counts(*pair_of(present, draft, reference))
    expected = counts["tp"] + counts["fn"]
    return counts["tp"] / expected if expected else 1.0, counts


def _spec(name: str, source: str) -> MetricSpec:
    empty = "1" if name == "findings_precision" else "0, or 1 where the reference has no present finding"
    return MetricSpec(name, "higher", (0.0, 1.0), CHEST_XRAY, "2", source=f"wetread: {source}", empty_draft=empty)


FINDINGS_F1 = MetricEntry(
    _spec("findings_f1", "F1 of present findings, knowledge-file names, micro; hedged are not present"),
    findings_f1,
    MICRO_F1,
)
FINDINGS_F1_MACRO = MetricEntry(
    _spec("findings_f1_macro", "F1 of present findings, macro over the findings in the corpus's references"),
    findings_f1_macro,
    MACRO_F1,
)
FINDINGS_F1_SIDED = MetricEntry(
    _spec("findings_f1_sided", "F1 of present findings with their sides, micro"), findings_f1_sided, MICRO_F1
)
FINDINGS_PRECISION = MetricEntry(
    _spec("findings_precision", "precision of present findings, micro"), findings_precision, PRECISION
)
FINDINGS_RECALL = MetricEntry(_spec("findings_recall", "recall of present findings, micro"), findings_recall, RECALL)
ENTITY_F1 = MetricEntry(
    _spec("entity_f1", "F1 of finding names and their stated attributes, micro; stand-in for RadGraph F1"),
    entity_f1,
    MICRO_F1,
)
