"""Finding, entity, label and error metrics: what is better must score better."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread import metrics
from wetread.errors import UsageError
from wetread.metrics.entry import fold_f1
from wetread.metrics.findings import claims
from wetread.metrics.labels import agreement
from wetread.records import Finding, Report

NAMES = tuple(
    name
    for name in metrics.METRICS
    if not metrics.get(name).spec.reference_free
    and not metrics.get(name).spec.needs
    and not isinstance(metrics.get(name), metrics.CorpusEntry)  # of one report alone they can say nothing
)
CLINICAL = tuple(name for name in NAMES if metrics.get(name).spec.modalities)
SENTENCES = (
    "Small left pleural effusion.",
    "Moderate cardiomegaly.",
    "Right apical pneumothorax.",
    "Consolidation in the left lower zone.",
    "Mild pulmonary edema.",
    "Severe hiatal hernia.",
    "Acute fracture of a right rib.",
)
REFERENCE = Report("Small left pleural effusion. Moderate cardiomegaly. No pneumothorax.", "Left pleural effusion.")
NORMAL = Report("The lungs are clear. No pleural effusion or pneumothorax.", "No acute disease.")
SUBSETS = st.lists(st.sampled_from(SENTENCES), unique=True, min_size=1, max_size=5)


def value(name, draft, reference=REFERENCE):
    (score,) = metrics.get(name)([draft], [reference])
    return score.value


def better(name, first, second):
    """Whether ``first`` is a better value than ``second``."""
    return first > second if metrics.get(name).spec.better == "higher" else first < second


def best(name):
    spec = metrics.get(name).spec
    return 0.0 if spec.better == "lower" else spec.bounds[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reference", [REFERENCE, NORMAL, Report(impression="Possible pneumonia.")])
def test_identity_is_best(name, reference):
    assert value(name, reference, reference) == pytest.approx(best(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "findings_precision"])
def test_a_flipped_negation_is_worse(name):
    flipped = Report("No left pleural effusion. Moderate cardiomegaly. No pneumothorax.", "No pleural effusion.")
    assert better(name, value(name, REFERENCE), value(name, flipped))


def test_an_invented_finding_costs_precision():
    invented = Report(REFERENCE.findings.replace("No pneumothorax", "Pneumothorax"), REFERENCE.impression)
    for name in set(NAMES) - {"findings_recall"}:
        assert better(name, value(name, REFERENCE), value(name, invented)), name
    assert value("findings_recall", invented) == 1.0


@pytest.mark.parametrize("name", ["entity_f1", "errors_total", "bleu_2", "rouge_l", "lexical_similarity"])
def test_a_flipped_side_is_worse(name):
    flipped = Report(REFERENCE.findings.replace("left", "right"), "Right pleural effusion.")
    assert better(name, value(name, REFERENCE), value(name, flipped))


def test_names_alone_do_not_see_the_side():
    flipped = Report(REFERENCE.findings.replace("left", "right"), "Right pleural effusion.")
    assert value("findings_f1", flipped) == 1.0


def test_a_half_right_finding_earns_part_of_its_credit():
    reference = Report("Small left pleural effusion.")
    wrong_side, nothing = Report("Small right pleural effusion."), Report("The lungs are clear.")
    assert 0 == value("entity_f1", nothing, reference) < value("entity_f1", wrong_side, reference) < 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("draft", [Report(), Report("  ", "\n")])
def test_an_empty_draft_has_a_true_value_and_no_reason(name, draft):
    (score,) = metrics.get(name)([draft], [REFERENCE])
    assert score.reason == ""
    if name in ("errors_total", "errors_significant"):
        assert score.value >= 1
    else:
        # Nothing claimed is nothing claimed wrongly; everything else is 0.
        assert score.value == (1.0 if name == "findings_precision" else 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_reference_is_not_scored(name):
    scores = metrics.get(name)([REFERENCE, REFERENCE], [Report(), REFERENCE])
    assert scores[0].value is None and scores[0].reason == "the reference report is empty" and scores[0].counts == {}
    assert scores[1].value == pytest.approx(best(name))
    assert metrics.get(name).aggregate(scores) == pytest.approx(best(name))


@pytest.mark.parametrize("name", NAMES)
def test_length_mismatch_is_refused(name):
    with pytest.raises(UsageError, match="2 drafts but 1 references"):
        metrics.get(name)([REFERENCE] * 2, [REFERENCE])


@pytest.mark.parametrize("name", NAMES)
def test_batch_of_one_equals_batch_of_n_in_any_order(name):
    reports = [Report(" ".join(SENTENCES[i : i + 3])) for i in range(5)] + [NORMAL, Report()]
    references = [REFERENCE, NORMAL] * 3 + [REFERENCE]
    entry = metrics.get(name)
    together = entry(reports, references)
    alone = [entry([d], [r])[0] for d, r in zip(reports, references, strict=True)]
    backwards = entry(reports[::-1], references[::-1])[::-1]
    assert together == alone == backwards


@pytest.mark.parametrize("name", NAMES)
def test_metrics_pickle(name):
    entry = metrics.get(name)
    again = pickle.loads(pickle.dumps(entry))
    assert again == entry and again([NORMAL], [REFERENCE]) == entry([NORMAL], [REFERENCE])


@pytest.mark.parametrize("name", NAMES)
def test_values_and_spec_hold_together(name):
    entry = metrics.get(name)
    assert entry.spec.name == name and entry.spec.source and entry.function.__name__ == name
    scores = entry([NORMAL, REFERENCE, Report()], [REFERENCE, NORMAL, NORMAL])
    low, high = entry.spec.bounds or (0.0, float("inf"))
    assert all(score.metric == name and low <= score.value <= high for score in scores)


@settings(max_examples=40, deadline=None)
@given(SUBSETS, st.data())
def test_dropping_a_finding_never_helps(sentences, data):
    """Start from the reference itself and drop present findings one by one: no metric that sees findings may rise."""
    reference = Report(" ".join(sentences))
    left = list(sentences)
    last = {name: value(name, reference, reference) for name in CLINICAL}
    while left:
        left.pop(data.draw(st.integers(0, len(left) - 1)))
        draft = Report(" ".join(left) or "The study is limited.")
        for name in CLINICAL:
            now = value(name, draft, reference)
            assert now == pytest.approx(last[name]) or better(name, last[name], now), (name, draft)
            last[name] = now


def test_pieces_of_a_claim():
    findings = [
        Finding("pleural effusion", side="left", severity="mild", change="increased"),
        Finding("pneumonia", presence="uncertain", location="lower zone"),
        Finding("pneumothorax", presence="absent", side="right"),
        Finding("consolidation", presence="absent", side="right", change="resolved"),
    ]
    assert claims(findings) == {
        ("name", "pleural effusion"),
        ("side", "pleural effusion", "left"),
        ("severity", "pleural effusion", "mild"),
        ("change", "pleural effusion", "increased"),
        ("name", "pneumonia"),
        ("presence", "pneumonia", "uncertain"),
        ("location", "pneumonia", "lower zone"),
        ("change", "consolidation", "resolved"),
    }


def test_micro_macro_precision_and_recall_of_a_small_corpus():
    effusion, heart = Report("Pleural effusion."), Report("Cardiomegaly.")
    both = Report("Pleural effusion. Cardiomegaly.")
    drafts, references = [effusion, effusion, NORMAL], [both, effusion, NORMAL]
    scores = metrics.score(CLINICAL, drafts, references)
    corpus = {name: metrics.get(name).aggregate(scores[name]) for name in CLINICAL}
    # effusion: tp 2; cardiomegaly: fn 1
    assert corpus["findings_f1"] == pytest.approx(4 / 5)
    assert corpus["findings_f1_macro"] == pytest.approx(1 / 2)
    assert corpus["findings_precision"] == 1.0
    assert corpus["findings_recall"] == pytest.approx(2 / 3)
    assert [s.value for s in scores["findings_f1"]] == pytest.approx([2 / 3, 1.0, 1.0])
    assert [s.value for s in scores["errors_total"]] == [1.0, 0.0, 0.0]
    assert corpus["errors_total"] == pytest.approx(1 / 3)
    assert value("findings_f1", heart, effusion) == 0.0


def test_two_normal_reports_agree_fully_but_leave_the_corpus_value_alone():
    entry = metrics.get("findings_f1")
    scores = entry([NORMAL, NORMAL], [NORMAL, REFERENCE])
    assert [score.value for score in scores] == [1.0, 0.0]
    assert entry.aggregate(scores) == 0.0
    assert entry.aggregate(scores[:1]) is None
    assert entry.aggregate([]) is None


def test_a_constant_normal_report_finds_nothing():
    drafts, references = [NORMAL] * 3, [REFERENCE, NORMAL, Report("Mild pulmonary edema.")]
    for name in ("findings_f1", "findings_f1_macro", "findings_recall", "entity_f1"):
        assert metrics.get(name).aggregate(metrics.get(name)(drafts, references)) == 0.0


def test_label_agreement_is_graded():
    sure, hedged = Report("Pneumonia. Cardiomegaly."), Report("Possible pneumonia. Cardiomegaly.")
    assert value("label_agreement", hedged, sure) == pytest.approx(0.75)
    assert value("label_agreement", Report("Cardiomegaly."), sure) == pytest.approx(0.5)
    assert agreement({}, {}) == 1.0
    assert agreement({"Edema": 1}, {}) == agreement({}, {"Edema": -1}) == 0.0


def test_counts_matrix_and_aggregate_agree():
    drafts, references = [NORMAL, REFERENCE, Report("Cardiomegaly.")], [REFERENCE] * 3
    for name in NAMES:
        entry = metrics.get(name)
        scores = entry(drafts, references)
        keys, matrix = entry.counts_matrix(scores)
        assert matrix.shape == (3, len(keys))
        many = entry.aggregate_counts(matrix.sum(axis=0)[None].repeat(4, axis=0))
        assert many.shape == (4,) and many == pytest.approx([entry.aggregate(scores)] * 4)


def test_a_score_without_value_is_never_taken_for_zero():
    entry = metrics.get("bleu_2")
    scores = entry([REFERENCE, REFERENCE], [Report(), REFERENCE])
    with pytest.raises(UsageError, match="without a value"):
        entry.counts_matrix(scores)
    assert entry.aggregate(scores[:1]) is None


def test_fold_is_vectorised():
    folded = fold_f1(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert folded[0] == pytest.approx(2 / 3) and folded[1] != folded[1]


def test_unknown_metric_names_the_nearest_and_all():
    with pytest.raises(UsageError, match=r"Did you mean 'rouge_l'\?.*bleu_2"):
        metrics.get("rouge")


def test_score_keeps_order_and_scores_each_pair_once():
    drafts = [NORMAL, REFERENCE, NORMAL, NORMAL]
    references = [REFERENCE, REFERENCE, REFERENCE, NORMAL]
    scores = metrics.score(("bleu_2", "entity_f1"), drafts, references)
    for name, got in scores.items():
        assert got == metrics.get(name)(drafts, references)
    assert scores["bleu_2"][0].counts is not scores["bleu_2"][2].counts
    assert metrics.score(("bleu_2",), [], []) == {"bleu_2": []}


def test_modality_is_refused_outside_the_list():
    metrics.get("entity_f1").check_modality("chest_xray")
    metrics.get("bleu_2").check_modality("knee_mri")
    with pytest.raises(UsageError, match="'entity_f1' is not made for 'knee_mri'"):
        metrics.get("entity_f1").check_modality("knee_mri")


def test_a_wrong_side_is_seen_by_the_sided_f1_only():
    draft, reference = [Report("Left effusion.")], [Report("Right effusion.")]
    assert metrics.get("findings_f1")(draft, reference)[0].value == 1
    assert metrics.get("findings_f1_sided")(draft, reference)[0].value == 0
    both = metrics.get("findings_f1_sided")([Report("Bilateral effusions.")], reference)[0]
    assert both.value == pytest.approx(2 / 3)


def test_weighted_labels_follow_the_references():
    references = [Report("Cardiomegaly."), Report("Cardiomegaly."), Report("Pleural effusion.")]
    drafts = [Report("Cardiomegaly."), Report("Cardiomegaly."), Report("Pneumothorax.")]
    weighted, macro = metrics.get("labels14_f1_weighted"), metrics.get("labels14_f1_macro")
    assert weighted.aggregate(weighted(drafts, references)) == pytest.approx(2 / 3)
    assert macro.aggregate(macro(drafts, references)) == pytest.approx(1 / 2)


def test_similarity_minds_what_a_reader_minds():
    reference = Report("Small left pneumothorax, increased. Scoliosis.")
    similarity = metrics.get("report_similarity")

    def of(text):
        return similarity([Report(text)], [reference])[0].value

    assert of("Scoliosis. There is an increased small pneumothorax on the left.") == 1
    without_scoliosis, without_pneumothorax = of("Small left pneumothorax, increased."), of("Scoliosis.")
    assert 1 > without_scoliosis > of("Small right pneumothorax, increased. Scoliosis.") > without_pneumothorax > 0
    assert (
        of("Large left pneumothorax, increased. Scoliosis.") == of("Small left pneumothorax, decreased. Scoliosis.") < 1
    )
    assert of("Clear lungs.") == 0
    assert similarity([Report("Normal chest.")], [Report("Lungs clear.")])[0].value == 1


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "bleu" not in name and "rouge" not in name and "lexical" not in name]
)
def test_to_claim_and_deny_is_never_better_than_to_claim(name):
    references = [Report("Left effusion. Cardiomegaly.")] * 3
    honest = Report("Left effusion. Cardiomegaly.")
    both = Report("Left effusion. No effusion. Cardiomegaly. The heart is normal in size.")
    neither = Report("No effusion. The heart is normal in size.")
    entry = metrics.get(name)
    claimed, said_both, denied = (score.value for score in entry([honest, both, neither], references))
    if entry.spec.better == "lower":
        claimed, said_both, denied = -claimed, -said_both, -denied
    assert claimed > said_both >= denied or (name == "findings_precision" and claimed >= said_both)


def test_silence_is_not_similar_to_a_normal_report():
    similarity = metrics.get("report_similarity")
    assert similarity([Report("."), Report("")], [Report("Lungs are clear.")] * 2)[0].value == 0
    assert similarity([Report("Normal chest.")], [Report("Lungs are clear.")])[0].value == 1
