"""Rewards, recipes and guards."""

import csv
import json
import math
import os
import pickle
import tarfile
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread import metrics, prompts, rewards
from wetread.errors import UsageError
from wetread.metrics.entry import MEAN, MetricEntry
from wetread.records import Draft, MetricSpec, Report, Score
from wetread.registry import Registry
from wetread.rewards import Reward, RewardRecipe, Term, combine, dry_run, guards, score_batch

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / "shared" / "data"))
REFERENCE = Report("Small left pleural effusion. Moderate cardiomegaly. No pneumothorax.", "Left pleural effusion.")
NORMAL = Report("The lungs are clear. No pleural effusion or pneumothorax.", "No acute disease.")
SENTENCES = (
    "Small left pleural effusion.",
    "Moderate cardiomegaly.",
    "Right apical pneumothorax.",
    "Consolidation in the left lower zone.",
    "Mild pulmonary edema.",
)
STEP1, STEP2 = rewards.get("unirg_step1"), rewards.get("unirg_step2")


def draft(report, **more):
    return Draft("s", report, **more)


def reward(report, reference=REFERENCE, recipe=STEP2):
    (result,) = score_batch([draft(report)], [reference], recipe)
    return result.value


def scores(recipe=STEP2, **values):
    return {name: Score(name, values.get(name, 1.0)) for name in recipe.metrics}


def test_the_published_weights():
    assert [(term.metric, term.weight) for term in STEP1.terms] == [
        ("lexical_similarity", 0.370),
        ("label_agreement", 0.253),
        ("entity_f1", 0.377),
    ]
    assert STEP2.terms[:3] == STEP1.terms and STEP2.terms[3] == Term("errors_total", 0.5, "inverse")


def test_combine_is_the_weighted_sum():
    given = scores(lexical_similarity=0.5, label_agreement=0.2, entity_f1=0.1, errors_total=3.0)
    result = combine(given, draft(REFERENCE), REFERENCE, STEP2)
    assert result.value == pytest.approx(0.370 * 0.5 + 0.253 * 0.2 + 0.377 * 0.1 + 0.5 / 4)
    assert result.terms["errors_total"] == pytest.approx(0.125)
    assert sum(result.terms.values()) == pytest.approx(result.value) and result.reason == ""


@pytest.mark.parametrize("errors", [0, 1, 2, 3])
def test_error_term_levels(errors):
    assert STEP2.terms[3].contribution({"errors_total": errors}) == pytest.approx(0.5 / (errors + 1))


def test_a_failed_scorer_gives_none_and_never_zero():
    given = scores() | {"entity_f1": Score("entity_f1", None, "the model is gone")}
    result = combine(given, draft(REFERENCE), REFERENCE, STEP2)
    assert result.value is None and result.terms["entity_f1"] is None
    assert result.reason == "entity_f1 not scored: the model is gone"
    given["entity_f1"] = Score("entity_f1", math.nan)
    assert combine(given, draft(REFERENCE), REFERENCE, STEP2).value is None


@pytest.mark.parametrize(
    "broken",
    [
        draft(Report()),
        draft(Report("  ", "\n")),
        draft(Report(), parse="truncated"),
        draft(REFERENCE, parse="malformed", reason="no section header"),
    ],
)
def test_an_unreadable_draft_gets_the_floor(broken):
    for recipe in (STEP1, STEP2, rewards.get("errors_total")):
        result = combine({}, broken, REFERENCE, recipe)
        assert result.value == recipe.floor and result.reason.startswith("unreadable draft")
        assert score_batch([broken], [REFERENCE], recipe) == [result]
        assert result.value < reward(Report("Gibberish."), recipe=recipe)


def test_a_truncated_draft_with_a_report_is_judged():
    (result,) = score_batch([draft(REFERENCE, parse="truncated")], [REFERENCE], STEP2)
    assert result.value == pytest.approx(1.5)


def test_too_short_is_unreadable_where_the_recipe_says_so():
    recipe = RewardRecipe("short", STEP1.terms, min_words=4)
    (result,) = score_batch([draft(Report("Clear lungs."))], [REFERENCE], recipe)
    assert result.value == recipe.floor and "2 words, at least 4" in result.reason


def test_an_empty_reference_is_not_judged_not_even_for_the_unreadable():
    results = score_batch([draft(REFERENCE), draft(Report())], [Report(), Report()], STEP2)
    assert [result.value for result in results] == [None, None]
    assert results[0].reason == "the reference report is empty"


def test_a_missing_score_and_a_wrong_length_are_refused():
    with pytest.raises(UsageError, match="'entity_f1', which was not given"):
        combine({"lexical_similarity": Score("lexical_similarity", 1.0), "label_agreement": Score("x", 1.0)},
                draft(REFERENCE), REFERENCE, STEP1)  # fmt: skip
    with pytest.raises(UsageError, match="1 drafts but 0 references"):
        score_batch([draft(REFERENCE)], [], STEP1)


def test_batch_of_one_equals_batch_of_n():
    reports = [REFERENCE, NORMAL, REFERENCE, Report(), Report("Cardiomegaly.")]
    references = [REFERENCE, REFERENCE, NORMAL, REFERENCE, REFERENCE]
    together = score_batch([draft(report) for report in reports], references, STEP2)
    alone = [score_batch([draft(d)], [r], STEP2)[0] for d, r in zip(reports, references, strict=True)]
    assert together == alone
    assert score_batch([], [], STEP2) == []


def test_truer_reports_are_paid_more():
    flipped_side = Report(REFERENCE.findings.replace("left", "right"), "Right pleural effusion.")
    flipped_negation = Report("No left pleural effusion. Moderate cardiomegaly. No pneumothorax.", "No effusion.")
    for recipe in (STEP1, STEP2):
        best, *others = (reward(r, recipe=recipe) for r in (REFERENCE, flipped_side, flipped_negation, NORMAL))
        assert best > max(others) and min(others) > recipe.floor


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), unique=True, min_size=1), st.data())
def test_dropping_a_finding_never_pays(sentences, data):
    reference = Report(" ".join(sentences))
    dropped = data.draw(st.sampled_from(sentences))
    left = [sentence for sentence in sentences if sentence != dropped]
    for recipe in (STEP1, STEP2):
        assert reward(Report(" ".join(left)), reference, recipe) < reward(reference, reference, recipe)


OFFLINE = [n for n in rewards.names() if not any(metrics.get(m).spec.needs for m in rewards.get(n).metrics)]
"""Recipes that need no weights."""


@pytest.mark.parametrize("name", OFFLINE)
def test_every_recipe_passes_its_dry_run(name):
    recipe = rewards.get(name)
    references = [REFERENCE, NORMAL, Report()]
    top = dry_run(recipe, references, rewards.bind(recipe, references))
    assert recipe.floor < 0 <= top
    assert top == pytest.approx({"unirg_step2": 1.5, "cider_d": 10.0}.get(name, 1.0))
    assert RewardRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_dry_run_names_the_term_that_points_the_wrong_way():
    for term in (Term("errors_total"), Term("entity_f1", 1.0, "negate"), Term("entity_f1", 1.0, "inverse")):
        with pytest.raises(UsageError, match=f"term '{term.metric}'"):
            dry_run(RewardRecipe("wrong", (term,)), [REFERENCE])


def test_dry_run_refuses_a_floor_that_pays():
    with pytest.raises(UsageError, match="floor 0 of reward"):
        dry_run(RewardRecipe("wrong", STEP1.terms, floor=0.0), [REFERENCE])
    with pytest.raises(UsageError, match="use 'inverse'"):
        dry_run(RewardRecipe("wrong", (Term("errors_total", 1.0, "negate"),)), [REFERENCE])


def test_dry_run_needs_references_long_enough():
    with pytest.raises(UsageError, match="at least one reference"):
        dry_run(STEP1, [Report()])
    with pytest.raises(UsageError, match="lower min_words"):
        dry_run(RewardRecipe("long", STEP1.terms, min_words=50), [REFERENCE])


def half(drafts, references):
    """A metric that gives half its best to everything, the reference itself included."""
    return [Score("half", 0.5) for _ in drafts]


HALF = MetricEntry(MetricSpec("half", "higher", (0.0, 1.0), frozenset(), "1"), half, MEAN)


def test_dry_run_catches_a_ruler_that_does_not_measure(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", Registry("metric", {"half": f"{__name__}:HALF"}))
    with pytest.raises(UsageError, match="term 'half' of reward 'half': a reference against itself"):
        dry_run(rewards.get("half"), [REFERENCE])


def test_a_reference_that_no_report_can_match_best_is_no_fault_of_the_ruler():
    """One word has no four in a row; that some references are so short must not keep a reward from being used."""
    short = Report("Normal.")
    recipe = rewards.get("bleu_4")
    assert reward(short, short, recipe) < 1.0
    assert dry_run(recipe, [short, REFERENCE]) == 1.0
    with pytest.raises(UsageError, match="a reference against itself"):
        dry_run(recipe, [short])


def contrary(drafts, references):
    """A metric that gives more to any other report than to the reference itself, but for one."""
    return [
        Score("contrary", 1.0 if draft != reference or draft == NORMAL else 0.5)
        for draft, reference in zip(drafts, references, strict=True)
    ]


CONTRARY = MetricEntry(MetricSpec("contrary", "higher", (0.0, 1.0), frozenset(), "1"), contrary, MEAN)


def test_dry_run_catches_a_ruler_that_pays_more_for_another_report(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", Registry("metric", {"contrary": f"{__name__}:CONTRARY"}))
    with pytest.raises(UsageError, match=r"a reference against itself gets 0\.5"):
        dry_run(rewards.get("contrary"), [NORMAL, REFERENCE])


# A metric that needs a corpus -----------------------------------------------------------------------------------------

CORPUS = [
    REFERENCE,
    NORMAL,
    Report("Mild pulmonary edema is seen."),
    Report("The lungs are clear and the heart is normal."),
]


def test_cider_is_frozen_on_the_training_before_it_is_a_reward():
    recipe = RewardRecipe("words", (Term("cider_d", 0.1), Term("rouge_l")))
    with pytest.raises(UsageError, match=r"cider_d of reward 'words' depends on a corpus.*bind\(recipe"):
        score_batch([draft(NORMAL)], [REFERENCE], recipe)
    with pytest.raises(UsageError, match="depends on a corpus"):
        dry_run(recipe, CORPUS)
    entries = pickle.loads(pickle.dumps(rewards.bind(recipe, iter(CORPUS))))
    drafts = [draft(report) for report in (NORMAL, CORPUS[3], CORPUS[2])]
    together = score_batch(drafts, CORPUS[1:], recipe, entries)
    assert together == [score_batch([d], [r], recipe, entries)[0] for d, r in zip(drafts, CORPUS[1:], strict=True)]
    frozen = metrics.get("cider_d").freeze(CORPUS)
    assert together[1].terms["cider_d"] == pytest.approx(0.1 * frozen([CORPUS[3]], [CORPUS[2]])[0].value)
    assert dry_run(recipe, CORPUS, entries) == pytest.approx(2.0)


def test_what_trl_calls_freezes_by_itself_and_pickles():
    rewarding = pytest.importorskip("wetread.training.rewarding")
    references = {str(number): report for number, report in enumerate(CORPUS)}
    made = rewarding.ReportReward(rewards.get("cider_d"), prompts.get("direct"), references, 100)
    call = pickle.loads(pickle.dumps(made))
    texts = [f"Findings: {report.findings} Impression: {report.impression}" for report in CORPUS]
    turns = [[{"role": "assistant", "content": text}] for text in texts]
    ids = [[1, 2]] * len(CORPUS)
    together = call(completions=turns, completion_ids=ids, study=list(references))
    assert call.__name__ == "cider_d"
    assert together == made(completions=turns, completion_ids=ids, study=list(references))
    assert together[0] == call(completions=turns[:1], completion_ids=ids[:1], study=["0"])[0] == pytest.approx(10.0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Term("bleu_2", 0.0),
        lambda: Term("bleu_2", -1.0),
        lambda: Term("bleu_2", math.nan),
        lambda: Term("bleu_2", 1.0, "invers"),
        lambda: RewardRecipe("r", ()),
        lambda: RewardRecipe("r", (Term("bleu_2"), Term("bleu_2", 2.0))),
        lambda: RewardRecipe("r", (Term("bleu_2"),), floor=-math.inf),
        lambda: rewards.get("unirg_step3"),
    ],
)
def test_bad_recipes_are_refused(build):
    with pytest.raises(UsageError):
        build()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unirg_step3", r"^no reward is called 'unirg_step3'\. Did you mean 'unirg_step\d'\? "),
        ("errors_totl", r"^no reward is called 'errors_totl'\. Did you mean 'errors_total'\? "),
        ("fkgl", r"^'fkgl' looks at the draft alone.*times: entity_f1"),
        ("length_ratio", r"^'length_ratio' is a guard"),
    ],
)
def test_a_name_that_is_no_reward_is_answered_briefly_and_cause_first(name, why):
    with pytest.raises(UsageError, match=why) as caught:
        rewards.get(name)
    said = str(caught.value)
    assert len(said) < 400 and "docs/metrics.md" in said and all(ready in said for ready in rewards.RECIPES)


def test_single_metric_rewards_follow_the_spec():
    assert reward(REFERENCE, recipe=rewards.get("errors_total")) == 1.0
    assert reward(NORMAL, recipe=rewards.get("errors_total")) < 1.0
    assert rewards.get("rouge_l").terms == (Term("rouge_l"),)


def test_reward_json_both_ways():
    result = Reward(None, {"bleu_2": None}, "bleu_2 not scored: why")
    assert Reward.from_json(json.loads(json.dumps(result.to_json()))) == result


# Guards ---------------------------------------------------------------------------------------------------------------


def test_template_and_duplicates():
    a, b, c = Report("Clear lungs."), Report("clear  lungs."), Report("Cardiomegaly.")
    drafts, references = [a, b, c, REFERENCE], [REFERENCE] * 4
    assert [s.value for s in guards.template_share(drafts, references)] == [1, 1, 0, 0]
    assert [s.value for s in guards.duplicate_share([a, c, b, c], references)] == [1, 1, 1, 1]
    assert [s.value for s in guards.duplicate_share(drafts, references)] == [1, 1, 0, 0]
    assert guards.template_share([], []) == []


def test_length_ratio_is_the_ratio_of_the_sums():
    drafts, references = [Report("a b"), Report("a")], [Report("a b c d"), Report("a", "b")]
    per_study = guards.length_ratio(drafts, references)
    assert [score.value for score in per_study] == [0.5, 0.5]
    assert guards.get("length_ratio").aggregation.aggregate(per_study) == pytest.approx(3 / 6)
    assert guards.length_ratio([Report("a")], [Report()])[0].value is None


def test_abnormal_f1_is_zero_for_a_normal_template():
    entry = guards.get("abnormal_f1")
    references = [NORMAL] * 9 + [REFERENCE]
    found = entry([NORMAL] * 10, references)
    assert [score.value for score in found] == [None] * 9 + [0.0]
    assert entry.aggregation.aggregate(found) == 0.0
    assert entry.aggregation.aggregate(entry([NORMAL] * 9 + [REFERENCE], references)) == 1.0


def test_a_reference_with_nothing_but_a_device_is_not_abnormal():
    device = Report("Endotracheal tube in good position. The lungs are clear.")
    assert guards.abnormal_f1([device], [device])[0].value is None
    both = Report("Endotracheal tube in good position. Moderate cardiomegaly.")
    assert guards.abnormal_f1([device], [both])[0].value == pytest.approx(2 / 3)


def test_over_and_under_calling():
    heart, effusion = Report("Cardiomegaly."), Report("Pleural effusion.")
    calls = {c.name: c for c in guards.finding_calls([heart, heart, heart], [heart, effusion, NORMAL])}
    assert calls["cardiomegaly"].over_calling == pytest.approx(2 / 2)
    assert calls["cardiomegaly"].under_calling == 0.0
    assert calls["pleural effusion"].under_calling == 1.0 and calls["pleural effusion"].over_calling == 0.0


def test_guard_report_of_a_collapsed_policy():
    references = [REFERENCE, NORMAL, Report("Mild pulmonary edema."), Report("Right pneumothorax.")]
    report = rewards.guard([draft(Report("Clear."))] * 3 + [draft(Report(), parse="malformed")], references)
    assert (report.n, report.unreadable) == (4, 1)
    assert report.template_share == report.duplicate_share == 0.75
    assert report.abnormal_f1 == 0.0
    assert len(report.alarms) == 4
    assert guards.GuardReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_guard_report_of_the_references_is_quiet():
    references = [REFERENCE, NORMAL, Report("Mild pulmonary edema.")]
    report = rewards.guard([draft(reference) for reference in references], references)
    assert report.alarms == () and report.abnormal_f1 == 1.0 and report.length_ratio == 1.0
    assert all(call.fp == call.fn == 0 for call in report.calls)
    assert rewards.guard([], []).n == 0


# Real reports, where they are at hand ---------------------------------------------------------------------------------


def real_reports(count):
    path = DATA / "openi" / "reports.tar.gz"
    if not path.exists():
        pytest.skip("the Open-i reports are not on this machine")
    with tarfile.open(path) as archive:
        files = (member for member in archive if member.name.endswith(".xml"))
        for member in islice(files, count):
            parts = {
                part.get("Label"): part.text or "" for part in ElementTree.parse(archive.extractfile(member)).iter()
            }
            yield Report(parts.get("FINDINGS", ""), parts.get("IMPRESSION", ""))


def test_real_references_get_the_best_reward_and_a_template_does_not():
    references = list(real_reports(200))
    assert dry_run(STEP2, references) == pytest.approx(1.5)
    values = [r.value for r in score_batch([draft(NORMAL)] * len(references), references, STEP2)]
    assert sum(values) / len(values) < 1.0
    assert rewards.guard([draft(NORMAL)] * len(references), references).abnormal_f1 == 0.0


def test_a_published_model_with_four_texts_is_seen_as_such():
    (path,) = list((DATA / "peer_predictions" / "cvt2distilgpt2_iu").glob("*.csv")) or [None]
    if path is None:
        pytest.skip("the published predictions are not on this machine")
    with path.open(encoding="utf-8", newline="") as file:
        drafts = [Report(row["report"]) for row in csv.DictReader(file)]
    flags = guards.duplicate_share(drafts, drafts), guards.template_share(drafts, drafts)
    assert sum(score.value for score in flags[0]) == len(drafts) == 590
    assert sum(score.value for score in flags[1]) > 590 / 4


def test_a_policy_that_says_both_is_found_out():
    reference = Report("Left effusion.")
    drafts = [Draft(str(n), Report("Left effusion. No effusion." if n % 2 else "Left effusion.")) for n in range(20)]
    found = guards.guard(drafts, [reference] * 20)
    assert found.contradiction_share == 0.5
    assert any("claim and deny" in alarm for alarm in found.alarms)
    assert guards.GuardReport.from_json(found.to_json()) == found
    assert not any("claim and deny" in alarm for alarm in guards.guard(drafts, [d.report for d in drafts]).alarms)
