"""Recipes: read strictly, checked against the paper they name, run stage by stage into one folder."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import forked
from qwen_files import qwen
from training_helpers import kill_when, sets, wetread
from wetread import rewards
from wetread.cli import main
from wetread.errors import ConfigError, MissingError, RunError, StudyError, UsageError, WetreadWarning
from wetread.models import TemplateModel, open_model, read_manifest, write_manifest
from wetread.records import Generation, Inputs, Sampling
from wetread.runs.config import to_dict
from wetread.runs.progress import bar
from wetread.runs.store import JsonLines, RunFolder
from wetread.studies import folder, phantom
from wetread.training import loop, processes, stages
from wetread.training.fields import found as field_at
from wetread.training.fields import leaves
from wetread.training.recipe import SHARED, changed, fields_of, find, open_recipe, shipped

ROOT = Path(__file__).resolve().parent.parent
FEW = {
    "sft": ("optim.epochs=0", "optim.steps=2", "optim.batch=4", "optim.micro_batch=0", "guard.every=0"),
    "rl": ("optim.epochs=0", "optim.steps=2", "optim.batch=8", "optim.micro_batch=0", "group.batch_of=completions",
           "group.rollouts=4", "group.max_new_tokens=16", "guard.every=0"),
}  # fmt: skip
TINY = (
    "sft.tiny.image_size=32", "sft.tiny.vision_width=40", "sft.tiny.warmup_steps=0", "sft.tiny.text_width=64",
    "sft.tiny.text_layers=1", "sft.tiny.vocabulary=600", "sft.freeze_vision=false",
)  # fmt: skip


def few(*more: str) -> list[str]:
    """Settings that make each stage two steps long."""
    stages = (("sft", "sft"), ("step1", "rl"), ("step2", "rl"))
    return [f"{name}.{one}" for name, kind in stages for one in (*FEW[kind], "checkpoint_every=1")] + list(more)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write(path, 60, seed=5, size=64)
    return path


def written(tmp_path: Path, change=lambda body: None) -> Path:
    """A small recipe with something changed."""
    body = {
        "name": "small", "source": "nothing", "data": {"path": "data/phantom"},
        "stages": [
            {"name": "sft", "kind": "sft", "config": {"optim": {"steps": 3}}},
            {"name": "step1", "kind": "rl", "config": {"model": {"stage": "sft"}, "reward": "rouge_l", "seed": 4}},
        ],
        "choices": {"kl": {"question": "Is there a KL?", "here": "no", "options": {"no": {}, "yes": {"step1.group.kl": 0.1}}}},
        "deviations": [{"field": "sft.optim.steps", "paper": "Many.", "here": 3, "reason": "A test."}],
    }  # fmt: skip
    change(body)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    return path


def test_stages_share_and_keep_their_own(tmp_path):
    made = open_recipe(written(tmp_path), ["seed=2", "step1.optim.rate=1e-5"])
    first, second = made.stages
    assert (first.config.seed, second.config.seed) == (2, 4)
    assert first.config.data.path == second.config.data.path == ("data/phantom",)
    assert (second.kind, second.start, second.config.optim.rate) == ("rl", "sft", 1e-5)
    assert second.placed(Path("out")).model == str(Path("out/sft/model"))
    assert (made.before(first), made.before(second)) == ((), (first,))


def test_a_choice_sets_its_fields(tmp_path):
    path = written(tmp_path)
    assert open_recipe(path).stages[1].config.group.kl == 0
    made = open_recipe(path, ["kl=yes"])
    assert (made.stages[1].config.group.kl, made.chosen) == (0.1, {"kl": "yes"})
    assert open_recipe(path, ["kl=yes", "step1.group.kl=0.2"]).stages[1].config.group.kl == 0.2
    with pytest.raises(ConfigError, match="no such answer"):
        open_recipe(path, ["kl=maybe"])


def test_an_item_of_a_list_is_found_by_its_metric(tmp_path):
    reward = {
        "name": "r",
        "terms": [{"metric": "rouge_l", "weight": 1.0}, {"metric": "errors_total", "transform": "inverse"}],
    }
    path = written(tmp_path, lambda body: body["stages"][1]["config"].update(reward=reward))
    made = open_recipe(path, ["step1.reward.terms.errors_total.weight=0.5"])
    assert made.stages[1].config.reward["terms"][1] == {"metric": "errors_total", "transform": "inverse", "weight": 0.5}
    with pytest.raises(ConfigError, match="no item 'bleu_4'"):
        open_recipe(path, ["step1.reward.terms.bleu_4.weight=0.5"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body["deviations"][0].update(field="sft.optim.stepz"), "Did you mean 'sft.optim.steps'"),
        (lambda body: body["deviations"][0].update(here=4), "make them agree"),
        (lambda body: body["deviations"][0].update(reason=" "), "has no reason"),
        (lambda body: body["deviations"][0].pop("paper"), "deviations.0.paper is not set"),
        (lambda body: body["stages"][1]["config"].update(model={"stage": "step1"}), "with a stage before it"),
        (lambda body: body["stages"][1].update(name="sft"), "two stages"),
        (lambda body: body["stages"][1].update(name="model"), "cannot be a stage's name"),
        (lambda body: body["stages"][1].update(kind="rlx"), "Did you mean 'rl'"),
        (lambda body: body["stages"][0]["config"]["optim"].update(stepz=3), "stage sft: unknown config key 'optim.stepz'"),
        (lambda body: body.update(stagez=[]), "Did you mean 'stages'"),
        (lambda body: body["choices"]["kl"].update(here="nope"), "none of its options"),
        (lambda body: body["choices"]["kl"]["options"].update(bad={"step1.group.kll": 1}), "group.kll"),
        (lambda body: body.update(stages=[]), "no stages"),
        (lambda body: body.pop("source"), "source is not set"),
        (lambda body: body["stages"][1]["config"].update(model={"stages": "sft"}), "with a stage before it"),
        (lambda body: body["choices"].update(kl="with"), "choices.kl='with' is not a group of keys"),
        (lambda body: body["choices"]["kl"].pop("question"), "choices.kl: question is not set"),
        (lambda body: body["choices"]["kl"].update(options=["no", "yes"]), "choices.kl: options="),
        (lambda body: body["choices"]["kl"]["options"].update(bad=5), "choices.kl.options.bad=5 is not a group of fields"),
        (lambda body: body["choices"]["kl"]["options"].update(bad=["a"]), "choices.kl.options.bad=['a'] is not a group"),
        (lambda body: body["choices"]["kl"]["options"].update(bad={5: 1}), "choices.kl.options.bad: 5 is no field"),
        (lambda body: body["choices"]["kl"]["options"].update(bad={"step1.model": {"stage": "step1"}}), "options.bad: step1.model="),
        (lambda body: body.update(evaluate={"splits": ["train"]}), "sft.data.split='train' is also in evaluate.splits (train)"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, change, said):
    with pytest.raises(ConfigError) as caught:
        open_recipe(written(tmp_path, change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("step1.model={stage: step1}", "step1.model={'stage': 'step1'}: give {stage: NAME} with a stage before it (sft)"),
        ("sft.model={stage: step1}", "the first stage has none"),
        ("step1.model.stage=nowhere", "with a stage before it (sft)"),
        ("step1.model={}", "with a stage before it (sft)"),
        ("step1=5", "step1=5: step1 is a stage; set one of its keys"),
        ("step1=", "step1=None: step1 is a stage"),
        ("evaluate=5", "evaluate=5: evaluate is a group of keys; set one of splits"),
        ("evaluate.stepz=5", "evaluate: unknown config key 'stepz'"),
        ("evaluate.splits=[test,train]", "sft.data.split='train' is also in evaluate.splits (test, train)"),
        ("step1.data.split=test", "step1.data.split='test' is also in evaluate.splits (test), and both read data/phantom"),
        ("step1={optim: {steps: 1, steps: 2}}", "the key 'steps' is set already"),
    ],
)  # fmt: skip
def test_slips_in_settings_are_one_line(tmp_path, setting, said):
    path = written(tmp_path, lambda body: body.update(evaluate={"splits": ["test"]}))
    with pytest.raises(ConfigError) as caught:
        open_recipe(path, [setting])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_item_of_a_list_that_has_no_fields_is_named(tmp_path):
    path = written(tmp_path, lambda body: body["data"].update(path=["data/phantom"]))
    with pytest.raises(ConfigError, match=r"unknown field 'data\.path\.0\.x': item 0 of the list is 'data/phantom'"):
        open_recipe(path, ["data.path.0.x=1"])


def test_a_setting_may_undo_a_deviation_and_it_is_known(tmp_path):
    path = written(tmp_path)
    assert changed(open_recipe(path)) == []
    assert changed(open_recipe(path, ["sft.optim.steps=5"])) == ["sft.optim.steps"]
    with pytest.raises(ConfigError, match="begins with one of"):
        open_recipe(path, ["step3.optim.steps=5"])


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_reads_and_says_why_it_differs(name):
    made = open_recipe(find(name))
    assert made.deviations
    assert made.evaluate
    assert [stage.kind for stage in made.stages] == ["sft", "rl", "rl"]
    assert (ROOT / "recipes" / f"{name}.yaml").samefile(find(name))


def made_with(*settings: str):
    return open_recipe(find("unirg_cxr"), settings).stages


def test_unirg_is_as_published():
    made = open_recipe(find("unirg_cxr"))
    sft, step1, step2 = (stage.config for stage in made.stages)
    assert (sft.optim.epochs, sft.optim.rate, sft.optim.batch) == (3, 5e-5, 256)
    for step, kl in ((step1, 0.0), (step2, 0.03)):
        assert (step.optim.epochs, step.optim.rate, step.optim.batch, step.group.rollouts) == (1, 5e-6, 256, 16)
        assert (step.group.kl, step.in_completions().optim.batch) == (kl, 4096)
        assert step.group.clip_high > step.group.clip_low
    weights = {term["metric"]: term["weight"] for term in step2.reward["terms"]}
    assert weights == {"bertscore": 0.370, "semb_score": 0.253, "radgraph_combined": 0.377, "error_judge": 0.5}
    assert step2.reward["terms"][3]["transform"] == "inverse"
    for number, step in ((1, step1), (2, step2)):
        assert rewards.get(step.reward).terms == rewards.get(f"unirg_step{number}_neural").terms
        z_scored = made_with("weights=z-scored")[number].config.reward
        assert rewards.get(z_scored).terms == rewards.get(f"unirg_step{number}_radcliq").terms
    assert (made.stages[1].start, made.stages[2].start) == ("sft", "step1")
    assert (sft.inputs.prior, step1.inputs.prior, sft.compute.image_side) == ("none", "both", 512)


# What the paper (arXiv 2601.17151) states, by the field that says it here.
_BOTH_STEPS = {
    "inputs.prior": "both", "optim.epochs": 1, "optim.rate": 5e-6, "optim.batch": 256, "group.rollouts": 16,
    "guard.studies": 1024, "reward.terms.bertscore.metric": "bertscore", "reward.terms.bertscore.weight": 0.370,
    "reward.terms.semb_score.metric": "semb_score", "reward.terms.semb_score.weight": 0.253,
    "reward.terms.semb_score.transform": "identity", "reward.terms.radgraph_combined.weight": 0.377,
    "reward.terms.radgraph_combined.transform": "identity",
}  # fmt: skip
PAPER = {
    "model": "Qwen/Qwen3-VL-8B-Instruct", "compute.image_side": 512, "data.split": "train", "data.priors": "recent",
    "data.limit": [0],
    "data.path": ["data/mimic-cxr", "data/chexpert-plus", "data/rexgradient-160k", "data/iu-xray"],
    "inputs.images": "frontal", "inputs.indication": True, "inputs.comparison": True, "inputs.age": False,
    "inputs.sex": False, "sft.inputs.prior": "none", "sft.optim.epochs": 3, "sft.optim.rate": 5e-5,
    "sft.optim.batch": 256, "sft.guard.studies": 1024, "step1.model.stage": "sft", "step2.model.stage": "step1",
    "step1.group.kl": 0.0, "step2.group.kl": 0.03, "step2.reward.terms.error_judge.weight": 0.5,
    "step2.reward.terms.error_judge.transform": "inverse", "evaluate.splits": ["test"],
    **{f"{step}.{field}": value for step in ("step1", "step2") for field, value in _BOTH_STEPS.items()},
}  # fmt: skip
NOT_GIVEN = object()
OURS = (
    "checkpoint_every", "optim.micro_batch", "compute.gradient_checkpointing", "compute.attention", "adapter", "scorers",
    "tiny", "vllm.host", "vllm.port", "vllm.memory", "guard.batch", "guard.max_new_tokens", "guard.panel", "guard.rules",
    "reward.name", "reward.source", "evaluate.data", "evaluate.limit", "evaluate.batch",
    "evaluate.max_new_tokens",
)  # fmt: skip
"""Names, places and how it is computed; the adapter's kind is a choice, and of guards `act` says what they may do."""


def fields_in_effect(made) -> dict[str, object]:
    """Every field of every stage that has an effect, and those of the evaluation."""
    tree = fields_of(made.stages, made.evaluate)
    shown = Inputs()
    for stage in made.stages:
        shown = stage.config.inputs.over(shown)
        tree[stage.name]["inputs"] = shown.to_json()
    parts = [*(stage.name for stage in made.stages), "evaluate"]
    found = {f"{part}.{leaf}": field_at(tree[part], leaf.split(".")) for part in parts for leaf in leaves(tree[part])}
    for part in parts[:-1]:
        of = tree[part]
        without_effect = {
            "optim.epochs" if of["optim"]["steps"] else "optim.steps": True,
            "inputs.most_images": of["inputs"]["images"] == "frontal",
            "inputs.closer": of["inputs"]["closer"] == "none",
            **{f"inputs.{one}": of["inputs"]["prior"] == "none" for one in ("prior_sections", "prior_words")},
            **{one: of["style"] in ("direct", "") for one in ("lessons", "plain") if one in of},
            **{f"guard.{one}": not of["guard"]["every"] for one in ("split", "studies", "keep", "act")},
        }
        for leaf, gone in without_effect.items():
            if gone:
                del found[f"{part}.{leaf}"]
    return found


def unexplained(path: Path) -> list[str]:
    """Fields that differ from the paper, or say what it leaves open, and that neither a deviation nor a choice names."""
    made = open_recipe(path)
    choices = yaml.safe_load(path.read_text()).get("choices", {})
    set_by_choice = {key for one in choices.values() for answer in one["options"].values() for key in answer or {}}
    named = {one.field for one in made.deviations} | {key for key in set_by_choice if not key.endswith(".reward")}
    shared = fields_of(made.stages, made.evaluate)

    def covered(name: str, by) -> bool:
        return any(name == one or name.startswith(f"{one}.") for one in by)

    found = []
    for name, value in fields_in_effect(made).items():
        _, _, leaf = name.partition(".")
        common = leaf.partition(".")[0] in SHARED and field_at(shared, leaf.split(".")) == value
        if covered(name, named) or (common and covered(leaf, named)) or covered(leaf, OURS) or covered(name, OURS):
            continue
        if PAPER.get(name, PAPER.get(leaf, NOT_GIVEN)) != value:
            found.append(f"{name}={value}")
    return found


@pytest.mark.parametrize("name", shipped())
def test_every_deviation_from_the_paper_is_named_with_its_reason(name):
    assert unexplained(find(name)) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("beta2: 0.98, clip: 1.0, schedule: cosine", "beta2: 0.98, clip: 1.0, steps: 9, schedule: cosine"), ""),
        (("rate: 5.0e-5", "rate: 4.0e-5"), "sft.optim.rate=4e-05"),
        (("kl: 0.03", "kl: 0.04"), "step2.group.kl=0.04"),
        (("  age: false", "  age: true"), "step1.inputs.age=True"),
        (("prior: none", "prior: image"), "sft.inputs.prior=image"),
        (("  - field: sft.optim.clip", "  - field: sft.optim.rate"), ""),
        (("metric: semb_score, weight: 0.253", "metric: semb_score, weight: 0.5"), "step1.reward.terms.semb_score.weight=0.5"),
        (("  - {field: step2.guard.act, paper: Nothing said of stopping early., here: stop, reason: As for step 1.}\n", ""),
         "step2.guard.act=stop"),
    ],
)  # fmt: skip
def test_a_deviation_that_is_not_named_is_found(tmp_path, change, field):
    text = find("unirg_cxr").read_text()
    assert change[0] in text
    (tmp_path / "other.yaml").write_text(text.replace(*change))
    if field:
        assert field in unexplained(tmp_path / "other.yaml")
    else:  # the recipe itself cannot be read
        with pytest.raises(ConfigError):
            unexplained(tmp_path / "other.yaml")


def test_answers_that_exclude_each_other_are_said_to():
    for settings in (["weights=z-scored", "radgraph=xl-complete"], ["radgraph=xl-complete", "weights=z-scored"]):
        with pytest.raises(ConfigError, match="weights=z-scored and radgraph=xl-complete exclude each other") as caught:
            open_recipe(find("unirg_cxr"), settings)
        assert "radgraph_combined" in str(caught.value) and "\n" not in str(caught.value)


def test_what_unirg_leaves_open_can_be_answered_otherwise():
    made = open_recipe(find("unirg_cxr"), ["weights=z-scored", "errors=significant", "batch=completions", "tuned=lora"])
    step2 = made.stages[2].config
    assert [term["metric"] for term in step2.reward["terms"]] == ["radcliq_v1", "error_judge_significant"]
    assert (step2.in_completions().optim.batch, step2.adapter.kind) == (256, "lora")
    xl = open_recipe(find("unirg_cxr"), ["radgraph=xl-complete"]).stages[1].config
    assert xl.reward["terms"][2]["metric"] == "radgraph_complete"


def test_a_recipe_that_is_not_there_names_those_that_are():
    with pytest.raises(MissingError, match="phantom, unirg_cxr"):
        find("unirg")
    with pytest.raises(UsageError, match="Did you mean 'sft'"):
        open_recipe(find("phantom")).stage("sfft")


def here(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


def test_a_dry_run_says_all_and_writes_nothing(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert here("train", "recipe", "phantom", "--out", out, "--dry-run", *sets(*few(f"data.path={data}", *TINY))) == 0
    told = capsys.readouterr().out
    for said in (
        "sft (sft)",
        "step2 (rl, from step1)",
        "gold reports get",
        "parameters",
        "would be cut",
        "Paper: 5e-5.",
    ):
        assert said in told
    assert not out.exists()


def problems(out: Path, name: str, *settings: str) -> dict[str, list[str]]:
    """Stage to what keeps it from starting."""
    made = open_recipe(find(name), settings)
    return {stage.name: [str(one) for one in found.problems] for stage, found in stages.look(made, out)}


def test_slips_of_late_stages_are_told_before_the_first_also_without_data(tmp_path):
    nowhere = ("data.path=nowhere", f"model={tmp_path / 'none'}")
    slips = ("step1.optim.micro_batch=7", "step2.guard.keep=nonsense")
    found = problems(tmp_path, "unirg_cxr", *nowhere, *slips)
    assert not any("micro_batch" in one for one in found["sft"])
    assert "optim.micro_batch=7 does not divide optim.batch=4096." in found["step1"]
    assert any(one.startswith("guard.keep='nonsense'") for one in found["step2"])
    found = problems(
        tmp_path, "unirg_cxr", *nowhere, "batch=completions", "step2.optim.batch=8", "step2.optim.micro_batch=0"
    )
    assert any("optim.batch=8 is not a multiple of group.rollouts=16" in one for one in found["step2"])


def test_what_a_recipe_is_scored_on_is_looked_at_with_its_last_stage(data, tmp_path):
    settings = few(f"data.path={data}", *TINY)
    (*_, (_, last)) = stages.look(open_recipe(find("phantom"), settings), tmp_path)
    assert last.problems == () and "split test, phantom data" in last.rows["evaluate"]
    (*early, (_, last)) = stages.look(open_recipe(find("phantom"), [*settings, "evaluate.data=[nowhere]"]), tmp_path)
    assert not any(found.problems for _, found in early)
    assert ["evaluate: no studies.jsonl in nowhere" in str(one) for one in last.problems] == [True]


def test_what_is_scored_is_not_trained_on_whatever_the_folders_are_called(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    settings = few(f"data.path={data}", *TINY, f"evaluate.data={copy}")
    made = open_recipe(find("phantom"), settings)
    assert {study.split for study in stages.tested(made)} == {"test"}
    lines = [study.with_split("test" if study.split == "train" else "val") for study in folder.read(copy)]
    (copy / folder.LIST).write_text("".join(json.dumps(study.to_json()) + "\n" for study in lines))
    with pytest.raises(StudyError, match=r"evaluate: stage sft is trained on what is scored: .* patients"):
        stages.tested(made)
    others = [replace(study, id=f"x{study.id}", patient="", prior=None) for study in lines]
    (copy / folder.LIST).write_text("".join(json.dumps(study.to_json()) + "\n" for study in others))
    with pytest.raises(StudyError, match=r"stage sft is trained on what is scored: .* have report and picture"):
        stages.tested(made)
    (*_, (_, last)) = stages.look(made, tmp_path / "run")
    assert any("trained on what is scored" in str(one) for one in last.problems)


@pytest.mark.parametrize("begun", ["run", "elsewhere/run"])
def test_a_stage_knows_the_one_before_by_its_name_wherever_the_folder_is(data, tmp_path, monkeypatch, begun):
    monkeypatch.chdir(tmp_path)
    (sft, step1, _) = open_recipe(find("phantom"), few(f"data.path={data}", *TINY)).stages
    RunFolder.open(tmp_path / "run" / "step1", "rl", to_dict(step1.placed(Path(begun)))).event("begun")
    seen = []

    def train(config, out, on_step):
        seen.append(loop.open_run(out, "rl", to_dict(config)).done("begun"))
        return out / "model"

    monkeypatch.setattr("wetread.training.rl.train", train)
    for out in (Path("run"), tmp_path / "run", Path("run/../run")):
        stages.train(step1, out, bar)
    assert seen == [True] * 3
    assert sft.placed(Path("run")) == sft.config
    with pytest.raises(RunError, match=r"model \(was"):
        stages.train(replace(step1, start="step0"), tmp_path / "run", bar)


def test_a_policy_that_is_there_says_what_the_next_stage_is_shown(data, tmp_path):
    out = tmp_path / "run"
    start = qwen(tmp_path / "qwen", [study.report.text for study in folder.read(data)])
    settings = few(f"data.path={data}", f"model={start}", "compute.image_side=0", "step1.reward=rouge_l", "step1.vllm.use=none",
                   "step2.reward=rouge_l", "step2.vllm.use=none", "step2.group.kl=0")  # fmt: skip
    made = open_recipe(find("unirg_cxr"), [*settings, "step2.inputs={prior: null}", "step1.compute.image_side=128"])
    to_come = {stage.name: found for stage, found in stages.look(made, out)}
    assert [found.problems for found in to_come.values()] == [()] * 3
    assert to_come["step2"].numbers == to_come["step1"].numbers != to_come["sft"].numbers
    for stage in ("sft", "step1"):
        (out / stage).mkdir(parents=True)
        (out / stage / "run.json").touch()
    qwen(out / "step1" / "model", [study.report.text for study in folder.read(data)])
    write_manifest(out / "step1" / "model", inputs={"prior": "none"})
    ((stage, found),) = stages.look(made, out)
    assert stage.name == "step2" and found.problems == ()
    assert found.numbers["prompt_tokens"] < to_come["step2"].numbers["prompt_tokens"]


def test_stages_that_have_not_begun_are_looked_at_whenever_the_recipe_is_run(data, tmp_path, capsys, monkeypatch):
    def begin(stage, out, bars) -> Path:
        (out / stage.name).mkdir(parents=True, exist_ok=True)
        (out / stage.name / "run.json").touch()
        return out / stage.name / "model"

    out = tmp_path / "run"
    monkeypatch.setattr(stages, "train", begin)
    settings = few(f"data.path={data}", *TINY, "step2.guard.every=1", "step2.guard.keep=nonsense")
    arguments = ["train", "recipe", "phantom", "--out", out, *sets(*settings)]
    for stage, looked in (("sft", ["sft"]), ("step1", ["sft", "step1"])):
        assert here(*arguments, "--stage", stage) == 0
        assert list(json.loads((out / "preflight.json").read_text())) == looked
    capsys.readouterr()
    assert here(*arguments) == 2
    assert "guard.keep='nonsense'" in capsys.readouterr().err
    assert not (out / "step2").exists()


def test_whether_something_is_done_is_what_the_first_process_found(tmp_path, monkeypatch):
    run = RunFolder.open(tmp_path / "run", "recipe", {})
    assert not loop.done(run, "recipe.done")
    run.event("recipe.done")
    assert loop.done(run, "recipe.done")
    monkeypatch.setattr(processes, "told", lambda made: [False])  # what it had found before it wrote the event
    assert not loop.done(run, "recipe.done")


@pytest.mark.slow
def test_a_process_that_looks_late_ends_the_recipe_with_the_others(tmp_path):
    context, port = multiprocessing.get_context("forkserver"), forked.free_port()
    path = written(tmp_path)
    ranks = [context.Process(target=_end, args=(rank, port, str(path), str(tmp_path / "run"))) for rank in range(2)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(120)
    codes = [one.exitcode for one in ranks]
    for one in ranks:
        one.kill()
    assert codes == [0, 0]
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def _end(rank: int, port: int, path: str, out: str) -> None:
    os.environ.update(forked.ranks(2, port) | {"RANK": str(rank), "LOCAL_RANK": str(rank)})

    def train(stage, home, bars) -> Path:
        model = home / stage.name / "model"
        if rank == 0:
            model.mkdir(parents=True)
            (model / "config.json").write_text("{}")
        return model

    stages.train = train
    if rank == 1:
        RunFolder.done = lambda run, what: True  # it looks when the first has written the event
    stages.run(open_recipe(Path(path)), Path(out), bar)


@pytest.mark.slow
def test_a_killed_recipe_continues_and_ends_with_one_policy(data, tmp_path, capsys):
    out = tmp_path / "run"
    settings = few(f"data.path={data}", *TINY, "evaluate.limit=3")
    arguments = ["train", "recipe", "phantom", "--out", str(out), *sets(*settings)]
    kill_when(arguments, out / "step1" / "events.jsonl", 3)
    assert (out / "sft" / "model" / "config.json").is_file()
    assert not (out / "model").exists()
    before = (out / "sft" / "model" / "model.safetensors").stat().st_mtime_ns
    done = wetread(*arguments)
    assert done.returncode == 0, done.stderr
    assert (out / "sft" / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert (out / "recipe.yaml").read_text().endswith(find("phantom").read_text())
    assert set(json.loads((out / "preflight.json").read_text())) == {"sft", "step1", "step2"}
    assert (out / "model" / "model.safetensors").read_bytes() == (
        out / "step2" / "model" / "model.safetensors"
    ).read_bytes()
    rows = json.loads((out / "evaluation.json").read_text())["rows"]
    assert {"template", "sft", "step1", "step2"} <= {row["system"] for row in rows}
    assert sum(one["event"] == "recipe.done" for one in JsonLines(out / "events.jsonl").read()) == 1
    assert here(*arguments, "--set", "step2.group.kl=0.1") == 1
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "stages.step2.group.kl" in said


@pytest.mark.slow
def test_the_unirg_recipe_starts_on_a_qwen3_vl(data, tmp_path):
    """SFT and both GRPO steps with LoRA on the architecture that the recipe names, and offline rewards."""
    model = qwen(tmp_path / "qwen", [study.report.text for study in folder.read(data)])
    out = tmp_path / "run"
    settings = few(
        f"data.path={data}", f"model={model}", "compute.image_side=64", "tuned=lora", "step1.reward=unirg_step1",
        "step2.reward=unirg_step2", "step1.vllm.use=none", "step2.vllm.use=none", "evaluate.limit=2",
    )  # fmt: skip
    assert here("train", "recipe", "unirg_cxr", "--out", out, *sets(*settings)) == 0
    found = json.loads((out / "preflight.json").read_text())
    assert found["step1"]["numbers"]["image_height"] == 64
    assert found["step1"]["numbers"]["trained"] < found["step1"]["numbers"]["parameters"]
    for stage, kind in (("sft", "sft"), ("step1", "rl"), ("step2", "rl")):
        steps = [one for one in JsonLines(out / stage / "events.jsonl").read() if one["event"] == f"{kind}.step"]
        assert [one["step"] for one in steps] == [1, 2]
    assert "kl" in steps[-1]
    opened = open_model(str(out / "model"))
    assert type(opened.model).__name__ == "Qwen3VLForConditionalGeneration"
    assert read_manifest(out / "model")["inputs"]["prior"] == "both"
    from wetread import prompts

    style = prompts.get(opened.style, opened.inputs)
    drafts = opened.generate([style.render(study) for study in folder.read(data)[:2]], Sampling(max_new_tokens=4))
    assert [one.stop for one in drafts] != ["error", "error"]


def test_the_effective_config_of_a_stage_builds_again():
    from wetread.runs.config import build

    for stage in open_recipe(find("unirg_cxr")).stages:
        assert build(type(stage.config), None, (), to_dict(stage.config)) == stage.config


def test_a_study_without_an_image_is_told_before_the_first_stage(tmp_path):
    home = tmp_path / "data"
    phantom.write(home, 60, seed=5, size=64)
    records = [json.loads(line) for line in (home / "studies.jsonl").read_text().splitlines()]
    bare = [one for one in records if one["split"] == "test"][:2]
    for one in bare:
        one["images"] = []
    (home / "studies.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (*early, (_, last)) = stages.look(open_recipe(find("phantom"), few(f"data.path={home}", *TINY)), tmp_path / "run")
    assert not any(found.problems for _, found in early)
    (said,) = map(str, last.problems)
    assert said.startswith(f"evaluate: 2 studies have no image, the first {bare[0]['study']}; ")


def test_a_policy_that_lost_drafts_says_so(tmp_path, monkeypatch):
    home = tmp_path / "data"
    phantom.write(home, 60, seed=5, size=64)
    made = open_recipe(
        written(tmp_path, lambda body: body.update(evaluate={"splits": ["test"]})), [f"data.path={home}"]
    )
    tested = stages.tested(made)
    tested[1].images[0].file.write_bytes(b"not a picture")

    class Reader(TemplateModel):
        def generate(self, prompts, sampling, progress=None):
            return [self.one(prompt) for prompt in prompts]

        def one(self, prompt):
            try:
                prompt.images[0].pixels()
            except StudyError as error:
                return Generation(prompt.study, "", "error", 0, error=str(error))
            return Generation(prompt.study, "Findings: Clear lungs.", "end", 5)

    monkeypatch.setattr(stages, "open_model", lambda name: Reader())
    with pytest.warns(WetreadWarning) as told:
        rows = stages.score(made, tmp_path / "out", bar)
    said = [str(one.message) for one in told]
    assert [one.split(";")[0] for one in said] == [
        f"{name}: 1 of {len(tested)} studies have no draft" for name in ("sft", "step1")
    ]
    assert "cannot be decoded" in said[0]
    assert {row.n for row in rows if row.metric == "rouge_l"} == {len(tested), len(tested) - 1}


@pytest.mark.slow
def test_the_file_for_cpus_starts_two_processes(tmp_path):
    told = tmp_path / "told.py"
    told.write_text(
        "import os\nfrom wetread.training import processes\n"
        # in one write: the two share the pipe
        "os.write(1, f'{processes.count()} {processes.state().backend}\\n'.encode())\n"
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", str(forked.free_port())]
    file = str(ROOT / "recipes" / "accelerate" / "ddp_cpu.yaml")
    done = subprocess.run(
        [*launch, "--config_file", file, str(told)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.stdout.split() == ["2", "gloo"] * 2, done.stderr
