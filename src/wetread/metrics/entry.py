"""What a metric is to the rest of the house: its spec, its function and how its corpus value is folded from counts.

A metric scores one report at a time and says in ``Score.counts`` what the corpus value is made of. The corpus value is
never found by scoring again: every study becomes one row of a matrix, rows are summed, and ``fold`` turns the sums into
the value. A bootstrap of thousands of resamples is then one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from wetread.errors import UsageError
from wetread.metrics.weights import Precision, precision_of
from wetread.records import MetricSpec, Report, Score

Floats = NDArray[np.float64]
EMPTY_REFERENCE = "the reference report is empty"
"""Why a pair whose reference has no text is not scored."""
Judge = Callable[[Report, Report], tuple[float, dict[str, float]]]
"""Judges one draft (first) against one reference that is not empty: the value and its counts."""
Identity = Callable[[str | None, Precision], tuple[str, ...]]
"""Names what numbers are made with, given the folder of weights and the precision: ``("CheXbert@1a2b3c4d",)``."""


@dataclass(frozen=True)
class Aggregation:
    """How the corpus value is folded from what each score holds. Both functions are module-level, so it pickles."""

    keys: Callable[[Sequence[Score]], tuple[str, ...]]
    """Columns of the matrix for these scores; macro averages fix their classes here, once, on the full corpus."""
    fold: Callable[[Floats], Floats]
    """Sums of shape (…, k) to corpus values of shape (…); NaN where the value is undefined."""
    beside: Callable[[Score], tuple[float, float]] | None = None
    """Precision and recall of one report out of its counts, whose means stand beside a corpus value that is a mean; None:
    there are none, or the columns are tp, fp and fn and they are folded from these."""

    def counts_matrix(
        self, scores: Sequence[Score], keys: tuple[str, ...] | None = None
    ) -> tuple[tuple[str, ...], Floats]:
        """Return the column names and the matrix of shape (n, k), one row a score, in the order given.

        Parameters
        ----------
        scores
            Scores with a value; leave out those that were not scored (see ``scored``).
        keys
            Columns to use instead of those that ``scores`` give, so that two systems share them.

        Raises
        ------
        UsageError
            When one of the scores has no value.
        """
        if any(score.value is None for score in scores):
            raise UsageError("a score without a value cannot be aggregated; leave it out and report the coverage.")
        names = self.keys(scores) if keys is None else keys
        rows = [[_cell(score, key) for key in names] for score in scores]
        return names, np.array(rows, dtype=np.float64).reshape(len(scores), len(names))

    def aggregate_counts(self, sums: Floats) -> Floats:
        """Return corpus values of shape (…) for summed rows of shape (…, k); NaN where undefined."""
        return self.fold(np.asarray(sums, dtype=np.float64))

    def aggregate(self, scores: Iterable[Score]) -> float | None:
        """Return the corpus value over the scores that have a value; None when there is none or it is undefined."""
        kept = scored(scores)
        if not kept:
            return None
        _, matrix = self.counts_matrix(kept)
        value = float(self.aggregate_counts(matrix.sum(axis=0)))
        return None if np.isnan(value) else value


@dataclass(frozen=True)
class MetricEntry:
    """One metric, ready to use: ``entry(drafts, references)``."""

    spec: MetricSpec
    """Its own description."""
    function: Callable[..., list[Score]]
    """Module-level, picklable, batch first: ``function(drafts, references)``, with ``weights=`` and ``precision=`` when
    ``spec.needs`` names any. The same report gets the same score in any batch."""
    aggregation: Aggregation
    """How the corpus value is made."""
    weights: str | None = None
    """Folder of the weights it uses; None: what the environment names, or the hub. See ``weights.locate``."""
    precision: Precision | None = None
    """What its networks compute with; None: what the environment names, or fp32. See ``weights.precision_of``."""
    identity: Identity | None = None
    """Module-level function that names the weights with their contents, or the judge; None: ``spec.needs`` says enough."""
    classes: tuple[str, ...] = ()
    """Classes whose counts (``tp:c``, ``fp:c``, ``fn:c``) its scores hold, where they are fixed; empty: those that occur."""

    def __call__(self, drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
        """Score drafts against references of the same order and length (``UsageError`` when the lengths differ).

        A value that is no finite number becomes None with a reason.
        """
        if not self.spec.needs:
            return _finite(self.function(drafts, references))
        return _finite(self.function(drafts, references, weights=self.weights, precision=precision_of(self.precision)))

    def made_with(self) -> tuple[str, ...]:
        """Return which weights at which precision, or which judge, make its numbers: ``("CheXbert@1a2b3c4d+bf16",)``.

        The digits stand for the contents of the files that are read, so they are the same on every machine; no path, URL or
        key is among them. What ``weights.locate`` raises where there are none, and what a judge without an endpoint raises,
        is raised.
        """
        return self.spec.needs if self.identity is None else self.identity(self.weights, precision_of(self.precision))

    def signature(self, *, sections: str = "findings+impression", n: int | None = None) -> str:
        """Return the line that goes with every number: ``MetricSpec.signature`` with ``made_with``."""
        return self.spec.signature(self.made_with(), sections=sections, n=n)

    def aggregate(self, scores: Iterable[Score]) -> float | None:
        """Return the corpus value; see ``Aggregation.aggregate``."""
        return self.aggregation.aggregate(scores)

    def counts_matrix(
        self, scores: Sequence[Score], keys: tuple[str, ...] | None = None
    ) -> tuple[tuple[str, ...], Floats]:
        """Return column names and one row a score; see ``Aggregation.counts_matrix``."""
        return self.aggregation.counts_matrix(scores, keys)

    def aggregate_counts(self, sums: Floats) -> Floats:
        """Return corpus values of summed rows; see ``Aggregation.aggregate_counts``."""
        return self.aggregation.aggregate_counts(sums)

    def check_modality(self, modality: str) -> None:
        """Refuse a modality that this metric is not made for (``UsageError``)."""
        allowed = self.spec.modalities
        if allowed and modality not in allowed:
            raise UsageError(
                f"metric {self.spec.name!r} is not made for {modality!r}, only for {', '.join(sorted(allowed))}; "
                "choose another metric."
            )


@dataclass(frozen=True)
class CompositeEntry(MetricEntry):
    """A metric that is made of other metrics' scores of the same pair.

    Its ``join`` takes the parts' scores of one pair by name, all with a value, and returns one ``Score``.
    """

    parts: tuple[str, ...] = ()
    """Metrics that it is made of; computed once, however many metrics share them."""
    join: Callable[[Mapping[str, Score]], Score] | None = None
    """Module-level function from the parts' scores to its own."""

    def __call__(self, drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
        """Score the parts, each distinct pair once, then combine them (``UsageError`` when the lengths differ)."""
        from wetread.metrics import score  # the table of metrics knows this module

        return self.combine(score(self.parts, drafts, references, weights=self.weights, precision=self.precision))

    def made_with(self) -> tuple[str, ...]:
        """Return what its parts are made with, each once, in their order."""
        from wetread.metrics import get

        parts = [get(part, self.weights, self.precision) for part in self.parts]
        return tuple(dict.fromkeys(one for part in parts for one in part.made_with()))

    def combine(self, scores: Mapping[str, Sequence[Score]]) -> list[Score]:
        """Return one score a pair from the parts' scores; a part without a value gives none, with its reason."""
        found: list[Score] = []
        for row in zip(*(scores[part] for part in self.parts), strict=True):
            lacking = next((score for score in row if score.value is None), None)
            if lacking is not None:
                found.append(Score(self.spec.name, None, f"{lacking.metric}: {lacking.reason}"))
            else:
                found.append(
                    cast(Callable[[Mapping[str, Score]], Score], self.join)(dict(zip(self.parts, row, strict=True)))
                )
        return _finite(found)


@dataclass(frozen=True)
class CorpusEntry(MetricEntry):
    """A metric that needs to know a corpus of references before it can score one report.

    Called as it is, it takes the references of the call for the corpus: the published number of a corpus, but a report's
    score then depends on the batch. ``freeze`` gives the metric that keeps the contract of all others. Its ``function``
    takes what was found as ``statistics=``.
    """

    fit: Callable[[Iterable[Report]], Any] | None = None
    """Module-level function from references to statistics, which pickle and have a ``fingerprint`` (str)."""

    def freeze(self, references: Iterable[Report]) -> MetricEntry:
        """Return the metric with the statistics of ``references``; its version names them. What ``fit`` raises is raised."""
        return self.frozen(cast(Callable[[Iterable[Report]], Any], self.fit)(references))

    def frozen(self, statistics: Any) -> MetricEntry:
        """Return the metric with statistics that were made before."""
        spec = replace(self.spec, version=f"{self.spec.version}+{statistics.fingerprint}")
        function = partial(self.function, statistics=statistics)
        return MetricEntry(spec, function, self.aggregation, self.weights, self.precision, self.identity)


def scored(scores: Iterable[Score]) -> list[Score]:
    """Return the scores that have a value, in order."""
    return [score for score in scores if score.value is not None]


def check_lengths(drafts: Sequence[Report], references: Sequence[Report]) -> None:
    """Refuse lists of different length, or of anything but reports (``UsageError``)."""
    for kind in {*map(type, drafts), *map(type, references)}:
        if not issubclass(kind, Report):
            raise UsageError(
                f"drafts and references hold {kind.__name__}, not Report; give Report(findings=…, impression=…) for each."
            )
    if len(drafts) != len(references):
        raise UsageError(f"{len(drafts)} drafts but {len(references)} references; give one reference for each draft.")


def score_nonempty(
    name: str,
    drafts: Sequence[Report],
    references: Sequence[Report],
    score: Callable[[list[str], list[str]], Sequence[Score]],
) -> list[Score]:
    """Score the texts of all pairs at once, as metrics with weights do; a reference without text gives None with a reason."""
    check_lengths(drafts, references)
    pairs = [(draft.text, reference.text) for draft, reference in zip(drafts, references, strict=True) if reference]
    found = iter(score([draft for draft, _ in pairs], [reference for _, reference in pairs]))
    return [next(found) if reference else Score(name, None, EMPTY_REFERENCE) for reference in references]


def score_pairs(name: str, judge: Judge, drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Apply ``judge`` to each pair alone, so that no score depends on the batch.

    A reference without text gives ``value=None`` with a reason. A draft without text is judged like any other: its
    value is what the formula says, and whether it was readable at all is for ``Draft`` and the rewards to say.
    """
    check_lengths(drafts, references)
    scores = []
    for draft, reference in zip(drafts, references, strict=True):
        if not reference:
            scores.append(Score(name, None, EMPTY_REFERENCE))
            continue
        value, counts = judge(draft, reference)
        scores.append(Score(name, value, counts=counts))
    return scores


def _finite(scores: list[Score]) -> list[Score]:
    """Return the scores; one whose value is NaN or infinite has None instead, as JSON and means know neither."""
    return [
        one
        if one.value is None or math.isfinite(one.value)
        else Score(one.metric, None, f"the value is {one.value}, no finite number")
        for one in scores
    ]


def _cell(score: Score, key: str) -> float:
    if key == "value":
        return float(score.value if score.value is not None else np.nan)
    if key == "n":
        return 1.0
    return float(score.counts.get(key, 0.0))


def class_table(counts: Mapping[str, float], classes: Sequence[str] = ()) -> dict[str, dict[str, float | None]]:
    """Return what a metric found of each class, from the summed counts ``tp:c``, ``fp:c``, ``fn:c``.

    Parameters
    ----------
    counts
        Sums over reports, by name; others are passed over.
    classes
        The classes, in order; empty: those that occur, by the alphabet.

    Returns
    -------
    dict
        By class ``tp``, ``fp``, ``fn``, ``precision``, ``recall`` and ``f1`` (0 to 1, None where it is 0/0), and ``support``:
        how many references have it.
    """
    occurring = {
        name for kind, _, name in (key.partition(":") for key in counts) if kind in ("tp", "fp", "fn") and name
    }
    table: dict[str, dict[str, float | None]] = {}
    for name in classes or sorted(occurring):
        row = np.array([counts.get(f"{kind}:{name}", 0.0) for kind in ("tp", "fp", "fn")])
        shares = {"precision": fold_precision(row), "recall": fold_recall(row), "f1": fold_f1(row)}
        table[name] = {
            **dict(zip(("tp", "fp", "fn"), row.tolist(), strict=True)),
            **{what: None if np.isnan(share) else float(share) for what, share in shares.items()},
            "support": float(row[0] + row[2]),
        }
    return table


# The columns and folds that metrics choose from. -------------------------------------------------------------------


def mean_keys(scores: Sequence[Score]) -> tuple[str, ...]:
    """Columns of a mean over reports: the value and one."""
    return ("value", "n")


def prf_keys(scores: Sequence[Score]) -> tuple[str, ...]:
    """Columns of micro averages: true positives, false positives, false negatives."""
    return ("tp", "fp", "fn")


def class_keys(scores: Sequence[Score]) -> tuple[str, ...]:
    """Columns of a macro average: ``tp:c``, ``fp:c``, ``fn:c`` for each class ``c`` that occurs in the references.

    The class set is fixed here on all scores given, so that a resample that happens to miss a rare class is still
    averaged over the same classes.
    """
    classes = sorted(
        {key[3:] for s in scores for key, count in s.counts.items() if key[:3] in ("tp:", "fn:") and count}
    )
    return tuple(f"{kind}:{name}" for name in classes for kind in ("tp", "fp", "fn"))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; NaN where the denominator is 0."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def fold_mean(sums: Floats) -> Floats:
    """Mean of (sum of values, number of reports), or ratio of any two summed columns."""
    return ratio(sums[..., 0], sums[..., 1])


def fold_f1(sums: Floats) -> Floats:
    """F1 of (tp, fp, fn): 2·tp / (2·tp + fp + fn)."""
    return ratio(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def fold_precision(sums: Floats) -> Floats:
    """Precision of (tp, fp, fn): tp / (tp + fp)."""
    return ratio(sums[..., 0], sums[..., 0] + sums[..., 1])


def fold_recall(sums: Floats) -> Floats:
    """Recall of (tp, fp, fn): tp / (tp + fn)."""
    return ratio(sums[..., 0], sums[..., 0] + sums[..., 2])


def fold_macro_f1(sums: Floats) -> Floats:
    """Plain mean of the F1 of each class; columns as ``class_keys`` orders them.

    In a resample a class may have neither a reference nor a claim; its F1 is then 0/0 and it is left out of that
    resample's mean. Counting it as 0 would pull every interval of a rare class below its estimate.
    """
    per_class = fold_f1(sums.reshape(*sums.shape[:-1], sums.shape[-1] // 3, 3))
    defined = ~np.isnan(per_class)
    return ratio(np.where(defined, per_class, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def fold_weighted_f1(sums: Floats) -> Floats:
    """Mean of the F1 of each class, weighted by how often the references have it; columns as ``class_keys`` orders them."""
    per_class = sums.reshape(*sums.shape[:-1], sums.shape[-1] // 3, 3)
    support = per_class[..., 0] + per_class[..., 2]
    values = np.nan_to_num(fold_f1(per_class))
    return ratio((values * support).sum(axis=-1), support.sum(axis=-1))


MEAN = Aggregation(mean_keys, fold_mean)
MICRO_F1 = Aggregation(prf_keys, fold_f1)
MACRO_F1 = Aggregation(class_keys, fold_macro_f1)
WEIGHTED_F1 = Aggregation(class_keys, fold_weighted_f1)
PRECISION = Aggregation(prf_keys, fold_precision)
RECALL = Aggregation(prf_keys, fold_recall)
