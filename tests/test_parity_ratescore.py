"""RaTEScore against the official code's outputs, and on tiny checkpoints that the tests make."""

import json
import os
import pickle
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wetread import metrics
from wetread.errors import MissingError, UsageError
from wetread.metrics import encoder, ratescore
from wetread.metrics.ratescore_sentences import offsets, sentences
from wetread.records import Report

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
PARITY = Path(os.environ.get("WETREAD_PARITY", ROOT / "shared" / "parity")) / "ratescore"
TOLERANCE = 1e-5
MATRICES = ("long", "short")
ENCODERS = ("bert", "mpnet")
FOUND = "Small left pleural effusion. No pneumothorax. Heart size is normal."
OTHER = "Lungs are clear. No effusion. The heart is enlarged, and there is edema."

parity = pytest.mark.skipif(
    not (PARITY / "expected.json").is_file(), reason="the parity folder is not here; name it with WETREAD_PARITY"
)


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch):
    monkeypatch.setenv("WETREAD_CACHE", "off")
    monkeypatch.delenv("WETREAD_WEIGHTS", raising=False)
    encoder.opened.cache_clear()
    yield
    encoder.opened.cache_clear()


def load(name):
    return json.loads((PARITY / name).read_text(encoding="utf-8"))


def official(tmp_path, kind):
    """Return a weights folder with the fixtures' checkpoints."""
    (tmp_path / "ratescore").mkdir()
    (tmp_path / "ratescore" / "ner").symlink_to(PARITY / "RaTE-NER-Deberta")
    (tmp_path / "ratescore" / "encoder").symlink_to(PARITY / f"encoder_{kind}")
    return tmp_path


# Against the official code. ---------------------------------------------------------------------------------------------


@parity
def test_parity_sentences():
    wrong = [
        item["text"]
        for item in load("sentences.json")["items"]
        if [list(span) for span in offsets(item["text"])] != item["offsets"]
    ]
    assert not wrong


@parity
def test_parity_labels_and_entities():
    from wetread.metrics.neural.ratescore import EntityFinder

    finder = EntityFinder(PARITY / "RaTE-NER-Deberta")
    for item in load("texts.json")["items"]:
        assert sentences(item["text"]) == (item["sentences"] or [])
        if not item["sentences"]:
            continue
        found = finder.label(item["sentences"])
        assert [tokens for tokens, _ in found] == item["tokens"]
        assert [labels for _, labels in found] == item["token_labels"]
        assert [list(one) for row in found for one in finder.entities(*row)] == (item["entities"] or [])


@parity
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("matrix", MATRICES)
def test_parity_scores(tmp_path, kind, matrix):
    weights = official(tmp_path, kind)
    expected = load("expected.json")["per_pair"]
    pairs = [pair for part in load("pairs.json").values() if isinstance(part, list) for pair in part]
    values = ratescore.score_texts([pair["hyp"] for pair in pairs], [pair["ref"] for pair in pairs], weights, matrix)
    compared = 0
    for pair, value in zip(pairs, values, strict=True):
        known = expected[pair["id"]][f"{kind}_{matrix}"]
        if isinstance(known, list) and known:
            assert value == pytest.approx(known[0], abs=TOLERANCE), pair["id"]
            compared += 1
        else:  # the official code fails on a text without a sentence
            assert value == ratescore.NO_ENTITY, pair["id"]
    assert compared


@parity
@pytest.mark.parametrize("kind", ENCODERS)
def test_parity_one_by_one(tmp_path, kind):
    weights = official(tmp_path, kind)
    pairs = [pair for part in load("pairs.json").values() if isinstance(part, list) for pair in part][::4]
    drafts, references = [pair["hyp"] for pair in pairs], [pair["ref"] for pair in pairs]
    together = ratescore.score_texts(drafts, references, weights)
    encoder.opened.cache_clear()
    alone = [
        ratescore.score_texts([draft], [reference], weights)[0]
        for draft, reference in reversed(list(zip(drafts, references, strict=True)))
    ]
    assert alone[::-1] == together


@parity
def test_parity_matrices():
    known = load("weights.json")
    for matrix in MATRICES:
        for row, own in enumerate(ratescore.TYPES):
            for column, other in enumerate(ratescore.TYPES):
                assert ratescore.WEIGHTS[matrix][row, column] == known[matrix][f"{own}_{other}".lower()]
        assert ratescore.NEGATION[matrix] == known[matrix]["neg_weight"]
    flipped = {
        (own, other)
        for row, own in enumerate(ratescore.TYPES)
        for column, other in enumerate(ratescore.TYPES)
        if ratescore._FLIPPED[row, column]
    }
    assert flipped == {tuple(pair) for pair in known["neg_pairs"]}


# Sentences. --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("ab", []),
        ("...", ["..."]),
        ("no effusion. heart normal.", ["no effusion.", "heart normal."]),
        ("Seen by Dr. Hill. Clear.", ["Seen by Dr. Hill.", "Clear."]),
        ("Is it edema? Likely. Yes.", ["Is it edema?", "Likely. Yes."]),
        ("Nodule of 1.5 cm. It grew.", ["Nodule of 1.5 cm.", "It grew."]),
        ("FINDINGS:\nClear\nlungs.\n\nIMPRESSION: Normal.", ["FINDINGS:", "Clear\nlungs.", "IMPRESSION: Normal."]),
        ("- Edema\n- Effusion", ["- Edema", "- Effusion"]),
        ("Normal.\r\n2) Edema", ["Normal.", "2) Edema"]),
        ("1) Edema 2) Effusion", ["1) Edema", "2) Effusion"]),
        ("Heart is normal.“ The lungs are clear.", ["Heart is normal.", "“ The lungs are clear."]),
        ("Lungs are clear. —No edema is seen.™", ["Lungs are clear. —No edema is seen."]),
        ("Lungs are clear.Č The heart is normal.", ["Lungs are clear.", "Č The heart is normal."]),
        ("Heart is normal. иNo edema is seen.", ["Heart is normal.", "иNo edema is seen."]),
        ("Heart is normal. µ’Both lungs are clear.", ["Heart is normal.", "µ’Both lungs are clear."]),
        ("No edema\x00. Heart is normal.²", ["No edema\x00. Heart is normal.²"]),
        ("No edema.é The lungs are clear.", ["No edema.é", "The lungs are clear."]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_sentences_lie_in_the_text_in_order(rng):
    letters = list(
        string.ascii_letters[:6] + string.ascii_uppercase[:4] + "  ..\n\t()[]1234:-*?!\"'\x00\xa0é²₁•\u200b\u2028"
    )
    for _ in range(300):
        text = "".join(rng.choice(letters, size=int(rng.integers(0, 60))))
        last = 0
        for start, end in offsets(text):
            assert last <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            last = end


def test_sentences_of_a_long_text_are_found_in_little_time():
    text = "Heart is normal, and lungs are clear. " * 5000
    assert len(sentences(text)) == 5000
    assert len(sentences("word " * 10_000)) == 1
    assert sentences("\n" * 20_000 + "Edema.") == ["Edema."]
    assert sentences(" " * 20_000 + "Edema.") == ["Edema."]


# Entities. ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O B-X I-X O O", [(1, 2, "X")]),
        ("O B-X O B-Y O", [(1, 1, "X"), (3, 3, "Y")]),
        ("O B-X B-Y O O", [(1, 1, "X"), (2, 2, "Y")]),
        ("O I-X I-X O O", []),
        ("O B-X I-Y O O", [(1, 2, "X")]),
        ("O O B-X I-X I-X", [(2, 3, "X")]),
        ("O B-Y B-X I-X I-X", [(1, 1, "Y")]),
        ("O B-X I-X B-Y O", [(1, 2, "X"), (3, 3, "Y")]),
        ("O O O O O", []),
    ],
)
def test_entity_spans(labels, expected):
    from wetread.metrics.neural.ratescore import entity_spans

    assert entity_spans(["[CLS]", "a", "b", "c", "[SEP]"], labels.split()) == expected


def made(*entities, seed=0):
    """Entities with random vectors that depend on their texts."""
    vectors = [np.random.default_rng([seed, *text.encode()]).normal(size=8) for text, _ in entities]
    unit = np.array([vector / np.linalg.norm(vector) for vector in vectors], dtype=np.float32).reshape(-1, 8)
    types = np.array([ratescore.TYPES.index(kind) for _, kind in entities], dtype=np.int64)
    return ratescore.Entities(tuple(text for text, _ in entities), types, unit)


def test_formula_by_hand():
    draft, reference = made(("effusion", "DISEASE")), made(("effusion", "NON-DISEASE"))
    assert ratescore.score_entities([(draft, draft)]) == pytest.approx([1.0])
    # One match either way, so the weights of the matrix cancel and the negation weight is left.
    assert ratescore.score_entities([(draft, reference)]) == pytest.approx([ratescore.NEGATION["long"]])
    assert ratescore.score_entities([(draft, reference)], None, "short") == pytest.approx([ratescore.NEGATION["short"]])
    assert ratescore.score_entities([(draft, made()), (made(), draft), (made(), made())]) == [0.5, 0.5, 0.5]


def test_formula_is_that_of_the_paper():
    draft = made(("edema", "DISEASE"), ("lungs", "ANATOMY"), ("clear", "NON-ABNORMALITY"))
    reference = made(("mild edema", "ABNORMALITY"), ("heart", "ANATOMY"))
    directed = []
    for own, other in ((reference, draft), (draft, reference)):
        top = bottom = 0.0
        for vector, kind in zip(own.vectors, own.types, strict=True):
            cosines = [float(vector @ rival) for rival in other.vectors]
            best = int(np.argmax(cosines))
            names = {ratescore.TYPES[kind], ratescore.TYPES[other.types[best]]}
            negated = [name for name in names if name.startswith("NON-")] and names & {"DISEASE", "ABNORMALITY"}
            weight = ratescore.WEIGHTS["long"][kind, other.types[best]]
            top += weight * cosines[best] * (ratescore.NEGATION["long"] if negated else 1)
            bottom += weight
        directed.append(top / bottom)
    expected = 2 * directed[0] * directed[1] / sum(directed)
    assert ratescore.score_entities([(draft, reference)]) == pytest.approx([expected], abs=1e-6)


# Tiny checkpoints in the official layout. -----------------------------------------------------------------------------


def make_finder(folder, seed=0):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import DebertaV2Config, DebertaV2ForTokenClassification

    words = [
        "[PAD]",
        "[CLS]",
        "[SEP]",
        "[UNK]",
        "▁",
        *string.ascii_letters,
        *string.digits,
        ".",
        ",",
        "▁effusion",
        "▁No",
    ]
    tokenizer = Tokenizer(models.Unigram([(word, -float(len(word) == 1)) for word in words], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(words[:3])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    # Not the order of any published checkpoint.
    labels = ["O", *(f"{mark}-{kind}" for mark in "IB" for kind in reversed(ratescore.TYPES))]
    torch.manual_seed(seed)
    config = DebertaV2Config(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True,
        pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0, initializer_range=0.5,
        id2label=dict(enumerate(labels)), label2id={label: place for place, label in enumerate(labels)},
    )  # fmt: skip
    DebertaV2ForTokenClassification(config).save_pretrained(folder)


def make_encoder(folder, kind="bert", seed=0):
    from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind == "mpnet":
        special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    words = [*special, *string.ascii_lowercase, *(f"##{one}" for one in string.ascii_lowercase), ".", ",", "effusion"]
    shape = {
        "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "initializer_range": 0.5, "pad_token_id": int(kind == "mpnet"),
    }  # fmt: skip
    torch.manual_seed(seed)
    model = BertModel(BertConfig(**shape)) if kind == "bert" else MPNetModel(MPNetConfig(**shape))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    make_finder(folder / "ratescore" / "ner")
    make_encoder(folder / "ratescore" / "encoder")
    return folder


@pytest.fixture
def copied(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "copy")
    return tmp_path / "copy"


def test_metrics_are_registered(tiny):
    drafts, references = [Report(FOUND), Report(OTHER, "Edema.")], [Report(OTHER), Report(FOUND)]
    for name in ("ratescore_long", "ratescore_short"):
        metric = metrics.get(name, weights=tiny)
        scores = pickle.loads(pickle.dumps(metric))(drafts, references)
        assert all(score.metric == name and score.value is not None for score in scores)
        assert metric.aggregate(scores) == pytest.approx(np.mean([score.value for score in scores]))
        assert scores[0].counts["draft_entities"] > 0
        (same,) = metric(drafts[:1], drafts[:1])
        assert same.value > 0.5
    assert scores != metrics.get("ratescore_long", weights=tiny)(drafts, references)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_score_does_not_depend_on_the_batch(tiny, tmp_path, kind, rng):
    weights = tmp_path
    shutil.copytree(tiny / "ratescore" / "ner", weights / "ratescore" / "ner")
    make_encoder(weights / "ratescore" / "encoder", kind)
    texts = [
        FOUND,
        OTHER,
        "",
        "Edema.",
        "x",
        f"{FOUND} {OTHER} {FOUND}",
        "\x00",
        "No " * 300,
        FOUND,
        "É naïve 胸 \ud800",
    ]
    drafts = [texts[place] for place in rng.integers(0, len(texts), 24)]
    references = [texts[place] for place in rng.integers(0, len(texts), 24)]
    together = ratescore.score_texts(drafts, references, weights)
    assert np.isfinite(together).all()
    for place, (draft, reference) in enumerate(zip(drafts, references, strict=True)):
        encoder.opened.cache_clear()
        assert ratescore.score_texts([draft], [reference], weights)[0] == together[place]


def test_empty_and_odd_reports_shift_nobody(tiny):
    metric = metrics.get("ratescore_long", weights=tiny)
    alone = metric([Report(FOUND)], [Report(OTHER)])[0]
    drafts = [Report(), Report(FOUND), Report(" \n"), Report(FOUND), Report("word " * 10_000), Report("\x00")]
    references = [Report(OTHER), Report(), Report(OTHER), Report(OTHER), Report(OTHER), Report(OTHER)]
    scores = metric(drafts, references)
    assert scores[0].value == scores[2].value == 0.5
    assert scores[1].value is None and "empty" in scores[1].reason
    assert scores[3] == alone
    assert scores[4].value is not None and scores[5].value is not None
    assert metric([], []) == []
    assert [score.value for score in metric([Report(FOUND)], [Report()])] == [None]


def test_lengths_that_differ_are_refused(tiny):
    with pytest.raises(UsageError, match="1 drafts but 2 references"):
        metrics.get("ratescore_short", weights=tiny)([Report(FOUND)], [Report(FOUND), Report(OTHER)])


def test_every_sentence_and_entity_is_encoded_once(tiny, monkeypatch):
    from wetread.metrics.neural import ratescore as network

    seen = {"sentences": [], "entities": []}
    for kind, name in ((network.EntityFinder, "sentences"), (network.EntityEncoder, "entities")):

        def counted(self, texts, run=kind.run, name=name):
            seen[name] += texts
            return run(self, texts)

        monkeypatch.setattr(kind, "run", counted)
    found = ratescore.entities([FOUND, OTHER, FOUND, f"{FOUND} {OTHER}"], tiny)
    assert found[0] is found[2]
    for texts in seen.values():
        assert texts and len(texts) == len(set(texts))


def test_the_cache_gives_the_same_scores(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WETREAD_CACHE", str(tmp_path / "features.sqlite"))
    first = ratescore.score_texts([FOUND, OTHER], [OTHER, f"{OTHER} {FOUND}"], tiny)
    encoder.opened.cache_clear()
    from wetread.metrics.neural import ratescore as network

    def refuse(*_):
        raise AssertionError("it was encoded again")

    for kind in (network.EntityFinder, network.EntityEncoder, network.ListEncoder):
        monkeypatch.setattr(kind, "run", refuse)
    assert ratescore.score_texts([FOUND, OTHER], [OTHER, f"{OTHER} {FOUND}"], tiny) == first


def test_labels_are_read_from_the_config(copied):
    file = copied / "ratescore" / "ner" / "config.json"
    before = ratescore.entities([OTHER], copied)[0]
    config = json.loads(file.read_text())
    swap = {"DISEASE": "ANATOMY", "ANATOMY": "DISEASE"}
    config["id2label"] = {
        place: label[:2] + swap.get(label[2:], label[2:]) for place, label in config["id2label"].items()
    }
    config["label2id"] = {label: int(place) for place, label in config["id2label"].items()}
    file.write_text(json.dumps(config))
    encoder.opened.cache_clear()
    after = ratescore.entities([OTHER], copied)[0]
    names = [ratescore.TYPES[kind] for kind in before.types]
    assert [ratescore.TYPES[kind] for kind in after.types] == [swap.get(name, name) for name in names]
    config["id2label"]["0"] = "B-TUMOUR"
    config["label2id"] = {label: int(place) for place, label in config["id2label"].items()}
    file.write_text(json.dumps(config))
    encoder.opened.cache_clear()
    with pytest.raises(MissingError, match="B-TUMOUR"):
        ratescore.entities([OTHER], copied)


@pytest.mark.parametrize(
    ("part", "name"), [("ner", "classifier.bias"), ("encoder", "encoder.layer.0.attention.self.query.weight")]
)
@pytest.mark.parametrize("change", ["missing", "extra", "shape", "truncated", "absent"])
def test_wrong_weights_are_named(copied, part, name, change):
    file = copied / "ratescore" / part / "model.safetensors"
    state = load_file(file)
    expected = name
    if change == "missing":
        del state[name]
    elif change == "extra":
        state["encoder.layer.7.surplus"] = torch.zeros(1)
        expected = "encoder.layer.7.surplus"
    elif change == "shape":
        state[name] = torch.zeros(3)
    save_file(state, file, {"format": "pt"})
    if change == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
        expected = f"ratescore/{part}"
    elif change == "absent":
        file.unlink()
        expected = "model.safetensors"
    with pytest.raises(MissingError, match=expected) as caught:
        ratescore.score_texts([FOUND], [OTHER], copied)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["ner/tokenizer.json", "ner/config.json", "encoder/vocab.txt", "encoder/config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]"])
def test_other_damaged_files_are_named(copied, file, content):
    (copied / "ratescore" / file).write_bytes(content)
    with pytest.raises(MissingError, match=file):
        ratescore.score_texts([FOUND], [OTHER], copied)


def test_a_pooler_is_not_needed(copied):
    file = copied / "ratescore" / "encoder" / "model.safetensors"
    before = ratescore.score_texts([FOUND], [OTHER], copied)
    save_file({name: value for name, value in load_file(file).items() if "pooler" not in name}, file, {"format": "pt"})
    encoder.opened.cache_clear()
    assert ratescore.score_texts([FOUND], [OTHER], copied) == before


def test_the_folders_may_have_the_names_of_the_hub(copied, monkeypatch):
    before = ratescore.score_texts([FOUND], [OTHER], copied)
    (copied / "ratescore" / "ner").rename(copied / "ratescore" / "RaTE-NER-Deberta")
    (copied / "ratescore" / "encoder").rename(copied / "ratescore" / "BioLORD-2023-C")
    monkeypatch.setenv("WETREAD_WEIGHTS", str(copied))
    assert ratescore.score_texts([FOUND], [OTHER]) == before
    with pytest.raises(MissingError, match="Angelakeke/RaTE-NER-Deberta"):
        ratescore.score_texts([FOUND], [OTHER], copied / "elsewhere")


def test_what_the_vocabulary_lacks_is_called_unknown(tiny):
    from wetread.metrics.neural.ratescore import EntityFinder

    finder = EntityFinder(tiny / "ratescore" / "ner")
    ((tokens, labels),) = finder.label(["No 胸"])
    assert tokens == ["[CLS]", "▁No", "▁", "[UNK]", "[SEP]"] and len(labels) == len(tokens)
    kind = f"B-{ratescore.TYPES[0]}"
    assert finder.entities(tokens, ["O", "O", "O", kind, "O"]) == [("[UNK]", ratescore.TYPES[0])]


def test_tokenizer_file_and_vocabulary_agree(copied):
    from wetread.metrics.neural.ratescore import EntityEncoder

    folder = copied / "ratescore" / "encoder"
    built = EntityEncoder(folder).tokenizer
    built.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("")
    read = EntityEncoder(folder).tokenizer
    for text in ("", "left effusion", "É [SEP] x", "a b c " * 40):
        assert read.encode(text).ids == built.encode(text).ids
        assert len(read.encode(text).ids) <= 30
