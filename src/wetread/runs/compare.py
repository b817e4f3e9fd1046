"""Intervals and paired differences over studies, by the percentile bootstrap.

Every study is a row of counts (``Aggregation.counts_matrix``). A resample draws rows with replacement; its corpus value
is folded from the summed rows, the same way as the estimate itself, so micro and macro F1 get honest intervals without
scoring anything twice. With ``clusters`` the patients are drawn instead, each with all of their studies: studies of one
patient are alike, and drawing them apart makes intervals too narrow.

Scores are keyed by study id. Studies without a value are left out of both value and ``n``, never counted as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread import metrics
from wetread.errors import UsageError, nearest
from wetread.metrics.entry import MEAN, Aggregation
from wetread.records import Score
from wetread.rewards import guards
from wetread.runs import thinking

RESAMPLES = 2_000
"""Resamples unless said otherwise: a 2.5% tail of 50."""
LEVEL = 0.95
"""Coverage unless said otherwise."""
NEAR = 1e-12
"""Differences of sums of floats below this are 0."""
CHUNK_CELLS = 2_000_000
"""Resamples × studies held at once, so that memory stays at tens of megabytes."""

Floats = NDArray[np.float64]
Fold = Callable[[Floats], Floats]
"""Sums of shape (…, k) to corpus values of shape (…)."""


@dataclass(frozen=True)
class Estimate:
    """A corpus value with its interval."""

    value: float | None
    """The corpus value; None when no study was scored or it is undefined (0/0)."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""
    n: int
    """Studies with a value."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """Return the estimate that ``to_json`` wrote."""
        return cls(data["value"], data["low"], data["high"], data["n"])


@dataclass(frozen=True)
class Paired:
    """The difference of two systems on the same studies: first minus second."""

    value: float | None
    """Corpus value of the first minus that of the second."""
    low: float | None
    """Lower end of the interval of the difference."""
    high: float | None
    """Upper end of the interval of the difference."""
    p: float | None
    """Two-sided bootstrap p of no difference; at least 2 / (resamples + 1), never 0."""
    n: int
    """Studies that both systems have a value for."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p, "n": self.n}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Paired:
        """Return the difference that ``to_json`` wrote."""
        return cls(data["value"], data["low"], data["high"], data["p"], data["n"])


def aggregation_of(name: str) -> Aggregation:
    """Return how a metric or guard is folded.

    Raises
    ------
    UsageError
        When neither a metric nor a guard has that name; the message lists both.
    """
    if name in metrics.METRICS:
        return metrics.get(name).aggregation
    if name in guards.GUARDS:
        return guards.get(name).aggregation
    if name in thinking.MEASURES:
        return thinking.MEASURES[name].aggregation
    known = sorted([*metrics.METRICS, *guards.GUARDS, *thinking.MEASURES])
    raise UsageError(f"no metric or guard is called {name!r}.{nearest(name, known)} There are: {', '.join(known)}.")


def signature_of(name: str, *, n: int, sections: str = "findings+impression") -> str:
    """Return the signature line of a metric or guard, as it is stored with every number."""
    if name in guards.GUARDS:
        return guards.get(name).signature(sections=sections, n=n)
    if name in thinking.MEASURES:
        return thinking.MEASURES[name].signature(sections=sections, n=n)
    return metrics.get(name).signature(sections=sections, n=n)


def estimate(
    name: str,
    scores: Mapping[str, Score],
    *,
    clusters: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Return the corpus value of one system with its interval.

    Parameters
    ----------
    name
        A metric or a guard.
    scores
        Study id to score. Guard flags must have been set on the full corpus.
    clusters
        Study id to patient id; None when every study stands for itself.
    resamples, seed, level
        Number of resamples, seed of their drawing, share of them inside the interval. The result depends on these, on
        the scores and on nothing else, not even on the order of the studies.

    Raises
    ------
    UsageError
        When the name is unknown, a study has no patient in ``clusters``, or ``resamples`` or ``level`` is out of range.
    """
    aggregation = aggregation_of(name)
    _check_options(resamples, level)
    kept = {study: scores[study] for study in sorted(scores) if scores[study].value is not None}
    if not kept:
        return Estimate(None, None, None, 0)
    _, matrix = aggregation.counts_matrix(list(kept.values()))
    grouped = by_cluster(matrix, list(kept), clusters)
    value = float(aggregation.aggregate_counts(matrix.sum(axis=0)))
    values = _resampled(aggregation, [grouped], resamples, seed)[0]
    low, high = _interval(values, level)
    return Estimate(_plain(value), low, high, len(kept))


def paired(
    name: str,
    scores_a: Mapping[str, Score],
    scores_b: Mapping[str, Score],
    *,
    clusters: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Paired:
    """Return the difference a - b with its interval and p, both systems resampled on the same studies.

    The difference is the plain one: where lower is better, below 0 means that a is better. A study that either system
    has no value for is left out for both. Parameters as in ``estimate``.

    p is twice the smaller share of resamples on either side of 0, ties counted on both, made as
    (count + 1) / (resamples + 1) and at most 1. Two equal systems get 1.

    Raises
    ------
    UsageError
        As in ``estimate``, and when the two systems do not have the same study ids.
    """
    aggregation = aggregation_of(name)
    _check_options(resamples, level)
    check_same(scores_a, scores_b)
    kept = [s for s in sorted(scores_a) if scores_a[s].value is not None and scores_b[s].value is not None]
    if not kept:
        return Paired(None, None, None, None, 0)
    left, right = [scores_a[study] for study in kept], [scores_b[study] for study in kept]
    keys = aggregation.keys([*left, *right])
    matrices = [aggregation.counts_matrix(side, keys)[1] for side in (left, right)]
    first, second = (float(aggregation.aggregate_counts(matrix.sum(axis=0))) for matrix in matrices)
    grouped = [by_cluster(matrix, kept, clusters) for matrix in matrices]
    values_a, values_b = _resampled(aggregation, grouped, resamples, seed)
    differences = values_a - values_b
    low, high = _interval(differences, level)
    p = None if np.isnan(first - second) else _p_value(differences)
    return Paired(_plain(first - second), low, high, p, len(kept))


def interval(
    values: Mapping[str, float | None],
    *,
    clusters: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Return the mean of plain numbers keyed by study id (rewards, seconds, flags) with its interval; None is left out.

    >>> interval({"a": 1.0, "b": 1.0, "c": None})
    Estimate(value=1.0, low=1.0, high=1.0, n=2)
    """
    _check_options(resamples, level)
    kept = [study for study in sorted(values) if values[study] is not None]
    if not kept:
        return Estimate(None, None, None, 0)
    matrix = np.array([[values[study], 1.0] for study in kept], dtype=np.float64)
    grouped = by_cluster(matrix, kept, clusters)
    low, high = _interval(_resampled(MEAN, [grouped], resamples, seed)[0], level)
    return Estimate(_plain(float(matrix[:, 0].mean())), low, high, len(kept))


def resampled_sums(matrix: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return the column sums of each resample, shape (n, k) to (resamples, k).

    The drawing is that of ``estimate``, so that many metrics of the same n rows share one. Equal columns are summed once.

    >>> resampled_sums(np.ones((3, 1)), resamples=2).tolist()
    [[3.0], [3.0]]
    """
    _check_options(resamples, LEVEL)
    places: dict[bytes, int] = {}
    index = [places.setdefault(column.tobytes(), len(places)) for column in np.ascontiguousarray(matrix.T)]
    first = list(dict.fromkeys(index))
    distinct = np.ascontiguousarray(matrix[:, [index.index(place) for place in first]])
    sums = np.concatenate([weights @ distinct for weights in _draws(len(matrix), resamples, seed)])
    return sums[:, index]


def swapped_sums(first: Floats, second: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Floats, Floats]:
    """Return both systems' column sums, shape (resamples, k) each, with the two swapped in every row or not by a coin.

    This is the drawing of approximate randomisation (Noreen 1989): if the systems are alike, any such swap is as likely.
    """
    _check_options(resamples, LEVEL)
    middle, half = (first + second).sum(axis=0) / 2, (first - second) / 2
    moved = np.flatnonzero(half.any(axis=0))  # what is equal in both is moved by no swap
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // len(first))
    parts = []
    for start in range(0, resamples, chunk):
        coins = generator.integers(0, 2, size=(min(chunk, resamples - start), len(first)), dtype=np.int8)
        parts.append((2.0 * coins - 1.0) @ half[:, moved])
    swing = np.zeros((resamples, first.shape[1]))
    swing[:, moved] = np.concatenate(parts)
    return middle + swing, middle - swing


def randomised_p(observed: float, differences: Floats) -> float:
    """Return the two-sided p of approximate randomisation, (count + 1) / (resamples + 1), never 0.

    Counted are the differences at least as far from 0 as the observed one; one that is undefined counts too.

    >>> randomised_p(0.5, np.array([0.1, -0.5, 0.2]))
    0.5
    """
    far = np.isnan(differences) | (np.abs(differences) >= abs(observed) - NEAR)
    return (int(np.count_nonzero(far)) + 1) / (len(differences) + 1)


def bootstrap_p(differences: Floats) -> float:
    """Return the two-sided bootstrap p of resampled differences, as ``paired`` gives it."""
    return _p_value(differences)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down (1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [1.0] * len(values)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda one: values[one])):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = least
    return corrected


def percentiles(values: Floats, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Return the ends of the percentile interval of resampled values; undefined ones (NaN) are left out."""
    return _interval(values, level)


def by_cluster(matrix: Floats, studies: Sequence[str], clusters: Mapping[str, str] | None) -> Floats:
    """Sum the rows of each patient, shape (n, k) to (patients, k); patients in the order of their ids."""
    if clusters is None:
        return matrix
    missing = [study for study in studies if not clusters.get(study)]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(studies)} studies have no patient, such as {missing[0]!r}; "
            "give every study its patient, or leave clusters out."
        )
    _, index = np.unique(np.array([clusters[study] for study in studies]), return_inverse=True)
    sums = np.zeros((int(index.max()) + 1, matrix.shape[1]))
    np.add.at(sums, index, matrix)
    return sums


def _draws(groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each group is drawn, shape (b, groups), a chunk of b resamples at a time."""
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // groups)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        picks = generator.integers(0, groups, size=(size, groups))
        picks += np.arange(size)[:, None] * groups
        counts = np.bincount(picks.ravel(), minlength=size * groups)
        yield counts.reshape(size, groups).astype(np.float64)


def _resampled(aggregation: Aggregation, matrices: Sequence[Floats], resamples: int, seed: int) -> list[Floats]:
    """Return, for each matrix, the corpus values of shape (resamples,); all matrices see the same resamples."""
    parts: list[list[Floats]] = [[] for _ in matrices]
    for weights in _draws(len(matrices[0]), resamples, seed):
        for part, matrix in zip(parts, matrices, strict=True):
            part.append(aggregation.aggregate_counts(weights @ matrix))
    return [np.concatenate(part) for part in parts]


def _interval(values: Floats, level: float) -> tuple[float | None, float | None]:
    """Percentile interval; resamples in which the value is undefined (0/0) are left out."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return float(low), float(high)


def _p_value(differences: Floats) -> float:
    defined = differences[~np.isnan(differences)]
    # Sums of floats: a difference that is 0 on paper may be a hair off it.
    near = np.abs(defined) < NEAR
    below = int(np.count_nonzero((defined < 0) | near))
    above = int(np.count_nonzero((defined > 0) | near))
    return min(1.0, 2 * (min(below, above) + 1) / (len(defined) + 1))


def check_same(scores_a: Mapping[str, object], scores_b: Mapping[str, object]) -> None:
    """Refuse two systems whose study ids differ (``UsageError``); the first of them are named."""
    only_a, only_b = sorted(scores_a.keys() - scores_b.keys()), sorted(scores_b.keys() - scores_a.keys())
    if only_a or only_b:
        raise UsageError(
            f"the two systems were not scored on the same studies: {len(only_a)} only in the first "
            f"({', '.join(only_a[:3]) or 'none'}), {len(only_b)} only in the second "
            f"({', '.join(only_b[:3]) or 'none'}); score both on the same ones."
        )


def _check_options(resamples: int, level: float) -> None:
    if resamples < 1:
        raise UsageError(f"resamples is {resamples}; it must be at least 1, and 1000 or more for a table.")
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must be between 0 and 1, such as 0.95.")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
