"""Systems that were trained several times: intervals and paired differences over trainings and patients.

A number from one training says how that policy does, not how its method does. Here a system is one set of scores a training
(a seed). Its value is the mean of its trainings' corpus values; a resample draws trainings with replacement and, once for
all of them, patients with replacement, so that the interval holds what another seed would have changed as well as what
other patients would have. Two systems are paired in both: they see the same trainings' numbers and the same patients.

With few trainings such an interval is somewhat narrow: the spread of n drawn trainings is that of the trainings times
sqrt((n - 1) / n). The differences training by training (``each``) belong beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wetread import metrics
from wetread.errors import UsageError
from wetread.metrics.entry import Aggregation
from wetread.records import Score
from wetread.runs import compare
from wetread.runs.compare import RESAMPLES, Estimate, Floats, Paired

Trainings = Sequence[Mapping[str, Score]]
"""One training's scores after another, each study id to score; a system that is not trained has one."""


@dataclass(frozen=True)
class SeedPaired:
    """The difference of two systems over trainings and patients: first minus second."""

    overall: Paired
    """Mean difference with its interval and p over trainings and patients."""
    each: tuple[float | None, ...]
    """The difference in each training."""
    ratio: float | None
    """Mean of the first over mean of the second, minus 1; None where the second is 0 or undefined."""
    ratio_low: float | None
    """Lower end of its interval."""
    ratio_high: float | None
    """Upper end."""


def estimate(
    name: str,
    trainings: Trainings,
    *,
    clusters: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    apart: bool = False,
) -> Estimate:
    """Return the mean corpus value of a system's trainings with its interval.

    Parameters
    ----------
    name
        A metric or a guard.
    trainings
        Scores of each training on the same studies; only studies with a value in all of them count.
    clusters
        Study id to patient id; None when every study stands for itself.
    resamples, seed
        Number of resamples, and the seed of their drawing.
    apart
        A study counts in the trainings in which it has a value, for measures whose object is another one in each, such as
        first passes without an error.

    Raises
    ------
    UsageError
        No training, other studies in one than in another, or as in ``compare.estimate``.
    """
    aggregation = compare.aggregation_of(name)
    kept = _kept([trainings])
    if apart:
        kept = [study for study in sorted(trainings[0]) if any(one[study].value is not None for one in trainings)]
    if not kept:
        return Estimate(None, None, None, 0)
    keys = aggregation.keys([one[study] for one in trainings for study in kept if one[study].value is not None])
    at, (values,) = _values(aggregation, [_sums(aggregation, trainings, kept, keys, clusters)], resamples, seed)
    low, high = compare.percentiles(values)
    return Estimate(_plain(float(np.mean(at[0]))), low, high, len(kept))


def paired(
    name: str,
    first: Trainings,
    second: Trainings,
    *,
    clusters: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SeedPaired:
    """Return the difference first - second, paired by training and by patient.

    The n-th training of one system belongs to the n-th of the other (the same seed, the same policy to start from). A system
    with one training is held against every one of the other's. Parameters and errors as in ``estimate``; ``UsageError`` also
    where both have several trainings and not equally many.
    """
    count, kept = _count([first, second]), _kept([first, second])
    if not kept:
        return SeedPaired(Paired(None, None, None, None, 0), (None,) * count, None, None, None)
    at, values = _sides(name, (first, second), kept, count, clusters, resamples, seed)
    differences = values[0] - values[1]
    low, high = compare.percentiles(differences)
    mean = float(np.mean(at[0] - at[1]))
    p = None if np.isnan(mean) else compare.bootstrap_p(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, ratios = float(np.mean(at[0]) / np.mean(at[1]) - 1), values[0] / values[1] - 1
    ends = compare.percentiles(np.where(np.isfinite(ratios), ratios, np.nan))
    known = np.isfinite(ratio)
    return SeedPaired(
        Paired(_plain(mean), low, high, p, len(kept)),
        tuple(_plain(float(a - b)) for a, b in zip(*at, strict=True)),
        ratio if known else None,
        *(ends if known else (None, None)),
    )


def together(
    first: Mapping[str, Trainings],
    second: Mapping[str, Trainings],
    *,
    clusters: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SeedPaired:
    """Return the mean relative gain of the first system over the second in several metrics, as one number.

    A metric's gain is first over second, minus 1, with its sign turned where less is better, so that more than 0 is better
    in every metric. A resample draws the same trainings and patients for all of them: their errors go together, and the
    interval of the mean is not that of independent metrics. Metrics of another scale weigh the same here; read the single
    ones beside it.

    Parameters
    ----------
    first, second
        Metric to the scores of each training, the same metrics in both; a study counts that has a value in all of them.
    clusters, resamples, seed
        As in ``paired``.

    Returns
    -------
    SeedPaired
        Mean gain, 0.1 for 10 percent; ``ratio`` is None.

    Raises
    ------
    UsageError
        No metric, other metrics in one than in the other, or as in ``paired``.
    """
    if not first or set(first) != set(second):
        raise UsageError(
            f"the metrics {sorted(first)} and {sorted(second)}; give the same ones, at least one, of both systems."
        )
    every = [side[name] for side in (first, second) for name in sorted(first)]
    count, kept = _count(every), _kept(every)
    if not kept:
        return SeedPaired(Paired(None, None, None, None, 0), (None,) * count, None, None, None)
    gains, resampled = [], []
    for name in sorted(first):
        at, values = _sides(name, (first[name], second[name]), kept, count, clusters, resamples, seed)
        sign = 1.0 if metrics.get(name).spec.better == "higher" else -1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            gains.append(sign * (at[0] / at[1] - 1))
            resampled.append(sign * (values[0] / values[1] - 1))
    each, means = np.mean(gains, axis=0), np.mean(resampled, axis=0)
    low, high = compare.percentiles(means)
    overall = Paired(_plain(float(np.mean(each))), low, high, compare.bootstrap_p(means), len(kept))
    return SeedPaired(overall, tuple(_plain(float(one)) for one in each), None, None, None)


def _count(sides: Sequence[Trainings]) -> int:
    """Return how many trainings are paired; refuse what cannot be."""
    count = max(map(len, sides))
    for side in sides:
        if len(side) not in (1, count):
            raise UsageError(f"{len(side)} trainings cannot be paired with {count}; give as many of both, or one.")
    return count


def _kept(sides: Sequence[Trainings]) -> list[str]:
    """Return the studies with a value in every training, sorted; refuse trainings on different studies."""
    every = [one for side in sides for one in side]
    if not all(sides):
        raise UsageError("no training to compare; give the scores of at least one.")
    for one in every[1:]:
        compare.check_same(every[0], one)
    return [study for study in sorted(every[0]) if all(one[study].value is not None for one in every)]


def _sums(
    aggregation: Aggregation,
    trainings: Trainings,
    kept: Sequence[str],
    keys: tuple[str, ...],
    clusters: Mapping[str, str] | None,
) -> Floats:
    """Return the summed counts of each patient, (trainings, patients, keys); a study without a value has none."""
    made = []
    for one in trainings:
        rows = np.zeros((len(kept), len(keys)))
        places = [place for place, study in enumerate(kept) if one[study].value is not None]
        rows[places] = aggregation.counts_matrix([one[kept[place]] for place in places], keys)[1]
        made.append(compare.by_cluster(rows, kept, clusters))
    return np.stack(made)


def _sides(
    name: str,
    sides: Sequence[Trainings],
    kept: Sequence[str],
    count: int,
    clusters: Mapping[str, str] | None,
    resamples: int,
    seed: int,
) -> tuple[list[Floats], list[Floats]]:
    """Return what ``_values`` does for a metric; a side of one training stands beside each of the other's."""
    aggregation = compare.aggregation_of(name)
    keys = aggregation.keys([one[study] for side in sides for one in side for study in kept])
    sums = [_sums(aggregation, side, kept, keys, clusters) for side in sides]
    sums = [np.repeat(side, count, axis=0) if len(side) < count else side for side in sums]
    return _values(aggregation, sums, resamples, seed)


def _values(
    aggregation: Aggregation, sides: Sequence[Floats], resamples: int, seed: int
) -> tuple[list[Floats], list[Floats]]:
    """Return the corpus value of each training, (trainings,), and the resampled means, (resamples,), side by side."""
    count = len(sides[0])
    picks = np.random.default_rng([seed, count]).integers(0, count, size=(resamples, count))
    at = [aggregation.aggregate_counts(side.sum(axis=1)) for side in sides]
    means = []
    for side in sides:
        corpus = np.stack(
            [aggregation.aggregate_counts(compare.resampled_sums(one, resamples=resamples, seed=seed)) for one in side],
            axis=1,
        )
        means.append(np.take_along_axis(corpus, picks, axis=1).mean(axis=1))
    return at, means


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
