"""CheXpert-14 labels read by the knowledge file: F1 and agreement. No weights.

A label is positive when its finding is present **or** uncertain (the convention of f1chexbert and RadEval). "No
Finding" is one of the 14, so all-normal text is rewarded where the reference is normal: read these numbers beside
``findings_recall`` and the abnormal-only guard.
"""

from __future__ import annotations

from collections.abc import Sequence

from wetread.metrics.entry import MACRO_F1, MEAN, MICRO_F1, WEIGHTED_F1, MetricEntry, score_pairs
from wetread.metrics.facts import labels, pair_of, positive
from wetread.metrics.findings import CHEST_XRAY, judge_classes, judge_sets, set_counts
from wetread.records import MetricSpec, Report, Score

HALF = 0.5
"""Agreement of a label that one side states and the other hedges."""


def agreement(draft: dict[str, int], reference: dict[str, int]) -> float:
    """Return how far two label vectors agree, 0 to 1, over the labels that either side has positive or uncertain.

    A label counts 1 when both sides say the same, 1/2 when one is sure and the other hedges, else 0; the mean over the
    union is returned, which is a Jaccard index that knows hedging. Labels that both sides deny or leave out do not
    count: there are so many of them that agreement on them would drown the rest. An empty union is full agreement.

    >>> agreement({"Edema": 1, "Cardiomegaly": 1}, {"Edema": -1, "Cardiomegaly": 1, "Fracture": 1})
    0.5
    >>> agreement({"Edema": 0}, {})
    1.0
    """
    union = _positive(draft) | _positive(reference)
    if not union:
        return 1.0
    shared = _positive(draft) & _positive(reference)
    return sum(1.0 if draft[label] == reference[label] else HALF for label in shared) / len(union)


def labels14_f1_micro(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the positive labels of each report (1 when neither side has any); corpus: F1 of the summed counts."""
    return score_pairs("labels14_f1_micro", _judge_micro, drafts, references)


def labels14_f1_macro(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the positive labels of each report; corpus: mean over the labels that occur in the corpus's references.

    f1chexbert also averages labels that never occur, as 0; on small sets the two differ.
    """
    return score_pairs("labels14_f1_macro", _judge_classes, drafts, references)


def labels14_f1_weighted(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of the positive labels of each report; corpus: mean of the labels' F1, weighted by their share of references."""
    return score_pairs("labels14_f1_weighted", _judge_classes, drafts, references)


def label_agreement(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Score each draft by ``agreement`` of the two label vectors; corpus: mean.

    It stands where UniRG's reward has SembScore. It is graded, so that one right label among three moves the reward,
    and an invented label costs as much as a missed one.
    """
    return score_pairs("label_agreement", _judge_agreement, drafts, references)


def _positive(labels: dict[str, int]) -> frozenset[str]:
    return frozenset(label for label, value in labels.items() if value != 0)


_judge_micro = judge_sets(positive)
_judge_classes = judge_classes(positive)


def _judge_agreement(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    ours, theirs = map(dict, pair_of(labels, draft, reference))
    return agreement(ours, theirs), set_counts(_positive(ours), _positive(theirs))


def _spec(name: str, source: str) -> MetricSpec:
    return MetricSpec(
        name, "higher", (0.0, 1.0), CHEST_XRAY, "2", source=f"wetread: {source}",
        empty_draft="0, or 1 where the reference has no label either",
    )  # fmt: skip


LABELS14_F1_MICRO = MetricEntry(
    _spec("labels14_f1_micro", "F1 of the 14 CheXpert labels, uncertain as positive, micro"),
    labels14_f1_micro,
    MICRO_F1,
)
LABELS14_F1_MACRO = MetricEntry(
    _spec("labels14_f1_macro", "F1 of the 14 CheXpert labels, uncertain as positive, macro over those referenced"),
    labels14_f1_macro,
    MACRO_F1,
)
LABELS14_F1_WEIGHTED = MetricEntry(
    _spec("labels14_f1_weighted", "F1 of the 14 CheXpert labels, uncertain as positive, weighted by support"),
    labels14_f1_weighted,
    WEIGHTED_F1,
)
LABEL_AGREEMENT = MetricEntry(
    _spec("label_agreement", "graded Jaccard of the CheXpert-14 labels; stand-in for SembScore; corpus: mean"),
    label_agreement,
    MEAN,
)
