"""BERTScore against what bert_score returned for a small random distilroberta."""

import json
import os
from pathlib import Path

import pytest
import torch

from wetread import metrics
from wetread.metrics.bertscore import BASELINES, FLOOR, find_weights, rescale
from wetread.metrics.neural.bertscore import Distilroberta, PairScorer
from wetread.records import Report

PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity")) / "bertscore"
pytestmark = pytest.mark.skipif(
    not (PARITY / "expected.json").is_file(),
    reason="the parity folder is not here; name it with WETREAD_PARITY",
)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return Distilroberta(find_weights(PARITY.parent))


def load(name):
    return json.loads((PARITY / name).read_text(encoding="utf-8"))


def pairs_of(ids):
    known = {pair["id"]: pair for part in load("pairs.json").values() if isinstance(part, list) for pair in part}
    return [(known[one]["hyp"], known[one]["ref"]) for one in ids]


def assert_equal(triples, expected):
    for place, name in enumerate("PRF"):
        assert [triple[place] for triple in triples] == pytest.approx(expected[name], abs=1e-5)


def test_parity_token_ids(model):
    """White space alone, text over 512 tokens, other scripts and literal special tokens are among them."""
    for item in load("token_ids.json"):
        assert model.tokens(item["text"]) == item["ids"], item["text"][:80]


@pytest.mark.parametrize("group", ["iu", "hand", "all"])
def test_parity_bertscore(model, group):
    expected = load("expected.json")["groups"][group]
    raw = PairScorer(model)(pairs_of(expected["pair_ids"]))
    assert_equal(raw, expected["raw_no_idf"])
    assert_equal([rescale(triple) for triple in raw], expected["cxr_rm_rescaled_no_idf"])


def test_parity_of_every_layer(model):
    expected = load("expected.json")
    pairs = pairs_of(expected["groups"]["iu"]["pair_ids"][:12])
    for layer, values in expected["layers_first12_iu_rescaled"].items():
        one = Distilroberta(find_weights(PARITY.parent), layer=int(layer))
        assert_equal([rescale(triple, int(layer)) for triple in PairScorer(one)(pairs)], values)


def test_parity_baselines():
    for row in load("rescale_baseline_distilroberta-base.json")["rows"]:
        assert BASELINES[row["layer"]] == (row["P"], row["R"], row["F"])


def test_parity_bertscore_in_any_batch(model):
    pairs = pairs_of(load("expected.json")["groups"]["all"]["pair_ids"])
    together = PairScorer(model)(pairs)
    backwards = PairScorer(model)(pairs[::-1])[::-1]
    alone = [PairScorer(model)([pair])[0] for pair in pairs]
    small = PairScorer(model, kept=600)(pairs)
    for other in (backwards, alone, small):
        assert other == together


def test_parity_bertscore_by_name(monkeypatch):
    """The metric sees ``Findings: …``; the official numbers are of the bare text, so only what is alike is compared."""
    monkeypatch.setenv("WETREAD_CACHE", "off")
    entry = metrics.get("bertscore", weights=PARITY.parent)
    text = load("pairs.json")["iu"][0]["ref"]
    same, empty, lacking = entry([Report(text), Report(), Report(text)], [Report(text), Report(text), Report(" ")])
    assert (same.value, empty.value) == (1.0, pytest.approx(FLOOR))
    assert (lacking.value, lacking.reason) == (None, "the reference report is empty")
    expected = load("expected.json")["groups"]["hand"]
    place = expected["pair_ids"].index("dev-edge-empty_hyp")
    assert expected["cxr_rm_rescaled_no_idf"]["F"][place] == pytest.approx(empty.value, abs=1e-6)
