"""A text's features are the same bits in any company: alone, repeated, in another order, with some known, on more threads."""

import numpy as np
import pytest
import torch

import radgraph_files
from test_metrics_bertscore import make as make_bertscore
from test_metrics_chexbert import state, write
from test_parity_ratescore import make_encoder, make_finder
from wetread.metrics.encoder import Encoder
from wetread.metrics.neural import bertscore, chexbert, products, radgraph, ratescore
from wetread.metrics.neural.packed import BertShape, PackedBert

WORDS = [
    "no",
    "small",
    "left",
    "right",
    "heart",
    "lungs",
    "clear",
    "effusion",
    "edema",
    "normal",
    "pneumothorax",
    "large",
    "mild",
    "is",
    "there",
    "a",
    "of",
    ".",
    ",",
]
LENGTHS = (1, 1, 2, 3, 5, 9, 11, 12, 13, 14, 15, 16, 17, 28, 30, 31, 33, 45, 45, 46, 64, 90, 150, 300, 700)
PRECISIONS = ("fp32", "bf16")
KINDS = ("bert", "roberta", "mpnet")
# Heads and widths that divide nothing evenly are among them.
SIZES = ((24, 3, 40), (32, 4, 64), (36, 4, 44), (64, 1, 96))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("WETREAD_CACHE", "off")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corpus(seed=0):
    """Texts of many lengths, some of them equal in length, none of them equal."""
    random = np.random.default_rng(seed)
    return list(dict.fromkeys(" ".join(random.choice(WORDS, size)) for size in LENGTHS))


def bits(features):
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in features.items()}


def assert_same_in_any_company(model, texts):
    """Compare, bit for bit, what a model finds in each text in every company that a caller can put it into."""
    wanted = dict(zip(texts, map(bits, Encoder(model)(texts)), strict=True))

    def check(found, some):
        wrong = [text for text, features in zip(some, found, strict=True) if bits(features) != wanted[text]]
        assert not wrong, [text[:60] for text in wrong]

    check(model.run(texts), texts)
    check(model.run(texts[::-1]), texts[::-1])
    check(Encoder(model, budget=64)(texts), texts)
    for text in texts:
        check(model.run([text]), [text])
    for text in texts[::5]:
        check(model.run([text] * 16), [text] * 16)
    half = Encoder(model)
    check(half(texts[::2]), texts[::2])
    check(half(texts), texts)
    torch.set_num_threads(2)
    check(model.run(texts[::4]), texts[::4])


def token_lists():
    random = np.random.default_rng(1)
    return [random.integers(5, 50, size=min(length + 1, 500)).tolist() for length in LENGTHS]


def random_state(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(size, generator=generator) * 0.3 for name, size in shape.names().items()}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_vectors_of_packed_encoders(size, kind, precision):
    hidden, heads, inner = size
    pad = -1 if kind == "bert" else 1
    shape = BertShape(hidden, heads, 2, inner, 50, 520, 0 if kind == "mpnet" else 2, 1e-5, kind, pad)
    encoder = PackedBert(random_state(shape), shape, torch.device("cpu"), products.dtype_of(precision))
    texts = token_lists()
    every, first = encoder.tokens(texts).split([len(ids) for ids in texts]), encoder.first(texts)
    for ids, vectors, vector in zip(texts, every, first, strict=True):
        assert torch.isfinite(vectors).all()
        for count in (1, 3):
            assert all(torch.equal(one, vectors) for one in encoder.tokens([ids] * count).split(len(ids)))
            assert all(torch.equal(one, vector) for one in encoder.first([ids] * count))
        assert torch.allclose(vectors[0], vector, atol=1e-4 if precision == "fp32" else 0.2)
    assert torch.equal(encoder.tokens(texts[::-1]), torch.cat(every[::-1]))
    assert torch.equal(encoder.first(texts[::-1]), first.flip(0))
    torch.set_num_threads(2)
    assert torch.equal(encoder.tokens(texts[::-1]), torch.cat(every[::-1]))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_chexbert(tmp_path, precision):
    write(tmp_path, state())
    assert_same_in_any_company(chexbert.build(tmp_path / "chexbert", precision), ["", *corpus()])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_radgraph(tmp_path, monkeypatch, architecture, precision):
    if architecture == "modernbert":
        monkeypatch.setattr(radgraph_files, "BERT", radgraph_files.MODERN)
    radgraph_files.checkpoint(tmp_path, "radgraph-xl")
    model = radgraph.open_xl(tmp_path / "radgraph", precision)
    texts = corpus()
    assert_same_in_any_company(model, texts)
    assert any(len(features[radgraph.RELATIONS]) for features in model.run(texts))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_word_vectors_of_radgraph(tmp_path, precision):
    """Graphs are numbers that rounding seldom turns, so that the vectors behind them are looked at themselves."""
    radgraph_files.checkpoint(tmp_path, "radgraph-xl")
    model = radgraph.open_xl(tmp_path / "radgraph", precision)
    cuts = [model.wordpieces.cut(text.split()) for text in corpus()]
    with torch.inference_mode():
        together = model._words(cuts)
        _, scores = model.heads._spans(together, [cut.words for cut in cuts])
        start = 0
        for cut in cuts:
            alone = model._words([cut])
            assert torch.equal(alone, together[start : start + cut.words])
            assert torch.equal(model.heads._spans(alone, [cut.words])[1], scores[start : start + cut.words])
            start += cut.words


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bertscore(tmp_path, precision):
    model = bertscore.Distilroberta(make_bertscore(tmp_path / "bertscore"), precision)
    texts = ["", *corpus()]
    assert_same_in_any_company(model, texts)
    pairs = [(draft, reference) for draft in texts[::2] for reference in texts[1::3]]
    together = bertscore.PairScorer(model)(pairs)
    assert bertscore.PairScorer(model)(pairs[::-1])[::-1] == together
    assert [bertscore.PairScorer(model)([pair])[0] for pair in pairs] == together


@pytest.mark.parametrize("precision", PRECISIONS)
def test_entities_of_ratescore(tmp_path, precision):
    make_finder(tmp_path / "ner")
    assert_same_in_any_company(ratescore.EntityFinder(tmp_path / "ner", precision), corpus())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_entity_vectors_of_ratescore(tmp_path, kind, precision):
    make_encoder(tmp_path / "encoder", kind)
    assert_same_in_any_company(ratescore.EntityEncoder(tmp_path / "encoder", precision), ["", *corpus()])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_has_its_own_signature_and_near_values(tmp_path, precision):
    write(tmp_path, state())
    make_bertscore(tmp_path / "bertscore")
    radgraph_files.checkpoint(tmp_path, "radgraph-xl")
    make_finder(tmp_path / "ner")
    make_encoder(tmp_path / "encoder")
    builders = (
        (chexbert.build, "chexbert"), (bertscore.Distilroberta, "bertscore"), (radgraph.open_xl, "radgraph"),
        (ratescore.EntityFinder, "ner"), (ratescore.EntityEncoder, "encoder"),
    )  # fmt: skip
    for build, folder in builders:
        model = build(tmp_path / folder, precision)
        assert f"{precision} on " in model.signature
        assert {build(tmp_path / folder, other).signature for other in PRECISIONS} > {model.signature}


@pytest.mark.parametrize("onednn", [True, False])
def test_dense_is_a_linear_layer(monkeypatch, onednn, rng):
    monkeypatch.setattr(products, "_has_onednn", lambda dtype: onednn)
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 10)
    rows = torch.randn(7, 24)
    with torch.inference_mode():
        whole = products.filled(rows)
        assert len(whole) == products.padded(7, rows.device) and torch.equal(whole[:7], rows) and not whole[7:].any()
        assert torch.allclose(products.Dense(layer)(rows), layer(rows), atol=1e-5)
        wanted = torch.nn.functional.gelu(layer(rows))
        assert torch.allclose(products.dense(rows, layer.weight, layer.bias, gelu=True), wanted, atol=1e-5)


def test_rows_do_not_hang_on_their_number_without_onednn(monkeypatch):
    monkeypatch.setattr(products, "_has_onednn", lambda dtype: False)
    torch.manual_seed(0)
    weight, rows = torch.randn(40, 64), torch.randn(200, 64)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        whole = products.dense(products.filled(rows), weight)
        for count in (1, 2, 3, 5, 9, 33, 65, 129):
            assert torch.equal(products.dense(products.filled(rows[:count]), weight)[:count], whole[:count])
