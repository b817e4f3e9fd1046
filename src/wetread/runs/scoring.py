"""The scoring of drafts that exist: pairs in, a chunk at a time; corpus values, intervals, baselines and strata out.

Every study is scored once per system: the drafts, and three baselines that have not looked at an image (``BASELINES``).
What is kept are sums by patient and, where a run folder is given, one line a study with scores and counts; texts are held
for one chunk only. A killed command with a run folder continues at the study after the last that was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wetread import metrics
from wetread.errors import RunError, UsageError, nearest
from wetread.metrics.entry import Aggregation
from wetread.metrics.weights import VARIABLE
from wetread.models.base import fingerprint
from wetread.models.template import NORMAL
from wetread.prompts.direct import split_sections
from wetread.records import Report
from wetread.rewards import guards
from wetread.runs import scoring_work
from wetread.runs.compare import Estimate
from wetread.runs.scoring_sums import Columns, Sums, estimates, groups_of, pool_of
from wetread.runs.scoring_work import DRAFTS, GUARDS, Chunk, Done, Scorer
from wetread.runs.store import JsonLines, write_json
from wetread.studies import matching
from wetread.studies.matching import Coverage, Matched

REXRANK = ("bleu_2_rexrank", "bertscore", "semb_score", "radgraph_combined", "ratescore_long", "radcliq_v1")
"""The metrics of ReXrank's board that need no language model as a judge."""
SETS = ("offline", "rexrank", "all")
"""Names that stand for several metrics."""
TEMPLATE = "constant template"
FREQUENT = "most frequent reference"
SHUFFLED = "shuffled references"
BASELINES = (TEMPLATE, FREQUENT, SHUFFLED)
"""Systems that look at no image: one normal report for all, the commonest reference for all, another study's reference."""
FEW_VALUES = 20
"""A metadata column with at most so many values is a stratum by itself; others when they are asked for."""
FEW_TEXTS = 0.5
"""Fewer distinct drafts than this share of the distinct references are worth an alarm."""
CHUNK = 512
"""Studies held at once."""


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


def choose(names: str) -> list[str]:
    """Return the metrics that ``offline``, ``rexrank``, ``all`` or names with commas between mean.

    ``offline``: every metric without weights, those that look at the draft alone last.

    Raises
    ------
    UsageError
        One of the names is unknown; names those that exist.
    """
    found: list[str] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "rexrank":
            found += REXRANK
        elif name in ("offline", "all"):
            every = [(metrics.get(one).spec, one) for one in metrics.METRICS]
            kept = [(spec.reference_free, one) for spec, one in every if name == "all" or not spec.needs]
            found += [one for free, one in kept if not free] + [one for free, one in kept if free]
        else:
            found.append(name)
    known = sorted([*SETS, *metrics.METRICS])
    for name in found:
        if name not in metrics.METRICS:
            raise UsageError(f"no metric is called {name!r}.{nearest(name, known)} There are: {', '.join(known)}.")
    if not found:
        raise UsageError(f"no metric is named; give {', '.join(SETS)} or names with commas between.")
    return list(dict.fromkeys(found))


def read(references: Path, drafts: Path, *, allow_missing: bool = False) -> Matched:
    """Match two files by study id; refuse them where they do not match, unless ``allow_missing``.

    Raises
    ------
    UsageError
        There are duplicate, missing, extra, empty, non-text or unreadable entries, or none that match; names the first.
    MissingError, StudyError
        As in ``studies.matching.match``.
    """
    matched = matching.match(references, drafts, read=_sectioned, normalise=guards.normalised)
    problems = "; ".join(str(problem) for problem in matched.coverage.problems)
    if problems and not allow_missing:
        raise UsageError(f"{problems}. Correct the files, or score the rest with --allow-missing.")
    if not len(matched):
        raise UsageError(
            f"no study is in both files{': ' + problems if problems else ''}; both must have the same ids."
        )
    return matched


def _sectioned(text: str) -> Report:
    """Return a text's sections by their headers; a text without headers is the findings, as it stands."""
    report = split_sections(text)
    whole = not report.impression and report.findings == " ".join(text.split())
    return Report(findings=text.strip()) if whole else report


def scorer(matched: Matched, names: Sequence[str], weights: str | Path | None = None) -> Scorer:
    """Return the scorer of these metrics; those that need a corpus are frozen on the matched references."""
    references = (pair.reference for part in matched.chunks(CHUNK) for pair in part)
    return scoring_work.scorer(names, references, weights)


@dataclass
class _Tally:
    """What the loop adds up."""

    columns: Columns = field(default_factory=Columns)
    systems: dict[str, Sums] = field(default_factory=dict)
    strata: dict[str, Sums] = field(default_factory=dict)
    contradicting: int = 0
    sections: set[str] = field(default_factory=set)

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


def score(
    matched: Matched,
    scorer: Scorer,
    *,
    seed: int = 0,
    resamples: int = 2_000,
    by: Sequence[str] = (),
    lines: JsonLines | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda count: None,
) -> Result:
    """Score every matched study and return corpus values with intervals, baselines and strata.

    Parameters
    ----------
    matched, scorer
        The studies and the metrics.
    seed, resamples
        Of the bootstrap; ``seed`` also of the shuffling.
    by
        Metadata columns to stratify by, besides those with few values.
    lines
        Where each study's scores are written; what is there already is not scored again.
    workers
        Processes that score; the result does not depend on it.
    progress
        Called with the number of studies of each chunk.

    Raises
    ------
    UsageError
        A column of ``by`` is not there.
    MissingError
        A metric's weights are not there.
    """
    columns = _strata_columns(matched, by)
    tally = _Tally()
    patients = matched.patients()
    chunks = _chunks(matched, patients, columns, seed, lines)
    for chunk, done in scoring_work.work_all(scorer, chunks, workers):
        if lines is not None and done.lines:
            lines.append_text(done.lines)
        tally.add(chunk.groups, done)
        progress(len(chunk.pairs))
    return _result(matched, scorer, tally, len(patients), seed=seed, resamples=resamples)


def _chunks(
    matched: Matched, patients: Sequence[str], columns: Sequence[str], seed: int, lines: JsonLines | None
) -> Iterator[Chunk]:
    """Yield the studies with what every system says of them."""
    exact = groups_of(patients)
    frequent, _ = matched.most_frequent("references")
    repeated = {"drafts": matched.repeated("drafts"), "references": matched.repeated("references")}
    usual = _key(matched.most_frequent("drafts", blank=True)[0]), _key(frequent)
    n = len(matched)
    order = np.random.default_rng(seed).permutation(n)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)  # one cycle through all studies: nobody is given its own reference
    stored = _stored(lines)
    start = 0
    for pairs in matched.chunks(CHUNK):
        size = len(pairs)
        drafts = [pair.draft for pair in pairs]
        constant = [(n > 1, True)] * size
        systems = {
            DRAFTS: (drafts, _flags(drafts, repeated["drafts"], usual[0])),
            TEMPLATE: ([NORMAL] * size, constant),
            FREQUENT: ([frequent] * size, constant),
        }
        if n > 1:
            shuffled = matched.references([int(one) for one in other[start : start + size]])
            systems[SHUFFLED] = (shuffled, _flags(shuffled, repeated["references"], usual[1]))
        groups = [exact[pair.patient] if exact is not None else pool_of(pair.patient) for pair in pairs]
        kept = []
        for pair, record in zip(pairs, stored, strict=False):
            if record["study"] != pair.study:
                raise RunError(
                    f"the run folder has {record['study']!r} where {pair.study!r} must be; use another --out."
                )
            kept.append(record["scores"])
        yield Chunk(pairs, groups, systems, columns, kept, lines is not None)
        start += size


def _key(report: Report) -> bytes:
    return matching.digest(report, guards.normalised)


def _flags(drafts: Sequence[Report], repeated: Mapping[bytes, int], usual: bytes) -> list[tuple[bool, bool]]:
    return [((key := _key(draft)) in repeated, key == usual) for draft in drafts]


def _stored(lines: JsonLines | None) -> Iterator[dict[str, Any]]:
    """Yield the lines that are there now; those that are added while this runs are not among them."""
    if lines is None:
        return
    have = sum(1 for _ in lines.read())
    for number, record in enumerate(lines.read()):
        if number >= have:
            return
        yield record


def config(matched: Matched, scorer: Scorer) -> dict[str, Any]:
    """Return what stored scores depend on, for their run folder."""
    return {
        "metrics": list(scorer.names),
        "signatures": {name: scorer.signature(name, len(matched), "as given") for name in (*scorer.names, *GUARDS)},
        "weights": weights_fingerprint(scorer.weights) if scorer.needs else "",
        "references": matched.fingerprint("references"),
        "drafts": matched.fingerprint("drafts"),
        "studies": len(matched),
    }


def weights_fingerprint(weights: str | Path | None) -> str:
    """Return 16 hex digits for the contents of a folder of weights and its sub-folders; empty when there is no folder."""
    named = weights if weights is not None else os.environ.get(VARIABLE, "")
    if not named or not Path(named).is_dir():
        return ""
    found = hashlib.blake2b(digest_size=8)
    for folder in sorted([Path(named), *(path for path in Path(named).rglob("*") if path.is_dir())]):
        found.update(f"{folder.relative_to(named).as_posix()}\0{fingerprint(str(folder))}\0".encode())
    return found.hexdigest()


def finish(folder: Path, result: Result) -> None:
    """Write the corpus values, baselines and strata beside the scores of a run folder, as ``summary.json``."""
    body = {
        "coverage": dict(result.coverage),
        "corpus": {name: one.to_json() for name, one in result.corpus.items()},
        "baselines": {name: {m: one.to_json() for m, one in some.items()} for name, some in result.baselines.items()},
        "strata": {name: {m: one.to_json() for m, one in some.items()} for name, some in result.strata.items()},
    }
    write_json(folder / "summary.json", body)


def _strata_columns(matched: Matched, by: Sequence[str]) -> list[str]:
    there = matched.columns(FEW_VALUES)
    for name in by:
        if name.lower() not in there:
            have = ", ".join(there) or "none"
            raise UsageError(f"no column {name!r} to stratify by.{nearest(name.lower(), there)} There are: {have}.")
    wanted = [name.lower() for name in by]
    few = [
        name for name, values in there.items()
        if 1 < values <= FEW_VALUES and name not in (*matching.PATIENTS, "age", "context")
    ]  # fmt: skip
    return list(dict.fromkeys([*wanted, *few]))


def _result(matched: Matched, scorer: Scorer, tally: _Tally, patients: int, *, seed: int, resamples: int) -> Result:
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
    coverage = _coverage(matched, corpus, tally, patients)
    return Result(coverage, corpus, baselines, strata, sources)


def _by_class(columns: Columns, metric: str) -> bool:
    return any(key[:3] in ("tp:", "fp:", "fn:") for key in columns.keys(metric))


def _figure(scorer: Scorer, name: str, one: Estimate, sections: str) -> Figure:
    return Figure(one.value, one.low, one.high, one.n, scorer.better(name), scorer.signature(name, one.n, sections))


def _coverage(matched: Matched, corpus: Figures, tally: _Tally, patients: int) -> dict[str, Any]:
    n = len(matched)
    usual = matched.most_frequent("references", blank=True)[1] / n
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
        "patients": patients,
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
