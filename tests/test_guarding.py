"""Live guards: what they say, when they stop a training, which policy is kept, and that a kill changes nothing of it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from wetread import metrics, rewards
from wetread.errors import ConfigError, GuardWarning, UsageError
from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.records import Draft, MetricSpec, Report
from wetread.registry import Registry
from wetread.rewards import rules
from wetread.rewards.rules import Rule
from wetread.runs.config import build
from wetread.runs.store import JsonLines
from wetread.training.config import GuardConfig, RlConfig

FINDINGS = (
    "Small left pleural effusion.", "Moderate cardiomegaly.", "Right apical pneumothorax.", "Mild pulmonary edema.",
    "Consolidation in the left lower zone.",
)  # fmt: skip
NORMAL = Report("The lungs are clear. The heart is normal. No pleural effusion.", "No acute disease.")
REFERENCES = [
    Report(f"{FINDINGS[n % 5]} {FINDINGS[(n + 1 + n // 5) % 5]}", f"Case {n}.") if n % 4 else NORMAL for n in range(40)
]
TRUE, PADDED = REFERENCES, [Report(f"{r.findings} " + "The bones are intact. " * 4, r.impression) for r in REFERENCES]
EVERYTHING = [Report(" ".join(FINDINGS), f"Case {n}.") for n in range(40)]
NORMALS = [NORMAL] * 40


# Rules ------------------------------------------------------------------------------------------------------------------


def test_a_rule_compares_with_itself_or_with_the_start():
    now, start = {"entropy": 0.2, "abnormal_f1": 0.4}, {"entropy": 1.0, "abnormal_f1": 0.5}
    assert Rule("entropy", "below", "value", warn=0.3).broken(now, start)[0] == "warn"
    assert Rule("entropy", "below", "ratio", warn=0.5, stop=0.25).broken(now, start)[0] == "stop"
    assert Rule("abnormal_f1", "below", "change", warn=-0.05, stop=-0.2).broken(now, start)[0] == "warn"
    assert Rule("abnormal_f1", "above", "change", warn=0.05).broken(now, start) is None
    for unknown in ({"entropy": None}, {}):
        assert Rule("entropy", "below", "ratio", warn=0.5).broken(now, unknown) is None
        assert Rule("entropy", "below", "value", warn=0.5).broken(unknown, start) is None
    with pytest.raises(UsageError, match="Did you mean 'entropy'"):
        Rule("entrpy", "below")


def test_rules_of_a_config_take_the_place_of_the_usual_ones():
    config = build(
        RlConfig,
        None,
        ["guard.rules=[{of: entropy, side: below, measure: ratio, stop: 0.1}, {of: panel/rouge_l, side: below}]"],
    )
    found = rules.rules(config.guard.rules)
    assert Rule("entropy", "below", "ratio", None, 0.1) in found and Rule("panel/rouge_l", "below") in found
    assert len(found) == len(rules.RULES) + 1
    for wrong in ("guard.rules=[{of: entropy}]", "guard.rules=[{of: entropy, side: left}]", "guard.act=sleep"):
        with pytest.raises(ConfigError):
            build(RlConfig, None, [wrong])


def test_the_panel_is_never_in_the_reward():
    for name in rewards.RECIPES:
        paid = rewards.get(name).metrics
        chosen = rules.panel(paid)
        assert len(chosen) >= 4 and not set(chosen) & set(paid)
        assert not any(metrics.get(one).spec.needs for one in chosen)
    assert "rouge_l" not in rules.panel(["rouge_l"])
    assert rules.panel(["rouge_l"], ["bleu_4", "bleu_4"]) == ("bleu_4",)
    for reward, panel, why in (
        (["rouge_l"], ["rouge_l"], "is in the reward"),
        (["radcliq_v1"], ["bertscore"], "is in the reward"),
        (["bertscore"], ["radcliq_v1"], r"is in the reward \(bertscore\)"),
        (["rouge_l"], ["fkgl"], "looks at the draft alone"),
        (["rouge_l"], ["rouge_m"], "no metric"),
    ):
        with pytest.raises(UsageError, match=why):
            rules.panel(reward, panel)


# What is said of drafts ---------------------------------------------------------------------------------------------------


def judge(reward="unirg_step1", **more):
    looks = pytest.importorskip("wetread.training.looks")
    recipe = rewards.get(reward)
    panel = rules.panel(recipe.metrics)
    config = GuardConfig(**more)
    wanted = [*panel, *([config.keep] if config.keep in metrics.METRICS else [])]
    by = rewards.get(config.keep) if config.keep in rewards.RECIPES else None
    return looks.Judge(
        config,
        looks.Paid(recipe, rewards.bind(recipe, REFERENCES)),
        panel,
        metrics.bind(wanted, REFERENCES),
        looks.Paid(by, rewards.bind(by, REFERENCES)) if by else None,
    )


def look(of, step, reports, start=None, **logged):
    drafts = [Draft(str(n), report, "complete" if report else "malformed") for n, report in enumerate(reports)]
    return of.look(step, drafts, REFERENCES, logged, start)


def mixed(good, bad, share):
    """A policy that has gone part of the way: ``share`` of its drafts are of the bad kind."""
    return [bad[n] if (n * 7) % 40 < share * 40 else good[n] for n in range(40)]


@pytest.mark.parametrize(
    ("reward", "hack", "shown"),
    [
        ("findings_recall", PADDED, "length_off"),  # pays nothing for length, and takes nothing away
        ("findings_recall", EVERYTHING, "over_calling"),
        ("findings_precision", NORMALS, "abnormal_f1"),
        ("findings_precision", NORMALS, "template_share"),
        ("unirg_step1", [Report()] * 40, "unreadable"),
    ],
)
def test_a_policy_that_drifts_into_a_short_cut_warns_and_then_stops(reward, hack, shown):
    of = judge(reward)
    # The start is a policy that misses the first finding of some.
    start = look(of, 0, [Report(r.findings.split(". ")[-1], r.impression) if n % 3 else r for n, r in enumerate(TRUE)])
    assert start.stop == ()
    drift = [look(of, step, mixed(TRUE, hack, step / 10), start) for step in range(1, 11)]
    stopped = next(one.step for one in drift if one.stop)
    assert not any(shown in " ".join(one.stop) for one in drift[: stopped - 1])
    assert any(why.startswith(shown) for one in drift for why in one.stop)
    assert any(one.warn for one in drift[:stopped]), "it warns first"
    if reward != "unirg_step1":
        assert drift[-1].values["reward"] >= drift[0].values["reward"] - 1e-9, "and the reward saw nothing of it"


def test_a_policy_that_becomes_better_is_left_alone():
    of = judge()
    start = look(of, 0, mixed(TRUE, NORMALS, 0.6))
    for step in range(1, 7):
        found = look(of, step, mixed(TRUE, NORMALS, 0.6 - step / 10), start)
        assert found.warn == found.stop == () and found.score >= start.score
        assert found.values["panel_loss"] <= 0


def test_entropy_kl_and_unscored_rollouts_are_watched():
    of = judge()
    start = look(of, 0, TRUE, entropy=1.0)
    found = look(of, 5, TRUE, start, entropy=0.2, kl=0.9, unscored=0.6)
    assert [why.split()[0] for why in (*found.warn, *found.stop)] == ["entropy", "kl", "unscored"]
    assert len(found.stop) == 1


@pytest.mark.parametrize(("act", "studies"), [("warn", 40), ("stop", 19)])
def test_guards_that_may_only_warn_or_see_few_studies_stop_nothing(act, studies):
    of = judge(act=act)
    drafts = [[Draft(str(n), report) for n, report in enumerate(some[:studies])] for some in (TRUE, NORMALS)]
    start = of.look(0, drafts[0], REFERENCES[:studies], {}, None)
    found = of.look(5, drafts[1], REFERENCES[:studies], {}, start)
    assert found.stop == () and any(why.startswith("abnormal_f1") for why in found.warn)


def test_the_best_look_is_kept_of_equal_ones_the_last_and_never_one_that_broke_a_rule():
    guarding = pytest.importorskip("wetread.training.looks")

    def best(*scores, stop=()):
        looks = {
            n: guarding.Look(n, {}, (), score, (), ("length",) if n in stop else ()) for n, score in enumerate(scores)
        }
        return guarding.best_of(looks).step

    assert best(0.1, 0.3, 0.2) == best(0.3, 0.3, 0.2) == 1
    assert best(0.9, 0.2, 0.2) == 0, "nothing was better than the start"
    assert best(0.1, 0.2, 0.9, stop=(1, 2)) == 0
    assert best(0.1, 0.2, 0.9, stop=(2,)) == 1
    assert best(None, None, 0.0) == 2 and best(None, None, None) == 2
    assert look(judge(keep="unirg_step2"), 1, TRUE).score > look(judge(keep="unirg_step2"), 1, NORMALS).score
    of = judge(keep="errors_total")
    assert look(of, 0, TRUE).score == 0.0 > look(of, 1, NORMALS).score
    assert look(judge(keep="last"), 7, NORMALS).score == 7.0
    one = look(of, 3, NORMALS)
    assert guarding.Look.from_json(json.loads(json.dumps(one.to_json()))) == one


# Real trainings -------------------------------------------------------------------------------------------------------------


def word_recall(drafts, references):
    """A planted hack: how many of the reference's words are somewhere in the draft. Longer is never worse."""

    def judged(draft, reference):
        ours, theirs = Counter(draft.text.lower().split()), Counter(reference.text.lower().split())
        return (ours & theirs).total() / theirs.total(), {}

    return score_pairs("word_recall", judged, drafts, references)


WORD_RECALL = MetricEntry(MetricSpec("word_recall", "higher", (0.0, 1.0), frozenset(), "1"), word_recall, MEAN)
POLICY = (
    "tiny.image_size=64", "tiny.vision_width=40", "tiny.warmup_steps=4", "tiny.text_width=64", "tiny.text_layers=1",
    "tiny.vocabulary=600", "optim.batch=16", "optim.steps=60", "optim.rate=3e-3",
)  # fmt: skip
RL = (
    "optim.batch=32", "group.rollouts=8", "group.max_new_tokens=96", "optim.warmup=0", "guard.every=4",
    "guard.studies=20", "checkpoint_every=3",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    from wetread.studies import phantom

    path = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write(path, 320, seed=5, size=64)
    return path


@pytest.fixture(scope="module")
def policy(data, tmp_path_factory) -> Path:
    from wetread.training import sft
    from wetread.training.config import SftConfig

    return sft.train(build(SftConfig, None, [f"data.path={data}", *POLICY]), tmp_path_factory.mktemp("sft") / "run")


def train(out, data, policy, *settings):
    from wetread.training import rl

    return rl.train(build(RlConfig, None, [f"data.path={data}", f"model={policy}", *RL, *settings]), out)


def events(out, what):
    return [one for one in JsonLines(out / "events.jsonl").read() if one["event"] == f"rl.{what}"]


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def same(one, other):
    import numpy as np

    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.slow
def test_a_reward_that_pays_for_length_is_stopped_and_the_last_good_policy_kept(data, policy, tmp_path, monkeypatch):
    known = {**metrics.METRICS._entries, "word_recall": f"{__name__}:WORD_RECALL"}
    monkeypatch.setattr(metrics, "METRICS", Registry("metric", known))
    out = tmp_path / "run"
    settings = ("reward=word_recall", "optim.rate=2e-4", "optim.steps=40", "guard.every=3")
    with pytest.warns(GuardWarning, match="training stops"):
        model = train(out, data, policy, *settings)
    looks = {one["step"]: one for one in events(out, "look")}
    (kept,) = events(out, "kept")
    last = max(looks)
    assert last < 40 and looks[last]["stop"] and "length_off" in kept["stopped"]
    assert all(not one["stop"] for step, one in looks.items() if step < last)
    assert kept["last"] == last and kept["step"] < last and not looks[kept["step"]]["stop"]
    assert looks[last]["values"]["length_ratio"] > 1.4 * looks[0]["values"]["length_ratio"]
    assert kept["score"] == max(one["score"] for step, one in looks.items() if step < last)
    assert same(model, out / "checkpoints" / f"checkpoint-{kept['step']}")
    assert not same(model, out / "checkpoints" / f"checkpoint-{last}")
    assert f"kept: step {kept['step']}" in (model / "README.md").read_text()
    (said,) = events(out, "guards")
    assert "word_recall" not in said["panel"] and said["studies"] == 20
    steps = events(out, "step")
    assert all(0 < one["reward_share"] < 1 and "guard/flat_groups" in one for one in steps)
    # The end was not noted: the same command decides the same without another step of training.
    lines = (out / "events.jsonl").read_text().splitlines()
    (out / "events.jsonl").write_text(
        "".join(f"{line}\n" for line in lines if '"rl.kept"' not in line and '"rl.done"' not in line)
    )
    before = weights(model)
    assert train(out, data, policy, *settings) == model
    assert len(events(out, "step")) == len(steps) and len(events(out, "look")) == len(looks)
    assert events(out, "kept")[0]["step"] == kept["step"]
    assert all((before[key] == value).all() for key, value in weights(model).items())


@pytest.mark.slow
def test_looks_come_at_the_start_at_times_and_at_the_end_and_change_nothing(data, policy, tmp_path):
    settings = ("optim.batch=8", "group.rollouts=4", "group.max_new_tokens=24", "optim.steps=6", "guard.act=warn")
    train(tmp_path / "watched", data, policy, *settings, "guard.keep=last")
    train(tmp_path / "alone", data, policy, *settings, "guard.every=0")
    assert [one["step"] for one in events(tmp_path / "watched", "look")] == [0, 4, 6]
    assert same(tmp_path / "watched" / "model", tmp_path / "alone" / "model")
    assert not events(tmp_path / "alone", "look") and not events(tmp_path / "alone", "kept")
    first, *_, end = events(tmp_path / "watched", "look")
    assert first["values"]["entropy"] is None and end["values"]["entropy"] > 0
    assert set(rules.VALUES) <= set(end["values"]) and end["failed"] == 0


@pytest.mark.slow
def test_sft_keeps_the_best_of_validation_not_the_last(data, policy, tmp_path):
    from wetread.training import sft
    from wetread.training.config import SftConfig

    def tuned(out, *settings):
        given = [
            f"data.path={data}",
            f"model={policy}",
            "optim.batch=16",
            "guard.studies=20",
            "guard.every=4",
            *settings,
        ]
        return sft.train(build(SftConfig, None, given), out)

    def said(out, what):
        return [one for one in JsonLines(out / "events.jsonl").read() if one["event"] == f"sft.{what}"]

    # A rate that ruins the policy: its start is the best that was seen.
    with pytest.warns(GuardWarning, match="nothing was better than the start"):
        ruined = tuned(tmp_path / "ruined", "optim.steps=6", "optim.rate=1.0", "guard.keep=bleu_4", "guard.act=warn")
    looks = {one["step"]: one for one in said(tmp_path / "ruined", "look")}
    assert list(looks) == [0, 4, 6] and looks[0]["score"] > looks[6]["score"]
    assert looks[0]["values"]["reward"] is None and "entropy" not in looks[6]["values"]
    assert said(tmp_path / "ruined", "kept")[0]["step"] == 0 and same(ruined, policy)
    assert "kept: step 0, best of validation by bleu_4" in (ruined / "README.md").read_text()
    # By a ready reward, which SFT is not paid by; and looks that change nothing when the last is kept.
    tuned(tmp_path / "by", "optim.steps=4", "optim.rate=1e-3", "guard.keep=unirg_step1")
    kept = said(tmp_path / "by", "kept")[0]
    assert kept["by"] == "unirg_step1" and kept["score"] == max(one["score"] for one in said(tmp_path / "by", "look"))
    watched = tuned(tmp_path / "watched", "optim.steps=5", "guard.keep=last")
    assert same(watched, tuned(tmp_path / "alone", "optim.steps=5", "guard.every=0"))
    assert not said(tmp_path / "alone", "look")


@pytest.mark.slow
def test_killed_at_its_weak_points_it_decides_as_it_would_have(data, policy, tmp_path):
    import forked

    arguments = ["train", "rl", "--set", f"data.path={data}", "--set", f"model={policy}"]
    given = (
        "optim.batch=8", "optim.steps=5", "group.rollouts=4", "group.max_new_tokens=24", "guard.every=2",
        "guard.studies=6", "checkpoint_every=3",
    )  # fmt: skip
    for one in given:
        arguments += ["--set", one]
    assert forked.run([*arguments, "--out", tmp_path / "whole"], tmp_path / "whole.log") == 0
    points = [
        ("wetread.runs.store.RunFolder.event", "rl.look"),  # looked at the start, nothing noted
        ("wetread.training.guarding.Guards.on_save", 2),  # a checkpoint is there, nobody has looked
        ("wetread.training.guarding.Judge.look", 2),
        ("wetread.training.guarding.Guards.restore", 1),  # all is done but the choice
        ("wetread.training.card.Card.write", 1),
    ]
    for point in points:
        log = tmp_path / "run.log"
        assert forked.run([*arguments, "--out", tmp_path / "run"], log, point) == -9, (point, log.read_text()[-2000:])
    assert forked.run([*arguments, "--out", tmp_path / "run"], tmp_path / "run.log") == 0

    def told(out):
        looks = {one["step"]: {k: v for k, v in one.items() if k != "time"} for one in events(out, "look")}
        return looks, {k: v for k, v in events(out, "kept")[-1].items() if k != "time"}

    assert told(tmp_path / "run") == told(tmp_path / "whole")
    assert same(tmp_path / "run" / "model", tmp_path / "whole" / "model")


@pytest.mark.slow
def test_two_processes_look_and_decide_as_one(data, policy, tmp_path):
    import forked

    arguments = ["train", "rl"]
    for one in (f"data.path={data}", f"model={policy}", "optim.batch=8", "optim.steps=2", "group.rollouts=4",
                "group.max_new_tokens=24", "guard.every=2", "guard.studies=9", "guard.batch=4"):  # fmt: skip
        arguments += ["--set", one]
    assert forked.run([*arguments, "--out", tmp_path / "one"], tmp_path / "one.log") == 0
    assert forked.together(2, [*arguments, "--out", tmp_path / "two"], tmp_path / "two.log") == [0, 0]
    for ours, theirs in zip(events(tmp_path / "two", "look"), events(tmp_path / "one", "look"), strict=True):
        assert ours["step"] == theirs["step"] and ours["calls"] == theirs["calls"]
        assert ours["values"] == pytest.approx(theirs["values"], abs=1e-3)
    assert [one["step"] for one in events(tmp_path / "two", "kept")] == [
        one["step"] for one in events(tmp_path / "one", "kept")
    ]


@pytest.mark.slow
def test_without_anything_to_look_at_guards_are_off_and_say_so(data, policy, tmp_path):
    settings = ("optim.batch=4", "group.rollouts=4", "group.max_new_tokens=8", "optim.steps=1")
    with pytest.warns(GuardWarning, match="no study of split 'dev'"):
        train(tmp_path / "run", data, policy, *settings, "guard.split=dev")
    assert events(tmp_path / "run", "guards")[0]["off"]
    with pytest.raises(UsageError, match="is in the reward"):
        train(tmp_path / "a", data, policy, *settings, "guard.panel=[entity_f1]")
    with pytest.raises(ConfigError, match="is neither a metric"):
        train(tmp_path / "b", data, policy, *settings, "guard.keep=rewards")


def test_the_configs_in_the_documentation_are_configs(tmp_path):
    import re

    page = (Path(__file__).parent.parent / "docs" / "rewards.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "config.yaml").write_text(block)
        config = build(RlConfig, tmp_path / "config.yaml")
        recipe = rewards.get(config.reward)
        rules.panel(recipe.metrics, config.guard.panel)
        assert rewards.dry_run(recipe, REFERENCES[:8]) > 0.9
    assert all(f"`{rule.of}`" in page for rule in rules.RULES)
    assert all(f"`{name}`" in page for name in rewards.RECIPES)


def test_rules_that_would_never_fire_are_refused():
    with pytest.raises(UsageError, match=r"no metric is called 'roge_l'.*Did you mean 'rouge_l'"):
        Rule("panel/roge_l", "below", "value", stop=2.0)
    silent, absent = Rule("panel/bleu_4", "below"), Rule("panel/rouge_l", "below", "value", stop=2.0)
    with pytest.raises(UsageError, match=r"'panel/rouge_l' is never looked at; held out are bleu_4.*guard.panel"):
        rules.check([absent], ["bleu_4"])
    rules.check([absent], ["bleu_4", "rouge_l"])
    with pytest.raises(UsageError, match="panel/bleu_4 below has neither warn nor stop"):
        rules.check([silent], ["bleu_4"])
    rules.check([Rule("kl", "above")], ["bleu_4"])  # which turns a usual one off
    rules.check(rules.RULES, ["bleu_4"])
