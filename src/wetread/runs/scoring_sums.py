"""Counts of scores summed by patient, metric beside metric, so that one drawing of resamples serves them all.

A corpus value is folded from sums (``metrics.entry.Aggregation``). Here the sums of all metrics of one system stand in one
matrix, a row a patient; memory grows with patients and columns and never with the texts. From ``MOST`` patients on they are
put at random into ``POOLS`` groups, which are then resampled as patients are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.metrics.entry import Aggregation, Floats, fold_f1, fold_precision, fold_recall, fold_weighted_f1, ratio
from wetread.records import Score
from wetread.runs import compare
from wetread.runs.compare import Estimate

MOST = 10_000
"""Patients that are resampled one by one."""
POOLS = 1_000
"""Groups into which more of them are put."""
_KINDS = ("tp", "fp", "fn")

Places = NDArray[np.signedinteger[Any]]
Cells = tuple[Places, Places, Floats]
"""Row of the chunk, column and value of each count that is not 0."""


class Columns:
    """Which column holds which count of which metric; grows as counts are met."""

    def __init__(self) -> None:
        self._names: list[tuple[str, str]] = []
        self._metrics: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def of(self, metric: str, key: str) -> int:
        """Return the column of a count, a new one where it is met for the first time."""
        keys = self._metrics.setdefault(metric, {})
        if key not in keys:
            keys[key] = len(self._names)
            self._names.append((metric, key))
        return keys[key]

    def keys(self, metric: str) -> Mapping[str, int]:
        """Return the counts of a metric with their columns."""
        return self._metrics.get(metric, {})

    def names(self) -> list[tuple[str, str]]:
        """Return metric and count of each column, in order."""
        return list(self._names)

    def among(self, names: Sequence[tuple[str, str]]) -> NDArray[np.intp]:
        """Return the columns of counts that were numbered elsewhere."""
        return np.array([self.of(*name) for name in names], dtype=np.intp)

    def cells(self, scores: Mapping[str, Sequence[Score]]) -> Cells:
        """Return the counts of one chunk: metric to one score a row. A score without a value has none."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for metric, several in scores.items():
            value, one = self.of(metric, "value"), self.of(metric, "n")
            known = self._metrics[metric]
            for row, score in enumerate(several):
                if score.value is None:
                    continue
                rows += (row, row)
                columns += (value, one)
                values += (score.value, 1.0)
                for key, count in score.counts.items():
                    if count:
                        rows.append(row)
                        columns.append(known[key] if key in known else self.of(metric, key))
                        values.append(count)
        return np.array(rows, dtype=np.int32), np.array(columns, dtype=np.int32), np.array(values, dtype=np.float64)


class Sums:
    """The summed counts of one system, or of one part of its studies."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._data = np.zeros((0, 0))

    def add(self, groups: Sequence[int], cells: Cells, width: int, keep: NDArray[np.bool_] | None = None) -> None:
        """Add one chunk.

        Parameters
        ----------
        groups
            Group of each row of the chunk.
        cells
            Its counts, as ``Columns.cells`` gives them.
        width
            Number of columns known by now.
        keep
            Rows that belong here, one flag a row; None: all.
        """
        chosen = groups if keep is None else [group for group, kept in zip(groups, keep, strict=True) if kept]
        for group in chosen:
            self._rows.setdefault(group, len(self._rows))
        self._grow(len(self._rows), width)
        place = np.array([self._rows.get(group, 0) for group in groups], dtype=np.intp)
        rows, columns, values = cells
        if keep is not None:
            inside = keep[rows]
            rows, columns, values = rows[inside], columns[inside], values[inside]
        np.add.at(self._data, (place[rows], columns), values)

    def matrix(self, width: int) -> Floats:
        """Return the sums, a row a group in the order of the groups."""
        self._grow(len(self._rows), width)
        order = [self._rows[group] for group in sorted(self._rows)]
        return self._data[order, :width]

    def _grow(self, rows: int, width: int) -> None:
        have, wide = self._data.shape
        if rows > have or width > wide:
            grown = np.zeros((max(have, rows + rows // 2 + 8), max(wide, width + 16)))
            grown[:have, :wide] = self._data
            self._data = grown


def groups_of(patients: Sequence[str]) -> Mapping[str, int] | None:
    """Return patient to group where each is a group of its own; None where there are too many of them (``pool_of``)."""
    return {patient: number for number, patient in enumerate(patients)} if len(patients) <= MOST else None


def pool_of(patient: str) -> int:
    """Return the group, 0 to ``POOLS`` - 1, into which a patient falls by the digest of the name."""
    return int.from_bytes(hashlib.blake2b(patient.encode(), digest_size=8).digest()) % POOLS


def estimates(
    columns: Columns,
    matrices: Mapping[str, Floats],
    aggregations: Mapping[str, Aggregation],
    *,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """Return, for each system, the corpus value of each metric with its interval; beside each F1 its precision and recall.

    Precision and recall are called ``<metric>_precision`` and ``<metric>_recall`` and averaged as the F1 is (micro, macro,
    weighted by support). The values are those of ``compare.estimate`` with the same seed.

    Parameters
    ----------
    columns
        What the columns of all matrices mean.
    matrices
        System to its sums, shape (groups, columns), the same groups in each (``Sums.matrix``).
    aggregations
        Metrics and how they are folded.
    resamples, seed
        As in ``compare.estimate``.
    """
    plans: dict[bytes, list[tuple[str, str]]] = {}
    found: dict[tuple[str, str], Estimate] = {}
    for system, matrix in matrices.items():
        for metric in aggregations:
            column = columns.keys(metric).get("n", -1)
            here = matrix[:, column] > 0 if 0 <= column < matrix.shape[1] else np.zeros(len(matrix), dtype=bool)
            if here.any():
                plans.setdefault(here.tobytes(), []).append((system, metric))
            else:
                found[system, metric] = Estimate(None, None, None, 0)
    for mask, wanted in plans.items():
        found |= _planned(columns, matrices, aggregations, np.frombuffer(mask, dtype=bool), wanted, (resamples, seed))
    return {
        system: {
            label: found[system, label]
            for name in aggregations
            for label in (name, *_beside(name))
            if (system, label) in found
        }
        for system in matrices
    }


def _planned(
    columns: Columns,
    matrices: Mapping[str, Floats],
    aggregations: Mapping[str, Aggregation],
    mask: NDArray[np.bool_],
    wanted: Sequence[tuple[str, str]],
    drawing: tuple[int, int],
) -> dict[tuple[str, str], Estimate]:
    """Return the estimates of those systems and metrics that have a value in the same groups."""
    parts = {system: matrices[system][mask] for system, _ in wanted}
    chosen = {one: _chosen(columns.keys(one[1]), parts[one[0]], one[1], aggregations[one[1]]) for one in wanted}
    used: dict[tuple[str, int], int] = {}
    for (system, _), picked in chosen.items():
        for column in picked.values():
            if column >= 0:
                used.setdefault((system, column), len(used))
    whole = np.stack([parts[system][:, column] for system, column in used], axis=1)
    drawn = compare.resampled_sums(whole, resamples=drawing[0], seed=drawing[1])
    drawn = np.concatenate([drawn, np.zeros((len(drawn), 1))], axis=1)  # the last column stands for what never occurs
    total = np.append(whole.sum(axis=0), 0.0)
    found = {}
    for (system, name), picked in chosen.items():
        index = [used.get((system, column), -1) for column in picked.values()]
        n = int(parts[system][:, columns.keys(name)["n"]].sum())
        for label, fold in _folds(name, tuple(picked), aggregations[name]).items():
            value = float(fold(total[index]))
            low, high = compare.percentiles(fold(drawn[:, index]))
            found[system, label] = Estimate(None if np.isnan(value) else value, low, high, n)
    return found


def _chosen(known: Mapping[str, int], part: Floats, name: str, aggregation: Aggregation) -> dict[str, int]:
    """Return the columns that the metric is folded from; -1 for a count that never occurs."""
    totals = {key: float(part[:, column].sum()) for key, column in known.items() if column < part.shape[1]}
    counts = {key: total for key, total in totals.items() if key not in ("value", "n") and total}
    whole = Score(name, totals.get("value", 0.0), counts=counts)
    return {key: known.get(key, -1) if key in totals else -1 for key in aggregation.keys([whole])}


def _beside(name: str) -> tuple[str, str]:
    return f"{name}_precision", f"{name}_recall"


def is_f1(aggregation: Aggregation, keys: Sequence[str]) -> bool:
    """Tell whether a metric is an F1 made of tp, fp and fn, micro or by class."""
    if aggregation.fold in (fold_precision, fold_recall):
        return False
    kinds = tuple(key.partition(":")[0] for key in keys)
    return bool(keys) and len(keys) % 3 == 0 and kinds == _KINDS * (len(keys) // 3)


def _folds(name: str, keys: tuple[str, ...], aggregation: Aggregation) -> dict[str, compare.Fold]:
    folds: dict[str, compare.Fold] = {name: aggregation.aggregate_counts}
    if is_f1(aggregation, keys):
        for label, fold in zip(_beside(name), (fold_precision, fold_recall), strict=True):
            if aggregation.fold is fold_f1:
                folds[label] = fold
            else:
                folds[label] = _ByClass(fold, aggregation.fold is fold_weighted_f1)
    return folds


class _ByClass:
    """Precision or recall averaged over classes, plainly or by support.

    A class that is never claimed has precision 0; one that a resample neither has nor claims is left out of it.
    """

    def __init__(self, fold: compare.Fold, weighted: bool) -> None:
        self.fold = fold
        self.weighted = weighted

    def __call__(self, sums: Floats) -> Floats:
        classes = sums.reshape(*sums.shape[:-1], sums.shape[-1] // 3, 3)
        values = self.fold(classes)
        weights = classes[..., 0] + classes[..., 2] if self.weighted else (classes.sum(axis=-1) > 0).astype(np.float64)
        return ratio((np.nan_to_num(values) * weights).sum(axis=-1), weights.sum(axis=-1))
