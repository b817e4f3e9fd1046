"""Recipes: read strictly, checked against the paper they name, run stage by stage into one folder."""

import json
from pathlib import Path

import pytest
import yaml

from qwen_files import qwen
from training_helpers import kill_when, sets, wetread
from wetread import rewards
from wetread.cli import main
from wetread.errors import ConfigError, MissingError, UsageError
from wetread.models import open_model, read_manifest
from wetread.records import Sampling
from wetread.runs.config import to_dict
from wetread.runs.store import JsonLines
from wetread.studies import folder, phantom
from wetread.training.recipe import changed, find, open_recipe, shipped

ROOT = Path(__file__).resolve().parent.parent
FEW = {
    "sft": ("optim.epochs=0", "optim.steps=2", "optim.batch=4", "optim.micro_batch=0"),
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
    assert made.origin(second) is first


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
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, change, said):
    with pytest.raises(ConfigError) as caught:
        open_recipe(written(tmp_path, change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


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
