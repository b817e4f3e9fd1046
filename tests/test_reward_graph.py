"""The reward graph: transforms, products, floors, recipes as they are written, and judges that work meanwhile."""

import json
import math
import threading
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge_server import NO_ERRORS, Server, completion
from wetread import metrics, prompts, rewards
from wetread.errors import UsageError
from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.records import Draft, MetricSpec, Report, Score
from wetread.registry import Registry
from wetread.rewards import RewardRecipe, Step, Term, dry_run, rehearsal, score_batch, transforms

REFERENCE = Report("Small left pleural effusion. Moderate cardiomegaly. No pneumothorax.", "Left pleural effusion.")
NORMAL = Report("The lungs are clear. No pleural effusion or pneumothorax.", "No acute disease.")
OTHER = Report("Mild pulmonary edema is seen. Consolidation in the right lower zone.", "Edema and consolidation.")


def draft(report, **more):
    return Draft("s", report, **more)


def value(report, recipe, reference=REFERENCE, entries=None):
    return score_batch([draft(report)], [reference], recipe, entries)[0].value


# Transforms -----------------------------------------------------------------------------------------------------------

NUMBERS = st.floats(-5, 5, allow_nan=False)
STEPS = st.one_of(
    st.sampled_from([Step("negate"), Step("identity")]),
    st.tuples(st.floats(-3, 0), st.floats(0.5, 3)).map(lambda ends: Step("clip", ends)),
    st.floats(0.1, 4).map(lambda k: Step("scale", (k,))),
    NUMBERS.map(lambda c: Step("shift", (c,))),
    st.tuples(st.floats(0.2, 1), st.floats(1, 3), st.floats(0.1, 2)).map(lambda n: Step("length_tax", n)),
    st.just((Step("clip", (0, 9)), Step("inverse"))),
    st.tuples(st.floats(0.2, 1), st.floats(1, 3), st.floats(0.1, 1)).map(
        lambda n: (Step("clip", (0, 9)), Step("length_factor", n))
    ),
)
CHAINS = st.lists(STEPS, max_size=5).map(
    lambda items: tuple(s for item in items for s in (item if isinstance(item, tuple) else (item,)))
)


@settings(max_examples=300, deadline=None)
@given(CHAINS, NUMBERS, NUMBERS, st.floats(0, 4))
def test_a_chain_is_monotone_in_its_direction_and_stays_in_its_span(steps, first, second, ratio):
    low, high = sorted((first, second))
    below, above = transforms.apply(steps, low, ratio), transforms.apply(steps, high, ratio)
    assert (below >= above - 1e-9) if transforms.turned(steps) else (below <= above + 1e-9)
    least, most = transforms.span(steps, (-5.0, 5.0))
    assert least - 1e-9 <= min(below, above) and max(below, above) <= most + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(0.001, 5), st.sampled_from(["length_factor", "length_tax"]))
def test_a_length_step_never_pays_and_costs_nothing_within_its_band(quality, ratio, kind):
    step = Step(kind, (0.8, 1.25, 0.5))
    assert step.apply(quality, ratio) <= quality
    if 0.8 <= ratio <= 1.25:
        assert step.apply(quality, ratio) == quality
    assert step.apply(quality, 1.25 * 2) == pytest.approx(quality * 0.75 if kind == "length_factor" else quality - 0.25)
    assert step.apply(quality, 0.4) == step.apply(quality, 2.5)
    assert step.apply(quality, 0.0) == (quality * 0.5 if kind == "length_factor" else quality - 0.5)


@settings(max_examples=100, deadline=None)
@given(CHAINS)
def test_chains_are_read_back(steps):
    kept = transforms.chain(steps)
    assert transforms.chain(json.loads(json.dumps([step.to_json() for step in steps]))) == kept


def test_z_scored_terms_are_radcliq():
    from wetread.metrics.radcliq import PARTS, V1

    chains = [
        transforms.chain([{"shift": -mean}, {"scale": abs(weight) / scale}])
        for mean, scale, weight in zip(V1.mean[:3], V1.scale[:3], V1.coefficient[:3], strict=True)
    ]
    parts = dict(zip(PARTS, (0.2, 0.4, -0.1, 0.3), strict=True))
    total = sum(transforms.apply(steps, parts[name]) for steps, name in zip(chains, PARTS[:3], strict=True))
    assert total == pytest.approx(-V1.value(list(parts.values())), abs=1e-6)


@pytest.mark.parametrize(
    "written",
    [
        "invers", {"clip": [1, 0]}, {"clip": [1]}, {"clip": "01"}, {"scale": 0}, {"scale": -1}, {"shift": math.inf}, {"negate": 1},
        {"length_tax": [0.5, 0.9, 1]}, {"length_factor": [0.5, 1.5, 2]}, {"clip": [0, 1], "negate": []}, 3, {"clip": None},
    ],
)  # fmt: skip
def test_a_transform_that_cannot_be_used_is_refused(written):
    with pytest.raises(UsageError, match="transform"):
        Term("rouge_l", 1.0, [written])


def test_steps_that_are_not_made_for_a_metric_are_refused():
    for term, why in (
        (Term("radcliq_v1", 1.0, "inverse"), "clip or shift them first"),
        (Term("radcliq_v1", 1.0, ["negate", {"length_factor": [0.8, 1.25, 1]}]), "shift them, or use length_tax"),
        (Term("errors_total", 1.0, {"scale": 2}), "use inverse"),
        (Term("entity_f1", 1.0, ["negate", "negate", "negate"]), "pays for the opposite"),
    ):
        with pytest.raises(UsageError, match=why):
            score_batch([], [], RewardRecipe("wrong", (term,)))


def test_length_is_taxed_against_the_reference():
    plain = RewardRecipe("plain", (Term("findings_recall"),))
    taxed = RewardRecipe("taxed", (Term("findings_recall", 1.0, {"length_factor": [0.8, 1.25, 1.0]}),))
    everything = Report(f"{REFERENCE.findings} {OTHER.findings} " * 3, REFERENCE.impression)
    assert value(everything, plain) == 1.0
    assert value(REFERENCE, taxed) == 1.0 > value(everything, taxed)
    assert dry_run(taxed, [REFERENCE, NORMAL]) == 1.0


# Products -------------------------------------------------------------------------------------------------------------

READABLE = Term("fkgl", 0.3, [{"clip": [0, 20]}, "inverse"], times="entity_f1")


def test_what_looks_at_the_draft_alone_must_be_multiplied_by_what_looks_at_the_reference():
    for lonely in (
        Term("fkgl", 1.0, [{"clip": [0, 20]}, "inverse"]),
        replace(READABLE, times=Term("dcrs", 1.0, "negate")),
    ):
        recipe = RewardRecipe("lonely", (Term("rouge_l"), lonely))
        for use in (lambda r=recipe: dry_run(r, [REFERENCE]), lambda r=recipe: score_batch([], [], r)):
            with pytest.raises(UsageError, match="looks at the draft alone"):
                use()
    with pytest.raises(UsageError, match="multiply it"):
        rewards.get("fkgl")


def test_a_product_pays_for_form_only_as_far_as_the_draft_is_true():
    recipe = RewardRecipe("both", (Term("rouge_l", 0.7), READABLE))
    assert recipe.metrics == ("rouge_l", "fkgl", "entity_f1") and READABLE.name == "fkgl*entity_f1"
    best = dry_run(recipe, [REFERENCE, NORMAL, OTHER])
    assert 0.7 < best <= 1.0
    (true, false) = score_batch([draft(REFERENCE), draft(Report("Clear."))], [REFERENCE] * 2, recipe)
    assert true.terms["fkgl*entity_f1"] > 0 == false.terms["fkgl*entity_f1"]
    assert RewardRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_products_whose_factors_may_be_below_0_are_refused():
    for times in ({"metric": "errors_total", "transform": "negate"}, {"metric": "fkgl", "transform": "negate"}):
        with pytest.raises(UsageError, match="pays for the worse"):
            score_batch([], [], RewardRecipe("wrong", (Term("entity_f1", 1.0, times=times),)))
    assert (
        value(
            REFERENCE, RewardRecipe("r", (Term("rouge_l", times={"metric": "errors_total", "transform": "inverse"}),))
        )
        == 1
    )
    for build in (
        lambda: Term("rouge_l", times="rouge_l"),
        lambda: Term("rouge_l", times=Term("entity_f1", 2.0)),
    ):
        with pytest.raises(UsageError):
            build()


FORM = Term("fkgl", 0.3, [{"clip": [0, 20]}, "inverse"])


@pytest.mark.parametrize(
    ("metric", "transform"),
    [
        ("entity_f1", [{"scale": 0.001}, {"shift": 1}]),
        ("entity_f1", {"clip": [1, 2]}),
        ("entity_f1", {"clip": [0.001, 1]}),
        ("entity_f1", [{"shift": 1}, {"length_tax": [0.8, 1.25, 1]}]),  # only a wrong length brings it to 0
        ("entity_f1", [{"clip": [1, 2]}, {"length_factor": [0.8, 1.25, 1]}]),
        ("errors_total", [{"clip": [0, 3]}, "inverse"]),
    ],
)
def test_form_is_not_paid_for_where_nothing_is_true(metric, transform):
    for others in (None, {"metric": "rouge_l", "transform": {"shift": 1}}):
        term = replace(FORM, times=Term(metric, transform=transform, times=others))
        recipe = RewardRecipe("bought", (Term("rouge_l"), term))
        for use in (lambda r=recipe: dry_run(r, [REFERENCE]), lambda r=recipe: score_batch([], [], r)):
            with pytest.raises(UsageError, match=r"never falls below .* begin at 0"):
                use()


@pytest.mark.parametrize(
    ("metric", "transform"),
    [
        ("entity_f1", ()),
        ("entity_f1", {"clip": [0, 0.5]}),
        ("entity_f1", [{"scale": 0.001}]),
        ("errors_total", "inverse"),
        ("errors_total", [{"clip": [0, 4]}, "negate", {"shift": 4}]),
        ("bertscore", {"clip": [0, 1]}),
        ("crimson", {"shift": 1}),
        ("entity_f1", {"length_factor": [0.8, 1.25, 0.5]}),
    ],
)
def test_form_may_be_multiplied_by_whatever_can_be_all_wrong(metric, transform):
    term = replace(FORM, times=Term(metric, transform=transform))
    for times in (term.times, Term("rouge_l", transform={"shift": 1}, times=term.times)):
        recipe = RewardRecipe("honest", (replace(FORM, times=times),))
        rehearsal.check(recipe, {name: metrics.get(name) for name in recipe.metrics})


def test_what_a_factor_lacks_costs_the_rollout():
    scores = {name: Score(name, 0.5) for name in ("rouge_l", "entity_f1")} | {"fkgl": Score("fkgl", None, "no words")}
    result = rewards.combine(scores, draft(REFERENCE), REFERENCE, RewardRecipe("both", (Term("rouge_l"), READABLE)))
    assert result.value is None and result.terms == {"rouge_l": 0.5, "fkgl*entity_f1": None}
    assert result.reason == "fkgl not scored: no words"


# Recipes as they are written --------------------------------------------------------------------------------------------


def test_a_reward_written_out_in_a_config():
    written = {
        "terms": [
            {"metric": "entity_f1", "weight": 0.6, "transform": {"length_tax": [0.7, 1.4, 0.5]}},
            {"metric": "errors_total", "weight": "0.4", "transform": "inverse"},
            {"metric": "fkgl", "weight": 0.1, "transform": [{"clip": [0, 20]}, "inverse"], "times": "entity_f1"},
        ],
        "floor": -1,
        "min_words": 3,
    }
    recipe = rewards.get(written)
    assert recipe.name == "reward" and recipe.metrics == ("entity_f1", "errors_total", "fkgl")
    assert dry_run(recipe, [REFERENCE, NORMAL]) > 1.0
    assert value(Report("Clear lungs."), recipe) == -1.0
    assert rewards.get({"name": "unirg_step2", "floor": -2}) == replace(rewards.get("unirg_step2"), floor=-2.0)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"terms": [{"metric": "entity_f2"}]}, "Did you mean 'entity_f1'"),
        ({"terms": [{"metric": "entity_f1", "wieght": 1}]}, "Did you mean 'weight'"),
        ({"terms": [{"weight": 1}]}, "lacks metric"),
        ({"terms": "entity_f1"}, "must be a list"),
        ({"terms": [{"metric": "rouge_l", "weight": "much"}]}, "give a number"),
        ({"name": "unirg_step9"}, "no reward is called"),
        ({"floor": -1}, "lacks terms"),
        ({"terms": [{"metric": "rouge_l"}], "min_ratio": 2}, "from 0 to 1"),
    ],
)
def test_a_reward_that_is_written_wrongly_is_refused(written, why):
    with pytest.raises(UsageError, match=why):
        rewards.get(written)


CIRCLE: dict = {"metric": "rouge_l"}
CIRCLE["times"] = CIRCLE
ROUND: list = []
ROUND.append(ROUND)


@pytest.mark.parametrize(
    ("key", "wrong", "why"),
    [
        ("transform", 5, "'rouge_l': transform 5 cannot be read"),
        ("transform", None, "'rouge_l': transform None cannot be read"),
        ("transform", True, "'rouge_l': transform True cannot be read"),
        ("transform", {"scale": True}, "'rouge_l': transform .* cannot be read"),
        ("transform", {"scale": 10**400}, "'rouge_l': transform .* cannot be read"),
        ("transform", ROUND, "'rouge_l': transform .* cannot be read"),
        ("times", 5, "times 5 of 'rouge_l' cannot be read"),
        ("times", ["entity_f1"], "times .* of 'rouge_l' cannot be read"),
        ("times", CIRCLE, "contains itself"),
        ("weight", True, "weight of 'rouge_l' is True; give a number"),
        ("weight", 10**400, "weight of 'rouge_l' is .* give a number"),
        ("weight", math.inf, "weight inf of 'rouge_l'"),
        ("metric", None, "metric of a term is None"),
        ("metric", ROUND, "metric of a term is"),
    ],
)
def test_a_term_that_is_written_wrongly_is_refused_with_its_key(key, wrong, why):
    with pytest.raises(UsageError, match=why):
        rewards.get({"terms": [{"metric": "rouge_l", key: wrong}]})


@pytest.mark.parametrize(
    ("key", "wrong", "why"),
    [
        *[("min_words", wrong, f"min_words {wrong} of .* a whole number from 0 up") for wrong in (2.7, -5, math.inf, math.nan)],
        ("min_words", True, "min_words is True; give a number"),
        ("min_words", None, "min_words is None; give a number"),
        ("floor", False, "floor is False; give a number"),
        ("min_ratio", math.nan, "min_ratio nan"),
        ("name", ROUND, "name of a reward is"),
        ("source", ROUND, "source of a reward is"),
    ],
)  # fmt: skip
def test_a_reward_whose_keys_are_of_the_wrong_kind_is_refused_with_the_key(key, wrong, why):
    with pytest.raises(UsageError, match=why):
        rewards.get({"terms": [{"metric": "rouge_l"}], key: wrong})


@pytest.mark.parametrize("terms", [ROUND, [CIRCLE]])
def test_a_reward_that_contains_itself_is_refused(terms):
    with pytest.raises(UsageError, match=r"must be a list|contains itself"):
        rewards.get({"terms": terms})


# Rewards that teach nothing, or overflow --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "transform"),
    [
        ("entity_f1", {"clip": [2, 3]}),
        ("entity_f1", {"clip": [-3, 0]}),
        ("entity_f1", {"shift": 1e17}),
        ("entity_f1", [{"clip": [2, 3]}, {"length_tax": [0.8, 1.25, 1]}]),  # it would pay for the length alone
        ("errors_total", [{"clip": [-5, 0]}, "inverse"]),
    ],
)
def test_a_term_that_is_the_same_for_every_draft_is_refused(metric, transform):
    constant = Term(metric, 1.0, transform)
    for terms in ((constant,), (Term("rouge_l"), constant), (Term("rouge_l", times=constant),)):
        recipe = RewardRecipe("flat", terms)
        for use in (lambda r=recipe: dry_run(r, [REFERENCE, NORMAL]), lambda r=recipe: score_batch([], [], r)):
            with pytest.raises(UsageError, match=f"of every value of '{metric}'.* teaches nothing"):
                use()


@pytest.mark.parametrize(
    ("term", "why"),
    [
        (Term("rouge_l", 1e200), r"term 'rouge_l' of reward 'odd' may add 1e\+200"),
        (Term("rouge_l", 1e308, {"scale": 1e10}), "term 'rouge_l' of reward 'odd' may add inf"),
        (Term("rouge_l", 1e4, {"scale": 1e3}, times="entity_f1"), "make its weight, scale or shift smaller"),
        (Term("rouge_l", 1.0, {"length_tax": [0.8, 1.25, 1e9]}), r"may add -1e\+09"),
        (Term("errors_total", 1e9, "inverse"), r"may add 1e\+09"),
        (Term("rouge_l", 1e-9), "cannot tell such values apart"),
        (Term("rouge_l", 1.0, {"shift": 1e5}), "cannot tell such values apart"),
    ],
)
def test_rewards_too_large_or_too_close_to_train_with_are_refused_before_training(term, why):
    with pytest.raises(UsageError, match=why):
        dry_run(RewardRecipe("odd", (term,)), [REFERENCE, NORMAL])


def test_sums_and_floors_that_are_too_large_are_refused():
    halves = (Term("rouge_l", 6e5), Term("entity_f1", 6e5))
    with pytest.raises(UsageError, match=r"'sum' pays 1\.2e\+06"):
        dry_run(RewardRecipe("sum", halves), [REFERENCE, NORMAL])
    with pytest.raises(UsageError, match=r"floor -1e\+30 of reward 'deep' is too large"):
        dry_run(RewardRecipe("deep", (Term("rouge_l"),), floor=-1e30), [REFERENCE, NORMAL])
    assert dry_run(RewardRecipe("large", (Term("rouge_l", 1000.0),)), [REFERENCE, NORMAL]) == 1000.0
    assert dry_run(RewardRecipe("small", (Term("rouge_l", 0.001),)), [REFERENCE, NORMAL]) == 0.001


def test_a_draft_that_is_short_for_its_reference_gets_the_floor():
    recipe = rewards.get({"name": "unirg_step1", "min_ratio": 0.5})
    (short,) = score_batch([draft(Report("Left effusion."))], [REFERENCE], recipe)
    assert short.value == recipe.floor and short.floored and "at least 6" in short.reason
    assert value(REFERENCE, recipe) == pytest.approx(1.0) and dry_run(recipe, [REFERENCE, NORMAL]) == pytest.approx(1.0)


NEURAL = [name for name in rewards.RECIPES if any(metrics.get(m).spec.needs for m in rewards.get(name).metrics)]


@pytest.mark.parametrize("name", NEURAL)
def test_ready_recipes_with_weights_are_sound_without_them(name, monkeypatch):
    """Their scorers are replaced by one that knows the best value, so that only the graph is tried."""
    recipe = rewards.get(name)
    entries = metrics.bind(recipe.metrics)

    def scored(names, drafts, references, *, entries):
        def one(spec, same):
            low, high = rewards.rehearsal.values_of(spec)
            best, worst = (high, low) if spec.better == "higher" else (low, min(high, 9.0))
            return Score(spec.name, best if same else worst)

        same = [d == r for d, r in zip(drafts, references, strict=True)]
        return {n: [one(entries[n].spec, s) for s in same] for n in names}

    monkeypatch.setattr(metrics, "score", scored)
    best = dry_run(recipe, [REFERENCE, NORMAL], entries)
    made = score_batch([draft(NORMAL), draft(Report()), draft(REFERENCE)], [REFERENCE] * 3, recipe, entries)
    wrong, unreadable, gold = (one.value for one in made)
    assert gold == pytest.approx(best) and gold > wrong > unreadable == recipe.floor
    if "neural" in name:
        assert best == pytest.approx(1.0 if "step1" in name else 1.5)
        assert [term.weight for term in recipe.terms[:3]] == [0.370, 0.253, 0.377]
    else:
        assert best == pytest.approx(1.4407 + (1.946 if "step2" in name else 0), abs=1e-4)


# Judges that work meanwhile, scorers that fail --------------------------------------------------------------------------


def judged(drafts, references, *, weights=None, precision="fp32"):
    GATE["asked"].set()
    if not GATE["offline done"].wait(10):
        return [Score("far", None, "the judge was never left alone") for _ in drafts]
    return score_pairs("far", lambda d, r: (float(d != r), {}), drafts, references)


def near(drafts, references):
    """Is computed only after the judge was asked, and lets it go on."""
    assert GATE["asked"].wait(10)
    GATE["offline done"].set()
    return score_pairs("near", lambda d, r: (float(d == r), {}), drafts, references)


def failing(drafts, references):
    if GATE["fails"]:
        raise RuntimeError("out of memory")
    return score_pairs("failing", lambda d, r: (float(d == r), {}), drafts, references)


GATE: dict = {}
FAR = MetricEntry(MetricSpec("far", "lower", None, frozenset(), "1", needs=("judge endpoint",)), judged, MEAN)
NEAR = MetricEntry(MetricSpec("near", "higher", (0.0, 1.0), frozenset(), "1"), near, MEAN)
FAILING = MetricEntry(MetricSpec("failing", "higher", (0.0, 1.0), frozenset(), "1"), failing, MEAN)


@pytest.fixture
def planted(monkeypatch):
    GATE.update({"asked": threading.Event(), "offline done": threading.Event(), "fails": True})
    known = {name: f"{__name__}:{name.upper()}" for name in ("far", "near", "failing")}
    monkeypatch.setattr(metrics, "METRICS", Registry("metric", known | {"rouge_l": "wetread.metrics.lexical:ROUGE_L"}))


def test_a_judge_is_asked_at_once_and_waited_for_at_last(planted):
    recipe = RewardRecipe("both", (Term("far", 0.5, "inverse"), Term("near")))
    started = rewards.start([draft(REFERENCE), draft(NORMAL), draft(Report())], [REFERENCE] * 3, recipe)
    assert GATE["asked"].wait(10), "asked before anybody waits for the rewards"
    assert not GATE["offline done"].is_set(), "nothing else is computed before the rewards are wanted"
    assert [one.value for one in started.rewards()] == [1.5, 0.25, -1.0]


def test_what_breaks_a_scorer_costs_its_rollouts_and_nothing_else(planted):
    recipe = RewardRecipe("broken", (Term("rouge_l"), Term("failing")))
    results = score_batch([draft(REFERENCE), draft(Report())], [REFERENCE] * 2, recipe)
    assert [one.value for one in results] == [None, -1.0]
    assert results[0].terms == {"rouge_l": 1.0, "failing": None}
    assert results[0].reason == "failing not scored: the scorer failed (RuntimeError: out of memory)"
    with pytest.raises(RuntimeError, match="out of memory"):
        dry_run(recipe, [REFERENCE, NORMAL])  # before training nothing is passed over


def test_judgements_that_fail_are_none_and_counted(monkeypatch):
    server = Server()
    answers = {
        "cardiomegaly": completion(NO_ERRORS),
        "edema": completion("I would rather not."),
        "clear": completion(NO_ERRORS, finish="length"),
    }
    server.reply = lambda number, question: next(
        answer
        for word, answer in answers.items()
        if word in question["messages"][-1]["content"].split("<draft_report>")[1]
    )
    for name, text in (("URL", server.url), ("MODEL", "m"), ("KEY", "")):
        monkeypatch.setenv(f"WETREAD_JUDGE_{name}", text)
    monkeypatch.setenv("WETREAD_CACHE", "off")
    recipe = RewardRecipe("judged", (Term("rouge_l"), Term("error_judge", 0.5, "inverse")))
    try:
        results = score_batch([draft(r) for r in (REFERENCE, OTHER, NORMAL, Report())], [REFERENCE] * 4, recipe)
    finally:
        server.close()
    assert [one.value for one in results] == [pytest.approx(1.5), None, None, -1.0]
    assert all("error_judge not scored" in one.reason for one in results[1:3])
    assert len(server.questions) == 3


def test_what_trl_calls_logs_terms_floors_losses_and_flat_groups(planted, monkeypatch):
    rewarding = pytest.importorskip("wetread.training.rewarding")
    recipe = RewardRecipe("broken", (Term("rouge_l"), Term("failing")))
    made = rewarding.ReportReward(recipe, prompts.get("direct"), {"a": REFERENCE, "b": NORMAL}, 100, rollouts=2)
    logged, lost = {}, []
    made.on_lost = lost.append

    def call(texts, names):
        turns = [[{"role": "assistant", "content": text}] for text in texts]
        logged.clear()
        return made(completions=turns, completion_ids=[[1]] * len(texts), study=names, log_metric=logged.__setitem__)

    right = prompts.get("direct").target(REFERENCE)
    assert call([right, "", right, right], ["a", "a", "b", "b"]) == [None, -1.0, None, None]
    assert logged["lost/failing"] == 0.75 and "term/failing" not in logged and logged["guard/unscored"] == 0.75
    assert logged["guard/floor"] == 0.25 and logged["guard/flat_groups"] == 1.0
    assert sum(lost[0].values()) == 3
    ((mine, number),) = lost.pop().items()
    with monkeypatch.context() as three:  # processes, of which this is one
        three.setattr(rewarding.processes, "gathered", lambda made: [made, Counter({"elsewhere": 2}), made])
        call([right] * 4, ["a", "a", "b", "b"])
    assert lost == [Counter({mine: 8, "elsewhere": 2})] and number == 3
    GATE["fails"] = False
    values = call([right, "", right, right], ["a", "a", "b", "b"])
    assert values[:2] == [2.0, -1.0] and values[2] == values[3] and made.flat == [2, 3]
    assert logged["guard/flat_groups"] == 0.5 and logged["guard/unscored"] == 0 and logged["reward_time"] > 0
    assert len(lost) == 1
