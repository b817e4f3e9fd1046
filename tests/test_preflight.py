"""What can be told before a training: measured on the data and the model's shape, and refused where it cannot work."""

import json
import shutil
from pathlib import Path

import pytest

from qwen_files import qwen
from training_helpers import SMALL
from wetread.errors import ConfigError, MissingError, StudyError, UsageError
from wetread.runs.config import build
from wetread.studies import folder
from wetread.training import loop, memory, preflight
from wetread.training.config import RlConfig, SftConfig


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    """A Qwen3-VL without its weights: config and processor files only."""
    made = qwen(tmp_path_factory.mktemp("model") / "qwen", [study.report.text for study in folder.read(data)])
    (made / "model.safetensors").unlink()
    return made


def rl(data: Path, model: Path, *more: str) -> RlConfig:
    few = ("reward=unirg_step1", "optim.batch=8", "group.rollouts=4", "group.max_new_tokens=128")
    return build(RlConfig, None, [f"data.path={data}", f"model={model}", *few, *more])


def test_a_qwen3_vl_is_measured_without_its_weights(data, model):
    found = preflight.look(rl(data, model, "compute.image_side=128", "inputs.prior=none", "optim.epochs=2"))
    assert found.problems == ()
    assert found.warnings == ()
    assert (found.numbers["image_height"], found.numbers["image_width"]) == (128, 128)
    assert found.numbers["image_tokens"] == 16  # a token stands for 32×32 pixels
    train = sum(study.split == "train" for study in folder.read(data))
    assert found.numbers["steps"] == -(-2 * train // 2)
    assert "gold reports get 1, the best value" in found.rows["reward"]
    assert f"phantom {train}" in found.rows["data"]
    assert found.numbers["longest"] == found.numbers["prompt_tokens"] + 128


def test_more_images_take_more_tokens(data, model):
    few = preflight.look(rl(data, model, "inputs.prior=none", "inputs.images=frontal"))
    more = preflight.look(rl(data, model, "inputs.prior=both", "inputs.images=all"))
    assert more.numbers["image_tokens"] > few.numbers["image_tokens"]
    assert more.numbers["prompt_tokens"] > few.numbers["prompt_tokens"]


def test_reports_that_would_be_cut_are_warned_of(data, model):
    found = preflight.look(rl(data, model, "group.max_new_tokens=40"))
    assert 0 < found.numbers["cut_share"] < 1
    assert "longer than group.max_new_tokens=40" in found.warnings[0]


def test_what_does_not_fit_is_refused(data, tmp_path):
    short = qwen(tmp_path / "qwen", positions=200)
    (problem,) = preflight.look(rl(data, short)).problems
    assert isinstance(problem, ConfigError)
    assert "the model reads 200" in str(problem)
    assert "\n" not in str(problem)


def test_every_problem_is_told(data, tmp_path):
    found = preflight.look(rl(tmp_path, tmp_path / "none", "adapter.kind=qlora", "vllm.use=colocate"))
    assert [type(one) for one in found.problems] == [MissingError, MissingError, MissingError]
    bad = preflight.look(rl(data, tmp_path / "none", "reward={name: r, terms: [{metric: errors_total}]}"))
    assert [type(one) for one in bad.problems] == [MissingError, UsageError]
    assert "errors_total" in str(bad.problems[1])


def test_a_reward_that_is_written_out_wrong_says_where(data, model):
    for reward, said in (
        ("{name: r, terms: [{metric: rouge}]}", "Did you mean 'rouge_l'"),
        ("{name: r, terms: [{metric: rouge_l, weigth: 1}]}", "Did you mean 'weight'"),
        ("{name: r}", "no reward is called 'r'"),
    ):
        with pytest.raises(UsageError, match=said):
            preflight.look(rl(data, model, f"reward={reward}"))


def test_memory_follows_what_is_trained(data, model):
    def parts(*more: str) -> dict:
        numbers = preflight.look(rl(data, model, *more)).numbers
        return {key: value for key, value in numbers.items() if key.startswith("bytes_")}

    full, lora, kl = parts(), parts("adapter.kind=lora"), parts("group.kl=0.03")
    assert lora["bytes_optimiser"] < full["bytes_optimiser"]
    assert kl["bytes_reference_policy"] == kl["bytes_weights"]
    assert "bytes_reference_policy" not in parts("group.kl=0.03", "adapter.kind=lora")
    assert parts("compute.gradient_checkpointing=true")["bytes_activations"] < full["bytes_activations"]
    assert parts("optim.micro_batch=4")["bytes_activations"] == full["bytes_activations"] / 2


def test_trained_numbers_are_counted_as_peft_counts_them(data, model):
    from peft import get_peft_model

    from wetread.models.transformers import skeleton
    from wetread.training import adapters

    config = rl(data, model, "adapter.kind=lora", "adapter.rank=4")
    made, _ = skeleton(str(model))
    counted = memory.trainable(made, config)
    wrapped = get_peft_model(made, adapters.lora(made, config.adapter, dropout=False, freeze_vision=False))
    assert counted == wrapped.get_nb_trainable_parameters()[0]


def test_a_frozen_encoder_is_not_counted(data, model):
    free, frozen = (
        preflight.look(rl(data, model, f"freeze_vision={flag}")).numbers["trained"] for flag in ("false", "true")
    )
    assert 0 < frozen < free


def test_the_tiny_policy_is_built_for_it_and_a_stage_looks_through_the_one_before(data, tmp_path):
    sft = build(SftConfig, None, [f"data.path={data}", "optim.steps=3", *SMALL])
    found = preflight.look(sft)
    assert found.problems == ()
    assert found.numbers["context"] == 768
    later = preflight.look(rl(data, tmp_path / "none"), [sft])
    assert later.problems == ()
    assert later.numbers["parameters"] == found.numbers["parameters"]
    assert (
        "held in bf16"
        in preflight.look(build(SftConfig, None, [f"data.path={data}", *SMALL, "compute.dtype=bf16"])).warnings[0]
    )


def test_what_a_training_refuses_is_refused_before(data, model, tmp_path):
    for settings, kind, said in (
        (["optim.micro_batch=3"], ConfigError, "optim.micro_batch=3 does not divide optim.batch=8"),
        (["group.rollouts=16"], ConfigError, "optim.batch=8 is not a multiple of group.rollouts=16"),
        (["guard.keep=nonsense"], ConfigError, "guard.keep='nonsense'"),
        (["guard.panel=[rouge]"], UsageError, "guard.panel: no metric is called 'rouge'"),
        (["guard.panel=[findings_f1]", "reward=findings_f1"], UsageError, "is in the reward"),
        (["guard.keep=bertscore", f"scorers.weights={tmp_path}"], MissingError, "BERTScore"),
        (["model=tiny"], MissingError, "no policy in 'tiny'"),
    ):
        (problem,) = preflight.look(rl(data, model, *settings)).problems
        assert isinstance(problem, kind)
        assert said in str(problem)
    (problem,) = preflight.look(build(SftConfig, None, [f"data.path={data}", *SMALL, "adapter.kind=lora"])).problems
    assert "model=tiny begins with random weights" in str(problem)


def copied(data: Path, tmp_path: Path, change) -> Path:
    """A copy of the data with its lines, as JSON, changed."""
    home = tmp_path / "data"
    shutil.copytree(data, home)
    records = [json.loads(line) for line in (home / "studies.jsonl").read_text().splitlines()]
    change(records)
    (home / "studies.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return home


def test_guards_without_anything_to_look_at_are_refused(data, model):
    for split, said in (
        ("nope", "no study of split 'nope' has a report (guard.split). Set guard.split to another split"),
        ("train", "guard.split='train' is trained on"),
    ):
        (problem,) = preflight.look(rl(data, model, f"guard.split={split}")).problems
        assert isinstance(problem, ConfigError)
        assert said in str(problem) and "(test, val)" in str(problem) and "guard.every=0" in str(problem)
        assert preflight.look(rl(data, model, f"guard.split={split}", "guard.every=0")).problems == ()


def test_every_image_that_cannot_be_read_is_named(data, model, tmp_path):
    home = copied(data, tmp_path, lambda records: None)
    train = [study for study in folder.read(home) if study.split == "train"]
    junk, cut, gone, odd = (study.images[0].file for study in train[10:14])
    junk.write_bytes(b"not a picture")
    cut.write_bytes(cut.read_bytes()[:-200])
    gone.unlink()
    odd.write_bytes(odd.read_bytes() + bytes(100))  # which every reader takes
    (problem,) = preflight.look(rl(home, model, "inputs.prior=none")).problems
    assert isinstance(problem, StudyError)
    assert str(problem).startswith("3 of the ") and "\n" not in str(problem)
    assert all(f"{study.images[0].name} of study {study.id}" in str(problem) for study in train[10:13])
    assert train[13].id not in str(problem)
    assert "images, all there" in preflight.look(rl(data, model)).rows["files"]


def test_a_study_without_an_image_is_named(data, model, tmp_path):
    def strip(records) -> None:
        next(one for one in records if one["split"] == "train")["images"] = []

    home = copied(data, tmp_path, strip)
    (problem,) = preflight.look(rl(home, model)).problems
    assert isinstance(problem, StudyError)
    (bare,) = (study.id for study in folder.read(home) if not study.images)
    assert str(problem) == f"the study {bare} has no image; list its images in studies.jsonl, or leave it out."


def test_looks_at_the_policy_have_a_row(data, model):
    said = preflight.look(rl(data, model, "guard.every=5", "guard.keep=rouge_l")).rows["guards"]
    assert "every 5 steps" in said and "kept by rouge_l" in said and "bleu_4" in said
    assert "guards" not in preflight.look(rl(data, model, "guard.every=0", "guard.keep=nonsense")).rows


def test_an_encoder_that_cannot_be_found_cannot_be_frozen(data, model, monkeypatch):
    monkeypatch.setattr(loop, "TOWERS", ("eyes", "lens"))
    (problem,) = preflight.look(rl(data, model, "freeze_vision=true")).problems
    assert "has no eyes or lens to freeze" in str(problem)
    assert preflight.look(rl(data, model, "freeze_vision=true", "adapter.kind=lora")).problems == ()


def test_a_stage_inherits_inputs_and_image_size_of_all_before_it(data, model):
    sft = build(SftConfig, None, [f"data.path={data}", f"model={model}", "inputs.prior=none", "optim.batch=8"])
    step1 = rl(data, Path("out/sft/model"), "inputs.prior=both", "compute.image_side=128")
    step2 = rl(data, Path("out/step1/model"))
    first, second = preflight.look(step1, [sft]), preflight.look(step2, [sft, step1])
    assert first.problems == second.problems == ()
    for key in ("image_height", "image_tokens", "prompt_tokens", "longest"):
        assert second.numbers[key] == first.numbers[key], key
    assert first.numbers["image_height"] == 128
    assert first.numbers["prompt_tokens"] > preflight.look(step2, [sft]).numbers["prompt_tokens"]


def test_a_thought_is_part_of_what_would_be_cut(data, model):
    plain, thinks = (preflight.look(rl(data, model, f"style={style}")) for style in ("direct", "reasoned"))
    assert thinks.numbers["cut_share"] > plain.numbers["cut_share"]
    assert "reports with a thought are longer" in thinks.warnings[0]
