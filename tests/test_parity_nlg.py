"""BLEU, ROUGE-L and CIDEr-D against what the reference libraries returned."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from wetread import metrics
from wetread.metrics.bleu import bleu_columns, bleu_counts, bleu_values, fold_bleu, lower_dot
from wetread.metrics.cider import cider_d_tokens, count_documents
from wetread.metrics.lexical import bleu_2_text, rouge_l_text
from wetread.records import Report

ROOT = Path(__file__).resolve().parents[2]
PARITY = Path(os.environ.get("WETREAD_PARITY", ROOT / "shared" / "parity")) / "nlg"
FIXTURES = Path(os.environ.get("WETREAD_DATA", ROOT / "shared" / "data")) / "peer_predictions" / "metric_fixtures"
TOKENS = {"coco_lower_dot": lower_dot, "coco_raw_ws": str.split}
READ_AS_NAN = ("none_word",)
"""ReXrank's scorer reads the word "None" as a missing value; here it is a word."""

parity = pytest.mark.skipif(
    not (PARITY / "expected.json").is_file(),
    reason="the parity folder is not here; name it with WETREAD_PARITY",
)


def load(name):
    return json.loads((PARITY / name).read_text(encoding="utf-8"))


def pairs_of(group, expected):
    known = {pair["id"]: pair for part in load("pairs.json").values() if isinstance(part, list) for pair in part}
    return [known[one] for one in expected["groups"][group]["pair_ids"]]


def tokenised(group, name, expected):
    """Pairs of (draft, reference) tokens as one of the three tokenisations makes them."""
    block = expected["groups"][group][name]
    if name == "coco_ptb":
        return [
            (draft.split(), reference.split())
            for draft, reference in zip(block["tokenized_hyps"], block["tokenized_refs"], strict=True)
        ]
    split = TOKENS[name]
    return [(split(pair["hyp"]), split(pair["ref"])) for pair in pairs_of(group, expected)]


@parity
@pytest.mark.parametrize("group", ["iu", "hand"])
@pytest.mark.parametrize("name", ["coco_lower_dot", "coco_raw_ws", "coco_ptb"])
def test_parity_coco(group, name):
    expected = load("expected.json")
    block = expected["groups"][group][name]
    items = tokenised(group, name, expected)
    counts = [bleu_counts(draft, reference) for draft, reference in items]
    values = np.array([bleu_values(one) for one in counts]).T
    assert values == pytest.approx(np.array(block["bleu_sentence"]), abs=1e-9)
    matrix = np.array([[one[key] for key in bleu_columns(4)] for one in counts])
    for order, value in enumerate(block["bleu_corpus"], start=1):
        assert float(fold_bleu(matrix[:, : 2 + 2 * order].sum(axis=0))) == pytest.approx(value, abs=1e-9)
    rouge = [rouge_l_text(" ".join(draft), " ".join(reference)) for draft, reference in items]
    for (draft, reference), ours, theirs in zip(items, rouge, block["rouge_l_sentence"], strict=True):
        if draft or reference:  # coco-caption takes two empty texts for one shared word ""
            assert ours == pytest.approx(theirs, abs=1e-9)
    if all(draft or reference for draft, reference in items):
        assert np.mean(rouge) == pytest.approx(block["rouge_l"], abs=1e-9)
    counted = count_documents([reference] for _, reference in items)
    cider = [cider_d_tokens(draft, [reference], counted) for draft, reference in items]
    assert cider == pytest.approx(block["cider_d_sentence"], abs=1e-9)
    assert np.mean(cider) == pytest.approx(block["cider_d"], abs=1e-9)


@parity
@pytest.mark.parametrize("group", ["iu", "hand"])
def test_parity_bleu_2_of_rexrank(group):
    expected = load("expected.json")
    values = expected["groups"][group]["rexrank_bleu2"]["per_pair"]
    for pair, value in zip(pairs_of(group, expected), values, strict=True):
        if pair["kind"] not in READ_AS_NAN:
            assert bleu_2_text(pair["hyp"], pair["ref"]) == pytest.approx(value, abs=1e-6), pair["id"]


@parity
def test_parity_odd_single_pairs():
    expected = load("expected.json")["odd_single_pairs"]
    known = {pair["id"]: pair for part in load("pairs.json").values() if isinstance(part, list) for pair in part}
    for name, block in expected.items():
        draft, reference = lower_dot(known[name]["hyp"]), lower_dot(known[name]["ref"])
        if isinstance(block["coco_lower_dot"], str):  # coco-caption itself gives up
            assert not reference
            continue
        counts = bleu_counts(draft, reference)
        assert bleu_values(counts) == pytest.approx(block["coco_lower_dot"]["bleu_corpus"], abs=1e-9), name
        assert rouge_l_text(" ".join(draft), " ".join(reference)) == pytest.approx(block["coco_lower_dot"]["rouge_l"])
        assert cider_d_tokens(draft, [reference], count_documents([[reference]])) == block["coco_lower_dot"]["cider_d"]
        if known[name]["kind"] not in READ_AS_NAN:
            assert bleu_2_text(known[name]["hyp"], known[name]["ref"]) == pytest.approx(
                block["rexrank_bleu2"], abs=1e-6
            )


@parity
@pytest.mark.parametrize("group", ["iu", "hand"])
def test_parity_of_the_metrics_themselves(group):
    """The metrics add section headers to a report; the same headers, scored as plain text, give the same numbers."""
    expected = load("expected.json")
    pairs = [pair for pair in pairs_of(group, expected) if pair["ref"].strip()]
    drafts, references = [Report(pair["hyp"]) for pair in pairs], [Report(pair["ref"]) for pair in pairs]
    items = [(lower_dot(a.text), lower_dot(b.text)) for a, b in zip(drafts, references, strict=True)]
    scores = metrics.score(("bleu_1", "bleu_3", "bleu_4", "cider_d"), drafts, references)
    sums = dict.fromkeys(bleu_columns(4), 0.0)
    for draft, reference in items:
        for key, value in bleu_counts(draft, reference).items():
            sums[key] += value
    for order in (1, 3, 4):
        name = f"bleu_{order}"
        assert metrics.get(name).aggregate(scores[name]) == pytest.approx(bleu_values(sums)[order - 1], abs=1e-9)
    counted = count_documents([reference] for _, reference in items)
    cider = [cider_d_tokens(draft, [reference], counted) for draft, reference in items]
    assert metrics.get("cider_d").aggregate(scores["cider_d"]) == pytest.approx(np.mean(cider), abs=1e-9)


def test_parity_with_the_public_coco_fixtures():
    path = FIXTURES / "coco_caption_nlgeval.json"
    if not path.exists():
        pytest.skip("the public metric fixtures are not here; name their folder with WETREAD_DATA")
    data = json.loads(path.read_text(encoding="utf-8"))
    for case in data["cases"]:
        items = [
            (draft.split(), [one.split() for one in references])
            for draft, *references in zip(case["hyps"], *case["refs"], strict=True)
        ]
        sums = dict.fromkeys(bleu_columns(4), 0.0)
        for draft, references in items:
            for key, value in bleu_counts(draft, *references).items():
                sums[key] += value
        expected = [case["expected"][f"Bleu_{order}"] for order in (1, 2, 3, 4)]
        assert bleu_values(sums) == pytest.approx(expected, abs=data["tolerance"])
        counted = count_documents(references for _, references in items)
        cider = np.mean([cider_d_tokens(draft, references, counted) for draft, references in items])
        assert cider == pytest.approx(case["expected"]["CIDEr"], abs=data["tolerance"])
