"""Several processes learn what one does from the same global batch; checkpoints go from one number of them to another."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import forked
from test_resume import RL, SFT, STEP, data, numbers, sft  # noqa: F401  (fixtures)
from training_helpers import command, sets, wait_for_children, wetread
from wetread.runs.config import put
from wetread.training import norms, processes

pytestmark = pytest.mark.slow

LOSSES = 1e-5
"""Most that a logged loss may differ, relative to 1 or to the loss where it is larger."""
LEARNING = 1e-3
"""The same in the tower's warm-up: its maxima let a difference in the last digit move a gradient to another place."""
WEIGHTS = 1e-3
"""Most that the final weights may differ, root mean square against root mean square of the weights."""


def apart(one: Path, other: Path) -> float:
    """How far the weights of two models are apart, relative to their size."""
    from safetensors.numpy import load_file

    a, b = (load_file(out / "model" / "model.safetensors") for out in (one, other))
    assert a.keys() == b.keys()
    return float(np.sqrt(sum(np.square(a[k] - b[k]).sum() for k in a) / sum(np.square(a[k]).sum() for k in a)))


def assert_close(out: Path, other: Path) -> None:
    """Losses, rewards and lengths of all steps are those of the other run, and so are the weights that came of them."""
    assert apart(out, other) < WEIGHTS
    ours, theirs = numbers(out), numbers(other)
    assert ours.keys() == theirs.keys()
    for step, wanted in theirs.items():
        for key in ("loss", "reward", "reward_std", "completions/mean_length", "entropy", "kl", "num_tokens"):
            if key in wanted:
                near = LEARNING if step[0] == "warmup.step" else LOSSES
                assert ours[step][key] == pytest.approx(wanted[key], rel=near, abs=near), (step, key)


WHOLE = ("optim.micro_batch=0", "freeze_vision=true")
"""One micro-batch a process; the tower learns in its warm-up alone, as in the demo."""


@pytest.fixture(scope="module")
def one(data, tmp_path_factory) -> Path:  # noqa: F811
    """An SFT, warm-up included, by one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    assert (
        forked.run(["train", "sft", "--out", out, *sets(f"data.path={data}", *SFT, *WHOLE)], out.with_suffix(".log"))
        == 0
    )
    return out


def by_two(arguments: list, out: Path, kill=None) -> list[int]:
    return forked.together(2, [*arguments, "--out", out], out.with_suffix(".log"), kill)


def said(out: Path) -> str:
    """What the processes wrote, for a failed test."""
    return "\n".join(log.read_text()[-1500:] for log in out.parent.glob(f"{out.name}.*"))


def test_sft_and_warm_up_by_two_are_those_by_one(one, data, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    assert by_two(["train", "sft", *sets(f"data.path={data}", *SFT, *WHOLE)], out) == [0, 0], said(out)
    assert_close(out, one)
    logged = [line for line in (out / "events.jsonl").read_text().splitlines() if "sft.step" in line]
    assert len(logged) == 7, "one process writes"


@pytest.mark.parametrize(("reward", "kl"), [("unirg_step1", 0), ("unirg_step2", 0.03)])
def test_rl_by_two_is_that_by_one(sft, data, tmp_path, reward, kl):  # noqa: F811
    settings = [*RL, *WHOLE, f"data.path={data}", f"model={sft / 'model'}", f"reward={reward}", f"group.kl={kl}"]
    arguments = ["train", "rl", *sets(*settings)]
    assert forked.run([*arguments, "--out", tmp_path / "one"], tmp_path / "one.log") == 0
    assert by_two(arguments, tmp_path / "two") == [0, 0], said(tmp_path / "two")
    assert_close(tmp_path / "two", tmp_path / "one")


def test_statistics_of_all_processes_are_those_of_the_whole_batch(tmp_path):
    context = multiprocessing.get_context("forkserver")
    whole, port = _normalised(torch.nn.BatchNorm2d(3).double(), slice(None)), forked.free_port()
    shares = [context.Process(target=_share, args=(rank, port, str(tmp_path / f"{rank}.pt"))) for rank in range(2)]
    for share in shares:
        share.start()
    for share in shares:
        share.join(120)
        assert share.exitcode == 0
    out, gradient, weight, mean, variance = zip(
        *(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True
    )
    found = [torch.cat(out), torch.cat(gradient), sum(weight), mean[0], variance[1]]
    for ours, wanted in zip(found, whole, strict=True):
        assert torch.allclose(ours, wanted, rtol=0, atol=1e-12)


def test_they_wait_for_each_other_for_hours(tmp_path):
    context = multiprocessing.get_context("forkserver")
    port = forked.free_port()
    both = [context.Process(target=_wait, args=(rank, port, str(tmp_path / f"{rank}"))) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
        assert one.exitcode == 0
    for rank in range(2):
        assert float((tmp_path / f"{rank}").read_text()) == processes.PATIENCE.total_seconds() > 3600


def _wait(rank: int, port: int, out: str) -> None:
    """Join as a training does, let the trainer's arguments have their say, and tell the group's patience in seconds."""
    from transformers import TrainingArguments

    os.environ.update(forked.ranks(2, port) | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    processes.wait()
    TrainingArguments(output_dir=f"{out}.trainer", use_cpu=True, report_to="none").device  # noqa: B018
    backend = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))
    processes.wait()
    Path(out).write_text(str(backend.options._timeout.total_seconds()))


def _share(rank: int, port: int, out: str) -> None:
    os.environ.update(forked.ranks(2, port) | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    processes.wait()
    norm = torch.nn.BatchNorm2d(3).double()
    norms.share_statistics(norm)
    torch.save(_normalised(norm, slice(4 * rank, 4 * rank + 4)), out)


def _normalised(norm, rows: slice) -> list:
    """What comes of a batch of 8, of which the process has ``rows``: output, gradients, running statistics."""
    made = torch.Generator().manual_seed(0)
    batch = torch.randn(8, 3, 5, 5, generator=made, dtype=torch.double)[rows].requires_grad_()
    wanted = torch.randn(8, 3, 5, 5, generator=made, dtype=torch.double)[rows]
    out = norm(batch)
    (out * wanted).sum().backward()
    return [out.detach(), batch.grad, norm.weight.grad, norm.running_mean, norm.running_var]


def test_checkpoints_go_from_one_number_to_the_other(one, data, tmp_path):  # noqa: F811
    arguments = ["train", "sft", *sets(f"data.path={data}", *SFT, *WHOLE)]
    assert -9 in by_two(arguments, tmp_path / "run", (STEP, 4)), said(tmp_path / "run")  # in the warm-up
    assert forked.run([*arguments, "--out", tmp_path / "run"], tmp_path / "run.log", (STEP, 6)) == -9
    assert by_two(arguments, tmp_path / "run") == [0, 0], said(tmp_path / "run")
    assert_close(tmp_path / "run", one)
    resumed = [e for e in map(json.loads, (tmp_path / "run" / "events.jsonl").open()) if e["event"].endswith("resumed")]
    assert [(e["event"], e["processes"]) for e in resumed] == [("warmup.resumed", 1), ("sft.resumed", 2)]


def test_two_that_are_killed_and_started_again_end_with_the_same_bits(sft, data, tmp_path):  # noqa: F811
    arguments = ["train", "rl", *sets(*RL, *WHOLE, f"data.path={data}", f"model={sft / 'model'}")]
    assert by_two(arguments, tmp_path / "whole") == [0, 0], said(tmp_path / "whole")
    assert -9 in by_two(arguments, tmp_path / "run", (STEP, 3)), said(tmp_path / "run")
    assert by_two(arguments, tmp_path / "run") == [0, 0], said(tmp_path / "run")
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


def test_a_batch_is_shared_evenly_and_a_group_is_not_cut(sft, data, tmp_path):  # noqa: F811
    assert by_two(["train", "sft", *sets(f"data.path={data}", *SFT, "optim.batch=7")], tmp_path / "odd") == [2, 2]
    assert "2 processes cannot share optim.batch=7 evenly" in said(tmp_path / "odd")
    settings = sets(*RL, *WHOLE, f"data.path={data}", "optim.batch=12", f"model={sft / 'model'}")
    assert by_two(["train", "rl", *settings], tmp_path / "cut") == [2, 2]
    assert "each of 2 processes takes 6, is not a multiple of group.rollouts=4" in said(tmp_path / "cut")


def test_the_command_starts_processes_that_end_together_and_goes_on(one, data, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    arguments = ["train", "sft", "--out", str(out), *sets(f"data.path={data}", *SFT, *WHOLE), "--processes", "2"]
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    os.kill(wait_for_children(process, out / "events.jsonl", 7)[1], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert [line for line in said.splitlines() if not line.startswith("SFT: ")] == [
        "wetread: process 2 of 2 was ended by SIGKILL; its memory may have run out. "
        "The same command with the same --out continues from the last checkpoint."
    ]
    done = wetread(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"model: {out / 'model'}\n"
    assert all(line.startswith("SFT: ") for line in done.stderr.splitlines()), done.stderr
    assert_close(out, one)


def test_accelerate_launches_a_recipe_of_sft_and_both_steps_of_rl(one, data, tmp_path):  # noqa: F811
    recipe = tmp_path / "small.yaml"
    stages = [stage("sft", "sft", (*SFT, *WHOLE))]
    for number, (reward, kl, start) in enumerate(
        (("unirg_step1", 0.0, "sft"), ("unirg_step2", 0.03, "step1")), start=1
    ):
        settings = (*RL, *WHOLE, "optim.steps=3", f"reward={reward}", f"group.kl={kl}")
        stages.append(stage(f"step{number}", "rl", settings, {"stage": start}))
    recipe.write_text(json.dumps({"name": "small", "source": "a test", "data": {"path": str(data)}, "stages": stages}))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", str(forked.free_port()), "-m", "wetread"]
    arguments = ["train", "recipe", str(recipe), "--out"]
    done = subprocess.run([*launch, *arguments, str(tmp_path / "two")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"model: {tmp_path / 'two' / 'model'}\n"
    assert forked.run([*arguments, tmp_path / "one"], tmp_path / "one.log") == 0
    assert_close(tmp_path / "two" / "sft", one)
    for name in ("sft", "step1", "step2"):
        assert_close(tmp_path / "two" / name, tmp_path / "one" / name)


def stage(name: str, kind: str, settings: tuple[str, ...], start: dict | None = None) -> dict:
    """Return a recipe's stage; JSON is YAML."""
    config: dict = {"model": start} if start else {}
    for key, _, value in (setting.partition("=") for setting in settings):
        put(config, key, yaml.safe_load(value))
    return {"name": name, "kind": kind, "config": config}
