"""SembScore: how near two reports lie in CheXbert's eyes, the cosine of their [CLS] vectors.

Yu et al. 2023 (doi 10.1016/j.patter.2023.100802); numbers as CXR-Report-Metric gives them, where it is ``semb_score``. It sees
the first 512 tokens of a report. Unrelated reports are far from 0: read it beside the shuffled-reference baseline.

Empty texts. A text without tokens is [CLS] [SEP], so an empty draft has a vector and a score. CXR-Report-Metric treats one of
blanks alike, but reads an empty text and the words "None" or "nan" back from its CSV as no text and fails on the whole file;
here they are texts like any other. An empty reference is not scored (None).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wetread.metrics.chexbert import EMPTY, WEIGHTS, features, identity
from wetread.metrics.entry import MEAN, MetricEntry, score_nonempty
from wetread.metrics.findings import CHEST_XRAY
from wetread.metrics.weights import Precision
from wetread.records import MetricSpec, Report, Score


def semb_score(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Score]:
    """Score each draft by the cosine, -1 to 1, of its [CLS] vector and its reference's; the corpus value is the mean.

    Parameters
    ----------
    drafts, references
        Reports of the same order and length; an empty reference gives None.
    weights
        Folder of the weights, see ``weights.locate``.
    precision
        What CheXbert computes with.

    Raises
    ------
    UsageError
        When the lengths differ.
    MissingError
        When the weights are not there, or are not CheXbert's.
    """

    def scores(ours: list[str], theirs: list[str]) -> list[Score]:
        return [_score(one) for one in cosines(ours, theirs, weights, precision)]

    return score_nonempty("semb_score", drafts, references, scores)


def cosines(
    drafts: Sequence[str],
    references: Sequence[str],
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[float]:
    """Return the cosine of each pair of plain texts, -1 to 1, empty ones included; NaN for a vector of length 0."""
    vectors = [found["cls"] for found in features([*drafts, *references], weights, precision)]
    return [_cosine(*pair) for pair in zip(vectors[: len(drafts)], vectors[len(drafts) :], strict=True)]


def _cosine(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> float:
    if np.array_equal(ours, theirs):
        return 1.0 if ours.any() else float("nan")
    left, right = ours.astype(np.float64), theirs.astype(np.float64)
    length = float(np.sqrt((left @ left) * (right @ right)))
    return float(np.clip(left @ right / length, -1.0, 1.0)) if length else float("nan")


def _score(value: float) -> Score:
    if np.isnan(value):
        return Score("semb_score", None, "CheXbert gives a vector without direction (0 or not a number)")
    return Score("semb_score", value)


SEMB_SCORE = MetricEntry(
    MetricSpec(
        "semb_score",
        "higher",
        (-1.0, 1.0),
        CHEST_XRAY,
        "1",
        (WEIGHTS.name,),
        "cosine of CheXbert's [CLS] vectors; CXR-Report-Metric, doi 10.1016/j.patter.2023.100802; corpus: mean",
        empty_draft=EMPTY,
    ),
    semb_score,
    MEAN,
    identity=identity,
)
