"""RadGraph: the official code's annotations and scores, and tiny checkpoints that break in every way."""

import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import radgraph_files as made
from wetread import metrics
from wetread.errors import MissingError, UsageError
from wetread.metrics import graphs
from wetread.metrics.encoder import Encoder
from wetread.metrics.graphs import Graph, words_of
from wetread.metrics.neural.radgraph import OPEN, joined_places
from wetread.metrics.neural.radgraph_archive import ENCODER
from wetread.metrics.radgraph import WEIGHTS, annotate
from wetread.records import Report

PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).parents[2] / "shared" / "parity"))
HERE = PARITY / "radgraph"
CHECKPOINTS = tuple(name for name in OPEN if (HERE / name / "annotations.json").is_file())
NAMES = tuple(name for name in metrics.METRICS if name.startswith("radgraph_"))
TIE = 2e-5
"""Nearer decisions than this may fall the other way on other hardware."""
REPORTS = [
    Report("Heart size is normal. No effusion.", "Mild edema."),
    Report("Left lower lobe opacity, small effusion.", "Left lower lobe opacity."),
    Report("Heart size is normal. No effusion."),
    Report("No edema."),
]
needs_parity = pytest.mark.skipif(not CHECKPOINTS, reason=f"no official outputs in {HERE}; set WETREAD_PARITY")
each_checkpoint = pytest.mark.parametrize("name", CHECKPOINTS or ("none",))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("WETREAD_CACHE", "off")
    monkeypatch.delenv("WETREAD_WEIGHTS", raising=False)


def load(*parts):
    return json.loads(HERE.joinpath(*parts).read_text("utf-8"))


def items(name):
    """Texts with words; what the package makes of an empty one is a test of its own."""
    return [item for item in load(name, "annotations.json")["items"] if item["text"].strip()]


def near_a_tie(item):
    return min((margin for margin in item["margins"].values() if margin is not None), default=math.inf) < TIE


def pairs():
    found = load("pairs.json")
    return {pair["id"]: pair for part in found.values() if isinstance(part, list) for pair in part}


def values(draft, reference, fold=False):
    return [graphs.f1(graphs.overlap(level(draft, fold), level(reference, fold))) for level in graphs.LEVELS.values()]


def combined(draft, reference):
    parts = [graphs.f1(graphs.overlap(facet(draft), facet(reference))) for facet in (graphs.simple, graphs.relations)]
    return [*parts, sum(parts) / 2]


# ---- the official code's outputs -------------------------------------------------------------------------------------


@needs_parity
@each_checkpoint
def test_parity_words_and_word_pieces(name):
    pieces = OPEN[name](HERE).wordpieces
    for item in items(name):
        words = words_of(item["text"], name)
        assert list(words) == item["words"]
        ids = [one for word in pieces(words) for one in word]
        assert len(ids) + len(pieces.start) + len(pieces.end) == item["n_wordpieces"]
        if item["wordpiece_ids"] is not None:
            assert [*pieces.start, *ids, *pieces.end] == item["wordpiece_ids"]


@needs_parity
@each_checkpoint
@pytest.mark.parametrize("batched", [False, True])
def test_parity_entities_and_relations(name, batched):
    wanted = items(name)
    texts = [item["text"] for item in wanted]
    model = OPEN[name](HERE)
    found = Encoder(model)(texts) if batched else [model.run([text])[0] for text in texts]
    compared = 0
    for item, features in zip(wanted, found, strict=True):
        ours = model.graph(item["text"], features).to_annotation()
        assert ours["text"] == item["annotation"]["text"]
        if near_a_tie(item):
            continue
        assert ours == item["annotation"], item["text"][:80]
        compared += 1
    assert compared > 0.8 * len(wanted)


@needs_parity
@each_checkpoint
def test_parity_rewards_of_every_pair(name):
    expected = load(name, "expected.json")
    ties = {item["text"] for item in items(name) if near_a_tie(item)}
    texts = sorted({text for pair in pairs().values() for text in (pair["hyp"], pair["ref"])})
    found = dict(zip(texts, map(Graph.from_annotation, annotate(texts, name, weights=PARITY)), strict=True))
    versions = {"v0_1_18": False, "git_87f11a1": True}
    for study, pair in pairs().items():
        draft, reference = found[pair["hyp"]], found[pair["ref"]]
        if {pair["hyp"], pair["ref"]} & ties:
            continue
        official = expected["rewards"]["per_pair"].get(study, {})
        for version, fold in versions.items():
            if version in official:
                assert values(draft, reference, fold) == pytest.approx(official[version], abs=1e-5), study
        if study in expected["cxr_report_metric"]["per_pair"]:
            row = expected["cxr_report_metric"]["per_pair"][study]
            keys = ("entity_f1", "relation_f1", "radgraph_combined")
            assert combined(draft, reference) == pytest.approx([row[key] for key in keys], abs=1e-5), study
    if not ties:
        batch = [
            values(found[pairs()[s]["hyp"]], found[pairs()[s]["ref"]]) for s in expected["rewards"]["batch_pair_ids"]
        ]
        assert np.mean(batch, axis=0) == pytest.approx(expected["rewards"]["batch_mean"], abs=1e-5)


@needs_parity
def test_parity_rewards_without_a_model():
    cases = load("reward_only.json")["cases"]
    for case in cases:
        draft, reference = Graph.from_annotation(case["hypothesis"]), Graph.from_annotation(case["reference"])
        assert values(draft, reference) == pytest.approx(case["v0_1_18"], abs=1e-9)
        assert values(draft, reference, fold=True) == pytest.approx(case["git_87f11a1"], abs=1e-9)
        keys = ("entity_f1", "relation_f1", "radgraph_combined")
        assert combined(draft, reference) == pytest.approx([case[key] for key in keys], abs=1e-9)
    assert any(case["relation_f1"] for case in cases)


@needs_parity
@each_checkpoint
def test_parity_texts_on_which_the_official_code_stops(name):
    stops = list(load(name, "annotations.json")["errors"])
    good = items(name)[0]["text"]
    alone, *_ = annotate([good], name, weights=PARITY)
    among = annotate([*stops, good, "", *stops], name, weights=PARITY)
    assert among[len(stops)] == alone
    assert all(one["entities"] == {} for place, one in enumerate(among) if place != len(stops))


@needs_parity
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("radgraph_combined")])
def test_parity_of_the_metrics_with_their_levels(name):
    entry = metrics.get(name, PARITY)
    checkpoint = next(key for key, spec in WEIGHTS.items() if (spec.name,) == entry.spec.needs)
    if checkpoint not in CHECKPOINTS:
        pytest.skip(f"no {checkpoint} in {HERE}")
    drafts, references = zip(*[(Report(pair["hyp"]), Report(pair["ref"])) for pair in pairs().values()], strict=True)
    scores = entry(drafts, references)
    place = list(graphs.LEVELS).index(name.split("_")[1])
    for draft, reference, score in zip(drafts, references, scores, strict=True):
        if not reference:
            assert score.value is None and "reference" in score.reason
            continue
        both = annotate([draft.text, reference.text], checkpoint, weights=PARITY)
        wanted = values(*map(Graph.from_annotation, both), fold=name.endswith("uncased"))[place]
        assert score.value == pytest.approx(wanted, abs=1e-9)
    assert entry.aggregate(scores) == pytest.approx(np.mean([s.value for s in scores if s.value is not None]))


# ---- graphs ----------------------------------------------------------------------------------------------------------

GRAPH = Graph.of(
    ("Mild", "Edema", "left", "lobe"),
    [(0, 0, "OBS"), (1, 1, "OBS"), (2, 3, "ANAT")],
    [(0, 1, 1), (2, 1, 0), (2, 2, 1)],
    ("located_at", "modify"),
)


def test_a_graph_survives_the_packages_form():
    annotation = GRAPH.to_annotation()
    assert annotation["entities"]["3"]["relations"] == [["located_at", "2"], ["modify", "3"]]
    assert Graph.from_annotation(annotation).to_annotation() == annotation
    assert pickle.loads(pickle.dumps(GRAPH)).to_annotation() == annotation


def test_the_sets_of_each_level():
    assert graphs.simple(GRAPH) == {("Mild", "OBS"), ("Edema", "OBS"), ("left lobe", "ANAT")}
    assert graphs.partial(GRAPH) == {("Mild", "OBS", True), ("Edema", "OBS"), ("left lobe", "ANAT", True)}
    told = {("mild", "OBS", "modify", "edema"), ("left lobe", "ANAT", "located_at", "edema")}
    assert graphs.complete(GRAPH) == told | {("Edema", "OBS"), ("left lobe", "ANAT", "modify", "left lobe")}
    assert ("edema", "OBS") in graphs.complete(GRAPH, fold=True) & graphs.simple(GRAPH, fold=True)
    assert (("Mild", "OBS"), ("Edema", "OBS"), "modify") in graphs.relations(GRAPH)


@pytest.mark.parametrize("name", OPEN)
def test_words_of_odd_texts(name):
    assert words_of("", name) == words_of(" \n\t\u00a0", name) == ()
    assert words_of("a\x00b", name) in {("a\x00b",), ("a", "\x00", "b")}
    assert "clear" in words_of("Heart\\nlungs clear.", name)


@pytest.mark.parametrize("name", ["radgraph-xl", "modern-radgraph-xl"])
def test_words_end_where_nltk_ends_them(name):
    assert words_of("3 cm² or 1½.", name) == ("3", "cm", "²", "or", "1", "½.")
    assert words_of("e\u0301panchement", name) == ("e\u0301panchement",)
    assert words_of("right\x1clung\x85clear", name) == ("right", "lung", "clear")


def test_words_without_word_pieces_are_read(tmp_path):
    entities_found = 0
    for seed in range(8):
        made.checkpoint(tmp_path / str(seed), "radgraph-xl", seed=seed)
        model = OPEN["radgraph-xl"](tmp_path / str(seed) / "radgraph")
        cut = model.wordpieces.cut(words_of("\x00", model.name))
        assert cut.segments == ((*model.wordpieces.start, *model.wordpieces.end),) and cut.words == 1
        alone, among = model.run(["\x00"])[0], model.run(["\x00", "heart"])[0]
        with torch.inference_mode():
            entities, links = model.heads(torch.zeros(1, 16), [1])[0]
        for found in (alone, among):
            assert (found["entities"].tolist(), found["relations"].tolist()) == (entities.tolist(), links.tolist())
        entities_found += len(entities)
    assert entities_found


# ---- the network -----------------------------------------------------------------------------------------------------


def slow_graph(state, vectors):
    """Entities and relations of one text by the textbook: every span, every pair of kept spans, no shared work."""

    def network(name, value, last):
        for layer in range(2):
            weight, bias = (state[f"{name}._linear_layers.{layer}.{part}"] for part in ("weight", "bias"))
            value = torch.relu(weight @ value + bias)
        return state[f"{last}.weight"] @ value + state[f"{last}.bias"]

    entity, pruner = (
        "_ner._ner_scorers.radgraph-xl__ner_labels",
        "_relation._mention_pruners.radgraph-xl__relation_labels",
    )
    spans = [(i, j) for i in range(len(vectors)) for j in range(i, min(i + 4, len(vectors)))]
    width = state["_endpoint_span_extractor._span_width_embedding.weight"]
    looks = {(i, j): torch.cat((vectors[i], vectors[j], width[j - i])) for i, j in spans}
    best = {}
    for span in spans:
        scores = torch.cat((torch.zeros(1), network(f"{entity}.0._module", looks[span], f"{entity}.1._module")))
        best[span] = int(scores.argmax())
    scorer = f"{pruner}._scorer"
    keep = {span: float(network(f"{scorer}.0._module", looks[span], f"{scorer}.1._module")) for span in spans}
    kept = sorted(sorted(spans, key=lambda span: -keep[span])[: math.ceil(len(vectors) / 2)])
    entities = [span for span in spans if best[span]]
    links = []
    relation = "_relation._relation_{}.radgraph-xl__relation_labels"
    for one in kept:
        for other in kept:
            pair = torch.cat((looks[one], looks[other], looks[one] * looks[other]))
            scores = (
                network(relation.format("feedforwards"), pair, relation.format("scorers")) + keep[one] + keep[other]
            )
            label = int(torch.cat((torch.zeros(1), scores)).argmax())
            if label and one in entities and other in entities:
                links.append([entities.index(one), entities.index(other), label - 1])
    return [[*span, best[span]] for span in entities], sorted(links)


def test_heads_agree_with_the_textbook(tmp_path):
    made.checkpoint(tmp_path, "radgraph-xl", seed=3)
    model = OPEN["radgraph-xl"](tmp_path / "radgraph")
    torch.manual_seed(0)
    lengths = [1, 2, 3, 17, 9, 24]
    vectors = torch.randn(sum(lengths), 16)
    with torch.inference_mode():
        found = model.heads(vectors, lengths)
    from wetread.metrics.neural.radgraph_archive import read

    state = read(tmp_path / "radgraph", "radgraph-xl").state
    relations = 0
    for (entities, links), part in zip(found, vectors.split(lengths), strict=True):
        assert (entities.tolist(), links.tolist()) == slow_graph(state, part)
        relations += len(links)
    assert relations > 20


@pytest.mark.parametrize("total", [1, 7, 8, 9, 10, 15, 16, 17, 18, 23, 24, 40])
def test_segments_are_joined_as_the_official_code_joins_them(total):
    size, places = 8, joined_places(total, 8, 1, 1)
    if total <= size:
        assert places.tolist() == list(range(total))
        return
    count = math.ceil(total / size)
    flat = list(range(count * size))
    inner = [one for at in range(0, len(flat), size) for one in flat[at + 1 : at + size - 1]] + [None]
    inner[total - 1 - (2 * count - 1)] = total - 1
    assert places.tolist() == [0, *inner][: total - 2 * (count - 1)]
    assert max(places) < total


def test_long_texts_are_read_in_segments(tmp_path):
    made.checkpoint(tmp_path, "radgraph-xl")
    pieces = OPEN["radgraph-xl"](tmp_path / "radgraph").wordpieces
    cut = pieces.cut(["heart"] * 100)
    assert [len(one) for one in cut.segments] == [40, 40, 26] and cut.words == 100
    assert all(one[0] == pieces.start[0] and one[-1] == pieces.end[0] for one in cut.segments)
    flat = [one for segment in cut.segments for one in segment]
    assert {flat[place] for place in cut.piece} == set(pieces(["heart"])[0]) and len(cut.piece) == 100
    assert pieces.cut(["\u200b", "heart"]).word.tolist() == [1], "a word without pieces has none"


# ---- metrics on tiny checkpoints -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(OPEN):
        made.checkpoint(folder, name, seed=seed)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_no_score_depends_on_the_batch(name, weights):
    entry = metrics.get(name, weights)
    drafts, references = [*REPORTS, REPORTS[1], Report()], [REPORTS[1], *REPORTS[:3], REPORTS[1], REPORTS[0]]
    together = entry(drafts, references)
    backwards = entry(drafts[::-1], references[::-1])[::-1]
    assert together == backwards
    from wetread.metrics.encoder import opened

    for place, score in enumerate(together):
        opened.cache_clear()
        assert entry([drafts[place]], [references[place]]) == [score]
    assert together[-1].value == 0.0 and all(score.value is not None for score in together)
    assert entry([], []) == []
    assert (
        pickle.loads(pickle.dumps(entry)) == entry or pickle.loads(pickle.dumps(entry))(drafts, references) == together
    )
    assert pickle.loads(pickle.dumps(entry))(drafts, references) == together
    with pytest.raises(UsageError, match="drafts but"):
        entry(drafts, references[:1])


@pytest.mark.parametrize("name", ["radgraph_complete", "radgraph_partial_modern", "radgraph_combined"])
def test_odd_reports_do_not_shift_others(name, weights):
    entry = metrics.get(name, weights)
    long = Report(" ".join(["heart size is small left opacity ."] * 1_500))
    odd = [Report("\x00"), Report(" "), Report("\u200b\ud800"), Report("..."), long, Report("x" * 500), Report("/. /?")]
    drafts, references = [*odd, REPORTS[0]], [*[REPORTS[1]] * len(odd), REPORTS[1]]
    scores = entry(drafts, references)
    assert scores[-1] == entry([REPORTS[0]], [REPORTS[1]])[0]
    assert all(0.0 <= score.value <= 1.0 for score in scores)
    (blank,) = entry([REPORTS[0]], [Report(" ")])
    assert blank.value is None and blank.reason


def test_counts_give_the_corpus_values(weights):
    scores = metrics.get("radgraph_simple", weights)(REPORTS, REPORTS[::-1])
    for score in scores:
        assert score.value == pytest.approx(graphs.f1(score.counts))
    (same,) = metrics.get("radgraph_combined", weights)(REPORTS[:1], REPORTS[:1])
    linked = same.counts["relation_tp"] > 0
    assert same.value == (1.0 if linked else 0.5)
    entry = metrics.get("radgraph_simple", weights)
    assert entry.aggregate(scores) == pytest.approx(np.mean([score.value for score in scores]))


def test_a_report_without_relations_has_half_a_combined_score(tmp_path):
    name = "_relation._relation_scorers.radgraph__relation_labels.bias"
    made.checkpoint(tmp_path, "radgraph", **{name: torch.full((3,), -1e4)})
    (same,) = metrics.get("radgraph_combined", tmp_path)(REPORTS[:1], REPORTS[:1])
    assert same.counts["entity_tp"] > 0 and same.value == 0.5


def test_unpacked_checkpoints_and_the_disk_cache(tmp_path, weights, monkeypatch):
    wanted = annotate(["Mild edema .", "no effusion"], "radgraph-xl", weights=weights)
    folder = tmp_path / "radgraph"
    members = made.files(folder, "radgraph-xl", seed=1)
    for name, content in members.items():
        (folder / "radgraph-xl" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "radgraph-xl" / name).write_bytes(content)
    monkeypatch.setenv("WETREAD_CACHE", str(tmp_path / "features.sqlite"))
    assert annotate(["Mild edema .", "no effusion"], "radgraph-xl", weights=tmp_path) == wanted
    assert b"edema" not in (tmp_path / "features.sqlite").read_bytes(), "no report can be read from the cache"
    monkeypatch.setenv("WETREAD_WEIGHTS", str(tmp_path))
    from wetread.metrics.encoder import opened

    opened.cache_clear()
    monkeypatch.setattr("wetread.metrics.neural.radgraph.RadGraphModel.run", None)
    assert annotate(["Mild edema ."], "radgraph-xl") == wanted[:1], "the second process reads what the first found"


# ---- files that are not whole ----------------------------------------------------------------------------------------


def refused(weights, match, name="radgraph-xl"):
    with pytest.raises(MissingError, match=match) as caught:
        annotate(["Mild edema."], name, weights=weights)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


HEAD = "_ner._ner_scorers.radgraph-xl__ner_labels.1._module.weight"
INNER = ENCODER + "encoder.layer.1.output.dense.bias"
UNUSED = "_coref._f_network._linear_layers.0.bias"


@pytest.mark.parametrize("key", [HEAD, INNER, UNUSED])
def test_weights_that_lack_a_name(tmp_path, key):
    made.checkpoint(tmp_path, "radgraph-xl", **{key: None})
    refused(tmp_path, f"lacks {key}")


@pytest.mark.parametrize("key", ["_ner.more", ENCODER + "more", "more"])
def test_weights_with_a_name_too_many(tmp_path, key):
    made.checkpoint(tmp_path, "radgraph-xl", **{key: torch.zeros(1)})
    refused(tmp_path, f"beyond what belongs there {key}")


@pytest.mark.parametrize("key", [HEAD, INNER])
def test_weights_of_another_shape(tmp_path, key):
    made.checkpoint(tmp_path, "radgraph-xl", **{key: torch.zeros(2)})
    refused(tmp_path, f"{key} .2,. instead of")


def test_the_buffer_of_older_files_is_passed_over(tmp_path):
    made.checkpoint(tmp_path, "radgraph-xl", **{ENCODER + "embeddings.position_ids": torch.arange(40)[None]})
    assert annotate(["Mild edema."], weights=tmp_path)[0]["text"] == "Mild edema ."


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive(tmp_path, part):
    path = made.checkpoint(tmp_path, "radgraph-xl")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    refused(tmp_path, "damaged, truncated")


@pytest.mark.parametrize("member", ["weights.th", "config.json", "vocabulary/radgraph-xl__ner_labels.txt"])
def test_an_archive_without_a_member(tmp_path, member):
    members = made.files(tmp_path / "radgraph", "radgraph-xl")
    del members[member]
    made.pack(tmp_path / "radgraph" / "radgraph-xl.tar.gz", members)
    refused(tmp_path, Path(member).stem)


def test_a_damaged_member(tmp_path):
    members = made.files(tmp_path / "radgraph", "radgraph-xl")
    made.pack(tmp_path / "radgraph" / "radgraph-xl.tar.gz", members | {"weights.th": b"no tensors"})
    refused(tmp_path, "damaged, truncated or no RadGraph checkpoint")


def test_what_is_not_there(tmp_path):
    refused(tmp_path, "radgraph-xl.tar.gz.*RRG_scorers.*--weights")
    made.checkpoint(tmp_path, "radgraph-xl")
    (tmp_path / "radgraph" / "encoder" / made.MODEL / "vocab.txt").unlink()
    refused(tmp_path, f"encoder/{made.MODEL}/.*vocab.txt")
    refused(tmp_path, "^radgraph:", name="radgraph")
    with pytest.raises(UsageError, match="radgraph-xl"):
        annotate([], "radgraph-xxl", weights=tmp_path)


@pytest.mark.parametrize(("path", "value"), [(("loss_weights", "coref"), 1), (("loss_weights", "relation"), 0)])
def test_settings_that_we_do_not_follow(tmp_path, path, value):
    settings = made.config()
    settings["model"][path[0]][path[1]] = value
    made.checkpoint(tmp_path, "radgraph-xl", settings=settings)
    refused(tmp_path, "coreference|turned off")


def test_a_tokenizer_that_does_not_belong_to_it(tmp_path):
    made.checkpoint(tmp_path, "radgraph-xl")
    file = tmp_path / "radgraph" / "encoder" / made.MODEL / "vocab.txt"
    file.write_text(file.read_text("utf-8") + "more\n", encoding="utf-8")
    refused(tmp_path, "word pieces, the model knows")
    file.write_text("heart\n", encoding="utf-8")
    refused(tmp_path, "lacks \\[UNK\\]")
