"""Errors per report, counted by the knowledge file's differences. Lower is better, no weights, no judge.

They stand where UniRG has CheXprompt's error count E. An empty draft is judged like any other: it omits everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.metrics.facts import differences_of
from wetread.metrics.findings import CHEST_XRAY
from wetread.records import MetricSpec, Report, Score


def errors_total(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Number of differences of each draft from its reference, of every kind; corpus: mean per report.

    ``counts`` holds one number for each kind that occurs.
    """
    return score_pairs("errors_total", _judge_total, drafts, references)


def errors_significant(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Number of clinically significant differences of each draft from its reference; corpus: mean per report."""
    return score_pairs("errors_significant", _judge_significant, drafts, references)


def _judge_total(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    kinds = Counter(difference.kind for difference in differences_of(reference, draft))
    return float(kinds.total()), {kind: float(count) for kind, count in sorted(kinds.items())}


def _judge_significant(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    kinds = Counter(item.kind for item in differences_of(reference, draft) if item.significant)
    return float(kinds.total()), {kind: float(count) for kind, count in sorted(kinds.items())}


ERRORS_TOTAL = MetricEntry(
    MetricSpec(
        "errors_total", "lower", None, CHEST_XRAY, "2",
        source="wetread: differences in six kinds, significant or not; stand-in for CheXprompt; corpus: mean",
        empty_draft="the number of findings that it leaves out",
    ),
    errors_total,
    MEAN,
)  # fmt: skip
ERRORS_SIGNIFICANT = MetricEntry(
    MetricSpec(
        "errors_significant", "lower", None, CHEST_XRAY, "2",
        source="wetread: differences in six kinds, significant ones; corpus: mean",
        empty_draft="the number of findings that it leaves out",
    ),
    errors_significant,
    MEAN,
)  # fmt: skip
