"""Word overlap: ROUGE-L, the sentence BLEU-2 of ReXrank (its metric is in ``bleu``) and the similarity that stands in for BERTScore. No weights.

All of them read ``Report.text``, so the section headers are words too: they cost a draft that leaves a section out.
None of them knows a negation from an affirmation; never use one alone to say that a report is right.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.records import MetricSpec, Report, Score

ROUGE_BETA = 1.2
"""Weight of recall against precision in ROUGE-L, as coco-caption sets it."""
ZERO_MATCHES = 0.1
"""What stands for a count of 0 matching bigrams (NLTK's smoothing ``method1``)."""

_WORD = re.compile(r"\w+")


@lru_cache(maxsize=8_192)
def bleu_2_text(draft: str, reference: str) -> float:
    """Return the sentence BLEU-2 that ReXrank's scorer computes, 0 to 1.

    ``BP · sqrt(p1 · p2)`` with clipped n-gram precisions and ``BP = min(1, exp(1 - r/h))`` for ``h`` draft and ``r``
    reference words. Words: lower-case, a space put before each full stop, split on spaces. A draft that shares no word
    with the reference gets 0; one that shares words but no bigram has its bigram matches counted as 0.1.

    >>> bleu_2_text("the cat sat", "the cat sat")
    1.0
    >>> round(bleu_2_text("the cat", "the cat sat"), 6)  # p1 = p2 = 1, BP = exp(1 - 3/2)
    0.606531
    >>> bleu_2_text("", "the cat sat")
    0.0
    """
    ours, theirs = _bleu_words(draft), _bleu_words(reference)
    unigrams = _overlap(_ngrams(ours, 1), _ngrams(theirs, 1))
    if unigrams == 0:
        return 0.0
    bigrams = _overlap(_ngrams(ours, 2), _ngrams(theirs, 2))
    p1 = unigrams / len(ours)
    p2 = (bigrams or ZERO_MATCHES) / max(1, len(ours) - 1)
    brevity = 1.0 if len(ours) >= len(theirs) else math.exp(1 - len(theirs) / len(ours))
    return brevity * math.sqrt(p1 * p2)


def rouge_l_text(draft: str, *references: str) -> float:
    """Return ROUGE-L as coco-caption defines it, 0 to 1.

    ``(1 + b²)·P·R / (R + b²·P)`` with b = 1.2, P and R the longest common subsequence over draft and reference length.
    Words are split on single spaces, case is kept. With several references the best P and the best R are taken apart.

    >>> rouge_l_text("the cat sat", "the cat sat")
    1.0
    >>> round(rouge_l_text("the cat", "the cat sat"), 6)  # P = 1, R = 2/3: 2.44 · (2/3) / (2/3 + 1.44)
    0.772152
    """
    if not draft.strip():
        return 0.0
    ours = draft.split(" ")
    precision = recall = 0.0
    for reference in references:
        theirs = reference.split(" ")
        common = _common_subsequence(ours, theirs)
        precision = max(precision, common / len(ours))
        recall = max(recall, common / len(theirs))
    if precision == 0 or recall == 0:
        return 0.0
    weight = ROUGE_BETA**2
    return (1 + weight) * precision * recall / (recall + weight * precision)


def similarity_text(draft: str, reference: str) -> float:
    """Return the mean of the F1 of words and the F1 of word pairs, 0 to 1, symmetrical.

    F1 is ``2·overlap / (draft + reference)`` on counts of lower-case words without punctuation. Two texts of one word
    each have no pairs; the F1 of words stands alone then.

    >>> round(similarity_text("no pleural effusion", "pleural effusion"), 6)  # words 4/5, pairs 2/3
    0.733333
    """
    ours, theirs = _WORD.findall(draft.lower()), _WORD.findall(reference.lower())
    shares = []
    for size in (1, 2):
        left, right = _ngrams(ours, size), _ngrams(theirs, size)
        total = left.total() + right.total()
        if total:
            shares.append(2 * _overlap(left, right) / total)
    if not shares:
        return 1.0 if draft.strip() == reference.strip() else 0.0
    return sum(shares) / len(shares)


def word_count(report: Report) -> int:
    """Return the number of words in both sections, without the headers.

    >>> word_count(Report("Clear lungs.", "Normal chest."))
    4
    """
    return len(report.findings.split()) + len(report.impression.split())


def rouge_l(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Score each draft by ``rouge_l_text``; the corpus value is the mean."""
    return score_pairs("rouge_l", _judge_rouge_l, drafts, references)


def lexical_similarity(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Score each draft by ``similarity_text``; the corpus value is the mean.

    It stands where UniRG's reward has BERTScore. It is neither BLEU-2 nor ROUGE-L on purpose: what the policy is
    rewarded by and what the tables show should not be one and the same number.
    """
    return score_pairs("lexical_similarity", _judge_similarity, drafts, references)


def _judge_rouge_l(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    return rouge_l_text(draft.text, reference.text), _lengths(draft, reference)


def _judge_similarity(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
    return similarity_text(draft.text, reference.text), _lengths(draft, reference)


def _lengths(draft: Report, reference: Report) -> dict[str, float]:
    return {"draft_words": float(word_count(draft)), "reference_words": float(word_count(reference))}


def _bleu_words(text: str) -> list[str]:
    return [word for word in text.lower().replace(".", " .").split(" ") if word]


def _ngrams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def _overlap(left: Counter[tuple[str, ...]], right: Counter[tuple[str, ...]]) -> int:
    return sum(min(count, right[gram]) for gram, count in left.items() if gram in right)


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, one row of the table held as the bits of one integer (Hyyrö 2004)."""
    positions: dict[str, int] = {}
    for index, word in enumerate(left):
        positions[word] = positions.get(word, 0) | (1 << index)
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(left) - row.bit_count()


ROUGE_L = MetricEntry(
    MetricSpec(
        "rouge_l", "higher", (0.0, 1.0), frozenset(), "1",
        source="Lin 2004 in coco-caption's form, beta 1.2, single spaces; corpus: mean",
    ),
    rouge_l,
    MEAN,
)  # fmt: skip
LEXICAL_SIMILARITY = MetricEntry(
    MetricSpec(
        "lexical_similarity", "higher", (0.0, 1.0), frozenset(), "1",
        source="wetread: mean of word F1 and word-pair F1, the weight-free stand-in for BERTScore; corpus: mean",
    ),
    lexical_similarity,
    MEAN,
)  # fmt: skip
