"""Systems against each other from the scores that ``wetread score --out`` stored; no metric is run again.

Each pair of systems and each metric gets the difference of the corpus values with its paired bootstrap interval, the p of
approximate randomisation (whole patients are swapped), corrected by Holm over all pairs and metrics, an effect size, and
how many studies either wins. Only systems that were scored on the same references with the same signatures are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wetread import metrics
from wetread.errors import UsageError, nearest
from wetread.metrics.entry import Aggregation, Floats
from wetread.records import Score
from wetread.runs import compare
from wetread.runs.scoring_sums import Columns, Sums, groups_of, pool_of
from wetread.runs.stored import Stored

if TYPE_CHECKING:
    from rich.console import RenderableType

RESAMPLES = 10_000
"""Resamples and swaps unless said otherwise."""
SHOWN = 20
"""Studies that are listed as differing most."""


@dataclass(frozen=True)
class Compared:
    """One metric of one pair of systems."""

    a: str
    """First system."""
    b: str
    """Second system."""
    metric: str
    """Name of the metric."""
    difference: float | None
    """Corpus value of a minus that of b; None: undefined."""
    low: float | None
    """Lower end of the 95% paired bootstrap interval over patients."""
    high: float | None
    """Upper end."""
    p: float | None
    """Two-sided p of approximate randomisation; never 0."""
    p_holm: float | None
    """The same, corrected over all metrics and pairs."""
    n: int
    """Studies that both have a value for."""
    p_bootstrap: float | None
    """Two-sided p of the paired bootstrap; never 0."""
    effect: float | None
    """Mean of the studies' differences over their standard deviation (Cohen's d of pairs); None: all are equal."""
    wins: int | None
    """Studies in which a is better; None, as for ties and losses, where the difference is undefined."""
    ties: int | None
    """Studies in which both are alike."""
    losses: int | None
    """Studies in which b is better."""
    a_value: float | None
    """Corpus value of a."""
    b_value: float | None
    """Corpus value of b."""
    better: str
    """``higher`` or ``lower``."""
    signature: str
    """Signature of the metric."""


class Apart(NamedTuple):
    """A study in which two systems differ."""

    a: str
    """First system."""
    b: str
    """Second system."""
    study: str
    """Id of the study."""
    distance: float
    """Mean over metrics of the difference in standard deviations of that metric's differences."""
    differences: Mapping[str, float]
    """Metric to a minus b, the largest for its metric first."""


@dataclass(frozen=True)
class Comparison:
    """All pairs of systems."""

    pairs: tuple[Compared, ...]
    """Every pair and metric."""
    apart: tuple[Apart, ...]
    """The studies that differ most, pair by pair."""
    resamples: int
    """Resamples and swaps."""
    seed: int
    """Seed of both."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "pairs": [asdict(one) for one in self.pairs],
            "studies": [{**one._asdict(), "differences": dict(one.differences)} for one in self.apart],
            "resamples": self.resamples,
            "seed": self.seed,
        }


def check(systems: Sequence[Stored]) -> list[str]:
    """Return the metrics that all systems have; refuse systems that cannot be compared.

    Raises
    ------
    UsageError
        Fewer than two systems, two of one name, other studies, references or signatures, or no metric in common.
    """
    names = [one.name for one in systems]
    if len(systems) < 2 or len(set(names)) < len(names):
        raise UsageError(f"{', '.join(names)}: at least two folders of different names are needed.")
    first = systems[0]
    for other in systems[1:]:
        pair = f"{first.name} and {other.name}"
        compare.check_same(first.references, other.references)
        differ = [study for study, digest in first.references.items() if other.references[study] != digest]
        if differ:
            raise UsageError(
                f"{pair}: {len(differ)} studies have different references, such as {', '.join(differ[:3])}; "
                "score both on the same ones."
            )
        if any(first.patients[study] != patient for study, patient in other.patients.items()):
            raise UsageError(f"{pair}: the studies belong to different patients; score both with the same metadata.")
        for name in first.signatures:
            mine, theirs = first.signatures[name], other.signatures.get(name)
            if theirs is not None and mine != theirs:
                raise UsageError(
                    f"{pair}: {name} has two signatures, {mine} and {theirs}; score both with the same version, weights and precision."
                )
    shared = [name for name in first.signatures if all(name in one.signatures for one in systems)]
    if not shared:
        raise UsageError(f"{', '.join(names)}: no metric in common; score them by the same metrics.")
    return shared


def run(
    systems: Sequence[Stored], *, names: Sequence[str] = (), resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare every pair of systems.

    Parameters
    ----------
    systems
        As ``load`` gives them.
    names
        Metrics; empty: all that the systems share.
    resamples, seed
        Of the bootstrap and of the swaps.

    Raises
    ------
    UsageError
        As in ``check``, and for a metric that not all systems have.
    """
    shared = check(systems)
    for name in names:
        if name not in shared:
            raise UsageError(
                f"no metric {name!r} in all of them.{nearest(name, shared)} There are: {', '.join(shared)}."
            )
    chosen = list(names) or shared
    found: list[Compared] = []
    apart: list[Apart] = []
    for a, b in combinations(systems, 2):
        several = _pair(a, b, chosen, resamples, seed)
        found += several
        apart += _most_apart(a, b, [one.metric for one in several if one.difference is not None])
    tested = [number for number, one in enumerate(found) if one.p is not None]
    corrected = compare.holm([one.p for one in found if one.p is not None])
    for number, p in zip(tested, corrected, strict=True):
        found[number] = _with_holm(found[number], p)
    return Comparison(tuple(found), tuple(apart), resamples, seed)


def _with_holm(one: Compared, p: float) -> Compared:
    return Compared(**{**asdict(one), "p_holm": p})


def _pair(a: Stored, b: Stored, names: Sequence[str], resamples: int, seed: int) -> list[Compared]:
    """Compare two systems by every metric; metrics with values in the same studies share one drawing."""
    columns = Columns()
    studies = sorted(a.patients)
    patients = sorted(set(a.patients.values()))
    exact = groups_of(patients)
    groups = [exact[a.patients[one]] if exact is not None else pool_of(a.patients[one]) for one in studies]
    sides = []
    for mine, other in ((a, b), (b, a)):
        scores = {name: [_both(mine.scores[name][one], other.scores[name][one]) for one in studies] for name in names}
        sides.append(columns.cells(scores))
    matrices = []
    for cells in sides:
        sums = Sums()
        sums.add(groups, cells, len(columns))
        matrices.append(sums.matrix(len(columns)))
    plans: dict[bytes, list[str]] = {}
    for name in names:
        plans.setdefault((matrices[0][:, columns.of(name, "n")] > 0).tobytes(), []).append(name)
    drawn: dict[str, _Drawn] = {}
    for mask, some in plans.items():
        here = np.frombuffer(mask, dtype=bool)
        if here.any():
            drawn |= _draw(columns, [matrix[here] for matrix in matrices], some, resamples, seed)
    return [_compared(a, b, name, studies, drawn.get(name)) for name in names]


def _both(mine: Score, other: Score) -> Score:
    return mine if other.value is not None else Score(mine.metric, None, other.reason)


class _Drawn(NamedTuple):
    """Corpus values of two systems, their resampled differences and those after swaps."""

    first: float
    second: float
    resampled: Floats
    swapped: Floats


def _draw(
    columns: Columns, parts: Sequence[Floats], names: Sequence[str], resamples: int, seed: int
) -> dict[str, _Drawn]:
    total = parts[0].sum(axis=0) + parts[1].sum(axis=0)
    folds: dict[str, tuple[list[int], Aggregation]] = {}
    for name in names:
        aggregation = metrics.get(name).aggregation
        known = columns.keys(name)
        counts = {key: float(total[column]) for key, column in known.items() if key not in ("value", "n")}
        keys = aggregation.keys([Score(name, float(total[known["value"]]), counts=counts)])
        folds[name] = ([known.get(key, -1) for key in keys], aggregation)
    used = sorted({column for index, _ in folds.values() for column in index if column >= 0})
    place = {column: number for number, column in enumerate(used)} | {-1: -1}
    first, second = (np.pad(part[:, used], ((0, 0), (0, 1))) for part in parts)
    width = first.shape[1]
    both = compare.resampled_sums(np.concatenate([first, second], axis=1), resamples=resamples, seed=seed)
    swapped = compare.swapped_sums(first, second, resamples=resamples, seed=seed)
    found = {}
    for name, (columns_of, aggregation) in folds.items():
        index = [place[column] for column in columns_of]
        index = [one if one >= 0 else width - 1 for one in index]

        def value(
            sums: Floats, index: list[int] = index, fold: Callable[[Floats], Floats] = aggregation.fold
        ) -> Floats:
            return fold(sums[..., index])

        found[name] = _Drawn(
            float(value(first.sum(axis=0))),
            float(value(second.sum(axis=0))),
            value(both[:, :width]) - value(both[:, width:]),
            value(swapped[0]) - value(swapped[1]),
        )
    return found


def _compared(a: Stored, b: Stored, name: str, studies: Sequence[str], drawn: _Drawn | None) -> Compared:
    better = metrics.get(name).spec.better
    values = _differences(a, b, name, studies)
    defined = values[~np.isnan(values)]
    signed = defined if better == "higher" else -defined
    n = len(defined)
    # What a study scores says nothing of the difference where the corpus value is undefined: "ties" would be none.
    low = high = p = p_bootstrap = difference = effect = wins = ties = losses = None
    if drawn is not None and not np.isnan(drawn.first - drawn.second):
        difference = drawn.first - drawn.second
        wins, losses = int((signed > compare.NEAR).sum()), int((signed < -compare.NEAR).sum())
        ties = n - wins - losses
        spread = float(defined.std(ddof=1)) if n > 1 else 0.0
        effect = float(defined.mean()) / spread if spread > compare.NEAR else None
        low, high = compare.percentiles(drawn.resampled)
        p = compare.randomised_p(difference, drawn.swapped)
        p_bootstrap = compare.bootstrap_p(drawn.resampled)
    return Compared(
        a.name, b.name, name, difference, low, high, p, None, n, p_bootstrap, effect, wins, ties, losses,
        _plain(drawn.first) if drawn else None, _plain(drawn.second) if drawn else None, better,
        f"{a.signatures[name]}|n={n}",
    )  # fmt: skip


def _differences(a: Stored, b: Stored, name: str, studies: Sequence[str]) -> Floats:
    """Return a minus b of each study, NaN where either has no value."""

    def values(system: Stored) -> Floats:
        several = system.scores[name]
        return np.array([np.nan if (v := several[one].value) is None else v for one in studies], dtype=np.float64)

    return values(a) - values(b)


def _most_apart(a: Stored, b: Stored, names: Sequence[str]) -> list[Apart]:
    """Return the studies in which two systems differ most, by the metrics whose difference is defined."""
    kept = [name for name in names if not metrics.get(name).spec.reference_free] or list(names)
    if not kept:
        return []
    studies = sorted(a.patients)
    differences = np.stack([_differences(a, b, name, studies) for name in kept])
    defined = ~np.isnan(differences)
    plain = np.where(defined, differences, 0.0)
    spread = np.sqrt((plain**2).sum(axis=1) / np.maximum(1, defined.sum(axis=1)))
    scaled = np.abs(plain) / np.where(spread > compare.NEAR, spread, 1.0)[:, None]
    distance = scaled.sum(axis=0) / np.maximum(1, defined.sum(axis=0))
    order = sorted(range(len(studies)), key=lambda one: (-distance[one], studies[one]))[:SHOWN]
    found = []
    for one in order:
        if distance[one] > compare.NEAR:
            rows = [int(row) for row in np.argsort(-scaled[:, one], kind="stable") if defined[row, one]]
            by_metric = {kept[row]: float(differences[row, one]) for row in rows}
            found.append(Apart(a.name, b.name, studies[one], float(distance[one]), by_metric))
    return found


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value


def tables(comparison: Comparison) -> list[RenderableType]:
    """Return, for each pair, a rich table of the metrics and one of the studies that differ most."""
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    for a, b in dict.fromkeys((one.a, one.b) for one in comparison.pairs):
        caption = (
            f"95% paired bootstrap intervals and approximate randomisation, {comparison.resamples} each; Holm over all "
            "metrics and pairs; effect: mean over standard deviation of the studies' differences"
        )
        table = Table(title=Text(f"{a} − {b}"), caption=caption)
        heads = ("metric", a, b, "difference [95% interval]", "p", "p Holm", "effect", "win / tie / loss", "n")
        for number, head in enumerate(heads):
            table.add_column(Text(head), justify="right" if number else "left", overflow="fold")
        for one in comparison.pairs:
            if (one.a, one.b) == (a, b):
                table.add_row(*(Text(cell) for cell in _cells(one)))
        shown.append(table)
        most = [one for one in comparison.apart if (one.a, one.b) == (a, b)]
        if not most:
            continue
        listed = Table(title=Text(f"the {len(most)} studies in which {a} and {b} differ most"))
        for head in ("study", "distance", "largest differences"):
            listed.add_column(head, overflow="fold")
        for apart in most:
            said = ", ".join(f"{name} {value:+.3f}" for name, value in list(apart.differences.items())[:3])
            listed.add_row(Text(apart.study), f"{apart.distance:.2f}", said)
        shown.append(listed)
    return shown


def _cells(one: Compared) -> tuple[str, ...]:
    def plain(value: float | None, form: str = ".3f") -> str:
        return "not scored" if value is None else f"{value:{form}}"

    counts = (one.wins, one.ties, one.losses)
    interval = "" if one.low is None or one.high is None else f" [{one.low:+.3f}, {one.high:+.3f}]"
    return (
        f"{one.metric} {'↑' if one.better == 'higher' else '↓'}", plain(one.a_value), plain(one.b_value),
        plain(one.difference, "+.3f") + interval, plain(one.p, ".4f"), plain(one.p_holm, ".4f"),
        "–" if one.effect is None else f"{one.effect:+.2f}", "–" if None in counts else " / ".join(map(str, counts)), str(one.n),
    )  # fmt: skip
