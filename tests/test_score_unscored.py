"""What ``wetread score`` says of what it did not score, of its judges, and beside and below its corpus values."""

import json

import pytest

from judge_server import NO_ERRORS, Server, completion
from wetread import metrics
from wetread.cli import _run
from wetread.errors import MissingError, UsageError
from wetread.metrics.entry import MEAN, Aggregation, MetricEntry, class_table, fold_mean, mean_keys
from wetread.metrics.judges import client
from wetread.metrics.judges.client import Usage
from wetread.metrics.judges.judging import counting
from wetread.records import MetricSpec, Report, Score
from wetread.runs import scoring_result, scoring_work


def write(path, texts):
    lines = [json.dumps({"study": f"s{number}", "report": text}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def scored(tmp_path, drafts, references, *more):
    out = tmp_path / "o.json"
    files = write(tmp_path / "r.jsonl", references), write(tmp_path / "d.jsonl", drafts)
    asked = ["--references", files[0], "--drafts", files[1], "--json", out, "--resamples", 100, *more]
    assert _run(["score", *map(str, asked)]) == 0
    return json.loads(out.read_text("utf-8"))


@pytest.fixture
def server(monkeypatch):
    made = Server()
    monkeypatch.setenv(client.URL, made.url)
    monkeypatch.setenv(client.MODEL, "judge-1")
    monkeypatch.setenv("WETREAD_CACHE", "off")
    yield made
    made.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_judgements_that_fail_are_counted_and_sound_an_alarm(server, tmp_path, capsys, workers):
    def reply(number, question):
        asked = question["messages"][-1]["content"]
        return completion("Fine." if "unreadable" in asked else NO_ERRORS)

    server.reply = reply
    drafts = ["Small effusion.", "An unreadable one.", "Another unreadable one.", "Clear.", "Clear."]
    references = ["Effusion.", "Edema.", "Clear.", "Lungs are clear.", ""]
    body = scored(tmp_path, drafts, references, "--metrics", "error_judge", "--workers", workers, "--allow-missing")
    judged = body["coverage"]["judges"]["error_judge"]
    assert (judged["asked"], judged["failed"], judged["requests"], judged["cached"]) == (4, 2, 4, 0)
    assert (judged["prompt_tokens"], judged["completion_tokens"]) == (400, 80)
    assert sum(judged["reasons"].values()) == 2 and "cost" not in judged
    assert any(alarm.startswith("error_judge: 2 of 4 not scored (50.0%)") for alarm in body["coverage"]["alarms"])
    assert body["corpus"]["error_judge"]["n"] == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "ALARM: error_judge: 2 of 4 not scored" in said and "tokens 400 in, 80 out" in said


def test_no_alarm_where_all_is_scored_but_empty_references(tmp_path):
    body = scored(tmp_path, ["Effusion.", "Clear."], ["Effusion.", ""], "--metrics", "rouge_l", "--allow-missing")
    assert body["coverage"]["unscored"] == {} and body["coverage"]["judges"] == {}
    assert not any("not scored" in alarm for alarm in body["coverage"]["alarms"])


def test_counting_ends_with_its_block_and_yields_to_a_usage_that_is_given(server):
    pair = [Report("Clear.")], [Report("Effusion.")]
    own = Usage()
    with counting() as books:
        metrics.get("error_judge")(*pair)
        metrics.get("error_judge").function(*pair, usage=own)
    metrics.get("error_judge")(*pair)
    assert books["error_judge"].requests == own.requests == 1


def test_many_reasons_are_kept_as_a_few():
    scores = [Score("x", None, f"reason {number}") for number in range(100)]
    found = scoring_work._unscored([*scores, Score("x", 1.0), Score("x", None, "part: the reference report is empty")])
    assert found.total() == 100 and len(found) == scoring_work.MOST_REASONS + 1


def test_references_of_one_text_are_an_alarm_for_metrics_that_weigh_by_the_corpus(tmp_path):
    body = scored(tmp_path, ["Clear.", "Clear."], ["Clear.", "Clear."], "--metrics", "cider_d,rouge_l")
    (alarm,) = [one for one in body["coverage"]["alarms"] if one.startswith("cider_d")]
    assert "1 distinct text" in alarm and body["corpus"]["cider_d"]["value"] == 0.0


def test_classes_are_told_one_by_one(tmp_path, capsys):
    drafts = ["Cardiomegaly. Small left effusion.", "The lungs are clear."]
    references = ["Cardiomegaly.", "Mild pulmonary edema."]
    body = scored(tmp_path, drafts, references, "--metrics", "labels14_f1_macro,labels14_f1_micro")
    assert set(body["classes"]) == {"labels14_f1_macro"}
    table = body["classes"]["labels14_f1_macro"]
    assert table["Cardiomegaly"] == {
        "tp": 1.0, "fp": 0.0, "fn": 0.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1.0,
    }  # fmt: skip
    assert (table["Edema"]["fn"], table["Edema"]["precision"], table["Edema"]["f1"]) == (1.0, None, 0.0)
    assert "classes of labels14_f1_macro" in " ".join(capsys.readouterr().out.split())


def test_fixed_classes_are_there_although_they_never_occur():
    assert list(class_table({"tp:b": 2.0, "n": 3.0}, ("a", "b"))) == ["a", "b"]
    assert class_table({"tp:b": 2.0}, ("a",))["a"]["f1"] is None
    assert class_table({"value": 1.0}) == {}


def shares(score):
    return score.counts["p"], score.counts["r"]


def spoilt(drafts, references):
    values = {"nan": float("nan"), "inf": float("inf")}
    return [Score("x", values.get(one.findings, 0.5), counts={"p": 0.25, "r": 1.0}) for one in drafts]


SPOILT = MetricEntry(
    MetricSpec("x", "higher", None, frozenset(), "1"), spoilt, Aggregation(mean_keys, fold_mean, shares)
)


def test_a_value_that_is_no_number_is_none_with_a_reason():
    drafts = [Report("nan"), Report("fine"), Report("inf")]
    found = metrics.score(["x"], drafts, drafts, entries={"x": SPOILT})["x"]
    assert [one.value for one in found] == [None, 0.5, None]
    assert "nan" in found[0].reason and "inf" in found[2].reason
    assert SPOILT.aggregate(found) == 0.5


def test_precision_and_recall_of_each_report_stand_beside_a_mean():
    scorer = scoring_work.Scorer(("x",), {"x": SPOILT}, {"x": ()})
    drafts = [Report("fine"), Report("nan")]
    sides = scorer.beside({"x": SPOILT(drafts, drafts)})
    assert [one.value for one in sides["x_precision"]] == [0.25, None]
    assert MEAN.aggregate(sides["x_recall"]) == 1.0


def test_radgraph_s_precision_and_recall_are_those_of_its_counts():
    level = metrics.get("radgraph_simple").aggregation.beside
    assert level(Score("radgraph_simple", 0.4, counts={"tp": 1.0, "fp": 1.0, "fn": 2.0})) == (0.5, 1 / 3)
    assert level(Score("radgraph_simple", 0.0, counts={})) == (0.0, 0.0)
    both = metrics.get("radgraph_combined").aggregation.beside
    counts = {"entity_tp": 1.0, "entity_fp": 0.0, "entity_fn": 1.0, "relation_fp": 2.0}
    assert both(Score("radgraph_combined", 0.3, counts=counts)) == (0.5, 0.25)


def test_texts_in_place_of_reports_are_refused():
    for call in (lambda: metrics.get("rouge_l")(["a"], ["a"]), lambda: metrics.score(["rouge_l"], ["a"], ["a"])):
        with pytest.raises(UsageError, match="Report"):
            call()


def test_a_table_without_classes_has_none(tmp_path, capsys):
    scored(tmp_path, ["Clear.", "Effusion."], ["Clear.", "Edema."], "--metrics", "rouge_l")
    assert "classes of" not in capsys.readouterr().out


def test_micro_averages_have_values_in_the_strata_of_findings_and_macro_ones_have_none():
    names = ("chexbert_f1_14_micro", "labels14_f1_micro", "chexbert_f1_14_macro", "findings_f1_macro")
    by_class = [scoring_result._by_class(metrics.get(name).aggregation) for name in names]
    assert by_class == [False, False, True, True]


def test_a_missing_checkpoint_that_is_credentialed_says_so(tmp_path):
    pytest.importorskip("torch")
    pair = [Report("Clear.")], [Report("Effusion.")]
    for name, gated in (("radgraph_combined", True), ("radgraph_simple", False)):
        with pytest.raises(MissingError) as caught:
            metrics.get(name, tmp_path)(*pair)
        assert ("PhysioNet" in str(caught.value)) is gated
