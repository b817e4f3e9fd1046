"""A training that is killed at any point and started again ends with the weights, to the bit, that it would have had."""

import json
import os
import signal
from pathlib import Path

import pytest

import forked
from training_helpers import sets
from wetread.runs.store import JsonLines
from wetread.studies import phantom

pytestmark = pytest.mark.slow

SFT = (
    "tiny.image_size=64", "tiny.vision_width=40", "tiny.warmup_steps=5", "tiny.text_width=64", "tiny.text_layers=1",
    "tiny.vocabulary=600", "optim.batch=8", "optim.micro_batch=4", "optim.steps=7", "checkpoint_every=2",
)  # fmt: skip
RL = (
    "optim.batch=8", "optim.micro_batch=4", "optim.steps=5", "group.rollouts=4", "group.max_new_tokens=16",
    "data.limit=5", "checkpoint_every=2", "reward=unirg_step2", "group.kl=0.03", "guard.every=3", "guard.studies=6",
    "guard.keep=last",
)  # fmt: skip
"""Two prompts a step of five studies: passes over the data begin in the middle of a step."""

STEP = "wetread.training.loop.Recorder.on_step_end"
EVENT = "wetread.runs.store.RunFolder.event"
WRITE = "transformers.Trainer._save_optimizer_and_scheduler"
CLOCK = ("time", "step_time", "reward_time", "reward_share")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write(path, 320, seed=5, size=64)
    return path


@pytest.fixture(scope="module")
def sft(data, tmp_path_factory) -> Path:
    """An SFT that nobody disturbed."""
    out = tmp_path_factory.mktemp("sft") / "run"
    assert forked.run(["train", "sft", "--out", out, *sets(f"data.path={data}", *SFT)], out.with_suffix(".log")) == 0
    return out


def numbers(out: Path) -> dict:
    """What was logged of every step, the last time it was done; clocks left out."""
    events = [one for one in JsonLines(out / "events.jsonl").read() if one["event"].endswith(".step")]
    return {
        (one["event"], one["step"]): {key: value for key, value in one.items() if key not in CLOCK} for one in events
    }


def interrupted(arguments: list, points: list, out: Path) -> None:
    """Run the command once for each point, where it is killed, and then to its end."""
    log = out.with_suffix(".log")
    for point in points:
        assert forked.run([*arguments, "--out", out], log, point) == -9, (point, log.read_text()[-2000:])
    assert forked.run([*arguments, "--out", out], log) == 0, log.read_text()[-2000:]


def assert_same(out: Path, other: Path) -> None:
    weights = "model/model.safetensors"
    assert (out / weights).read_bytes() == (other / weights).read_bytes()
    assert numbers(out) == numbers(other)
    names = sorted(path.name for path in (out / "model").iterdir())
    assert names == sorted(path.name for path in (other / "model").iterdir())
    assert not list(out.glob(".model-*"))


def test_sft_killed_at_its_weak_points(sft, data, tmp_path):
    points = [
        (STEP, 3),  # in the warm-up
        (WRITE, 1),  # while a checkpoint of the warm-up is written: weights there, optimiser not
        (EVENT, "warmup.done"),  # its weights are saved, its end is not noted
        ("wetread.models.tower.Tower.freeze_statistics", 1),  # between the stages
        ("torch.optim.AdamW.step", 3),  # gradients there, step not made
        ("wetread.training.loop.Recorder.on_save", 2),  # a checkpoint is written and not yet marked as whole
        ("shutil.rmtree", 2),  # while what is left over is cleared away
        ("wetread.training.card.Card.write", 1),  # while the model is saved
        (EVENT, "sft.done"),  # the model is saved, the end is not noted
    ]
    interrupted(["train", "sft", *sets(f"data.path={data}", *SFT)], points, tmp_path / "run")
    assert_same(tmp_path / "run", sft)
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [one["event"] for one in events].count("sft.done") == 1
    assert {one["step"] for one in events if one["event"] == "sft.resumed"} <= {2, 4, 6, 7}


def test_sft_killed_at_random_steps(sft, data, tmp_path, rng):
    points = [(STEP, int(call)) for call in rng.integers(1, 6, size=4)]
    interrupted(["train", "sft", *sets(f"data.path={data}", *SFT)], points, tmp_path / "run")
    assert_same(tmp_path / "run", sft)


def test_rl_killed_at_its_weak_points_and_at_random_steps(sft, data, tmp_path, rng):
    arguments = ["train", "rl", *sets(f"data.path={data}", f"model={sft / 'model'}", *RL)]
    assert forked.run([*arguments, "--out", tmp_path / "whole"], tmp_path / "whole.log") == 0
    points = [
        ("wetread.training.noise.uniforms", 2),  # as its rollouts begin
        ("torch.optim.AdamW.step", 2),  # gradients there, step not made
        (STEP, int(rng.integers(2, 4))),
        ("wetread.training.rewarding.ReportReward._look_at_groups", 2),  # as rollouts have been scored
        (WRITE, 1),
        (STEP, 1),
        (EVENT, "rl.look"),  # the policy has been looked at, what was found is not noted
        ("wetread.training.card.Card.write", 1),
        (EVENT, "rl.done"),
    ]
    interrupted(arguments, points, tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_features_that_are_kept_are_made_again_to_the_bit(sft, data, tmp_path):
    shared = (f"data.path={data}", "freeze_vision=true")
    stages = {
        "sft": (*SFT, "data.limit=10"),  # 56 samples: some images are known, some not, wherever it is killed
        "rl": (*RL, f"model={sft / 'model'}"),
    }
    for verb, settings in stages.items():
        arguments = ["train", verb, *sets(*settings, *shared)]
        whole = tmp_path / f"{verb}-whole"
        assert forked.run([*arguments, "--out", whole], whole.with_suffix(".log")) == 0
        interrupted(arguments, [(STEP, 9 if verb == "sft" else 4)], tmp_path / verb)  # the warm-up's 5 are counted too
        assert_same(tmp_path / verb, whole)


def test_two_trainings_do_not_share_a_folder(sft, data, tmp_path):
    out, log = tmp_path / "run", tmp_path / "run.log"
    arguments = ["train", "sft", "--out", out, *sets(f"data.path={data}", *SFT)]
    first = forked.start(arguments, tmp_path / "first.log")
    while not (out / "events.jsonl").exists():
        first.join(0.02)
        assert first.exitcode is None
    os.kill(first.pid, signal.SIGSTOP)  # or it may end before the second comes to the lock
    assert forked.run(arguments, log) == 1
    assert f"wetread: run is being written by another process (pid {first.pid} on " in log.read_text()
    first.kill()
    first.join()
    assert forked.run(arguments, log) == 0, log.read_text()
    assert_same(out, sft)


def test_an_adapter_with_dropout_is_resumed_too(sft, data, tmp_path):
    settings = [f"data.path={data}", f"model={sft / 'model'}", "adapter.kind=lora", "adapter.dropout=0.2"]
    arguments = ["train", "sft", *sets(*settings, "optim.batch=8", "optim.steps=4", "checkpoint_every=2")]
    assert forked.run([*arguments, "--out", tmp_path / "whole"], tmp_path / "whole.log") == 0
    interrupted(arguments, [(STEP, 3)], tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")
