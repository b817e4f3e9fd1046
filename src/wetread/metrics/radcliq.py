"""RadCliQ: a linear model of four other metrics, fitted to the errors that radiologists count. Lower is better.

Formula and constants: Yu et al. 2023, read from the published models of CXR-Report-Metric. Each part is standardised by
its mean and scale, then weighed; the intercept is added. Identical reports score -1.4407 (v1) or -0.2421 (v0) if they state
at least one relation between entities, else -0.8181 and 0.5524, since the RadGraph part of two reports without relations
is 0.5. An empty draft scores near 11.6 (v1).

A value is a predicted number of errors only in a loose sense and may be below 0. The corpus value is the mean. The
leaderboard of ReXrank shows one over the mean instead: see ``rexrank_figure``.

In v0 more BLEU means a worse score; it is there to compare with published numbers, never to train on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wetread.metrics import get
from wetread.metrics.entry import MEAN, CompositeEntry
from wetread.metrics.weights import Precision
from wetread.records import MetricSpec, Report, Score

PARTS = ("radgraph_combined", "bertscore", "semb_score", "bleu_2_rexrank")
"""Metrics that it is made of, in the order of the constants."""
WORST_BERTSCORE = -5.551
"""Just below the rescaled BERTScore of an empty text, 0 before rescaling."""
SPREAD = 2.0
"""``rexrank_figure`` is unstable when the ends of its interval differ by more than this factor."""


@dataclass(frozen=True)
class LinearModel:
    """A linear model of standardised parts."""

    mean: tuple[float, float, float, float]
    """What is taken from each part."""
    scale: tuple[float, float, float, float]
    """What it is divided by."""
    coefficient: tuple[float, float, float, float]
    """What it is weighed by."""
    intercept: float
    """What is added."""

    def value(self, parts: Sequence[float]) -> float:
        """Return the value for the four parts, in the order of ``PARTS``.

        >>> round(V1.value((1, 1, 1, 1)), 6), round(V0.value((1, 1, 1, 1)), 6)
        (-1.44069, -0.242133)
        """
        terms = zip(self.coefficient, parts, self.mean, self.scale, strict=True)
        return self.intercept + sum(weight * (part - mean) / scale for weight, part, mean, scale in terms)


V0 = LinearModel(
    (0.5398376019082272, 0.6312549595000001, 0.7716797866672277, 0.4607372064809605),
    (0.3018344440559102, 0.22466950746141123, 0.24750333805236252, 0.30336670936092264),
    (-0.4796252644863446, -0.6762170542369337, -0.46366575161751994, 0.2165861905287535),
    1.641666666666666,
)
"""The first version, fitted to 200 pairs."""
V1 = LinearModel(
    (0.5379231241355762, 0.6175725628125001, 0.7647942121140658, 0.44738335396242174),
    (0.3028258411486429, 0.22430938459304575, 0.2539439110169773, 0.2989271671041838),
    (-0.37708368261038905, -0.37030009974480316, -0.25261621789593225, 4.315048405024756e-12),
    2.466552561323256e-10,
)
"""The version that the ReXrank board ranks by, fitted to 160 pairs; its weight of BLEU is nil."""


@dataclass(frozen=True)
class RexrankFigure:
    """One over the mean RadCliQ, as the ReXrank board shows it; higher is better as long as the mean is above 0."""

    value: float | None
    """One over the mean; None when the mean is 0 or there is none."""
    low: float | None
    """Lower end of its interval; None when it has none."""
    high: float | None
    """Upper end."""
    unstable: str
    """Why it must not be compared, in words; empty when nothing speaks against it."""


def rexrank_figure(mean: float | None, low: float | None = None, high: float | None = None) -> RexrankFigure:
    """Return the board's figure for a corpus, and whether it can be relied upon.

    One over the mean jumps from minus to plus infinity where the mean crosses 0, and the mean of a good system lies near
    0: there the figure says little, and below 0 it ranks the better system last. Compare means instead.

    Parameters
    ----------
    mean
        Mean RadCliQ of the corpus.
    low, high
        Its bootstrap interval. The inverse is monotonic on either side of 0, so the figure's interval is that of the mean
        turned round; when the mean's holds 0 the figure has none.

    >>> rexrank_figure(0.5, 0.4, 0.8)
    RexrankFigure(value=2.0, low=1.25, high=2.5, unstable='')
    >>> rexrank_figure(0.1, -0.1, 0.3).unstable
    'the mean lies between -0.1 and 0.3, so its sign is not certain'
    """
    if mean is None:
        return RexrankFigure(None, None, None, "nothing was scored")
    value = 1 / mean if mean else None
    if low is None or high is None:
        reason = _below(mean) or "its interval is not known"
        return RexrankFigure(value, None, None, reason)
    if low <= 0 <= high or not mean:
        return RexrankFigure(
            value, None, None, f"the mean lies between {low:.4g} and {high:.4g}, so its sign is not certain"
        )
    ends = sorted((1 / low, 1 / high))
    wide = max(low / high, high / low)
    reason = _below(mean)
    if not reason and wide > SPREAD:
        reason = f"the mean is near 0, so the ends of the interval differ by a factor of {wide:.2g}"
    return RexrankFigure(value, ends[0], ends[1], reason)


def _below(mean: float) -> str:
    return "the mean is not above 0, where a better system has a lower figure" if mean <= 0 else ""


def radcliq_v0(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision | None = None,
) -> list[Score]:
    """Score each draft by RadCliQ-v0; a report of which a part has no value has none either."""
    return get("radcliq_v0", weights, precision)(drafts, references)


def radcliq_v1(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision | None = None,
) -> list[Score]:
    """Score each draft by RadCliQ-v1; a report of which a part has no value has none either."""
    return get("radcliq_v1", weights, precision)(drafts, references)


def _join_v0(parts: Mapping[str, Score]) -> Score:
    return _join("radcliq_v0", V0, parts)


def _join_v1(parts: Mapping[str, Score]) -> Score:
    return _join("radcliq_v1", V1, parts)


def _join(name: str, model: LinearModel, parts: Mapping[str, Score]) -> Score:
    values = {part: float(value) for part in PARTS if (value := parts[part].value) is not None}
    return Score(name, model.value([values[part] for part in PARTS]), counts=values)


def _bounds(model: LinearModel) -> tuple[float, float]:
    """Return the least and the greatest value that a report can have: every part at its best and at its worst."""
    blind = (1.0, 0.0) if model.coefficient[3] < 0 else (0.0, 1.0)
    return model.value((1.0, 1.0, 1.0, blind[0])), model.value((0.0, WORST_BERTSCORE, -1.0, blind[1]))


def _spec(name: str, version: str, model: LinearModel) -> MetricSpec:
    source = (
        f"Yu 2023, RadCliQ-{version} of CXR-Report-Metric, raw (lower is better), from {', '.join(PARTS)}; corpus: mean, "
        "not the board's 1/mean"
    )
    return MetricSpec(
        name, "lower", _bounds(model), frozenset({"chest_xray"}), "1", needs=("RadGraph", "distilroberta-base", "CheXbert"),
        source=source, empty_draft="the formula of its parts' values",
    )  # fmt: skip


RADCLIQ_V0 = CompositeEntry(_spec("radcliq_v0", "v0", V0), radcliq_v0, MEAN, parts=PARTS, join=_join_v0)
RADCLIQ_V1 = CompositeEntry(_spec("radcliq_v1", "v1", V1), radcliq_v1, MEAN, parts=PARTS, join=_join_v1)
