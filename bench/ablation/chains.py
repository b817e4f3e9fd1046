"""What ablations share: trainings that take up one another, where each leaves its policy and scores, and what each took."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablation import work
from ablation.jobs import Job, module
from wetread.runs import evaluate
from wetread.runs.config import merged, to_dict
from wetread.training.recipe import find, open_recipe

BASE = "base"
"""The training that all seeds start from."""
DATA, PRETRAIN = "phantom", "pretrain"
"""Folders of studies: what is trained and tested on, and what the base is made of."""
TIMES = 4
"""Looks at an SFT after its start."""
LOOKS = {"keep": "unirg_step1", "act": "warn", "batch": 96}
"""How SFT is looked at: as often as RL, and what is kept is chosen on validation studies by step 1's reward, as in RL."""
RL: Mapping[str, Any] = {
    "group": {"rollouts": 16, "temperature": 1.0}, "optim": {"batch": 256, "rate": 4e-4, "schedule": "linear"}, "guard": {"every": 50, "act": "warn", "batch": 96}
}  # fmt: skip
"""Where RL differs from the recipe `phantom`, whose SFT is short: groups as large as the paper's, more of the vocabulary, a rate that ends at 0."""
ORDER = 1000
"""Distance between the seeds of trainings that follow each other."""


@dataclass(frozen=True)
class Training:
    """One training of an arm."""

    name: str
    """Its folder in that of the seed."""
    kind: str
    """``sft`` or ``rl``."""
    start: str
    """Training whose policy it takes up; empty: from scratch."""
    settings: Mapping[str, Any]
    """Its config, without model, data, lessons and seed."""
    lessons: tuple[str, ...] = ()
    """Names of the folders of traces and reflections that it learns from."""


def to_json(plan: Any) -> dict[str, Any]:
    """Return what decides which run folder a plan may continue."""
    made: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return made


def step(name: str) -> dict[str, Any]:
    """Return the settings of a stage of the recipe ``phantom``, without model, data, seed and inputs."""
    kept = to_dict(open_recipe(find("phantom")).stage(name).config)
    return {key: value for key, value in kept.items() if key not in ("model", "data", "seed", "inputs", "lessons")}


def long(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return settings for so many steps."""
    return {**settings, "optim": {**settings["optim"], "steps": steps}}


def looked_at(settings: Mapping[str, Any], steps: int, studies: int) -> dict[str, Any]:
    """Return the settings of an SFT of so many steps, of which so many validation studies choose the look that is kept."""
    return long(settings, steps) | {"guard": {**LOOKS, "every": max(1, steps // TIMES), "studies": studies}}


def rewarded(settings: Mapping[str, Any], steps: int, studies: int) -> dict[str, Any]:
    """Return the settings of RL, watched and never stopped: an arm that goes wrong is a result here."""
    changed = merged(settings, RL)
    return {**long(changed, steps), "guard": {**changed["guard"], "studies": studies}}


def job(out: Path, name: str, tasks: Sequence[Mapping[str, Any]], after: str = "", threads: int = 1) -> Job:
    """Return the job that does ``tasks`` in one process of so many threads, after the job ``after``."""
    file = out / "tasks" / f"{name}.json"
    for folder in (file.parent, out / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    command = module("work", str(file), str(out / "work" / f"{name}.jsonl"))
    return Job(name, command, (after,) if after else (), threads)


def place(out: Path, training: str, seed: int = 0) -> Path:
    """Return the folder of a training; the base is one for all seeds."""
    return out / training if training.split("-")[0] == BASE else out / f"seed{seed}" / training


def scored(out: Path, name: str, seed: int | None = None) -> Path:
    """Return where drafts and scores of a system lie; a system that is not trained has no seed."""
    return out / "scores" / ("untrained" if seed is None else f"seed{seed}") / evaluate.slug(name)


def minutes(
    paths: Mapping[str, Sequence[str]], seeds: Sequence[int], out: Path, shared: Mapping[str, Path] | None = None
) -> Mapping[str, list[float]]:
    """Return arm to the processor minutes of all that went into it, seed by seed.

    Parameters
    ----------
    paths
        Arm to the names of its trainings, and of what was written for them.
    seeds, out
        The seeds, and where all of it lies.
    shared
        Name to the folder of what all seeds have in common, beside the base.
    """
    shared = shared or {}
    spent: dict[str, float] = {}
    for file in sorted((out / "work").glob("*.jsonl")):
        spent |= work.took(file)
    return {
        arm: [sum(spent[str(shared.get(name) or place(out, name, seed))] for name in path) / 60 for seed in seeds]
        for arm, path in paths.items()
    }
