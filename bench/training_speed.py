"""The trainings against plain TRL scripts with the same model, studies, batch and reward; see bench/run.py.

Set-up is left out on both sides: what counts is the time from the end of step ``WARM`` to the end of the last step.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plain_trl
import timing

WARM = 2
"""Steps before the clock starts; the first of them compares shared with unshared prompts."""
STEPS = 10
SIZES = (128, 256)
"""Sides of the images, in pixels."""
TOKENS = 96
"""Most tokens of a rollout."""
GROUP = 16


def policy(folder: Path, size: int = 128) -> tuple[Any, Any, Any]:
    """Make phantom studies and a tiny policy trained just enough to write reports of a normal length."""
    from wetread import models
    from wetread.runs.config import build
    from wetread.studies import folder as studies_folder
    from wetread.studies import phantom
    from wetread.training import sft as training
    from wetread.training.config import SftConfig

    data = folder / "phantom"
    phantom.write(data, 800, seed=3, size=size)
    sets = [f"data.path={data}", f"tiny.image_size={size}", "optim.steps=60", "checkpoint_every=1000"]
    training.train(build(SftConfig, None, sets), folder / "sft")
    every = studies_folder.read(data)
    return models.open_model(str(folder / "sft" / "model")), [s for s in every if s.split == "train"], every


def sft(folder: Path, rounds: int) -> None:
    """Tokens a second of SFT, padding not counted."""
    from wetread.runs.config import build
    from wetread.training import sft as training
    from wetread.training.config import SftConfig

    opened, studies, _ = _quietly(lambda: policy(folder))
    sets = _sets(folder, 32)
    places = _places(folder)

    def ours() -> tuple[int, float]:
        clock, out = _Clock(), next(places)
        training.train(build(SftConfig, None, sets), out, clock)
        lines = map(json.loads, (out / "events.jsonl").read_text("utf-8").splitlines())
        tokens = [line["num_tokens"] for line in lines if line["event"] == "sft.step"]
        return int(tokens[-1] - tokens[WARM - 1]), clock.seconds()

    def theirs() -> tuple[int, float]:
        trainer = plain_trl.sft(
            copy.deepcopy(opened.model), opened.processor, studies, folder / "phantom", next(places), 32, STEPS
        )
        ends, tokens = trainer.ends, trainer.tokens
        return int(tokens[-1] - tokens[WARM - 1]), ends[-1] - ends[WARM - 1]

    print(_quietly(lambda: timing.paired("SFT", "tokens", ours, theirs, "plain TRL script", rounds)).line(), flush=True)


def grpo(folder: Path, rounds: int) -> None:
    """Rollouts a second of GRPO at several image sizes, and what part of a step the rewards take."""
    for size in SIZES:
        (folder / str(size)).mkdir()
        _grpo(folder / str(size), rounds, size)


def _grpo(folder: Path, rounds: int, size: int, batch: int = 4 * GROUP) -> None:
    from wetread.runs.config import build
    from wetread.training import rl as training
    from wetread.training.config import RlConfig

    opened, studies, _ = _quietly(lambda: policy(folder, size))
    sets = [*_sets(folder, batch), f"group.max_new_tokens={TOKENS}", f"group.rollouts={GROUP}"]
    places = _places(folder)
    shares, lengths = [], {"ours": [], "theirs": []}

    def ours() -> tuple[int, float]:
        clock, out = _Clock(), next(places)
        with _rewards_timed(clock) as spent:
            training.train(build(RlConfig, None, sets), out, clock)
        shares.append(sum(spent[WARM:]) / clock.seconds())
        lines = map(json.loads, (out / "events.jsonl").read_text("utf-8").splitlines())
        lengths["ours"] += [line["completions/mean_length"] for line in lines if line["event"] == "rl.step"]
        return batch * (STEPS - WARM), clock.seconds()

    def theirs() -> tuple[int, float]:
        trainer = plain_trl.grpo(
            copy.deepcopy(opened.model), opened.processor, studies, folder / "phantom", next(places), batch, STEPS,
            TOKENS,
        )  # fmt: skip
        lengths["theirs"] += [line["completions/mean_length"] for line in trainer.state.log_history if "loss" in line]
        return batch * (STEPS - WARM), trainer.ends[-1] - trainer.ends[WARM - 1]

    pair = _quietly(lambda: timing.paired(f"GRPO at {size} px", "rollouts", ours, theirs, "plain TRL script", rounds))
    print(pair.line())
    mean = {side: statistics.mean(values) for side, values in lengths.items()}
    print(
        f"GRPO at {size} px: {100 * statistics.median(shares):.1f}% of a step in rewards (offline metrics); completions of "
        f"{mean['ours']:.0f} tokens, {mean['theirs']:.0f} in the plain script",
        flush=True,
    )


class _Clock:
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, done: int, total: int, numbers: Any) -> None:
        self.ends.append(time.perf_counter())

    def seconds(self) -> float:
        return self.ends[-1] - self.ends[WARM - 1]


@contextlib.contextmanager
def _rewards_timed(clock: _Clock) -> Iterator[list[float]]:
    """Within it the seconds that a GRPO trainer spends in rewards are noted, step by step."""
    from wetread.training.grouped import GroupedTrainer

    plain, spent = GroupedTrainer._calculate_rewards, []

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        out = plain(*args, **options)
        spent.append(time.perf_counter() - start)
        return out

    GroupedTrainer._calculate_rewards = timed
    try:
        yield spent
    finally:
        GroupedTrainer._calculate_rewards = plain


def _sets(folder: Path, batch: int) -> list[str]:
    return [
        f"data.path={folder / 'phantom'}", f"optim.steps={STEPS}", f"optim.batch={batch}",
        f"model={folder / 'sft' / 'model'}", "checkpoint_every=1000",
    ]  # fmt: skip


def _places(folder: Path) -> Iterator[Path]:
    return (folder / f"run-{number}" for number in range(10_000))


def _quietly(work: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return work()
