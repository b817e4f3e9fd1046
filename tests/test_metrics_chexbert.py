"""CheXbert F1 and SembScore on tiny random checkpoints in the official layout."""

import json
import os
import pickle

import numpy as np
import pytest

from wetread import metrics
from wetread.errors import MissingError, UsageError
from wetread.metrics import chexbert
from wetread.metrics.chexbert import LABELS, LABELS_5, accuracy, class_report
from wetread.records import Report, Score

torch = pytest.importorskip("torch")
neural = pytest.importorskip("wetread.metrics.neural.chexbert")

WORDS = [
    "[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "the", "no", "is", "there", "small", "left", "right", "heart",
    "lungs", "clear", "effusion", "edema", "normal", "pneumothorax", "findings", "impression", ":", "##s", "##al", "none", "large", "mild", "a", "of",
]  # fmt: skip
CONFIG = {
    "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 40, "vocab_size": len(WORDS),
    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
}  # fmt: skip
NAMES = [
    f"chexbert_f1_{n}_{a}{p}"
    for n in (14, 5)
    for a in ("micro", "macro", "weighted")
    for p in ("", "_uncertain_negative")
]
ODD = [
    "", "   \n\t ", "\0", "No\0 effusion.", "effusion " * 10_000, "[CLS] [SEP] heart", "\ud800 clear", "肺 38°C", "x" * 5_000, "None",
]  # fmt: skip
TEXTS = ["Small left effusion.", "No effusion. Heart normal.", "Lungs clear.", "Large right pneumothorax, mild edema."]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("WETREAD_CACHE", "off")
    monkeypatch.delenv("WETREAD_WEIGHTS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def state(seed=0):
    made = torch.Generator().manual_seed(seed)
    shape = neural.BertShape(24, 3, 2, 40, len(WORDS), 512, 2, 1e-12)
    names = {f"bert.{name}": size for name, size in shape.names().items()}
    names |= {"bert.pooler.dense.weight": (24, 24), "bert.pooler.dense.bias": (24,)}
    for number, classes in enumerate(neural.HEADS):
        names |= {f"linear_heads.{number}.weight": (classes, 24), f"linear_heads.{number}.bias": (classes,)}
    return {
        f"module.{name}": torch.randn(size, generator=made) * (0.3 if "LayerNorm" not in name else 0.1)
        + ("LayerNorm.weight" in name)
        for name, size in names.items()
    }


def write(folder, tensors, vocabulary=WORDS, config=CONFIG, **kind):
    """The official layout below a weights folder."""
    (folder / "chexbert" / "bert-base-uncased").mkdir(parents=True)
    torch.save(
        {"epoch": 1, "model_state_dict": tensors, "optimizer_state_dict": {}},
        folder / "chexbert" / "chexbert.pth",
        **kind,
    )
    (folder / "chexbert" / "bert-base-uncased" / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "chexbert" / "bert-base-uncased" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write(tmp_path_factory.mktemp("weights"), state())


def test_our_bert_is_transformers_bert(weights):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**CONFIG, attn_implementation="eager")
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    tensors = {
        name.removeprefix("module.bert."): value for name, value in state().items() if "linear_heads" not in name
    }
    theirs.load_state_dict({name: value for name, value in tensors.items() if "pooler" not in name})
    ours = neural.CheXbert(weights / "chexbert", device="cpu")
    texts = [*TEXTS, "", "effusion " * 600]
    vectors, _ = ours.logits(texts)
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            expected = theirs(torch.tensor([ours.ids(text)]))[0][0, 0]
        assert vector.tolist() == pytest.approx(expected.tolist(), abs=2e-5)


@pytest.mark.parametrize("name", [*NAMES, "semb_score"])
def test_metrics_of_chexbert_keep_the_contract(weights, name):
    entry = metrics.get(name, weights)
    assert entry.spec.needs == ("CheXbert",) and entry.spec.name == name == entry.function.__name__
    drafts = [Report(text) for text in [*TEXTS, *TEXTS[::-1], *ODD]]
    references = [Report(text, "Normal heart.") for text in [*TEXTS, *TEXTS, *ODD[::-1]]]
    together = entry(drafts, references)
    backwards = entry(drafts[::-1], references[::-1])[::-1]
    alone = [entry([draft], [reference])[0] for draft, reference in zip(drafts, references, strict=True)]
    low, high = entry.spec.bounds
    for one, two, three in zip(together, backwards, alone, strict=True):
        assert one.metric == name and one.reason == "" and low <= one.value <= high
        assert one == two == three
    again = pickle.loads(pickle.dumps(entry))
    assert again == entry and again(drafts, references) == together
    assert [score.value for score in entry(references, references)] == [1.0] * len(references)
    with pytest.raises(UsageError, match="2 drafts but 1 references"):
        entry(drafts[:2], references[:1])
    assert entry([], []) == [] and entry.aggregate([]) is None


def test_a_batch_does_not_move_a_score(weights):
    """Each text alone on a fresh model, and all of them in one batch with long neighbours."""
    texts = [*TEXTS, *ODD]
    many = neural.CheXbert(weights / "chexbert", device="cpu").run(texts)
    fresh = neural.CheXbert(weights / "chexbert", device="cpu")
    for text, found in zip(texts, many, strict=True):
        (alone,) = fresh.run([text])
        assert all(np.array_equal(alone[key], found[key]) for key in ("cls", "classes"))


@pytest.mark.parametrize("name", ["chexbert_f1_14_micro", "semb_score"])
def test_empty_reports(weights, name):
    drafts = [Report(), Report(TEXTS[0]), Report(" \n")]
    references = [Report(TEXTS[0]), Report(""), Report(TEXTS[0])]
    first, second, third = metrics.get(name, weights)(drafts, references)
    assert first.value is not None and first.value == third.value
    assert second == Score(name, None, "the reference report is empty")


def test_texts_are_cleaned_and_cut_as_the_official_code_does(weights):
    model = neural.CheXbert(weights / "chexbert", device="cpu")
    number = {word: place for place, word in enumerate(WORDS)}
    assert model.ids("  LUNGS\n\tclear. ") == [number[word] for word in ("[CLS]", "lungs", "clear", ".", "[SEP]")]
    assert model.ids("") == model.ids("\0") == [number["[CLS]"], number["[SEP]"]]
    long = model.ids("effusion " * 10_000)
    assert len(long) == 512 and long[-1] == number["[SEP]"] and set(long[1:-1]) == {number["effusion"]}
    assert model.length("effusion " * 10_000) == 512
    assert model.ids("x" * 101 + " zebra") == [number[word] for word in ("[CLS]", "[UNK]", "[UNK]", "[SEP]")]


def test_one_pass_serves_labels_and_vectors(weights, monkeypatch):
    seen = []
    run = neural.CheXbert.run
    monkeypatch.setattr(neural.CheXbert, "run", lambda self, texts: (seen.extend(texts), run(self, texts))[1])
    drafts, references = [Report(f"{text} Mild edema.") for text in TEXTS] * 2, [Report("A normal heart.")] * 8
    metrics.score([*NAMES, "semb_score"], drafts, references, weights=weights)
    assert len(seen) == len(set(seen)) == len(TEXTS) + 1


def test_a_policy_for_uncertain_labels():
    found = {"classes": np.array([1, 3, 2, 0] + [0] * 9 + [1], dtype=np.int8)}
    assert chexbert.positive_labels(found) == {LABELS[0], LABELS[1], "No Finding"}
    assert chexbert.positive_labels(found, chexbert.UNCERTAIN_NEGATIVE) == {LABELS[0], "No Finding"}


def label_scores(monkeypatch, name, rows):
    """Scores of reports whose classes are given: pairs of positive labels of draft and reference."""
    table = {}
    for place, (draft, reference) in enumerate(rows):
        for side, labels in (("d", draft), ("r", reference)):
            table[f"{side}{place}"] = {"classes": np.array([int(label in labels) for label in LABELS])}
    monkeypatch.setattr(chexbert, "features", lambda texts, *more: [table[text] for text in texts])
    function = metrics.get(name).function
    return function.texts([f"d{n}" for n in range(len(rows))], [f"r{n}" for n in range(len(rows))])


def test_corpus_values_of_a_small_corpus(monkeypatch):
    rows = [({"Edema"}, {"Edema", "Fracture"}), ({"Edema", "Pneumonia"}, {"Edema"}), ((), ())]
    scores = label_scores(monkeypatch, "chexbert_f1_14_micro", rows)
    assert [score.value for score in scores] == pytest.approx([2 / 3, 2 / 3, 1.0])
    assert scores[0].counts == {"tp": 1.0, "fp": 0.0, "fn": 1.0, "tp:Edema": 1.0, "fn:Fracture": 1.0}

    def value(name):
        return metrics.get(name).aggregate(label_scores(monkeypatch, name, rows))

    # Edema: tp 2; Fracture: fn 1; Pneumonia: fp 1
    assert value("chexbert_f1_14_micro") == pytest.approx(2 * 2 / (4 + 1 + 1))
    assert value("chexbert_f1_14_macro") == pytest.approx(1 / 14)
    assert value("chexbert_f1_14_weighted") == pytest.approx(2 / 3)
    assert value("chexbert_f1_5_micro") == 1.0 and value("chexbert_f1_5_macro") == pytest.approx(1 / 5)
    report = class_report(scores)
    assert report["Edema"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2.0}
    assert report["Fracture"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1.0}
    assert report["Pneumonia"] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0.0}
    assert report["Cardiomegaly"]["f1"] is None
    assert report["micro avg"]["precision"] == report["micro avg"]["recall"] == pytest.approx(2 / 3)
    assert accuracy(scores) == pytest.approx(1 / 3) and accuracy([]) is None
    assert class_report([], LABELS_5)["samples avg"] == {"precision": None, "recall": None, "f1": None, "support": 0.0}


def test_a_corpus_without_labels_has_no_f1_and_one_with_invented_ones_has_zero(monkeypatch):
    for name in NAMES:
        entry = metrics.get(name)
        assert entry.aggregate(label_scores(monkeypatch, name, [((), ())] * 2)) is None
        assert entry.aggregate(label_scores(monkeypatch, name, [({"Edema"}, ())] * 2)) == 0.0


def test_a_resample_without_a_rare_label_is_not_pulled_down(monkeypatch):
    rows = [({"Edema"}, {"Edema"}), ({"Fracture"}, {"Fracture"})]
    entry = metrics.get("chexbert_f1_14_macro")
    _, matrix = entry.counts_matrix(label_scores(monkeypatch, entry.spec.name, rows))
    assert entry.aggregate_counts(np.stack([matrix.sum(axis=0), 2 * matrix[0]])) == pytest.approx([2 / 14, 2 / 14])


def test_a_vector_without_direction_is_not_scored(monkeypatch):
    from wetread.metrics import semb

    monkeypatch.setattr(semb, "features", lambda texts, *more: [{"cls": np.zeros(3, np.float32)} for _ in texts])
    (score,) = metrics.get("semb_score")([Report("a")], [Report("b")])
    assert score.value is None and "direction" in score.reason


def test_weights_may_lie_in_the_folder_itself_and_be_named_by_the_environment(weights, tmp_path, monkeypatch):
    for file in (weights / "chexbert").rglob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    drafts, references = [Report(TEXTS[0])], [Report(TEXTS[1])]
    (expected,) = metrics.get("semb_score", weights)(drafts, references)
    (direct,) = metrics.get("semb_score", tmp_path)(drafts, references)
    monkeypatch.setenv("WETREAD_WEIGHTS", str(weights))
    (named,) = metrics.get("semb_score")(drafts, references)
    assert direct == named == expected


def test_files_of_old_torch_and_without_dataparallel_are_read(weights, tmp_path):
    plain = {name.removeprefix("module."): value for name, value in state().items()}
    plain["bert.embeddings.position_ids"] = torch.arange(512)[None]
    del plain["bert.pooler.dense.weight"]
    old = write(tmp_path, plain, _use_new_zipfile_serialization=False)
    one, two = (neural.CheXbert(folder / "chexbert", device="cpu") for folder in (old, weights))
    assert one.logits(TEXTS)[0].equal(two.logits(TEXTS)[0])


def test_signatures_tell_weights_and_precision_apart(weights, tmp_path):
    other = write(tmp_path / "other", state(1))
    swapped = write(tmp_path / "swapped", state(), [*WORDS[:-2], WORDS[-1], WORDS[-2]])
    models = [neural.CheXbert(folder / "chexbert") for folder in (weights, other, swapped)]
    assert len({model.signature for model in models} | {neural.build(weights / "chexbert", "bf16").signature}) == 4


def refused(folder):
    with pytest.raises(MissingError) as caught:
        metrics.get("semb_score", folder)([Report("a")], [Report("b")])
    said = str(caught.value)
    assert "\n" not in said and caught.value.exit_code == 3
    return said


def test_missing_files_are_named(tmp_path, weights):
    said = refused(tmp_path)
    assert "chexbert.pth is not there" in said and "StanfordAIMI/RRG_scorers" in said and "--weights" in said
    (tmp_path / "chexbert").mkdir()
    (tmp_path / "chexbert" / "chexbert.pth").write_bytes((weights / "chexbert" / "chexbert.pth").read_bytes())
    said = refused(tmp_path)
    assert "vocab.txt" in said and "bert-base-uncased" in said


def test_missing_and_extra_keys_are_named(tmp_path):
    lacking = state()
    del lacking["module.linear_heads.13.bias"], lacking["module.bert.encoder.layer.1.output.dense.weight"]
    said = refused(write(tmp_path / "lacking", lacking))
    assert "lacks bert.encoder.layer.1.output.dense.weight, linear_heads.13.bias" in said
    said = refused(write(tmp_path / "extra", state() | {"module.linear_heads.14.bias": torch.zeros(4)}))
    assert "beyond" in said and "linear_heads.14.bias" in said
    said = refused(write(tmp_path / "shape", state() | {"module.linear_heads.3.bias": torch.zeros(2)}))
    assert "linear_heads.3.bias (2,) for (4,)" in said
    said = refused(write(tmp_path / "many", {"module.linear_heads.0.bias": torch.zeros(4)}))
    assert " more. Use" in said and len(said) < 600


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    tensors = state()
    tensors["module.linear_heads.3.weight"][1, 2] = value
    message = refused(write(tmp_path, tensors))
    assert "linear_heads.3.weight" in message and "linear_heads.2.weight" not in message


def test_damaged_files_are_named(tmp_path, weights):
    whole = (weights / "chexbert" / "chexbert.pth").read_bytes()
    for number, content in enumerate(
        (whole[: len(whole) // 2], b"", b"not a checkpoint", pickle.dumps(print, protocol=2))
    ):
        folder = write(tmp_path / str(number), {})
        (folder / "chexbert" / "chexbert.pth").write_bytes(content)
        assert "chexbert.pth is damaged" in refused(folder)
    torch.save({"state_dict": state()}, folder / "chexbert" / "chexbert.pth")
    assert "holds state_dict; 'model_state_dict'" in refused(folder)


def test_wrong_vocabularies_and_configs_are_named(tmp_path):
    assert "has 31 entries; the model has 32" in refused(write(tmp_path / "short", state(), WORDS[:-1]))
    said = refused(write(tmp_path / "special", state(), ["other" if word == "[SEP]" else word for word in WORDS]))
    assert "without [SEP]" in said
    for number, changed in enumerate(
        ({"hidden_act": "relu"}, {"num_attention_heads": 5}, {"num_hidden_layers": "two"})
    ):
        assert "config" in refused(write(tmp_path / str(number), state(), config=CONFIG | changed))


def test_probes_of_radeval(wetread_data):
    """Sentences whose label the trained CheXbert finds; only with the official weights."""
    file = wetread_data / "peer_predictions" / "metric_fixtures" / "radeval_chexbert_probes.json"
    named = os.environ.get("WETREAD_CHEXBERT")
    if not named or not file.is_file():
        pytest.skip("the official CheXbert is not here; name the weights folder with WETREAD_CHEXBERT")
    probes = json.loads(file.read_text(encoding="utf-8"))["probes"]
    found = chexbert.features([text for text, _ in probes], named)
    assert all(label in chexbert.positive_labels(one) for one, (_, label) in zip(found, probes, strict=True))
