"""What UniRG's ablation trains: arms, the trainings that make them, and how long each is.

Every arm of a seed starts from the same base, and what is trained longer than another thing is said here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ablation.jobs import Job, wetread
from wetread.runs import evaluate
from wetread.training.recipe import Recipe, find, open_recipe

BASE, SFT, SFT_LONG, RL_ONLY = "base", "SFT", "SFT, same compute", "RL only"
LEXICAL, LABELS, ENTITIES = "SFT + RL, lexical alone", "SFT + RL, labels alone", "SFT + RL, entities alone"
STEP1, STEP1_LONG, STEP2 = "SFT + RL, step 1", "SFT + RL, step 1 for both", "SFT + RL, steps 1 and 2"
SINGLE: Mapping[str, str] = {LEXICAL: "lexical_similarity", LABELS: "label_agreement", ENTITIES: "entity_f1"}
"""Arm to the one metric that it is paid by."""
TRAINED = (BASE, SFT, SFT_LONG, RL_ONLY, *SINGLE, STEP1, STEP1_LONG, STEP2)
"""Arms in the order of the tables, after the baselines that are not trained."""


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    studies: int
    """Phantom studies made, all splits together."""
    prior_share: float
    """Share of the studies that have an earlier one."""
    seeds: tuple[int, ...]
    """Seeds of the trainings; the studies are the same for all."""
    warmup: int
    """Steps in which the tower learns labels."""
    base: int
    """SFT steps of the base: it writes reports, and hardly looks at the picture."""
    sft: int
    """SFT steps after the base."""
    sft_long: int
    """SFT steps after the base in the arm of the same compute as SFT and both steps of RL."""
    rl: int
    """GRPO steps of each of the two steps."""
    hack: int = 300
    """Most GRPO steps on a planted reward, if no guard stops it before."""
    test_limit: int = 0
    """Test studies scored of each site group; 0: all."""
    resamples: int = 2000
    """Bootstrap resamples."""
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"prior": "both", "prior_sections": "all"})
    """What the policies are shown beside the frontal image."""


def to_json(plan: Plan) -> dict[str, Any]:
    """Return what decides which run folder a plan may continue."""
    return json.loads(json.dumps(asdict(plan)))


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
    """Its config, without model, data and seed."""


ARMS: Mapping[str, str] = {
    BASE: "base", SFT: "sft", SFT_LONG: "sft-long", RL_ONLY: "only-2", LEXICAL: "lexical", LABELS: "labels",
    ENTITIES: "entities", STEP1: "step1", STEP1_LONG: "step1-long", STEP2: "step2",
}  # fmt: skip
"""Arm to the training whose policy it is."""
PATHS: Mapping[str, tuple[str, ...]] = {
    BASE: ("base",), SFT: ("base", "sft"), SFT_LONG: ("base", "sft-long"), RL_ONLY: ("base", "only-1", "only-2"),
    **{arm: ("base", "sft", ARMS[arm]) for arm in (*SINGLE, STEP1, STEP1_LONG)}, STEP2: ("base", "sft", "step1", "step2"),
}  # fmt: skip
"""Arm to all the trainings that went into it."""


def trainings(plan: Plan) -> Iterator[Training]:
    """Yield every training of a seed; settings that are not named here are those of the recipe ``phantom``."""
    recipe = open_recipe(find("phantom"))
    sft = _settings(recipe, "sft")
    steps = {"warmup_steps": plan.warmup}
    yield Training(
        "base", "sft", "", {**_long(sft, plan.base), "tiny": {**sft["tiny"], **steps}, "inputs": plan.inputs}
    )
    yield Training("sft", "sft", "base", _long(sft, plan.sft))
    yield Training("sft-long", "sft", "base", _long(sft, plan.sft_long))
    one, two = (_rl(_settings(recipe, name), plan.rl) for name in ("step1", "step2"))
    yield Training("step1", "rl", "sft", one)
    yield Training("step2", "rl", "step1", two)
    yield Training("only-1", "rl", "base", one)
    yield Training("only-2", "rl", "only-1", two)
    yield Training("step1-long", "rl", "sft", _long(one, 2 * plan.rl))
    for arm, metric in SINGLE.items():
        yield Training(ARMS[arm], "rl", "sft", {**_long(one, 2 * plan.rl), "reward": metric})


def jobs(plan: Plan, out: Path) -> list[Job]:
    """Write the config of every training of every seed and return their jobs, the longest chains first."""
    made = []
    for seed in plan.seeds:
        for one in trainings(plan):
            folder = out / f"seed{seed}" / one.name
            config = {**one.settings, "data": {"path": str(out / "phantom")}, "seed": seed}
            if one.start:
                config["model"] = str(out / f"seed{seed}" / one.start / "model")
            file = out / "configs" / f"seed{seed}-{one.name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
            command = wetread("train", one.kind, "--config", str(file), "--out", str(folder))
            after = (job_name(seed, one.start),) if one.start else ()
            made.append(Job(job_name(seed, one.name), command, after, seed))
    return made


def job_name(seed: int, training: str) -> str:
    """Return the name of a training's job."""
    return f"seed{seed}/{training}"


def model(out: Path, seed: int, arm: str) -> Path:
    """Return the folder of an arm's policy."""
    return out / f"seed{seed}" / ARMS[arm] / "model"


def scored_folder(out: Path, group: str, where: str, prior: str = "") -> Path:
    """Return where drafts and scores of a system lie; ``where`` is its name, with its seed in front if it has one."""
    seed, _, name = where.rpartition("/")
    slug = evaluate.slug(name) + (f"-prior-{prior}" if prior else "")
    return out / "scores" / group / seed / slug


def step(name: str) -> dict[str, Any]:
    """Return the settings of a stage of the recipe ``phantom``."""
    return _settings(open_recipe(find("phantom")), name)


def _settings(recipe: Recipe, stage: str) -> dict[str, Any]:
    from wetread.runs.config import to_dict

    kept = to_dict(recipe.stage(stage).config)
    return {key: value for key, value in kept.items() if key not in ("model", "data", "seed", "inputs")}


def _long(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    return {**settings, "optim": {**settings["optim"], "steps": steps}}


def _rl(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Watch, but never stop: an arm that goes wrong is a result here."""
    return {**_long(settings, steps), "guard": {**settings["guard"], "act": "warn"}}
