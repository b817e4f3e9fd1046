"""Rewards that look at more of a draft than its report: perception, answer, their agreement."""

import itertools

import pytest

from wetread import metrics, prompts, rewards
from wetread.errors import UsageError
from wetread.knowledge import CHEXPERT14, extract, label_set
from wetread.prompts import labelled
from wetread.records import Draft, Finding, Generation, Report, Thought
from wetread.rewards import views
from wetread.rewards.recipe import RewardRecipe, Term

TRUE = Report("Cardiomegaly. Small left effusion. No pneumothorax.")
EMPTY = Report("The lungs are clear. No pneumothorax.")
RECIPE = rewards.get("self_consistent")


def said(report, labels=None):
    style = prompts.get("labelled")
    return style.parse(Generation("s", style.target(report, Thought(labels=labels) if labels is not None else None)))


def value(draft, reference=TRUE, recipe=RECIPE):
    return rewards.score_batch([draft], [reference], recipe)[0]


def test_an_answer_reads_back_as_its_labels():
    for name, said_ in itertools.product([one for one in CHEXPERT14 if one != "No Finding"], labelled.VALUES.values()):
        report = views.view(Draft("s", TRUE, thought=Thought(labels={name: said_})), "answer")
        found = label_set("chexpert14", extract(report))
        assert {key: labelled.VALUES[one] for key, one in found.items() if one is not None and key != "No Finding"} == {
            name: said_
        }


def test_views_are_reports_and_none_where_there_is_nothing():
    draft = Draft("s", TRUE, thought=Thought(perception=(Finding("scoliosis"), Finding("pneumothorax", "absent"))))
    assert (
        views.view(draft, "perception") == Report("scoliosis. no pneumothorax.") and views.view(draft, "answer") is None
    )
    assert views.view(Draft("s", TRUE), "perception") is None and views.view(draft, "report") is TRUE


def test_being_right_twice_is_best_and_agreeing_on_nothing_pays_nothing():
    right = said(TRUE)
    assert value(right).value == pytest.approx(1.0) == rewards.dry_run(RECIPE, [TRUE])
    only_report = said(TRUE, {"Edema": "present"})
    only_answer = said(EMPTY, labelled.labels_of(TRUE))
    wrong_twice = said(EMPTY)
    assert value(wrong_twice).value == 0.0, "saying nothing twice agrees, and earns nothing on an abnormal study"
    assert value(only_report).value == pytest.approx(0.4) and value(only_answer).value == pytest.approx(0.4)
    assert value(wrong_twice, EMPTY).value == pytest.approx(1.0)
    assert set(value(right).terms) == {
        "labels14_f1_micro", "labels14_f1_micro[answer]", "labels14_f1_micro[answer|report]*labels14_f1_micro",
    }  # fmt: skip


def test_a_draft_without_what_is_looked_at_gets_the_floor():
    lacking = Draft("s", TRUE)
    found = value(lacking)
    assert found.value == RECIPE.floor and "has no answer" in found.reason
    batch = rewards.score_batch([lacking, said(TRUE), said(EMPTY)], [TRUE] * 3, RECIPE)
    assert [one.value for one in batch] == [RECIPE.floor, pytest.approx(1.0), 0.0]


def test_agreement_alone_is_refused():
    for term, why in (
        ({"metric": "entity_f1", "of": "perception", "against": "report"}, "looks at the draft alone"),
        (
            {
                "metric": "entity_f1",
                "of": "perception",
                "against": "report",
                "times": {"metric": "entity_f1", "transform": [{"scale": 0.5}, {"shift": 0.5}]},
            },
            "never falls below",
        ),
        ({"metric": "entity_f1", "of": "report", "against": "report"}, "against itself"),
        ({"metric": "entity_f1", "of": "answers"}, "Allowed: report, perception, answer"),
        ({"metric": "error_judge", "of": "answer", "transform": "inverse"}, "asks an endpoint"),
    ):
        with pytest.raises(UsageError, match=why):
            recipe = rewards.get({"name": "mine", "terms": [term]})
            rewards.rehearsal.check(recipe, {name: metrics.get(name) for name in recipe.metrics})
    fine = {"metric": "entity_f1", "of": "perception", "against": "report", "times": "entity_f1"}
    recipe = rewards.get({"name": "mine", "terms": [fine, {"metric": "entity_f1", "of": "perception"}]})
    assert RewardRecipe.from_json(recipe.to_json()) == recipe and recipe.metrics == ("entity_f1",)
    assert recipe.views == {"perception", "report"} and Term("rouge_l").slot == "rouge_l"
    rewards.rehearsal.check(recipe, {"entity_f1": metrics.get("entity_f1")})
