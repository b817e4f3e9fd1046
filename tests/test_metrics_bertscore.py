"""BERTScore on a small random checkpoint in the official layout: any text, any batch, any damage."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel

from wetread import metrics
from wetread.errors import MissingError, UsageError
from wetread.metrics import bertscore as metric
from wetread.metrics.cache import Cache
from wetread.metrics.neural import bertscore as network
from wetread.metrics.neural.packed import BertShape
from wetread.records import Report

CONFIG = {
    "model_type": "roberta", "hidden_act": "gelu", "hidden_size": 16, "intermediate_size": 32, "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514, "num_attention_heads": 2, "num_hidden_layers": 6, "type_vocab_size": 1, "pad_token_id": 1,
}  # fmt: skip
TEXTS = [
    "Small left pleural effusion.",
    "No pleural effusion. The heart is normal in size.",
    "Left\u00a0lung – “clear”, 5 µm; 肺 clear.",
    "NUL\0byte and half a pair \ud83d of nothing",
    "<s> </s> <pad> <mask>",
    "word " * 10_000,
    "...",
    "x",
]


def make(folder, *, prefix="roberta.", seed=0):
    """Write config.json, vocab.json, merges.txt and model.safetensors of a small random distilroberta."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "Ġl", "Ġle", "Ġlef", "Ġleft", "<mask>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    config = CONFIG | {"vocab_size": len(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nĠ l\nĠl e\nĠle f\nĠlef t\n", "utf-8")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    generator = torch.Generator().manual_seed(seed)
    state = {
        prefix + name: torch.randn(size, generator=generator) * 0.2
        for name, size in BertShape.read(folder / "config.json").names().items()
    }
    state |= {"lm_head.bias": torch.zeros(3), prefix + "pooler.dense.bias": torch.zeros(16)}
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("weights") / "bertscore")


@pytest.fixture(scope="module")
def model(folder):
    return network.Distilroberta(folder)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setenv("WETREAD_CACHE", "off")
    monkeypatch.delenv("WETREAD_WEIGHTS", raising=False)
    network.opened.cache_clear()


def change(folder, edit, target):
    """Copy a checkpoint with its tensors edited."""
    make(target)
    state = load_file(target / "model.safetensors")
    edit(state)
    save_file(state, target / "model.safetensors")
    return target


def test_odd_texts_neither_crash_nor_shift_others(model):
    pairs = [(draft, reference) for draft in [*TEXTS, "", "  "] for reference in TEXTS[:4]]
    together = network.PairScorer(model)(pairs)
    assert len(together) == len(pairs) and np.isfinite(np.array(together)).all()
    alone = [network.PairScorer(model)([pair])[0] for pair in pairs]
    assert alone == together
    assert together[-1] == (0.0, 0.0, 0.0)
    nothing_counts = {"ids": np.array([0, 2, 0, 2]), "vectors": np.ones((4, 16), dtype=np.float32)}
    assert network.match(nothing_counts, model.run(TEXTS[:1])[0], (0, 2)) == (0.0, 0.0, 0.0)


def test_text_is_cut_and_spaces_run_together(model):
    assert len(model.tokens(TEXTS[5])) == 512 == model.length(TEXTS[5])
    assert model.tokens(TEXTS[5])[-1] == model.end
    assert model.tokens("a   b") == model.tokens(" a b\n") != model.tokens("a\nb")
    assert model.tokens("") == model.tokens(" \t") == [model.start, model.end]
    assert model.tokens("left")[1] == model.tokenizer.token_to_id("Ġleft")


def test_each_distinct_text_is_read_once_and_each_pair_matched_once(model, monkeypatch):
    read = []
    real = model.run
    monkeypatch.setattr(model, "run", lambda texts: read.extend(texts) or real(texts))
    scorer = network.PairScorer(model)
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[0]), (TEXTS[0], TEXTS[1]), (TEXTS[6], TEXTS[1])]
    first = scorer(pairs)
    assert sorted(read) == sorted({TEXTS[0], TEXTS[1], TEXTS[6]})
    assert scorer(pairs) == first and len(read) == 3
    assert first[0] == first[2]
    assert first[0][:2] == pytest.approx(first[1][:2][::-1])
    assert first[0][2] == pytest.approx(first[1][2])


def test_memory_is_bounded_and_the_scores_do_not_care(model):
    pairs = [(f"left effusion {number}", TEXTS[number % 2]) for number in range(40)]
    tight = network.PairScorer(model, kept=200)
    assert tight(pairs) == network.PairScorer(model)(pairs)
    assert sum(len(held["ids"]) for held in tight.encoder._memory.values()) <= 200


def test_pairs_are_cached_and_another_checkpoint_never_reads_them(model, tmp_path, monkeypatch):
    cache = Cache(tmp_path / "features.sqlite")
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[0])]
    first = network.PairScorer(model, cache)(pairs)
    with monkeypatch.context() as patch:
        patch.setattr(model, "run", None)  # nothing is left to run
        assert network.PairScorer(model, cache)(pairs) == first
    other = network.Distilroberta(make(tmp_path / "other", seed=1))
    assert other.signature != model.signature
    assert network.PairScorer(other, cache)(pairs) != first


def test_the_metric(folder):
    entry = metrics.get("bertscore", weights=folder.parent)
    drafts = [
        Report("Left effusion."),
        Report(),
        Report("Left effusion."),
        Report("Clear."),
        Report("Clear.", "Normal."),
    ]
    references = [Report("Left effusion."), Report("Clear."), Report(" "), Report("Left effusion."), Report("Clear.")]
    scores = entry(drafts, references)
    values = [score.value for score in scores]
    assert values[0] == 1.0 and values[1] == pytest.approx(-5.550156, abs=1e-5) and values[2] is None
    assert values[3] < 1 > values[4]
    assert set(scores[3].counts) == {"precision", "recall"}
    assert entry.aggregate(scores) == pytest.approx(np.mean([value for value in values if value is not None]))
    for draft, reference, score in zip(drafts, references, scores, strict=True):
        (alone,) = pickle.loads(pickle.dumps(entry))([draft], [reference])
        assert alone == score
    assert metrics.score(["bertscore"], drafts, references, weights=folder.parent)["bertscore"] == scores
    with pytest.raises(UsageError, match="1 drafts but 2"):
        entry([Report("a")], [Report("a")] * 2)


def test_no_references_need_no_weights():
    assert metrics.get("bertscore")([Report("a")], [Report()])[0].value is None
    assert metrics.get("bertscore")([], []) == []


@pytest.mark.parametrize("where", ["bertscore", "bertscore/distilroberta-base", "distilroberta-base", "."])
def test_where_the_weights_may_lie(tmp_path, where, monkeypatch):
    place = make(tmp_path / where)
    assert metric.find_weights(tmp_path).resolve() == place.resolve()
    monkeypatch.setenv("WETREAD_WEIGHTS", str(tmp_path))
    assert metric.find_weights().resolve() == place.resolve()


def test_names_without_a_prefix_and_the_older_file(folder, model, tmp_path):
    plain = network.Distilroberta(make(tmp_path / "plain", prefix=""))
    torch.save(load_file(tmp_path / "plain" / "model.safetensors"), tmp_path / "plain" / "pytorch_model.bin")
    (tmp_path / "plain" / "model.safetensors").unlink()
    older = network.Distilroberta(metric.find_weights(tmp_path / "plain"))
    pairs = [(TEXTS[0], TEXTS[1])]
    assert network.PairScorer(plain)(pairs) == network.PairScorer(older)(pairs) == network.PairScorer(model)(pairs)


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(MissingError, match=r"vocab.json|config.json") as caught:
        metrics.get("bertscore", weights=tmp_path)([Report("a")], [Report("b")])
    assert caught.value.exit_code == 3
    for word in ("distilbert/distilroberta-base", "--weights", "WETREAD_WEIGHTS", "bertscore/"):
        assert word in str(caught.value)
    make(tmp_path / "bertscore")
    (tmp_path / "bertscore" / "model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"model\.safetensors is not there"):
        metric.find_weights(tmp_path)


def test_other_tensors_are_named(folder, tmp_path):
    key = "roberta.encoder.layer.2.output.dense.weight"
    for edit, message in (
        (lambda state: state.pop(key), r"lacks encoder\.layer\.2\.output\.dense\.weight"),
        (lambda state: state.update(extra=torch.zeros(2)), "beyond those of the official file extra"),
        (lambda state: state.update({key: torch.zeros(2)}), "of another shape encoder.layer.2"),
        (
            lambda state: state[key].fill_(float("nan")),
            r"NaN or infinite numbers in encoder\.layer\.2\.output\.dense\.weight",
        ),
    ):
        target = change(folder, edit, tmp_path / "changed")
        with pytest.raises(MissingError, match=message):
            network.Distilroberta(target)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.json", "merges.txt"])
def test_truncated_files_are_named(tmp_path, name):
    target = make(tmp_path / "cut")
    content = (target / name).read_bytes()
    (target / name).write_bytes(b"\xff" + content[: len(content) // 2])
    with pytest.raises(MissingError, match=name):
        network.Distilroberta(target)


@pytest.mark.parametrize(
    ("merges", "message"), [("Ġ l\nĠl e\n", "no merges make .* 2 of them, 'Ġlef'"), ("", "no merges make .* 4 of them")]
)
def test_merges_that_are_cut_short_are_refused(tmp_path, merges, message):
    target = make(tmp_path / "halved")
    (target / "merges.txt").write_text("#version: 0.2\n" + merges, "utf-8")
    with pytest.raises(MissingError, match=message):
        network.Distilroberta(target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model type 'bert'"),
        ({"hidden_act": "relu"}, "'relu'"),
        ({"num_hidden_layers": 3}, "3 layers"),
    ],
)
def test_another_model_is_refused(tmp_path, change, message):
    target = make(tmp_path / "other")
    (target / "config.json").write_text(json.dumps(json.loads((target / "config.json").read_text()) | change), "utf-8")
    with pytest.raises(MissingError, match=message):
        network.Distilroberta(target)


def test_the_forward_pass_is_that_of_transformers(folder, model):
    from transformers import RobertaConfig, RobertaModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = RobertaConfig(**json.loads((folder / "config.json").read_text("utf-8")))
        official = RobertaModel(config, add_pooling_layer=False).eval()
    state = {name.removeprefix("roberta."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    official.load_state_dict({name: state[name] for name in BertShape.read(folder / "config.json").names()})
    texts = TEXTS[:5]
    for text, found in zip(texts, model.run(texts), strict=True):
        with torch.no_grad():
            states = official(torch.tensor([model.tokens(text)]), output_hidden_states=True).hidden_states
        wanted = torch.nn.functional.normalize(states[metric.LAYER][0], dim=-1).numpy()
        assert found["vectors"] == pytest.approx(wanted, abs=1e-5)
