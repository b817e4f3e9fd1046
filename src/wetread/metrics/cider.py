"""CIDEr-D: n-grams in common, the rarer in the references the more they count. No weights, but a corpus.

How rare an n-gram is can only be said of a set of references, and CIDEr-D takes the set that is being scored: the same
report has another score in another batch, and in a batch of one every score is 0. So the counting is a step of its own.

- ``get("cider_d")(drafts, references)`` and ``metrics.score`` count on all references they are given, repeated ones and
  all, before anything is scored. Given a whole corpus, the mean is the number that coco-caption prints for it.
- ``get("cider_d").freeze(references)`` returns the metric with its counts fixed: a report then gets the same score in any
  batch. Freeze it on the whole corpus before scoring in parts, and on the training references to use it as a reward.

Tokens as in ``bleu.lower_dot``. An empty draft scores 0. An empty reference is not scored and not counted.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from wetread.errors import UsageError
from wetread.metrics.bleu import LOWER_DOT, ORDERS, lower_dot, ngrams
from wetread.metrics.entry import MEAN, CorpusEntry, check_lengths
from wetread.records import MetricSpec, Report, Score

SIGMA = 6.0
"""Width, in bigrams, of the penalty on a difference in length."""
SCALE = 10.0
"""Best value."""

Vectors = tuple[list[dict[str, float]], list[float], int]
"""Weighted n-grams for each n, their norms, and the number of bigrams."""


@dataclass(frozen=True)
class Documents:
    """In how many studies' references each n-gram occurs; the statistics that CIDEr-D weighs by."""

    n: int
    """Studies counted."""
    frequencies: Mapping[str, int] = field(repr=False)
    """N-gram (tokens joined by a space) to studies, 2 and more; one that is left out counts as 1."""

    @property
    def fingerprint(self) -> str:
        """``n`` and eight hex digits of the counts; part of the frozen metric's version."""
        digest = hashlib.blake2b(str(self.n).encode(), digest_size=4)
        for gram in sorted(self.frequencies):
            digest.update(f"{gram}\0{self.frequencies[gram]}\0".encode("utf-8", "surrogatepass"))
        return f"{self.n}.{digest.hexdigest()}"

    @cached_property
    def rarity(self) -> Mapping[str, float]:
        """N-gram to ``ln N - ln df``; one that is left out has ``ln N``."""
        whole = math.log(self.n)
        return {gram: whole - math.log(count) for gram, count in self.frequencies.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"n": self.n, "frequencies": dict(self.frequencies)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Documents:
        """Return the counts that ``to_json`` wrote."""
        return cls(int(data["n"]), {str(gram): int(count) for gram, count in data["frequencies"].items()})


def documents(references: Iterable[Report]) -> Documents:
    """Count the n-grams of all references that have text, one study each.

    Raises
    ------
    UsageError
        When none has text.
    """
    return count_documents([lower_dot(reference.text)] for reference in references if reference)


def count_documents(studies: Iterable[Sequence[Sequence[str]]]) -> Documents:
    """Count the n-grams of tokenised references; a study has one or several and counts each n-gram once.

    Raises
    ------
    UsageError
        When there is no study.
    """
    counted: Counter[str] = Counter()
    n = 0
    for references in studies:
        n += 1
        counted.update({" ".join(gram) for tokens in references for size in ORDERS for gram in ngrams(tokens, size)})
    if not n:
        raise UsageError(
            "CIDEr-D counts n-grams in references, and no reference with text was given; give at least one."
        )
    return Documents(n, {gram: count for gram, count in counted.items() if count > 1})


def cider_d_tokens(draft: Sequence[str], references: Sequence[Sequence[str]], counted: Documents) -> float:
    """Return the CIDEr-D of one tokenised draft, 0 to 10.

    For n = 1 to 4: ``sum(min(g_c, g_r) · g_r) / (|g_c| · |g_r|) · exp(-d² / (2 · 6²))`` with
    ``g = tf · (ln N - ln max(1, df))`` and ``d`` the difference in bigrams; times 10, mean over n and over references.

    >>> counted = count_documents([["clear lungs are seen".split()], ["large left effusion seen".split()]])
    >>> round(cider_d_tokens("clear lungs are seen".split(), ["clear lungs are seen".split()], counted), 6)
    10.0
    """
    ours = _vectors(draft, counted)
    total = sum(_similarity(ours, _vectors(reference, counted)) for reference in references)
    return SCALE * total / len(ORDERS) / len(references)


def _vectors(tokens: Sequence[str], counted: Documents) -> Vectors:
    weights, norms = [], []
    rarity, most = counted.rarity, math.log(counted.n)
    for size in ORDERS:
        grams = tokens if size == 1 else map(" ".join, zip(*(tokens[start:] for start in range(size)), strict=False))
        vector = {gram: count * rarity.get(gram, most) for gram, count in Counter(grams).items()}
        weights.append(vector)
        norms.append(math.sqrt(math.fsum(value * value for value in vector.values())))
    return weights, norms, max(0, len(tokens) - 1)


def _similarity(ours: Vectors, theirs: Vectors) -> float:
    penalty = math.exp(-((ours[2] - theirs[2]) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for left, right, norm, other in zip(ours[0], theirs[0], ours[1], theirs[1], strict=True):
        if norm and other:
            shared = math.fsum(min(value, right[gram]) * right[gram] for gram, value in left.items() if gram in right)
            total += shared / (norm * other) * penalty
    return total


def cider_d(
    drafts: Sequence[Report], references: Sequence[Report], *, statistics: Documents | None = None
) -> list[Score]:
    """Score each draft by CIDEr-D, 0 to 10; the corpus value is the mean.

    Parameters
    ----------
    drafts, references
        Reports of the same order and length.
    statistics
        Counts of n-grams, from ``documents``; None: those of ``references``, which are then taken for the whole corpus.

    Raises
    ------
    UsageError
        When the lengths differ.
    """
    check_lengths(drafts, references)
    counted = statistics
    if counted is None and any(references):
        counted = documents(references)
    found: list[Score] = []
    known: dict[Report, Vectors] = {}

    def vectors(report: Report, statistics: Documents) -> Vectors:
        if report not in known:
            known[report] = _vectors(lower_dot(report.text), statistics)
        return known[report]

    for draft, reference in zip(drafts, references, strict=True):
        if not reference or counted is None:
            found.append(Score("cider_d", None, "the reference report is empty"))
            continue
        value = SCALE * _similarity(vectors(draft, counted), vectors(reference, counted)) / len(ORDERS)
        found.append(Score("cider_d", value))
    return found


CIDER_D = CorpusEntry(
    MetricSpec(
        "cider_d", "higher", (0.0, SCALE), frozenset(), "1",
        source=(
            f"Vedantam 2015, CIDEr-D in coco-caption's form ({LOWER_DOT}; no stemming); document frequencies from the "
            "references of the call, or frozen; corpus: mean"
        ),
    ),
    cider_d,
    MEAN,
    fit=documents,
)  # fmt: skip
