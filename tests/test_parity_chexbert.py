"""CheXbert, its F1 and SembScore against what the official code returned for a small random checkpoint."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from wetread import metrics
from wetread.metrics.chexbert import (
    LABELS,
    LABELS_5,
    UNCERTAIN_POSITIVE,
    accuracy,
    class_report,
    features,
    positive_labels,
)
from wetread.metrics.semb import cosines
from wetread.records import Report

PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity"))
FOLDER = PARITY / "chexbert"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "cases.json").is_file(), reason="the parity folder is not here; name it with WETREAD_PARITY"
)
TIE = 1e-3
"""Logits nearer to each other than this may change places on another machine."""
AVERAGES = ("micro avg", "macro avg", "weighted avg", "samples avg")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("WETREAD_CACHE", "off")
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def read(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    from wetread.metrics.neural.chexbert import CheXbert

    return CheXbert(FOLDER, device="cpu")


@pytest.fixture(scope="module")
def pairs():
    data = read("pairs.json")
    return {pair["id"]: pair for kind in data.values() if isinstance(kind, list) for pair in kind}


def test_parity_chexbert_labels_are_in_its_order():
    data = read("cases.json")
    assert data["target_names"] == list(LABELS) and data["target_names_5"] == list(LABELS_5)


def test_parity_chexbert_token_ids(model):
    for case in read("cases.json")["cases"]:
        assert model.ids(case["text"]) == case["input_ids"], case["text"]
        assert model.length(case["text"]) == len(case["input_ids"])


def test_parity_chexbert_vectors_logits_and_classes(model):
    cases = read("cases.json")["cases"]
    texts = [case["text"] for case in cases]
    vectors, logits = model.logits(texts)
    for place, (case, found) in enumerate(zip(cases, model.run(texts), strict=True)):
        # The official numbers themselves are 1e-5 from those of double precision.
        assert vectors[place].tolist() == pytest.approx(case["cls"], abs=5e-5)
        assert found["cls"].tolist() == vectors[place].tolist()
        for head, values in zip(logits, case["logits"], strict=True):
            assert head[place].tolist() == pytest.approx(values, abs=1e-3, rel=1e-4)
        if case["min_margin"] >= TIE:
            assert found["classes"].tolist() == case["classes"], case["text"]
            rrg = [int(label in positive_labels(found, UNCERTAIN_POSITIVE)) for label in LABELS]
            assert rrg == case["rrg"]


@pytest.mark.parametrize("count", [14, 5])
def test_parity_chexbert_f1_class_reports_and_accuracy(pairs, count):
    labels = LABELS if count == 14 else LABELS_5
    for name, group in read("expected_f1.json")["groups"].items():
        chosen = [pairs[one] for one in group["pair_ids"]]
        side = "ref" if name.startswith("identical") else "hyp"  # such a group is its references against themselves
        texts = [pair[side] for pair in chosen], [pair["ref"] for pair in chosen]
        expected = group[f"class_report_{count}"]
        for average in ("micro", "macro", "weighted"):
            entry = metrics.get(f"chexbert_f1_{count}_{average}")
            scores = entry.function.texts(*texts, weights=PARITY)
            assert entry.aggregate(scores) == pytest.approx(expected[f"{average} avg"]["f1-score"], abs=1e-9), name
        found = class_report(scores, labels)
        assert set(found) == {*labels, *AVERAGES} == set(expected)
        for row, values in expected.items():
            for ours, theirs in (
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1", "f1-score"),
                ("support", "support"),
            ):
                assert (found[row][ours] or 0.0) == pytest.approx(values[theirs], abs=1e-9), (name, row, ours)
        if count == 5:
            assert accuracy(scores) == pytest.approx(group["accuracy"], abs=1e-9)
            agree = [float(not score.counts["fp"] and not score.counts["fn"]) for score in scores]
            assert agree == group["pe_accuracy"]


def test_parity_semb_score(pairs):
    data = read("expected_semb.json")
    texts = [pair["hyp"] for pair in pairs.values()], [pair["ref"] for pair in pairs.values()]
    found = dict(zip(pairs, cosines(*texts, weights=PARITY), strict=True))
    assert set(data["cls_cosine_all_pairs"]) == set(found)
    for name, value in found.items():
        assert value == pytest.approx(data["cls_cosine_all_pairs"][name], abs=1e-5), name
        if name in data["official"]:
            assert value == pytest.approx(data["official"][name], abs=1e-5), name


def test_parity_semb_score_where_the_official_code_fails(pairs):
    """An empty draft and the word "None" are texts; an empty reference is not scored, and its neighbours are."""
    chosen = [pairs[name] for name in read("expected_semb.json")["official_fails_on"]]
    drafts, references = [Report(pair["hyp"]) for pair in chosen], [Report(pair["ref"]) for pair in chosen]
    for score, draft, reference in zip(
        metrics.get("semb_score", PARITY)(drafts, references), drafts, references, strict=True
    ):
        assert (score.value is None) is (not reference)
        if reference:
            assert score.value == cosines([draft.text], [reference.text], PARITY)[0]


def test_parity_chexbert_batch_of_one_equals_batch_of_all(pairs):
    texts = [pair["hyp"] for pair in pairs.values()]
    together = features(texts, PARITY)
    from wetread.metrics.neural.chexbert import CheXbert

    fresh = CheXbert(FOLDER, device="cpu")
    for text, found in zip(texts, together, strict=True):
        (alone,) = fresh.run([text])
        assert all(np.array_equal(alone[name], found[name]) for name in ("cls", "classes"))


def test_parity_chexbert_bf16_is_near(model):
    torch = pytest.importorskip("torch")
    from wetread.metrics.neural.chexbert import build

    half = build(FOLDER, "bf16")
    assert half.signature != model.signature and "bf16" in half.signature
    texts = [case["text"] for case in read("cases.json")["cases"]]
    cosine = torch.nn.functional.cosine_similarity(half.logits(texts)[0], model.logits(texts)[0])
    assert float(cosine.min()) > 0.99
