"""SFT and RL on the smallest policy: they run, write what they promise, refuse what they must, and survive kill -9."""

import json
from pathlib import Path

import pytest

from training_helpers import SMALL, kill_when, sets, wetread
from wetread.errors import ConfigError, MissingError, RunError, UsageError
from wetread.models import open_model, read_manifest
from wetread.records import Sampling
from wetread.runs.config import build
from wetread.runs.store import JsonLines
from wetread.studies import folder
from wetread.training import loop, processes, rl, sft
from wetread.training.config import RlConfig, SftConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def policy(data, tmp_path_factory) -> Path:
    config = build(SftConfig, None, [f"data.path={data}", "optim.steps=6", *SMALL])
    return sft.train(config, tmp_path_factory.mktemp("sft") / "run")


def weights(model: Path):
    from safetensors.numpy import load_file

    return load_file(model / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    import numpy as np

    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_sft_writes_a_model_with_its_card(policy, data):
    card = (policy / "README.md").read_text()
    assert "not a medical device" in card
    assert "phantom studies" in card
    assert "--model .\n" in card
    assert read_manifest(policy)["style"] == "direct"
    steps = [one for one in JsonLines(policy.parent / "events.jsonl").read() if one["event"] == "sft.step"]
    assert [one["step"] for one in steps] == list(range(1, 7))
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_the_saved_policy_opens_with_plain_transformers(policy):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    assert type(AutoModelForImageTextToText.from_pretrained(policy)).__name__ == "LlavaForConditionalGeneration"
    assert AutoProcessor.from_pretrained(policy).tokenizer.chat_template


def test_sft_is_deterministic_and_a_second_run_changes_nothing(policy, data, tmp_path):
    config = build(SftConfig, None, [f"data.path={data}", "optim.steps=6", *SMALL])
    again = sft.train(config, tmp_path / "run")
    assert same(policy, again)
    before = (again / "model.safetensors").stat().st_mtime_ns
    sft.train(config, tmp_path / "run")
    assert (again / "model.safetensors").stat().st_mtime_ns == before


def test_sft_killed_continues_and_finishes_once(data, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", "sft", "--out", str(out), *sets(f"data.path={data}", "optim.steps=6", *SMALL)]
    kill_when(arguments, out / "events.jsonl", 4)
    assert not (out / "model").exists()
    done = wetread(*arguments)
    assert done.returncode == 0, done.stderr
    assert (out / "model" / "model.safetensors").is_file()
    records = list(JsonLines(out / "events.jsonl").read())
    assert sum(one["event"] == "sft.done" for one in records) == 1
    assert {one["step"] for one in records if one["event"] == "sft.step"} == set(range(1, 7))


def stopped(train, config, out: Path, after: int) -> None:
    """Begin a training and end it after so many steps, the warm-up's counted."""

    def step(done, total, numbers):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out, step)


def change(listing: Path, key: str, text: str, many: int = 3) -> None:
    """Give the first training studies something else under ``key``."""
    records = [json.loads(line) for line in listing.read_text().splitlines()]
    for one in [record for record in records if record["split"] == "train"][:many]:
        one[key] = {"findings": text, "impression": ""} if key == "report" else text
    listing.write_text("".join(json.dumps(one) + "\n" for one in records))


def test_a_training_goes_on_with_the_data_that_it_began_with_or_not_at_all(data, tmp_path):
    import shutil

    home, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, home)
    listing, config = home / "studies.jsonl", build(SftConfig, None, [f"data.path={home}", "optim.steps=4", *SMALL])
    stopped(sft.train, config, out, 4 + 3)
    before = listing.read_text()
    for key, said in (("report", "reports have"), ("indication", "contexts have")):
        change(listing, key, "A word that no report had, zygomatic.")
        with pytest.raises(RunError, match=f"run was begun with other data: {said} changed since") as told:
            sft.train(config, out)
        assert "\n" not in str(told.value)
        listing.write_text(before)
    listing.write_text("".join(reversed(before.splitlines(keepends=True))))
    with pytest.raises(RunError, match="studies, reports, contexts have changed"):
        sft.train(config, out)
    listing.write_text(before)
    change(listing, "site", "elsewhere")  # which no model is shown
    model = sft.train(config, out)
    events = list(JsonLines(out / "events.jsonl").read())
    assert [one["step"] for one in events if one["event"] == "sft.resumed"] == [2]
    assert same(model, sft.train(config, tmp_path / "whole"))
    change(listing, "report", "Other.")
    assert sft.train(config, out) == model  # what is finished stays so


def test_rl_goes_on_with_its_data_and_with_those_of_its_guards_or_not_at_all(policy, data, tmp_path):
    import shutil

    home, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, home)
    settings = ["optim.steps=3", "optim.batch=4", "group.rollouts=4", "group.max_new_tokens=8", "checkpoint_every=1",
                "guard.studies=2", "guard.split=test"]  # fmt: skip
    config = build(RlConfig, None, [f"data.path={home}", f"model={policy}", "reward=rouge_l", *settings])
    stopped(rl.train, config, out, 2)
    listing = home / "studies.jsonl"
    before = listing.read_text()
    change(listing, "report", "Other.")
    with pytest.raises(RunError, match="other data: reports have"):
        rl.train(config, out)
    records = [json.loads(line) for line in before.splitlines()]
    for one in records:
        if one["split"] == "test":
            one["report"]["findings"] += " So it is."
    listing.write_text("".join(json.dumps(one) + "\n" for one in records))
    with pytest.raises(RunError, match=r"other data: reports of guard\.split have"):
        rl.train(config, out)
    listing.write_text(before)
    assert rl.train(config, out).is_dir()


def test_a_half_written_checkpoint_is_not_resumed_from(tmp_path):
    from wetread.training.loop import last_checkpoint

    for name, whole in (("checkpoint-2", True), ("checkpoint-4", True), ("checkpoint-6", False)):
        (tmp_path / name).mkdir()
        if whole:
            (tmp_path / name / "whole").touch()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    assert not (tmp_path / "checkpoint-6").exists()


@pytest.mark.parametrize("reward", ["unirg_step1", "unirg_step2"])
def test_rl_runs_both_steps(policy, data, tmp_path, reward):
    kl = "group.kl=0.03" if reward == "unirg_step2" else "group.kl=0"
    settings = [f"data.path={data}", f"model={policy}", f"reward={reward}", "optim.steps=3", "optim.batch=8"]
    config = build(
        RlConfig,
        None,
        [*settings, "group.rollouts=4", "group.max_new_tokens=24", "checkpoint_every=2", "guard.keep=last", kl],
    )
    model = rl.train(config, tmp_path / "run")
    steps = [one for one in JsonLines(tmp_path / "run" / "events.jsonl").read() if one["event"] == "rl.step"]
    assert [one["step"] for one in steps] == [1, 2, 3]
    for key in ("reward", "term/entity_f1", "guard/length_ratio", "guard/unscored", "frac_reward_zero_std"):
        assert all(key in one for one in steps), key
    assert ("kl" in steps[-1]) == (reward == "unirg_step2")
    assert not same(policy, model)
    prompts = [__import__("wetread.prompts", fromlist=["get"]).get("direct").render(s) for s in folder.read(data)[:3]]
    assert len(open_model(str(model)).generate(prompts, Sampling(max_new_tokens=8))) == 3


def test_a_group_is_never_cut(policy, data, tmp_path):
    config = build(RlConfig, None, [f"data.path={data}", f"model={policy}", "optim.batch=10", "group.rollouts=4"])
    with pytest.raises(ConfigError, match="multiple"):
        rl.train(config, tmp_path / "run")


def test_the_warm_ups_batch_is_shared_evenly_or_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    config = build(SftConfig, None, [f"data.path={data}", *SMALL, "optim.batch=9"])
    with pytest.raises(ConfigError, match="3 processes cannot share the warm-up's batch=32 evenly"):
        sft.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_optimiser_is_as_the_config_says(tmp_path):
    usual = loop.common_arguments(tmp_path, build(SftConfig).optim, every=1, seed=0)
    assert (usual["adam_beta2"], usual["max_grad_norm"]) == (0.98, 1.0)
    own = build(SftConfig, None, ["optim.beta2=0.999", "optim.clip=0"]).optim
    other = loop.common_arguments(tmp_path, own, every=1, seed=0)
    assert {key for key in usual if usual[key] != other[key]} == {"adam_beta2", "max_grad_norm"}
    assert (other["adam_beta2"], other["max_grad_norm"]) == (0.999, 0.0)
    for setting in ("optim.beta2=1", "optim.clip=-1"):
        with pytest.raises(ConfigError, match="out of range"):
            build(SftConfig, None, [setting])


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(MissingError, match="wetread phantom"):
        sft.train(build(SftConfig, None, [f"data.path={tmp_path}"]), tmp_path / "a")
    with pytest.raises(UsageError, match="the data has:"):
        sft.train(build(SftConfig, None, [f"data.path={data}", "data.split=dev"]), tmp_path / "b")
    with pytest.raises(UsageError, match="no reward is called"):
        rl.train(build(RlConfig, None, [f"data.path={data}", "reward=unirg"]), tmp_path / "c")
    with pytest.raises(MissingError, match="train sft"):
        rl.train(build(RlConfig, None, [f"data.path={data}", "model=nowhere"]), tmp_path / "d")


def test_another_config_is_refused(policy):
    out = policy.parent
    done = wetread("train", "sft", "--out", out, *sets("optim.steps=7"))
    assert done.returncode in (1, 3)
    assert len(done.stderr.strip().splitlines()) == 1


def test_evaluate_writes_rows_and_continues_after_a_kill(policy, data, tmp_path):
    out, file = tmp_path / "eval", tmp_path / "eval.json"
    arguments = ["evaluate", "--data", str(data), "--split", "train", "--model", f"tiny={policy}", "--out", str(out)]
    arguments += ["--json", str(file), "--batch", "2", "--max-new-tokens", "16", "--resamples", "100", "--by", "site"]
    kill_when(arguments, out / "generations-tiny.jsonl", 8)
    done = wetread(*arguments)
    assert done.returncode == 0, done.stderr
    body = json.loads(file.read_text())
    assert "phantom data" in body["data"]
    assert {"system", "metric", "value", "low", "high", "n", "signature"} <= set(body["rows"][0])
    assert {"rouge_l", "bleu_4", "labels14_f1_macro"} <= {row["metric"] for row in body["rows"]}
    assert body["calls"]["template"] and {"name", "over_calling", "under_calling"} <= set(body["calls"]["tiny"][0])
    assert {row["system"] for row in body["rows"]} == {"template", "most frequent report", "copy prior", "tiny"}
    written = [one["study"] for one in JsonLines(out / "generations-tiny.jsonl").read()]
    studies = [study.id for study in folder.read(data) if study.split == "train"]
    assert sorted(written) == sorted(studies)
    assert "phantom data" in done.stdout
