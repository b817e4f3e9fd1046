"""Report similarity: one figure, 0 to 1, for how much of what matters two reports share. No weights.

Every finding that is stated (present, uncertain or resolved) on either side weighs by its urgency. What the differences
find costs weight: a finding of one side only costs its weight, a wrong side or location as much, a wrong severity or
comparison half of it. So the figure falls with every error that the differences can name, and falls most where a reader
would mind most; a benign finding still weighs something, so no error is free.
"""

from __future__ import annotations

from collections.abc import Sequence

from wetread.knowledge import Kind, Urgency, contradicted, load, without
from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.metrics.facts import differences_of, findings_of
from wetread.metrics.findings import CHEST_XRAY
from wetread.records import MetricSpec, Report, Score

WEIGHTS: dict[Urgency, float] = {"urgent": 1.0, "actionable": 0.5, "minor": 0.25, "benign": 0.125}
"""Weight of a finding by how soon somebody must act on it; each half of the one before."""
COSTS: dict[Kind, float] = {
    "false_finding": 1.0,
    "omitted_finding": 1.0,
    "wrong_location": 1.0,
    "wrong_severity": 0.5,
    "false_comparison": 0.5,
    "omitted_comparison": 0.5,
}
"""Share of the finding's weight that an error costs; both sides of a pair weigh, so a wrong location is half of a pair."""


def report_similarity(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Share of the weight of all stated findings that the two reports agree on; corpus: mean.

    What a draft claims and denies is not stated; a draft that says nothing of any
    finding, not even that there is none, scores 0 where its reference says something. Two reports that state no finding agree fully: 1. ``counts`` holds the weight stated and the weight lost.
    """
    return score_pairs("report_similarity", _judge, drafts, references)


def _judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    claimed, truth = findings_of(draft), findings_of(reference)
    stated = sum(
        _weight(finding.name)
        for findings in (without(claimed, contradicted(claimed, truth)), truth)
        for finding in findings
        if finding.presence != "absent" or finding.change == "resolved"
    )
    lost = sum(COSTS[error.kind] * _weight(error.finding) for error in differences_of(reference, draft))
    if not claimed and truth:
        return 0.0, {"stated": stated, "lost": stated}  # silence denies nothing
    value = max(0.0, 1.0 - lost / stated) if stated else 1.0
    return value, {"stated": stated, "lost": lost}


def _weight(name: str) -> float:
    known = load().findings
    return WEIGHTS[known[name].urgency] if name in known else WEIGHTS["minor"]


REPORT_SIMILARITY = MetricEntry(
    MetricSpec(
        "report_similarity", "higher", (0.0, 1.0), CHEST_XRAY, "1",
        source="wetread: share of urgency-weighted findings without a difference; corpus: mean",
    ),
    report_similarity,
    MEAN,
)  # fmt: skip
