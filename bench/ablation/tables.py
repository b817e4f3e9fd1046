"""Markdown tables of numbers over seeds: values with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wetread.records import Score, Study
from wetread.runs import evaluate, seeds
from wetread.runs.compare import Estimate
from wetread.runs.seeds import SeedPaired
from wetread.runs.thinking import MEASURES

NAMES: Mapping[str, str] = {
    "findings_f1": "finding F1 ↑", "findings_f1_macro": "finding F1, macro ↑", "findings_precision": "precision ↑",
    "findings_recall": "recall ↑", "errors_total": "errors a report ↓", "errors_significant": "significant errors ↓",
    "length_ratio": "length ratio →1", "duplicate_share": "duplicate share", "template_share": "template share",
    "contradiction_share": "contradicting", "abnormal_f1": "finding F1, abnormal ↑",
}  # fmt: skip
"""Headings of the columns that do not go by the metric's own name."""
NOT_SCORED = "not scored"


@dataclass(frozen=True)
class Drafted:
    """One system on one group of studies, a training after another."""

    name: str
    """Its name in the tables."""
    scores: tuple[Mapping[str, Mapping[str, Score]], ...]
    """Metric or guard to study to score, for each training; one for a system that is not trained."""

    def of(self, metric: str, keep: frozenset[str] | None = None) -> list[Mapping[str, Score]]:
        """Return the scores of a metric in each training, of all studies or of ``keep``."""
        return [
            one[metric] if keep is None else {study: score for study, score in one[metric].items() if study in keep}
            for one in self.scores
        ]


def named(systems: Sequence[Drafted]) -> dict[str, Drafted]:
    """Return name to system."""
    return {one.name: one for one in systems}


@dataclass(frozen=True)
class Setting:
    """What every interval is made with."""

    clusters: Mapping[str, str]
    """Study to patient."""
    resamples: int
    """Bootstrap resamples."""
    seed: int = field(default=0)
    """Seed of the resampling."""

    @classmethod
    def of(cls, studies: Sequence[Study], resamples: int) -> Setting:
        """Return the setting for some studies."""
        return cls(evaluate.patients(studies), resamples)

    def estimate(self, system: Drafted, metric: str, keep: frozenset[str] | None = None) -> Estimate:
        """Return a system's mean over trainings with its interval."""
        clusters, resamples, seed = self.clusters, self.resamples, self.seed
        apart = metric in MEASURES
        return seeds.estimate(
            metric, system.of(metric, keep), clusters=clusters, resamples=resamples, seed=seed, apart=apart
        )

    def paired(self, a: Drafted, b: Drafted, metric: str, keep: frozenset[str] | None = None) -> SeedPaired:
        """Return the difference a - b with its interval."""
        clusters, resamples, seed = self.clusters, self.resamples, self.seed
        return seeds.paired(
            metric, a.of(metric, keep), b.of(metric, keep), clusters=clusters, resamples=resamples, seed=seed
        )

    def together(self, a: Drafted, b: Drafted, metrics: Sequence[str]) -> SeedPaired:
        """Return the mean relative gain of a over b in several metrics with its interval."""
        sides = [{metric: one.of(metric) for metric in metrics} for one in (a, b)]
        return seeds.together(*sides, clusters=self.clusters, resamples=self.resamples, seed=self.seed)


def title(metric: str) -> str:
    """Return the heading of a metric, with its better direction."""
    return (
        NAMES.get(metric)
        or f"{metric.replace('_', ' ') if metric in MEASURES else metric} {_ARROWS[_better(metric)]}".strip()
    )


_ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def _better(metric: str) -> str:
    """Return the better direction of a metric or a measure; empty: it has none."""
    from wetread import metrics

    return MEASURES[metric].better if metric in MEASURES else metrics.get(metric).spec.better


def cell(one: Estimate, digits: int = 3) -> str:
    """Return a value with its interval.

    >>> cell(Estimate(0.5, 0.4, 0.6, 10), 2)
    '0.50 (0.40–0.60)'
    """
    if one.value is None or one.low is None or one.high is None:
        return NOT_SCORED
    return f"{one.value:.{digits}f} ({one.low:.{digits}f}–{one.high:.{digits}f})"


def difference(one: SeedPaired, digits: int = 3, *, bold: bool = True) -> str:
    """Return a difference with its interval, in bold where that excludes 0."""
    overall = one.overall
    if overall.value is None or overall.low is None or overall.high is None:
        return NOT_SCORED
    text = f"{overall.value:+.{digits}f} ({overall.low:+.{digits}f} to {overall.high:+.{digits}f})".replace("-", "−")
    return f"**{text}**" if bold and excludes(one) else text


def excludes(one: SeedPaired) -> bool:
    """Whether the interval lies on one side of 0."""
    low, high = one.overall.low, one.overall.high
    return low is not None and high is not None and (low > 0 or high < 0)


def better(metric: str, one: SeedPaired) -> bool | None:
    """Whether the first is better with an interval that excludes 0; None where nothing is told either way."""
    if not excludes(one) or one.overall.value is None:
        return None
    return (one.overall.value > 0) == (_better(metric) == "higher")


def digits_of(metric: str) -> int:
    """Return how many digits a metric's numbers are shown with."""
    if metric == "tokens":
        return 0
    return (
        2
        if metric in ("errors_total", "errors_significant", "length_ratio", "cider_d", "fixed", "broken", "untouched")
        else 3
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|--:|
    | x | 1 |
    """
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def values(
    systems: Sequence[Drafted], columns: Sequence[str], setting: Setting, keep: frozenset[str] | None = None
) -> str:
    """Return the table of systems by metrics."""
    rows = [
        [one.name, *(cell(setting.estimate(one, metric, keep), digits_of(metric)) for metric in columns)]
        for one in systems
    ]
    return table(["system", *map(title, columns)], rows)


def differences(
    pairs: Sequence[tuple[str, Drafted, Drafted]],
    columns: Sequence[str],
    setting: Setting,
    keep: frozenset[str] | None = None,
) -> str:
    """Return the table of pairs by metrics: first minus second."""
    rows = [
        [name, *(difference(setting.paired(a, b, metric, keep), digits_of(metric)) for metric in columns)]
        for name, a, b in pairs
    ]
    return table(["difference", *map(title, columns)], rows)
