"""BLEU in its two forms: coco-caption's BLEU-1 to BLEU-4, and the sentence BLEU-2 of ReXrank.

They are different numbers. coco-caption counts n-grams over the whole corpus and divides once, and its sentence values
have next to no smoothing; ReXrank averages smoothed sentence values. Published report-generation tables show the
former, the ReXrank board the latter.

BLEU is a matter of tokens first of all. Here: lower case, each full stop a token of its own, split at white space; no PTB
tokeniser, so commas stay at their words. That is the rule of the R2Gen family of tables, without their ``<unk>`` for rare
words and their cut after 60 tokens. For other tokens use ``bleu_counts`` and ``bleu_values`` directly.

An empty draft has BLEU 0; an empty reference is not scored, whereas ReXrank's scorer reads it as the word "nan".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from wetread.metrics.entry import MEAN, Aggregation, Floats, MetricEntry, score_pairs
from wetread.metrics.lexical import bleu_2_text, word_count
from wetread.records import MetricSpec, Report, Score

KEPT = 8_192
"""Pairs whose counts are kept."""
ORDERS = (1, 2, 3, 4)
"""Lengths of the n-grams."""
TINY = 1e-15
"""Added to matches and to the draft's length, as coco-caption does."""
SMALL = 1e-9
"""Added to what they are divided by."""
LOWER_DOT = "lower case, full stops apart, split at white space"
"""How reports become tokens, for the specs."""


def lower_dot(text: str) -> list[str]:
    """Return the tokens of a text: lower case, each full stop apart, split at white space.

    >>> lower_dot("Clear lungs.  No edema, 3.5 cm")
    ['clear', 'lungs', '.', 'no', 'edema,', '3', '.5', 'cm']
    """
    return text.lower().replace(".", " .").split()


def ngrams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    """Return how often each n-gram of ``size`` tokens occurs.

    >>> ngrams(["a", "b", "a", "b"], 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(tokens[start:] for start in range(size)), strict=False))


def bleu_counts(draft: Sequence[str], *references: Sequence[str], order: int = 4) -> dict[str, float]:
    """Return what BLEU up to ``order`` is made of.

    Parameters
    ----------
    draft, references
        Tokens. With several references a match is clipped at the greatest count in any of them, and the length compared
        with is the nearest, the shorter of two equally near.
    order
        Longest n-gram, 1 to 4.

    Returns
    -------
    dict
        ``draft`` and ``reference`` (tokens), ``matches:n`` and ``ngrams:n`` (of the draft) for n up to ``order``.
    """
    lengths = [len(reference) for reference in references]
    found = {
        "draft": float(len(draft)),
        "reference": float(min(lengths, key=lambda length: (abs(length - len(draft)), length))),
    }
    for size in range(1, order + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= ngrams(reference, size)
        ours = ngrams(draft, size)
        found[f"matches:{size}"] = float(sum(min(count, most[gram]) for gram, count in ours.items() if gram in most))
        found[f"ngrams:{size}"] = float(max(0, len(draft) - size + 1))
    return found


def bleu_columns(order: int) -> tuple[str, ...]:
    """Return the names of the counts of BLEU up to ``order``, in the order that ``fold_bleu`` reads them.

    >>> bleu_columns(1)
    ('draft', 'reference', 'matches:1', 'ngrams:1')
    """
    return ("draft", "reference", *(f"{kind}:{size}" for size in ORDERS[:order] for kind in ("matches", "ngrams")))


def fold_bleu(sums: Floats) -> Floats:
    """Return BLEU of summed counts, shape (…, 2 + 2·order) to (…); the order is told from the last axis.

    Geometric mean of the clipped precisions, times ``exp(1 - r/h)`` where the draft side is shorter, each ratio with
    coco-caption's ``TINY`` and ``SMALL``.
    """
    order = sums.shape[-1] // 2 - 1
    precisions = (sums[..., 2::2] + TINY) / (sums[..., 3::2] + SMALL)
    ratio = (sums[..., 0] + TINY) / (sums[..., 1] + SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1.0)), 1.0)
    return np.asarray(precisions.prod(axis=-1) ** (1 / order) * brevity, dtype=np.float64)


def bleu_values(counts: Mapping[str, float]) -> list[float]:
    """Return BLEU-1, BLEU-2 … of one sentence, or of a corpus whose counts were summed.

    >>> counts = bleu_counts("the cat sat".split(), "the cat sat down".split(), order=2)
    >>> [round(value, 6) for value in bleu_values(counts)]  # all match, exp(1 - 4/3)
    [0.716531, 0.716531]
    """
    highest = sum(key.startswith("matches:") for key in counts)
    return [_fold_one(counts, order) for order in ORDERS[:highest]]


def _fold_one(counts: Mapping[str, float], order: int) -> float:
    """``fold_bleu`` of one row in plain floats: numpy costs more than the arithmetic."""
    ratio = (counts["draft"] + TINY) / (counts["reference"] + SMALL)
    product = 1.0
    for size in ORDERS[:order]:
        product *= (counts[f"matches:{size}"] + TINY) / (counts[f"ngrams:{size}"] + SMALL)
    return float(product ** (1 / order) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0))


def bleu_1(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """BLEU-1 of each report and, folded from its counts, of the corpus."""
    return score_pairs("bleu_1", _judge_1, drafts, references)


def bleu_2(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """BLEU-2 of each report and, folded from its counts, of the corpus; not ReXrank's."""
    return score_pairs("bleu_2", _judge_2, drafts, references)


def bleu_3(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """BLEU-3 of each report and, folded from its counts, of the corpus."""
    return score_pairs("bleu_3", _judge_3, drafts, references)


def bleu_4(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """BLEU-4 of each report and, folded from its counts, of the corpus.

    A report without a single matching 4-gram has a value near 0 (about 1e-4), and one of fewer than 4 tokens has one below 1
    even against itself: coco-caption has no smoothing to speak of. The corpus value is the one to quote.
    """
    return score_pairs("bleu_4", _judge_4, drafts, references)


def bleu_2_rexrank(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Sentence BLEU-2 of ReXrank's scorer (``lexical.bleu_2_text``); the corpus value is the mean.

    The scorer reads reports from a table in which an empty cell and the word "None" become the word "nan"; here an empty
    draft gets 0, an empty reference is not scored, and "None" is a word like any other.
    """
    return score_pairs("bleu_2_rexrank", _judge_rexrank, drafts, references)


@lru_cache(maxsize=KEPT)
def _pair_counts(draft: str, reference: str) -> Mapping[str, float]:
    """``bleu_counts`` of order 4, kept because the four metrics ask for them one after the other."""
    return bleu_counts(lower_dot(draft), lower_dot(reference))


def _judge(order: int, draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    whole = _pair_counts(draft.text, reference.text)
    counts = {key: whole[key] for key in bleu_columns(order)}
    return _fold_one(counts, order), counts


def _judge_1(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    return _judge(1, draft, reference)


def _judge_2(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    return _judge(2, draft, reference)


def _judge_3(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    return _judge(3, draft, reference)


def _judge_4(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    return _judge(4, draft, reference)


def _judge_rexrank(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    counts = {"draft_words": float(word_count(draft)), "reference_words": float(word_count(reference))}
    return bleu_2_text(draft.text, reference.text), counts


def _columns_1(scores: Sequence[Score]) -> tuple[str, ...]:
    return bleu_columns(1)


def _columns_2(scores: Sequence[Score]) -> tuple[str, ...]:
    return bleu_columns(2)


def _columns_3(scores: Sequence[Score]) -> tuple[str, ...]:
    return bleu_columns(3)


def _columns_4(scores: Sequence[Score]) -> tuple[str, ...]:
    return bleu_columns(4)


def _entry(
    order: int,
    function: Callable[[Sequence[Report], Sequence[Report]], list[Score]],
    columns: Callable[[Sequence[Score]], tuple[str, ...]],
) -> MetricEntry:
    source = f"Papineni 2002 in coco-caption's form ({LOWER_DOT}); corpus: BLEU of the summed counts, no mean"
    # Version 1 of bleu_2 was what is called bleu_2_rexrank now.
    version = "2" if order == 2 else "1"
    spec = MetricSpec(f"bleu_{order}", "higher", (0.0, 1.0), frozenset(), version, source=source)
    return MetricEntry(spec, function, Aggregation(columns, fold_bleu))


BLEU_1 = _entry(1, bleu_1, _columns_1)
BLEU_2 = _entry(2, bleu_2, _columns_2)
BLEU_3 = _entry(3, bleu_3, _columns_3)
BLEU_4 = _entry(4, bleu_4, _columns_4)
BLEU_2_REXRANK = MetricEntry(
    MetricSpec(
        "bleu_2_rexrank", "higher", (0.0, 1.0), frozenset(), "1",
        source=(
            "sentence BLEU-2 of ReXrank / CXR-Report-Metric (fast_bleu, weights 1/2 1/2, method1; lower case, full stops "
            "apart, split at spaces); corpus: mean, which is not corpus BLEU"
        ),
    ),
    bleu_2_rexrank,
    MEAN,
)  # fmt: skip
