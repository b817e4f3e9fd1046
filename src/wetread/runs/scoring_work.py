"""The scoring of one chunk of studies, in whatever process it is done (``scoring_pool``).

A chunk goes in with everything that scoring it takes; counts in columns, finished lines for the run folder and memberships
of strata come out. What is sent between processes is small and holds no object of a metric.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wetread import metrics
from wetread.metrics.entry import EMPTY_REFERENCE, MetricEntry
from wetread.metrics.facts import findings_of, is_abnormal, present_of
from wetread.metrics.weights import Precision, precision_of
from wetread.records import Report, Score
from wetread.rewards import guards
from wetread.runs.scoring_sums import Cells, Columns
from wetread.studies.matching import Pair, digest

GUARDS = ("length_ratio", "duplicate_share", "template_share", "contradiction_share", "abnormal_f1")
"""What stands beside the metrics in every table."""
DRAFTS = "drafts"
"""The system that is judged."""
ASKED = ("cached", "requests", "retries", "prompt_tokens", "completion_tokens", "uncounted", "cost")
"""What is counted of a judge, see ``judges.client.Usage``."""
MOST_REASONS = 20
"""Different reasons that are kept apart, per metric and chunk."""
ENDPOINT = "endpoint"
"""What the needs of a metric say that asks a judge and not a network of its own."""

Flags = Sequence[tuple[bool, bool]]
"""For each draft whether its text occurs more than once and whether it is the most frequent one."""


@dataclass(frozen=True)
class Scorer:
    """Metrics as they are used, those that need a corpus frozen on it; picklable."""

    names: tuple[str, ...]
    """Metrics in the order of the table."""
    entries: Mapping[str, MetricEntry]
    """These, and what composite ones are made of, bound to their weights and precision."""
    made_with: Mapping[str, tuple[str, ...]]
    """Metric to its weights with their contents, or its judge; looked up once, where the scorer is made."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the weights and services that are needed."""
        return tuple(sorted({one for entry in self.entries.values() for one in entry.spec.needs}))

    @property
    def judges(self) -> tuple[str, ...]:
        """Metrics that ask an endpoint about each pair; it is not asked about baselines."""
        return tuple(name for name in self.names if any(ENDPOINT in one for one in self.entries[name].spec.needs))

    def judge(
        self, drafts: Sequence[Report], references: Sequence[Report]
    ) -> tuple[dict[str, list[Score]], dict[str, Counter[str]]]:
        """Return the scores of ``judges``, and what asking them took: metric to ``ASKED`` and its numbers."""
        if not self.judges or not drafts:
            return {name: [] for name in self.judges}, {}
        from wetread.metrics.judges.judging import counting  # a client of HTTP, only where it is needed

        with counting() as books:
            scores = metrics.score(self.judges, drafts, references, entries=self.entries)
        return scores, {name: Counter({what: getattr(used, what) for what in ASKED}) for name, used in books.items()}

    def beside(self, found: Mapping[str, Sequence[Score]]) -> dict[str, list[Score]]:
        """Return each report's precision and recall for the metrics whose corpus value is a mean and that have them."""
        sides: dict[str, list[Score]] = {}
        for name in self.names:
            shares = self.entries[name].aggregation.beside
            for place, what in enumerate(("precision", "recall") if shares is not None else ()):
                label = f"{name}_{what}"
                sides[label] = [
                    Score(label, None if one.value is None or shares is None else shares(one)[place])
                    for one in found[name]
                ]
        return sides

    def __call__(self, drafts: Sequence[Report], references: Sequence[Report], flags: Flags) -> dict[str, list[Score]]:
        """Return metric or guard to one score a pair; the judges are not asked."""
        judges = self.judges
        names = [name for name in self.names if name not in judges]
        found = metrics.score(names, drafts, references, entries=self.entries)
        found |= {name: [Score(name, None, "no judge is asked about a baseline")] * len(drafts) for name in judges}
        for name in ("length_ratio", "contradiction_share", "abnormal_f1"):
            found[name] = guards.get(name)(drafts, references)
        for place, name in enumerate(("duplicate_share", "template_share")):
            found[name] = [Score(name, float(flag[place])) for flag in flags]
        return {name: found[name] for name in (*self.names, *GUARDS)}

    @property
    def empty_drafts(self) -> dict[str, list[str]]:
        """What a draft without text gets, in words, and the metrics that give it that."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(self.entries[name].spec.empty_draft, []).append(name)
        return found

    def signature(self, name: str, n: int, sections: str) -> str:
        """Return the signature of a metric or guard; precision and recall beside an F1 have that of the F1."""
        if name not in self.entries and name not in GUARDS:
            base, _, what = name.rpartition("_")
            head, rest = self.signature(base, n, sections).split("|", 1)
            return f"{head}_{what}|{rest}"
        if name in GUARDS:
            return guards.get(name).signature(sections=sections, n=n)
        return self.entries[name].spec.signature(self.made_with[name], sections=sections, n=n)

    def better(self, name: str) -> str:
        """Return the direction of a metric or guard: ``higher``, ``lower`` or ``one``."""
        if name in GUARDS:
            return {"length_ratio": "one", "abnormal_f1": "higher"}.get(name, "lower")
        return self.entries[name].spec.better if name in self.entries else "higher"


def scorer(
    names: Sequence[str],
    references: Iterable[Report],
    weights: str | Path | None = None,
    precision: Precision | None = None,
) -> Scorer:
    """Return the scorer of these metrics; ``references`` are the whole corpus, read only where a metric needs it.

    Weights and judges are looked up here: ``MissingError`` when one is not there.
    """
    entries = metrics.bind(names, references, weights=weights, precision=precision_of(precision))
    made_with = {name: entries[name].made_with() for name in names}
    return Scorer(tuple(names), entries, made_with)


@dataclass(frozen=True)
class Chunk:
    """Some studies and what every system says of them."""

    pairs: Sequence[Pair]
    """The studies."""
    groups: Sequence[int]
    """Group of each study, for the sums by patient."""
    systems: Mapping[str, tuple[Sequence[Report], Flags]]
    """System to its drafts and their flags."""
    columns: Sequence[str] = ()
    """Metadata columns that make strata."""
    kept: Sequence[Mapping[str, Any]] = ()
    """Scores of the first studies' drafts that are stored already."""
    lines: bool = False
    """Whether lines for the run folder are wanted."""


@dataclass(frozen=True)
class Done:
    """What came of a chunk."""

    cells: Mapping[str, tuple[list[tuple[str, str]], Cells]]
    """System to the meaning of its columns and the counts in them."""
    lines: tuple[str, ...]
    """One line of JSON for each study whose drafts were scored now."""
    strata: Mapping[str, list[int]] = field(default_factory=dict)
    """Stratum to its rows."""
    contradicting: int = 0
    """References that contradict themselves."""
    sections: frozenset[str] = frozenset()
    """Sections that the references have."""
    unscored: Mapping[str, Counter[str]] = field(default_factory=dict)
    """Metric to how many drafts have no score for which reason; empty references are not among them."""
    asked: Mapping[str, Counter[str]] = field(default_factory=dict)
    """Judge's metric to what asking it took, see ``ASKED``."""


def work(scorer: Scorer, chunk: Chunk) -> Done:
    """Score one chunk."""
    references = [pair.reference for pair in chunk.pairs]
    cells: dict[str, tuple[list[tuple[str, str]], Cells]] = {}
    lines: tuple[str, ...] = ()
    unscored: dict[str, Counter[str]] = {}
    asked: dict[str, Counter[str]] = {}
    starts = {system: len(chunk.kept) if system == DRAFTS else 0 for system in chunk.systems}
    # All systems in one call: what is known of a reference serves each of them.
    together = scorer(
        [draft for system, (drafts, _) in chunk.systems.items() for draft in drafts[starts[system] :]],
        [reference for system in chunk.systems for reference in references[starts[system] :]],
        [flag for system, (_, flags) in chunk.systems.items() for flag in flags[starts[system] :]],
    )
    place = 0
    for system, (drafts, _) in chunk.systems.items():
        start = starts[system]
        found = {name: several[place : place + len(drafts) - start] for name, several in together.items()}
        place += len(drafts) - start
        if system == DRAFTS:
            judged, asked = scorer.judge(drafts[start:], references[start:])
            found |= judged
            if chunk.lines:
                lines = tuple(_line(pair, found, row) for row, pair in enumerate(chunk.pairs[start:]))
            found = {name: [_read(name, one) for one in chunk.kept] + found[name] for name in (*scorer.names, *GUARDS)}
            unscored = {name: counted for name in scorer.names if (counted := _unscored(found[name]))}
        columns = Columns()
        made = columns.cells(found | scorer.beside(found))
        cells[system] = (columns.names(), made)
    return Done(
        cells,
        lines,
        _strata(chunk),
        sum(any(one.denied for one in findings_of(report)) for report in references),
        frozenset(section for report in references for section in report.sections),
        unscored,
        asked,
    )


def _unscored(scores: Sequence[Score]) -> Counter[str]:
    """Count the reasons, the rarer ones of very many as one."""
    found = Counter(one.reason for one in scores if one.value is None and not one.reason.endswith(EMPTY_REFERENCE))
    kept = Counter(dict(found.most_common(MOST_REASONS)))
    if len(kept) < len(found):
        kept["other reasons"] += found.total() - kept.total()
    return kept


def _line(pair: Pair, scores: Mapping[str, Sequence[Score]], row: int) -> str:
    body = {
        "study": pair.study,
        "patient": pair.patient,
        "reference": digest(pair.reference).hex(),
        "scores": {
            name: {
                "value": several[row].value,
                **({"reason": several[row].reason} if several[row].reason else {}),
                **({"counts": dict(several[row].counts)} if several[row].counts else {}),
            }
            for name, several in scores.items()
        },
    }
    return json.dumps(body, ensure_ascii=False)


def _read(name: str, scores: Mapping[str, Any]) -> Score:
    one = scores[name]
    return Score(name, one["value"], one.get("reason", ""), one.get("counts", {}))


def _strata(chunk: Chunk) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, pair in enumerate(chunk.pairs):
        if pair.reference:
            kind = "abnormal" if is_abnormal(pair.reference) else "normal"
            names = [f"reference={kind}", *(f"finding={finding}" for finding in present_of(pair.reference))]
        else:
            names = []
        names += [f"{column}={pair.meta.get(column, 'not stated')}" for column in chunk.columns]
        for name in names:
            found.setdefault(name, []).append(row)
    return found
