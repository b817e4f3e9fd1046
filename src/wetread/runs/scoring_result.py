"""What came of scoring: the counts of every chunk added up, and corpus values, baselines, strata and coverage out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wetread.metrics.entry import Aggregation
from wetread.rewards import guards
from wetread.runs.compare import Estimate
from wetread.runs.scoring_sums import Columns, Sums, estimates
from wetread.runs.scoring_work import DRAFTS, GUARDS, Done, Scorer
from wetread.runs.store import write_json
from wetread.studies.matching import Coverage, Matched

TEMPLATE = "constant template"
FREQUENT = "most frequent reference"
SHUFFLED = "shuffled references"
BASELINES = (TEMPLATE, FREQUENT, SHUFFLED)
"""Systems that look at no image: one normal report for all, the commonest reference for all, another study's reference."""
FEW_TEXTS = 0.5
"""Fewer distinct drafts than this share of the distinct references are worth an alarm."""


@dataclass(frozen=True)
class Figure:
    """One corpus value, as it is printed and written."""

    value: float | None
    """The value; None: not scored."""
    low: float | None
    """Lower end of the 95% bootstrap interval."""
    high: float | None
    """Upper end."""
    n: int
    """Studies scored."""
    better: str
    """``higher``, ``lower``, or ``one`` (best near 1)."""
    signature: str
    """``name|version|weights|sections|normalisation|n``."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "value": self.value, "low": self.low, "high": self.high, "n": self.n,
            "better": self.better, "signature": self.signature,
        }  # fmt: skip


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Result:
    """What came of scoring."""

    coverage: Mapping[str, Any]
    """What was scored and what was not, in numbers and words; guards' alarms among it."""
    corpus: Figures
    """Metric or guard to its corpus value."""
    baselines: Mapping[str, Figures]
    """The same for each baseline."""
    strata: Mapping[str, Figures]
    """``column=value`` to the values of the drafts of these studies."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Metric to the origin of its formula."""


@dataclass
class Tally:
    """What the loop adds up, chunk after chunk in their order: floating-point sums depend on it."""

    columns: Columns = field(default_factory=Columns)
    """Meaning of the columns of all sums."""
    systems: dict[str, Sums] = field(default_factory=dict)
    """Drafts and baselines to their sums."""
    strata: dict[str, Sums] = field(default_factory=dict)
    """Stratum to the sums of its drafts."""
    contradicting: int = 0
    """References that contradict themselves."""
    sections: set[str] = field(default_factory=set)
    """Sections that the references have."""

    def add(self, groups: Sequence[int], done: Done) -> None:
        """Add what came of one chunk, whose studies are in these groups."""
        for system, (names, (rows, columns, values)) in done.cells.items():
            cells = (rows, self.columns.among(names)[columns], values)
            self.systems.setdefault(system, Sums()).add(groups, cells, len(self.columns))
            for stratum, members in done.strata.items() if system == DRAFTS else ():
                keep = np.zeros(len(groups), dtype=bool)
                keep[members] = True
                self.strata.setdefault(stratum, Sums()).add(groups, cells, len(self.columns), keep)
        self.contradicting += done.contradicting
        self.sections |= done.sections


def result_of(matched: Matched, scorer: Scorer, tally: Tally, *, seed: int, resamples: int) -> Result:
    """Return corpus values with intervals, baselines, strata and coverage; the parameters are those of ``scoring.score``."""
    aggregations = {name: scorer.entries[name].aggregation for name in scorer.names}
    aggregations |= {name: guards.get(name).aggregation for name in GUARDS}
    width = len(tally.columns)
    sections = "+".join(name for name in ("findings", "impression") if name in tally.sections)

    def figures(sums: Mapping[str, Sums], chosen: Mapping[str, Aggregation]) -> dict[str, dict[str, Figure]]:
        matrices = {system: one.matrix(width) for system, one in sums.items()}
        found = estimates(tally.columns, matrices, chosen, resamples=resamples, seed=seed)
        return {
            system: {name: _figure(scorer, name, one, sections) for name, one in several.items()}
            for system, several in found.items()
        }

    whole = figures(tally.systems, aggregations)
    corpus = whole[DRAFTS]
    baselines = {name: whole[name] for name in BASELINES if name in whole}
    # Averages over findings say little where all studies were chosen by one of them.
    plain = {name: one for name, one in aggregations.items() if not _by_class(tally.columns, name)}

    def part(name: str) -> dict[str, dict[str, Figure]]:
        return figures({name: tally.strata[name]}, plain if name.startswith("finding=") else aggregations)

    names = sorted(tally.strata, key=lambda one: (not one.startswith("reference="), one.startswith("finding="), one))
    strata: dict[str, Figures] = {}
    for name in names:
        strata |= part(name)
    sources = {name: scorer.entries[name].spec.source for name in scorer.names}
    coverage = {**_coverage(matched, corpus, tally), "empty_draft_policy": scorer.empty_drafts}
    return Result(coverage, corpus, baselines, strata, sources)


def _by_class(columns: Columns, metric: str) -> bool:
    return any(key[:3] in ("tp:", "fp:", "fn:") for key in columns.keys(metric))


def _figure(scorer: Scorer, name: str, one: Estimate, sections: str) -> Figure:
    return Figure(one.value, one.low, one.high, one.n, scorer.better(name), scorer.signature(name, one.n, sections))


def _coverage(matched: Matched, corpus: Figures, tally: Tally) -> dict[str, Any]:
    n = len(matched)
    usual = matched.most_copies("references", blank=True) / n
    values = {name: corpus[name].value for name in GUARDS}
    empty = {"drafts": matched.empty("drafts"), "references": matched.empty("references")}
    found: Coverage = matched.coverage
    alarms = guards.alarms(
        values, n=n, unreadable=empty["drafts"], usual_template=usual, usual_contradicting=tally.contradicting / n
    )
    distinct = matched.distinct("drafts"), matched.distinct("references")
    if distinct[0] < FEW_TEXTS * distinct[1]:
        few = f"{distinct[0]} distinct texts in {n} drafts; the references have {distinct[1]}"
        alarms = (few, *alarms)
    return {
        "scored": n,
        "references": found.references,
        "drafts": found.drafts,
        "share": n / found.references,
        "patients": matched.count_patients(),
        "distinct_drafts": distinct[0],
        "distinct_references": distinct[1],
        "empty_drafts": empty["drafts"],
        "empty_references": empty["references"],
        "sections": sorted(tally.sections),
        "problems": [
            {"file": one.role, "kind": one.kind, "count": one.count, "first": list(one.first)} for one in found.problems
        ],
        "alarms": list(alarms),
    }


def finish(folder: Path, result: Result) -> None:
    """Write the corpus values, baselines and strata beside the scores of a run folder, as ``summary.json``."""
    body = {
        "coverage": dict(result.coverage),
        "corpus": {name: one.to_json() for name, one in result.corpus.items()},
        "baselines": {name: {m: one.to_json() for m, one in some.items()} for name, some in result.baselines.items()},
        "strata": {name: {m: one.to_json() for m, one in some.items()} for name, some in result.strata.items()},
    }
    write_json(folder / "summary.json", body)
