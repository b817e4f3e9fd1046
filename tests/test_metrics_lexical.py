"""BLEU-2, ROUGE-L and lexical similarity against values worked out by hand and public fixtures."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread import metrics
from wetread.metrics.lexical import bleu_2_text, rouge_l_text, similarity_text, word_count
from wetread.records import Report

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / "shared" / "data"))
LEXICAL = ("bleu_2_rexrank", "rouge_l", "lexical_similarity")
WORDS = st.lists(
    st.sampled_from(["no", "left", "right", "effusion", "clear.", "lungs", "Heart,"]), min_size=1, max_size=12
)
TEXTS = WORDS.map(" ".join)


@pytest.mark.parametrize(
    ("draft", "reference", "value"),
    [
        ("the cat sat", "the cat sat", 1.0),
        # p1 = 3/4, p2 = 1/3 (only "cat ."), no brevity penalty: sqrt(1/4)
        ("A cat.  dog", "The cat. dog", math.sqrt((3 / 4) * (2 / 3))),
        # four words on both sides, all shared; bigrams "c d" of {"d c", "c a"...}: none shared -> 0.1/3
        ("d c b a", "a b c d", math.sqrt(1.0 * (0.1 / 3))),
        # clipping: "the" counts twice at most; p1 = 2/4, p2 = 1/3 against "the the"
        ("the the the the", "the the", math.sqrt((2 / 4) * (1 / 3))),
        # short: h = 2, r = 4, all match: exp(1 - 4/2)
        ("clear lungs", "clear lungs are seen", math.exp(-1)),
        # the full stop is a word, the comma is not
        ("lungs.", "lungs .", 1.0),
        ("lungs,", "lungs ,", 0.0),
        ("heart", "lungs", 0.0),
        ("", "lungs", 0.0),
        ("   ", "lungs", 0.0),
        # one shared word, no bigram in it: p2 = 0.1/1
        ("lungs", "lungs", math.sqrt(0.1)),
    ],
)
def test_bleu_2_golden(draft, reference, value):
    assert bleu_2_text(draft, reference) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("draft", "reference", "precision", "recall"),
    [
        ("a b c d", "a b c d", 1, 1),
        ("a c d", "a b c d", 1, 3 / 4),
        ("d c b a", "a b c d", 1 / 4, 1 / 4),
        ("a x b y c", "a b c", 3 / 5, 1),
        ("A b", "a b", 1 / 2, 1 / 2),
        ("a  b", "a b", 2 / 3, 1),  # two spaces make an empty word, as in coco-caption
    ],
)
def test_rouge_l_golden(draft, reference, precision, recall):
    value = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert rouge_l_text(draft, reference) == pytest.approx(value, abs=1e-12)


def test_rouge_l_of_nothing_shared_is_zero():
    assert rouge_l_text("a b", "c d") == rouge_l_text("", "c d") == rouge_l_text(" ", "c d") == 0.0


def test_rouge_l_agrees_with_the_coco_fixtures():
    path = DATA / "peer_predictions" / "metric_fixtures" / "coco_caption_nlgeval.json"
    if not path.exists():
        pytest.skip("the public metric fixtures are not on this machine")
    data = json.loads(path.read_text(encoding="utf-8"))
    for case in data["cases"]:
        items = zip(case["hyps"], *case["refs"], strict=True)
        values = [rouge_l_text(draft, *references) for draft, *references in items]
        assert sum(values) / len(values) == pytest.approx(case["expected"]["ROUGE_L"], abs=data["tolerance"])


@given(TEXTS, TEXTS)
def test_rouge_l_agrees_with_the_textbook_table(draft, reference):
    ours, theirs = draft.split(" "), reference.split(" ")
    table = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i, word in enumerate(ours):
        for j, other in enumerate(theirs):
            table[i + 1][j + 1] = table[i][j] + 1 if word == other else max(table[i][j + 1], table[i + 1][j])
    common = table[-1][-1]
    p, r = common / len(ours), common / len(theirs)
    value = (1 + 1.44) * p * r / (r + 1.44 * p) if common else 0.0
    assert rouge_l_text(draft, reference) == pytest.approx(value, abs=1e-12)


@given(TEXTS, TEXTS)
def test_lexical_values_stay_in_bounds_and_identity_is_best(draft, reference):
    drafts, references = [Report(draft), Report(reference)], [Report(reference)] * 2
    for name in LEXICAL:
        other, same = metrics.get(name)(drafts, references)
        assert same.value == pytest.approx(1.0)
        assert 0.0 <= other.value <= 1.0 + 1e-12


def test_similarity_golden_symmetry_and_odd_texts():
    assert similarity_text("no pleural effusion", "pleural effusion") == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert similarity_text("Clear lungs.", "clear LUNGS") == 1.0
    assert similarity_text("clear", "clear") == 1.0
    assert similarity_text("...", "lungs") == 0.0
    assert similarity_text("...", "...") == 1.0
    assert similarity_text("a b c", "c a") == similarity_text("c a", "a b c")


def test_a_missing_section_costs():
    reference = Report("Small left effusion.", "Left effusion.")
    for name in LEXICAL:
        whole, part = metrics.get(name)([reference, Report("Small left effusion.")], [reference] * 2)
        assert part.value < whole.value


def test_counts_hold_the_lengths_without_headers():
    (score,) = metrics.get("bleu_2_rexrank")([Report("Clear lungs.")], [Report("Clear lungs.", "Normal.")])
    assert score.counts == {"draft_words": 2.0, "reference_words": 3.0}
    assert word_count(Report()) == 0
