"""What every metric keeps, whatever it is made with: it pickles, refuses, says why it does not score, and shifts nobody."""

import json
import os
import pickle
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from judge_server import Server, completion
from wetread import metrics, rewards
from wetread.errors import UsageError
from wetread.metrics.bertscore import FLOOR
from wetread.metrics.judges import client
from wetread.metrics.readability import DCRS, FKGL
from wetread.records import Draft, Report

PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity"))
FOLDERS = {
    "RadGraph": "radgraph/radgraph", "RadGraph-XL": "radgraph/radgraph-xl",
    "Modern-RadGraph-XL": "radgraph/modern-radgraph-xl", "distilroberta-base": "bertscore/distilroberta-base",
    "CheXbert": "chexbert", "RaTE-NER": "ratescore/RaTE-NER-Deberta", "BioLORD": "ratescore/encoder_bert",
}  # fmt: skip
"""Weights to their folder among the random checkpoints."""
ABNORMAL = Report(
    "Small left pleural effusion. Moderate cardiomegaly, improved since the last study. No pneumothorax is seen today.",
    "Left effusion.",
)
OTHER = Report("There is mild pulmonary edema with a new right apical nodule of 8 mm.", "Edema.")
NORMAL = Report("The lungs are clear. The heart is normal in size. There is no effusion.", "Normal chest.")
REFERENCES = [ABNORMAL, NORMAL, OTHER]
LONG = Report(" ".join(f"The left lung is clear and the right base has effusion {n}." for n in range(1000)))
BROKEN = (
    Report("Small\0 left effusion.\0"),
    Report("Half a pair \ud83d and \udc00 another."),
    Report("\0"),
    Report("\ud800"),
    LONG,
)
NOTHING = Report(" \n")


def answer(number, question):
    """A judge that takes equal reports for faultless and finds one significant error in others."""
    content = question["messages"][-1]["content"]
    said = re.search(r"<draft_report>\n(.*?)\n</draft_report>", content, re.DOTALL)[1]
    true = re.search(r"<reference_report>\n(.*?)\n</reference_report>", content, re.DOTALL)[1]
    wrong = int(said != true)
    if "[Matched Findings]" in content:
        kinds = [f"({letter}) Kind: {wrong if letter == 'a' else 0}." for letter in "abcdef"]
        none = [f"({letter}) Kind: 0." for letter in "abcdef"]
        parts = ["[Explanation]:\nText.", "[Clinically Significant Errors]:\n" + "\n".join(kinds)]
        parts += ["[Clinically Insignificant Errors]:\n" + "\n".join(none), "[Matched Findings]:\n1. a finding"]
        return completion("\n\n".join(parts))
    if "predicted_findings" in content:
        finding = {"finding": "effusion", "clinical_significance": "urgent"}
        errors = {"false_findings": [], "missing_findings": ["R1"] * wrong, "attribute_errors": []}
        body = {
            "reference_findings": [{"id": "R1", **finding}],
            "predicted_findings": [{"id": "P1", **finding}] * (1 - wrong),
            "matched_findings": [{"ref_id": "R1", "pred_id": "P1"}] * (1 - wrong),
            "errors": errors,
        }
        return completion(json.dumps(body))
    return completion(json.dumps({"errors": [{"kind": "omitted_finding", "significant": True}] * wrong}))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The random checkpoints in the layout of a folder of weights."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "ratescore").mkdir()
    for name in ("chexbert", "radgraph", "bertscore"):
        (folder / name).symlink_to(PARITY / name)
    for name, source in (("ner", "RaTE-NER-Deberta"), ("encoder", "encoder_bert")):
        (folder / "ratescore" / name).symlink_to(PARITY / "ratescore" / source)
    return folder


@pytest.fixture(scope="module")
def server():
    made = Server()
    made.reply = answer
    yield made
    made.close()


@pytest.fixture(params=list(metrics.METRICS))
def metric(request, weights, server, monkeypatch, tmp_path):
    """Every metric as a reward uses it: bound, what needs a corpus frozen on the references."""
    monkeypatch.setenv("WETREAD_CACHE", str(tmp_path / "cache.sqlite"))
    monkeypatch.setenv(client.URL, server.url)
    monkeypatch.setenv(client.MODEL, "judge-1")
    for name in (client.KEY, "WETREAD_WEIGHTS", "WETREAD_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    name = request.param
    for need in metrics.get(name).spec.needs:
        if "endpoint" not in need and not (PARITY / FOLDERS[need]).is_dir():
            pytest.skip(f"no random checkpoint of {need}: {FOLDERS[need]} is not in the parity folder (WETREAD_PARITY)")
    return metrics.bind([name], REFERENCES, weights=weights)[name]


def values(scores):
    return [None if score.value is None else pytest.approx(score.value, abs=1e-6) for score in scores]


def test_it_pickles_with_what_it_is_bound_to(metric):
    drafts = [NORMAL, ABNORMAL, OTHER]
    copy = pickle.loads(pickle.dumps(metric))
    assert (copy.spec, copy.weights, copy.made_with()) == (metric.spec, metric.weights, metric.made_with())
    assert [score.value for score in copy(drafts, REFERENCES)] == values(metric(drafts, REFERENCES))


def test_lists_of_different_length_are_refused(metric):
    for drafts, references in (([NORMAL] * 2, [NORMAL]), ([], [NORMAL]), ([NORMAL], [])):
        with pytest.raises(UsageError, match=f"{len(drafts)} drafts but {len(references)} references"):
            metric(drafts, references)
    assert metric([], []) == []


def test_an_empty_reference_is_not_scored_and_shifts_nobody(metric):
    first, none, blank, last = metric([NORMAL, ABNORMAL, Report(), OTHER], [ABNORMAL, Report(), NOTHING, ABNORMAL])
    assert (blank.value, bool(blank.reason)) == (None, True)
    if not metric.spec.reference_free:
        assert none.value is None and "the reference report is empty" in none.reason
    alone = [metric([draft], [ABNORMAL])[0] for draft in (NORMAL, OTHER)]
    assert [first.value, last.value] == values(alone)


def test_an_empty_draft_gets_what_the_spec_says(metric):
    policy = metric.spec.empty_draft
    abnormal, blank, normal = metric([Report(), NOTHING, Report()], [ABNORMAL, ABNORMAL, NORMAL])
    assert abnormal.value == blank.value
    if policy == "not scored":
        assert metric.spec.reference_free and abnormal.value is None and abnormal.reason
        return
    expected = {
        "0": (0.0, 0.0),
        "1": (1.0, 1.0),
        "0, or 1 where the reference has no present finding": (0.0, 1.0),
        "0, or 1 where the reference has no label either": (0.0, 0.0),
        "the number of findings that it leaves out": (abnormal.value, 0.0),
        "0.5, as any text without an entity": (0.5, 0.5),
        f"{FLOOR:.4f}": (pytest.approx(FLOOR), pytest.approx(FLOOR)),
    }
    if policy in expected:
        assert (abnormal.value, normal.value) == expected[policy]
        assert not policy.startswith("the number") or abnormal.value >= 1
    else:  # what a network, a judge or a formula over them says
        assert policy.split()[0] in ("what", "the") and abnormal.value is not None


@pytest.mark.parametrize("name", list(metrics.METRICS))
def test_the_documentation_says_what_an_empty_draft_gets(name):
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    section = page.partition("## Empty texts")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    said = [what for names, what in rows if any(fnmatch(name, one) for one in re.findall("`(.+?)`", names))]
    assert len(said) == 1 and said[0].startswith(metrics.get(name).spec.empty_draft)


def test_long_and_broken_texts_neither_crash_nor_shift(metric):
    drafts = [NORMAL, *BROKEN, OTHER]
    together = metric(drafts, [ABNORMAL] * len(drafts))
    assert len(together) == len(drafts)
    assert all(score.value is not None or score.reason for score in together)
    assert [together[0].value, together[-1].value] == values(metric([NORMAL, OTHER], [ABNORMAL] * 2))
    backwards = metric([ABNORMAL] * len(drafts), drafts)
    assert all(score.value is not None or score.reason for score in backwards)
    assert [backwards[0].value, backwards[-1].value] == values(metric([ABNORMAL] * 2, [NORMAL, OTHER]))


def test_it_is_a_reward_by_its_name(metric, weights):
    name = metric.spec.name
    if metric.spec.reference_free:
        with pytest.raises(UsageError, match="looks at the draft alone"):
            rewards.get(name)
        return
    recipe = rewards.get(name)
    entries = pickle.loads(pickle.dumps(rewards.bind(recipe, REFERENCES, weights=weights)))
    assert recipe.floor < rewards.dry_run(recipe, REFERENCES, entries)
    drafts = [Draft(str(n), report) for n, report in enumerate((NORMAL, ABNORMAL, OTHER, Report(), ABNORMAL))]
    references = [ABNORMAL, ABNORMAL, ABNORMAL, ABNORMAL, Report()]
    together = rewards.score_batch(drafts, references, recipe, entries)
    assert together[3].value == recipe.floor and together[4].value is None
    assert all(one.value is not None and one.value > recipe.floor for one in together[:3])
    alone = [rewards.score_batch([d], [r], recipe, entries)[0] for d, r in zip(drafts, references, strict=True)]
    assert [one.value for one in together] == values(alone)
    with pytest.raises(UsageError, match="5 drafts but 4 references"):
        rewards.score_batch(drafts, references[:4], recipe, entries)


def test_the_readability_figures_are_the_only_ones_that_are_no_reward():
    assert {name for name in metrics.METRICS if name not in rewards.names()} == {FKGL.spec.name, DCRS.spec.name}
