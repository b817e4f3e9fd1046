"""What came of scoring: the counts of every chunk added up, and corpus values, baselines, strata and coverage out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wetread import metrics
from wetread.metrics.entry import MEAN, Aggregation, CorpusEntry, class_table
from wetread.records import Score
from wetread.rewards import guards
from wetread.runs.compare import Estimate
from wetread.runs.scoring_sums import Columns, Sums, estimates
from wetread.runs.scoring_work import ASKED, DRAFTS, GUARDS, MOST_REASONS, Done, Scorer
from wetread.runs.store import write_json
from wetread.studies.matching import Coverage, Matched

TEMPLATE = "constant template"
FREQUENT = "most frequent reference"
SHUFFLED = "shuffled references"
BASELINES = (TEMPLATE, FREQUENT, SHUFFLED)
"""Systems that look at no image: one normal report for all, the commonest reference for all, another study's reference."""
SHOWN_REASONS = 3
"""Reasons that an alarm names; the JSON has more."""
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
Classes = Mapping[str, Mapping[str, float | None]]
"""Class to its figures, see ``class_table``."""


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
    classes: Mapping[str, Classes] = field(default_factory=dict)
    """Metric that counts by class to what ``class_table`` says of the drafts."""


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
    unscored: dict[str, Counter[str]] = field(default_factory=dict)
    """Metric to how many drafts have no score for which reason, empty references left out."""
    asked: dict[str, Counter[str]] = field(default_factory=dict)
    """Judge's metric to what asking it took."""

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
        for ours, theirs in ((self.unscored, done.unscored), (self.asked, done.asked)):
            for name, counted in theirs.items():
                ours.setdefault(name, Counter()).update(counted)


def result_of(matched: Matched, scorer: Scorer, tally: Tally, *, seed: int, resamples: int) -> Result:
    """Return corpus values with intervals, baselines, strata and coverage; the parameters are those of ``scoring.score``."""
    aggregations = {name: scorer.entries[name].aggregation for name in scorer.names}
    for name in scorer.names:
        if aggregations[name].beside is not None:
            aggregations |= {f"{name}_{what}": MEAN for what in ("precision", "recall")}
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
    plain = {name: one for name, one in aggregations.items() if not _by_class(one)}

    def part(name: str) -> dict[str, dict[str, Figure]]:
        return figures({name: tally.strata[name]}, plain if name.startswith("finding=") else aggregations)

    names = sorted(tally.strata, key=lambda one: (not one.startswith("reference="), one.startswith("finding="), one))
    strata: dict[str, Figures] = {}
    for name in names:
        strata |= part(name)
    sources = {name: scorer.entries[name].spec.source for name in scorer.names}
    coverage = {**_coverage(matched, corpus, tally), "empty_draft_policy": scorer.empty_drafts}
    coverage |= _unjudged(matched, scorer, tally)
    coverage["alarms"] = [*_not_scored(coverage), *_too_alike(matched, scorer), *coverage["alarms"]]
    return Result(coverage, corpus, baselines, strata, sources, _classes(scorer, tally))


def _unjudged(matched: Matched, scorer: Scorer, tally: Tally) -> dict[str, Any]:
    """Return, by metric, what was not scored for which reason, and what the judges were asked."""
    asked = len(matched) - matched.empty("references")
    unscored = {
        name: {"asked": asked, "failed": counted.total(), "reasons": dict(counted.most_common(MOST_REASONS))}
        for name, counted in tally.unscored.items()
    }
    judges = {
        name: {
            "asked": asked,
            "failed": tally.unscored.get(name, Counter()).total(),
            "reasons": unscored.get(name, {}).get("reasons", {}),
            **{what: counted[what] for what in ASKED if what != "cost" or counted[what]},
        }
        for name, counted in tally.asked.items()
    }
    return {"unscored": unscored, "judges": judges}


def _not_scored(coverage: Mapping[str, Any]) -> list[str]:
    found = []
    for name, one in coverage["unscored"].items():
        reasons = [f"{reason} ({count})" for reason, count in list(one["reasons"].items())[:SHOWN_REASONS]]
        more = len(one["reasons"]) - len(reasons)
        said = "; ".join([*reasons, *([f"{more} further reasons"] if more else [])])
        share = one["failed"] / one["asked"]
        found.append(f"{name}: {one['failed']} of {one['asked']} not scored ({share:.1%}): {said}")
    return found


def _too_alike(matched: Matched, scorer: Scorer) -> list[str]:
    distinct = matched.distinct("references")
    if distinct >= 2:
        return []
    return [
        f"{name}: the references are {distinct} distinct text; words that all references share weigh nothing, so it is 0 "
        "whatever the drafts say"
        for name in scorer.names
        if isinstance(metrics.get(name), CorpusEntry)
    ]


def _by_class(aggregation: Aggregation) -> bool:
    """Tell whether a corpus value is folded class by class."""
    return any(key.startswith("tp:") for key in aggregation.keys([Score("", 0.0, counts={"tp:any": 1.0})]))


def _classes(scorer: Scorer, tally: Tally) -> dict[str, Classes]:
    found: dict[str, Classes] = {}
    sums = tally.systems[DRAFTS].matrix(len(tally.columns)).sum(axis=0)
    for name in scorer.names:
        counts = {key: float(sums[column]) for key, column in tally.columns.keys(name).items()}
        # A corpus without any class has no counts of it, but its classes may be fixed.
        if table := class_table(counts, scorer.entries[name].classes):
            found[name] = table
    return found


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
        "one_sided_sections": [
            {"section": section, "file": role, "count": count}
            for section in ("findings", "impression")
            for role in ("drafts", "references")
            if (count := matched.one_sided(section, role))
        ],
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
        "classes": result.classes,
    }
    write_json(folder / "summary.json", body)
