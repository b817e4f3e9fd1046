"""BLEU-1 to BLEU-4 and CIDEr-D against values worked out by hand, and the contract of every metric."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread import metrics
from wetread.metrics import bleu, cider
from wetread.metrics.entry import MetricEntry
from wetread.records import Report

ENTRIES = {
    "bleu_1": bleu.BLEU_1, "bleu_2": bleu.BLEU_2, "bleu_3": bleu.BLEU_3, "bleu_4": bleu.BLEU_4,
    "bleu_2_rexrank": bleu.BLEU_2_REXRANK,
}  # fmt: skip
CORPUS = [
    Report("The lungs are clear. No pleural effusion."),
    Report("Small left pleural effusion.", "Left effusion."),
    Report("Mild cardiomegaly, without edema. The lungs are clear."),
]
FROZEN = cider.CIDER_D.freeze(CORPUS)
WORDS = st.lists(st.sampled_from(["no", "left", "effusion", "clear.", "lungs", "Heart,"]), min_size=1, max_size=12)


def values(draft, *references):
    return bleu.bleu_values(bleu.bleu_counts(draft.split(), *(one.split() for one in references)))


def test_bleu_by_hand():
    # 4 of 5 words, 2 of 4 pairs (a b, b c), 1 of 3 triples (a b c), 0 of 2; equal lengths
    found = values("a b c x d", "a b c d e")
    wanted = [4 / 5, math.sqrt(4 / 5 * 2 / 4), (4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3)]
    assert found[:3] == pytest.approx(wanted, abs=1e-8)
    assert found[3] < 1e-3
    # clipped: "a" counts once only; shorter than the reference: exp(1 - 4/3)
    assert values("a a a", "a b c d")[0] == pytest.approx(1 / 3 * math.exp(1 - 4 / 3), abs=1e-8)
    # several references: the greatest count in any of them, the nearest length (3), of two equally near the shorter
    assert values("a a b", "a a c c c c", "b b b")[0] == pytest.approx(1.0, abs=1e-8)
    assert bleu.bleu_counts(["a"] * 4, ["b"] * 5, ["b"] * 3)["reference"] == 3


def test_corpus_bleu_is_no_mean_of_sentences():
    drafts = [Report("The lungs are clear."), Report("Pneumothorax.")]
    references = [Report("The lungs are clear."), Report("Small left pleural effusion is seen.")]
    scores = bleu.BLEU_4(drafts, references)
    sums = {key: sum(score.counts[key] for score in scores) for key in bleu.bleu_columns(4)}
    corpus = bleu.BLEU_4.aggregate(scores)
    assert corpus == pytest.approx(bleu.bleu_values(sums)[3])
    assert corpus != pytest.approx(np.mean([score.value for score in scores]), abs=0.01)


@pytest.mark.parametrize("order", bleu.ORDERS)
def test_the_fold_takes_any_number_of_rows(order):
    entry = ENTRIES[f"bleu_{order}"]
    scores = entry([*CORPUS, Report()], [CORPUS[1], CORPUS[1], CORPUS[0], CORPUS[0]])
    _, matrix = entry.counts_matrix(scores)
    assert entry.aggregate_counts(matrix) == pytest.approx([score.value for score in scores], abs=1e-12)
    many = entry.aggregate_counts(np.stack([matrix.sum(axis=0)] * 3))
    assert many == pytest.approx([entry.aggregate(scores)] * 3)


@pytest.mark.parametrize("name", [*ENTRIES, "cider_d"])
def test_the_contract(name):
    entry: MetricEntry = ENTRIES.get(name, FROZEN)
    odd = [Report("NUL\0 and \ud83d and 肺"), Report("..."), Report("word " * 10_000), Report(impression=" ")]
    drafts, references = [*CORPUS, *odd, CORPUS[0]], [*CORPUS[::-1], *CORPUS, CORPUS[0], Report("  ")]
    together = entry(drafts, references)
    assert together == [entry([d], [r])[0] for d, r in zip(drafts, references, strict=True)]
    assert together[::-1] == entry(drafts[::-1], references[::-1])
    low, high = entry.spec.bounds
    assert all(low <= score.value <= high for score in together[:-1])
    assert together[-2].value == pytest.approx(0.0, abs=1e-12)  # the empty draft
    assert (together[-1].value, together[-1].reason) == (None, "the reference report is empty")
    assert pickle.loads(pickle.dumps(entry))(drafts, references) == together
    assert [score.value for score in entry(CORPUS, CORPUS)] == pytest.approx([high] * 3)


@given(WORDS, WORDS)
def test_values_stay_in_bounds(draft, reference):
    drafts, references = [Report(" ".join(draft))], [Report(" ".join(reference))]
    for name, entry in {**ENTRIES, "cider_d": FROZEN}.items():
        (score,) = entry(drafts, references)
        assert score.metric == name
        assert 0.0 <= score.value <= entry.spec.bounds[1] + 1e-9


def test_cider_d_by_hand():
    counted = cider.count_documents([[["a", "b"]], [["c", "d"]]])
    assert (counted.n, counted.frequencies) == (2, {})
    # n = 1: a and b share, each ln 2: cosine of (a, b) and (a, b, c) = 2 / sqrt(2 · 3); n = 2: 1 / sqrt(2);
    # n = 3: the draft has no triple; one bigram apart
    penalty = math.exp(-1 / 72)
    found = cider.cider_d_tokens(["a", "b"], [["a", "b", "c"]], counted)
    assert found == pytest.approx(10 / 4 * penalty * (2 / math.sqrt(6) + 1 / math.sqrt(2)))
    # what every study says weighs nothing
    counted = cider.count_documents([[["a", "b"]], [["a", "d"]]])
    assert cider.cider_d_tokens(["a"], [["a"]], counted) == 0.0
    # a study counts an n-gram once, however many of its references hold it
    assert cider.count_documents([[["a"], ["a", "a"]], [["b"]]]).frequencies == {}


def test_sources_state_the_tokens():
    for entry in (*ENTRIES.values(), cider.CIDER_D):
        assert "full stops apart" in entry.spec.source
    assert metrics.get("bleu_4") is bleu.BLEU_4
