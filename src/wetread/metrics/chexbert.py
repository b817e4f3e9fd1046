"""CheXbert F1: whether draft and reference get the same labels from CheXbert.

Smit et al. 2020 (arXiv 2004.09167); numbers as f1chexbert 0.0.2 gives them. The set of 14 has "No Finding" in it, so
all-normal text is paid where the reference is normal; the set of 5 is Cardiomegaly, Edema, Consolidation, Atelectasis and
Pleural Effusion. CheXbert reads the first 512 tokens of a report and no more.

Uncertain labels. ``chexbert_f1_…``: positive and uncertain count as positive, negative and blank do not (the "rrg"
convention of f1chexbert, RadEval and rad-metric). ``chexbert_f1_…_uncertain_negative``: only positive counts.

One report's value is the F1 of its positive labels, whatever the average; 1 when neither side has any. Corpus values are
folded from counts: micro over all reports and labels; macro the plain mean over all 14 or 5 labels, in which a label that
never occurs in the references counts 0; weighted by how often the references have a label. A corpus without any positive
label on either side has no F1 (None), where f1chexbert says 0. ``class_report`` gives precision, recall and F1 by label.

Empty texts. CheXbert reads a text without tokens as [CLS] [SEP] and labels that; so does f1chexbert, and so do we for an empty
draft. An empty reference is not scored (None), since no report can be right or wrong against it; ``LabelF1.texts`` scores it
as f1chexbert does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wetread.metrics.cache import Features
from wetread.metrics.encoder import opened
from wetread.metrics.entry import (
    MICRO_F1,
    Aggregation,
    Floats,
    MetricEntry,
    class_keys,
    fold_f1,
    fold_macro_f1,
    fold_precision,
    fold_recall,
    fold_weighted_f1,
    prf_keys,
    score_nonempty,
    scored,
)
from wetread.metrics.findings import CHEST_XRAY, class_counts, f1, set_counts
from wetread.metrics.weights import VARIABLE, Precision, WeightsSpec, label, locate
from wetread.records import MetricSpec, Report, Score

WEIGHTS = WeightsSpec("CheXbert", "chexbert", ("chexbert.pth",), "StanfordAIMI/RRG_scorers")
"""The checkpoint; ``vocab.txt`` and ``config.json`` of ``bert-base-uncased`` lie beside it or in a sub-folder of that name."""
LABELS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
"""The 14 labels in the order of CheXbert's heads."""
LABELS_5 = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The five that CheXpert's leaderboard scored."""
BLANK, POSITIVE, NEGATIVE, UNCERTAIN = range(4)
"""CheXbert's classes."""
EMPTY = "what CheXbert reads in a text without words"
"""What an empty draft gets."""
UNCERTAIN_POSITIVE = frozenset({POSITIVE, UNCERTAIN})
UNCERTAIN_NEGATIVE = frozenset({POSITIVE})


def features(texts: Sequence[str], weights: str | Path | None = None, precision: Precision = "fp32") -> list[Features]:
    """Return what CheXbert finds in each text, in order: ``classes``, int8 (14), and ``cls``, float32 (hidden).

    Each distinct text is encoded once, for the labels and for SembScore alike.

    Raises
    ------
    MissingError
        When the weights are not there, or are not CheXbert's.
    """
    from wetread.metrics.neural.chexbert import build  # torch, only when it is needed

    return opened(build, folder(weights), precision)(texts)


def folder(weights: str | Path | None = None) -> Path:
    """Return the folder that holds ``chexbert.pth``: the weights folder's ``chexbert``, or itself (``MissingError``)."""
    named = weights if weights is not None else os.environ.get(VARIABLE)
    if named and not (Path(named) / WEIGHTS.folder).exists() and (Path(named) / WEIGHTS.files[0]).is_file():
        return Path(named).resolve()
    return locate(WEIGHTS, weights).resolve()


def identity(weights: str | None, precision: Precision) -> tuple[str, ...]:
    """Return what CheXbert's labels and vectors are made with; see ``MetricEntry.made_with``."""
    from wetread.metrics.neural.chexbert import files

    return (label(WEIGHTS.name, files(folder(weights)), precision),)


def positive_labels(found: Features, positive: frozenset[int] = UNCERTAIN_POSITIVE) -> frozenset[str]:
    """Return the labels whose class is one of ``positive``."""
    return frozenset(label for label, value in zip(LABELS, found["classes"], strict=True) if int(value) in positive)


@dataclass(frozen=True)
class LabelF1:
    """F1 of the positive labels of two reports: ``f(drafts, references)`` gives one score a pair.

    The counts of a score are ``tp``, ``fp`` and ``fn``, and the same by label as ``tp:Edema`` where it is 1.
    """

    name: str
    """Name of the metric."""
    labels: tuple[str, ...]
    """The labels that count."""
    positive: frozenset[int]
    """The classes that count as positive."""

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(
        self,
        drafts: Sequence[Report],
        references: Sequence[Report],
        *,
        weights: str | Path | None = None,
        precision: Precision = "fp32",
    ) -> list[Score]:
        """Score drafts against references of the same order and length; an empty reference gives None.

        Raises
        ------
        UsageError
            When the lengths differ.
        MissingError
            When the weights are not there, or are not CheXbert's.
        """
        return score_nonempty(
            self.name, drafts, references, lambda ours, theirs: self.texts(ours, theirs, weights, precision)
        )

    def texts(
        self,
        drafts: Sequence[str],
        references: Sequence[str],
        weights: str | Path | None = None,
        precision: Precision = "fp32",
    ) -> list[Score]:
        """Score plain texts of the same order and number as f1chexbert does, empty ones included."""
        read = features([*drafts, *references], weights, precision)
        kept = frozenset(self.labels)
        sets = [positive_labels(found, self.positive) & kept for found in read]
        scores = []
        for draft, reference in zip(sets[: len(drafts)], sets[len(drafts) :], strict=True):
            counts = set_counts(draft, reference)
            scores.append(Score(self.name, f1(**counts), counts=counts | class_counts(draft, reference)))
        return scores


def class_report(scores: Iterable[Score], labels: Sequence[str] = LABELS) -> dict[str, dict[str, float | None]]:
    """Return precision, recall, F1 and support of each label and of the averages, from scores of ``LabelF1``.

    Parameters
    ----------
    scores
        Scores of one metric; those without a value are left out.
    labels
        The label set of that metric: ``LABELS`` or ``LABELS_5``.

    Returns
    -------
    dict
        By label, then ``micro avg``, ``macro avg``, ``weighted avg`` and ``samples avg``: ``precision``, ``recall`` and ``f1``,
        0 to 1, and ``support``, the number of positive labels in the references. What is 0/0 is None by label, and counts 0 in
        the averages, as scikit-learn has it.
    """
    kept = scored(scores)
    table = np.array(
        [
            [[score.counts.get(f"{kind}:{label}", 0.0) for kind in ("tp", "fp", "fn")] for label in labels]
            for score in kept
        ]
    ).reshape(len(kept), len(labels), 3)
    by_label, by_report = table.sum(axis=0), table.sum(axis=1)
    support = by_label[:, 0] + by_label[:, 2]
    shares = _shares(by_label)
    total = float(support.sum())
    report = {label: _row(shares[place], support[place]) for place, label in enumerate(labels)}
    filled = np.nan_to_num(shares)
    report["micro avg"] = _row(_shares(by_label.sum(axis=0)), total)
    report["macro avg"] = _row(filled.mean(axis=0), total)
    report["weighted avg"] = _row(support @ filled / total if total else np.full(3, np.nan), total)
    report["samples avg"] = _row(np.nan_to_num(_shares(by_report)).mean(axis=0) if kept else np.full(3, np.nan), total)
    return report


def accuracy(scores: Iterable[Score]) -> float | None:
    """Return the share of reports all of whose labels agree, 0 to 1; None when none was scored.

    f1chexbert's accuracy is that of the five labels.
    """
    kept = scored(scores)
    return sum(not score.counts["fp"] and not score.counts["fn"] for score in kept) / len(kept) if kept else None


def _shares(counts: Floats) -> Floats:
    """Return precision, recall and F1, shape (…, 3), of tp, fp and fn, shape (…, 3); NaN where undefined."""
    return np.stack([fold_precision(counts), fold_recall(counts), fold_f1(counts)], axis=-1)


def _row(shares: Floats, support: float) -> dict[str, float | None]:
    values: Mapping[str, float] = dict(zip(("precision", "recall", "f1"), map(float, shares), strict=True))
    return {**{name: None if np.isnan(value) else value for name, value in values.items()}, "support": float(support)}


def _keys(scores: Sequence[Score]) -> tuple[str, ...]:
    return prf_keys(scores) + class_keys(scores)


def _fold_macro(sums: Floats, labels: int) -> Floats:
    # A label that no reference of the corpus has is no column and scores 0; one that only a resample lacks is left out of
    # that resample's mean, or the interval would lie below its estimate.
    found = fold_macro_f1(sums[..., 3:]) * ((sums.shape[-1] // 3 - 1) / labels)
    return _or_zero(found, sums)


def _fold_macro_14(sums: Floats) -> Floats:
    return _fold_macro(sums, len(LABELS))


def _fold_macro_5(sums: Floats) -> Floats:
    return _fold_macro(sums, len(LABELS_5))


def _fold_weighted(sums: Floats) -> Floats:
    return _or_zero(fold_weighted_f1(sums[..., 3:]), sums)


def _or_zero(values: Floats, sums: Floats) -> Floats:
    """Put 0 where drafts claim labels and the references have none at all."""
    return np.where(np.isnan(values) & (sums[..., :3].sum(axis=-1) > 0), 0.0, values)


MACRO_14 = Aggregation(_keys, _fold_macro_14)
MACRO_5 = Aggregation(_keys, _fold_macro_5)
WEIGHTED = Aggregation(_keys, _fold_weighted)


def _entry(name: str, labels: tuple[str, ...], aggregation: Aggregation) -> MetricEntry:
    positive = UNCERTAIN_NEGATIVE if name.endswith("_uncertain_negative") else UNCERTAIN_POSITIVE
    policy = "positive" if UNCERTAIN in positive else "negative"
    source = f"F1 of CheXbert's {len(labels)} labels, uncertain as {policy}; arXiv 2004.09167, f1chexbert 0.0.2"
    spec = MetricSpec(name, "higher", (0.0, 1.0), CHEST_XRAY, "1", (WEIGHTS.name,), source, empty_draft=EMPTY)
    return MetricEntry(spec, LabelF1(name, labels, positive), aggregation, identity=identity, classes=labels)


F1_14_MICRO = _entry("chexbert_f1_14_micro", LABELS, MICRO_F1)
F1_14_MACRO = _entry("chexbert_f1_14_macro", LABELS, MACRO_14)
F1_14_WEIGHTED = _entry("chexbert_f1_14_weighted", LABELS, WEIGHTED)
F1_5_MICRO = _entry("chexbert_f1_5_micro", LABELS_5, MICRO_F1)
F1_5_MACRO = _entry("chexbert_f1_5_macro", LABELS_5, MACRO_5)
F1_5_WEIGHTED = _entry("chexbert_f1_5_weighted", LABELS_5, WEIGHTED)
F1_14_MICRO_NEGATIVE = _entry("chexbert_f1_14_micro_uncertain_negative", LABELS, MICRO_F1)
F1_14_MACRO_NEGATIVE = _entry("chexbert_f1_14_macro_uncertain_negative", LABELS, MACRO_14)
F1_14_WEIGHTED_NEGATIVE = _entry("chexbert_f1_14_weighted_uncertain_negative", LABELS, WEIGHTED)
F1_5_MICRO_NEGATIVE = _entry("chexbert_f1_5_micro_uncertain_negative", LABELS_5, MICRO_F1)
F1_5_MACRO_NEGATIVE = _entry("chexbert_f1_5_macro_uncertain_negative", LABELS_5, MACRO_5)
F1_5_WEIGHTED_NEGATIVE = _entry("chexbert_f1_5_weighted_uncertain_negative", LABELS_5, WEIGHTED)
