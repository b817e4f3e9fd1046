"""The scoring of drafts that exist: pairs in, a chunk at a time; corpus values, intervals, baselines and strata out.

Every study is scored once per system: the drafts, and three baselines that have not looked at an image (``BASELINES``).
What is kept are sums by patient and, where a run folder is given, one line a study with scores and counts; texts are held
while their chunk is under way. What grows with the studies is the order of the shuffled references, 4 bytes each. A killed
command with a run folder continues at the study after the last that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread import metrics
from wetread.errors import RunError, UsageError, nearest
from wetread.metrics.weights import Precision
from wetread.models.template import NORMAL
from wetread.records import Report
from wetread.rewards import guards
from wetread.runs import scoring_sums, scoring_work
from wetread.runs.scoring_pool import Pool, in_order
from wetread.runs.scoring_result import FREQUENT, SHUFFLED, TEMPLATE, Result, Tally, result_of
from wetread.runs.scoring_sums import groups_of, pool_of
from wetread.runs.scoring_work import DRAFTS, GUARDS, Chunk, Scorer
from wetread.runs.sections import sectioned
from wetread.runs.store import JsonLines
from wetread.studies import matching
from wetread.studies.matching import Matched, Text

REXRANK = ("bleu_2_rexrank", "bertscore", "semb_score", "radgraph_combined", "ratescore_long", "radcliq_v1")
"""The metrics of ReXrank's board that need no language model as a judge."""
SETS = ("offline", "rexrank", "all")
"""Names that stand for several metrics."""
FEW_VALUES = 20
"""A metadata column with at most so many values is a stratum by itself; others when they are asked for."""
MOST_VALUES = 100
"""Values of a column that is asked for; every stratum holds sums of its own."""
CHUNK = 512
"""Studies held at once."""


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
    matched = matching.match(references, drafts, read=sectioned, normalise=guards.normalised)
    problems = "; ".join(str(problem) for problem in matched.coverage.problems)
    if problems and not allow_missing:
        raise UsageError(f"{problems}. Correct the files, or score the rest with --allow-missing.")
    if not len(matched):
        raise UsageError(
            f"no study is in both files{': ' + problems if problems else ''}; both must have the same ids."
        )
    return matched


def scorer(
    matched: Matched,
    names: Sequence[str],
    weights: str | Path | None = None,
    precision: Precision | None = None,
) -> Scorer:
    """Return the scorer of these metrics; those that need a corpus are frozen on the matched references."""
    references = (pair.reference for part in matched.chunks(CHUNK) for pair in part)
    return scoring_work.scorer(names, references, weights, precision)


def score(
    matched: Matched,
    pool: Pool,
    *,
    seed: int = 0,
    resamples: int = 2_000,
    by: Sequence[str] = (),
    lines: JsonLines | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Result:
    """Score every matched study and return corpus values with intervals, baselines and strata.

    Parameters
    ----------
    matched
        The studies.
    pool
        What scores them and by which metrics, see ``scoring_pool.opened``; where it does so changes no bit of the result.
    seed, resamples
        Of the bootstrap; ``seed`` also of the shuffling.
    by
        Metadata columns to stratify by, besides those with few values.
    lines
        Where each study's scores are written; what is there already is not scored again.
    progress
        Called with the number of studies of each chunk.

    Raises
    ------
    UsageError
        A column of ``by`` is not there or has more than ``MOST_VALUES`` values.
    RunError
        Workers end before their work is done, or the lines belong to other studies.
    """
    columns = _strata_columns(matched, by)
    tally = Tally()
    chunks = _chunks(matched, columns, seed, lines)
    for chunk, done in in_order(pool, chunks):
        if lines is not None and done.lines:
            lines.append_text(done.lines)
        tally.add(chunk.groups, done)
        progress(len(chunk.pairs))
    return result_of(matched, pool.scorer, tally, seed=seed, resamples=resamples)


def _chunks(matched: Matched, columns: Sequence[str], seed: int, lines: JsonLines | None) -> Iterator[Chunk]:
    """Yield the studies with what every system says of them."""
    exact = groups_of(matched.patients(scoring_sums.MOST + 1))
    frequent = matched.most_frequent("references")
    usual = matched.most_frequent("drafts", blank=True)
    n = len(matched)
    other = _another(n, seed)
    stored = _stored(lines)
    start = 0
    for pairs in matched.chunks(CHUNK):
        size = len(pairs)
        constant = [(n > 1, True)] * size
        systems = {
            DRAFTS: _said([pair.draft for pair in pairs], usual),
            TEMPLATE: ([NORMAL] * size, constant),
            FREQUENT: ([frequent.report] * size, constant),
        }
        if n > 1:
            systems[SHUFFLED] = _said(matched.references(other[start : start + size].tolist()), frequent)
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


def _another(n: int, seed: int) -> NDArray[np.int32]:
    """Return another study's number for each; with one study alone, its own."""
    order = np.random.default_rng(seed).permutation(n).astype(np.int32)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)  # one cycle through all studies: nobody is given its own reference
    return other


def _said(texts: Sequence[Text], usual: Text) -> tuple[list[Report], list[tuple[bool, bool]]]:
    """Return the reports of a system and their flags: whether the text is there again, and whether it is the usual one."""
    return [one.report for one in texts], [(one.copies > 1, one.digest == usual.digest) for one in texts]


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
        "references": matched.fingerprint("references"),
        "drafts": matched.fingerprint("drafts"),
        "studies": len(matched),
    }


def _strata_columns(matched: Matched, by: Sequence[str]) -> list[str]:
    there = matched.columns(MOST_VALUES)
    wanted = {name: matching.column(name) for name in by}
    for name, column in wanted.items():
        if column not in there:
            have = ", ".join(there) or "none"
            raise UsageError(f"no column {name!r} to stratify by.{nearest(name.lower(), there)} There are: {have}.")
        if there[column] > MOST_VALUES:
            raise UsageError(f"column {name!r} has more than {MOST_VALUES} values; stratify by bands of them.")
    few = [
        name for name, values in there.items()
        if 1 < values <= FEW_VALUES and name not in (*matching.PATIENTS, "age", "context")
    ]  # fmt: skip
    return list(dict.fromkeys([*wanted.values(), *few]))
