"""What UniRG's ablation trains: arms, the trainings that make them, and how long each is.

Every arm starts from one base, which has seen studies of other patients, as a pretrained model has. How long anything is
trained is said in the plan and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ablation import planted, work
from ablation.jobs import Job, module
from wetread.runs import evaluate
from wetread.runs.config import merged
from wetread.training.recipe import Recipe, find, open_recipe

BASE, SFT, SFT_LONG, RL_ONLY = "base", "SFT", "SFT, same compute", "RL only, step 1"
LEXICAL, LABELS, ENTITIES = "SFT + RL, lexical alone", "SFT + RL, labels alone", "SFT + RL, entities alone"
STEP1, STEP2 = "SFT + RL, step 1", "SFT + RL, steps 1 and 2"
SINGLE: Mapping[str, str] = {LEXICAL: "lexical_similarity", LABELS: "label_agreement", ENTITIES: "entity_f1"}
"""Arm to the one metric that it is paid by."""
DATA, PRETRAIN = "phantom", "pretrain"
"""Folders of studies: what is trained and tested on, and what the base is made of."""
RL: Mapping[str, Any] = {
    "group": {"rollouts": 16, "temperature": 1.0}, "optim": {"batch": 256, "rate": 4e-4}, "guard": {"every": 50, "studies": 160}
}  # fmt: skip
"""Where RL differs from the recipe `phantom`, whose SFT is short: groups as large as the paper's, more of the vocabulary."""
TIMES = 4
"""Looks at an SFT after its start."""
LOOKS = {"studies": 160, "keep": "unirg_step1", "act": "warn"}
"""How SFT is looked at: as often as RL, and what is kept is chosen on validation studies by step 1's reward, as in RL."""
TRAINED = (BASE, SFT, SFT_LONG, RL_ONLY, *SINGLE, STEP1, STEP2)
"""Arms in the order of the tables, after the baselines that are not trained."""


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    pretrain: int
    """Phantom studies that the base is made of, all splits together; of other patients than all that follows."""
    studies: int
    """Phantom studies that everything else is trained and tested on, all splits together."""
    train: int
    """Most training studies of them: few, as a hospital's own data are, so that SFT converges."""
    prior_share: float
    """Share of the studies that have an earlier one."""
    seeds: tuple[int, ...]
    """Seeds of the trainings; the studies and the base are the same for all."""
    warmup: int
    """Steps in which the tower learns labels."""
    base: int
    """SFT steps of the base: it writes reports, and hardly looks at the picture."""
    sft: int
    """SFT steps after the base."""
    sft_more: int
    """SFT steps after that in the arm that spends on SFT what both steps of RL take."""
    rl: int
    """GRPO steps of step 1, and of RL by a single metric."""
    rl_more: int
    """GRPO steps of step 2."""
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
    BASE: "base", SFT: "sft", SFT_LONG: "sft-more", RL_ONLY: "only", LEXICAL: "lexical", LABELS: "labels",
    ENTITIES: "entities", STEP1: "step1", STEP2: "step2",
}  # fmt: skip
"""Arm to the training whose policy it is."""
PATHS: Mapping[str, tuple[str, ...]] = {
    BASE: ("base",), SFT: ("base", "sft"), SFT_LONG: ("base", "sft", "sft-more"), RL_ONLY: ("base", "only"),
    **{arm: ("base", "sft", ARMS[arm]) for arm in (*SINGLE, STEP1)},
    STEP2: ("base", "sft", "step1", "step2"),
}  # fmt: skip
"""Arm to all the trainings that went into it."""
PATH_TO = {path[-1]: path for path in PATHS.values()}
ORDER = 1000
"""Distance between the seeds of trainings that follow each other."""


def trainings(plan: Plan) -> Iterator[Training]:
    """Yield every training of a seed; settings that are not named here are those of the recipe ``phantom``."""
    recipe = open_recipe(find("phantom"))
    sft = _settings(recipe, "sft")
    steps = {"warmup_steps": plan.warmup}
    yield Training(
        "base", "sft", "", {**_long(sft, plan.base), "tiny": {**sft["tiny"], **steps}, "inputs": plan.inputs}
    )
    yield Training("sft", "sft", "base", _looked_at(sft, plan.sft))
    yield Training("sft-more", "sft", "sft", _looked_at(sft, plan.sft_more))
    one, two = _rl(_settings(recipe, "step1"), plan.rl), _rl(_settings(recipe, "step2"), plan.rl_more)
    yield Training("step1", "rl", "sft", one)
    yield Training("step2", "rl", "step1", two)
    yield Training("only", "rl", "base", one)
    for arm, metric in SINGLE.items():
        yield Training(ARMS[arm], "rl", "sft", {**one, "reward": metric})


CHAINS: Mapping[str, tuple[str, ...]] = {
    "sft": ("sft",), "both": ("step1", "step2"), "more": ("sft-more",), "only": ("only",),
    **{ARMS[arm]: (ARMS[arm],) for arm in SINGLE},
}  # fmt: skip
"""Trainings of a seed that one process does one after another."""


def jobs(plan: Plan, out: Path) -> list[Job]:
    """Return all jobs: the base, and for each seed its chains of trainings with the scoring of the arms that they end in."""
    several = {one.name: one for one in trainings(plan)}
    base = [_train(plan, several["base"], out), _score(plan, out, BASE, place(out, "base"))]
    made = [_job(out, "base", base)]
    for seed in plan.seeds:
        for chain, names in CHAINS.items():
            tasks = [_train(plan, several[name], out, seed) for name in names]
            ends = [arm for arm in TRAINED if ARMS[arm] in names]
            tasks += [_score(plan, out, arm, place(out, ARMS[arm], seed), seed) for arm in ends]
            start = several[names[0]].start
            made.append(_job(out, f"seed{seed}-{chain}", tasks, "base" if start == "base" else f"seed{seed}-{start}"))
    made.append(_job(out, "untrained", [_score(plan, out, name, name) for name in evaluate.BASELINES]))
    first = plan.seeds[0]
    for kind in planted.KINDS:
        settings = merged(step("step1"), RL) | {"reward": planted.REWARDS[kind], "guard": planted.GUARD}
        task = _train(plan, Training(kind, "rl", "sft", _long(settings, plan.hack)), out, first, out / "planted" / kind)
        made.append(_job(out, f"planted-{kind}", [task | {"do": "plant"}], f"seed{first}-sft"))
    return made


def _job(out: Path, name: str, tasks: Sequence[Mapping[str, Any]], after: str = "") -> Job:
    file = out / "tasks" / f"{name}.json"
    for folder in (file.parent, out / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    command = module("work", str(file), str(out / "work" / f"{name}.jsonl"))
    return Job(name, command, (after,) if after else ())


def _train(plan: Plan, one: Training, out: Path, seed: int = 0, folder: Path | None = None) -> dict[str, Any]:
    # What takes up another training meets the studies in another order.
    order = seed + ORDER * (PATH_TO[one.name].index(one.name) if one.name in PATH_TO else 1)
    data = {"path": str(out / DATA), "limit": plan.train} if one.start else {"path": str(out / PRETRAIN)}
    config = {**one.settings, "data": data, "seed": order}
    if one.start:
        config["model"] = str(place(out, one.start, seed) / "model")
    return {"do": "train", "kind": one.kind, "config": config, "out": str(folder or place(out, one.name, seed))}


def _score(plan: Plan, out: Path, name: str, system: Path | str, seed: int | None = None) -> dict[str, Any]:
    return {
        "do": "score", "name": name, "model": str(system / "model" if isinstance(system, Path) else system),
        "data": str(out / DATA), "limit": plan.test_limit, "out": str(scored(out, name, seed)),
        "priors": ("none", "report", "image") if name == STEP2 else (),
    }  # fmt: skip


def minutes(plan: Plan, out: Path) -> Mapping[str, list[float]]:
    """Return arm to the processor minutes of all the trainings that went into it, seed by seed."""
    spent: dict[str, float] = {}
    for file in sorted((out / "work").glob("*.jsonl")):
        spent |= work.took(file)
    return {
        arm: [sum(spent[str(place(out, name, seed))] for name in PATHS[arm]) / 60 for seed in plan.seeds]
        for arm in TRAINED
    }


def place(out: Path, training: str, seed: int = 0) -> Path:
    """Return the folder of a training; the base is one for all seeds."""
    return out / training if training == "base" else out / f"seed{seed}" / training


def scored(out: Path, name: str, seed: int | None = None) -> Path:
    """Return where drafts and scores of a system lie; a system that is not trained has no seed."""
    return out / "scores" / ("untrained" if seed is None else f"seed{seed}") / evaluate.slug(name)


def step(name: str) -> dict[str, Any]:
    """Return the settings of a stage of the recipe ``phantom``."""
    return _settings(open_recipe(find("phantom")), name)


def _settings(recipe: Recipe, stage: str) -> dict[str, Any]:
    from wetread.runs.config import to_dict

    kept = to_dict(recipe.stage(stage).config)
    return {key: value for key, value in kept.items() if key not in ("model", "data", "seed", "inputs")}


def _long(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    return {**settings, "optim": {**settings["optim"], "steps": steps}}


def _looked_at(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    return _long(settings, steps) | {"guard": {**LOOKS, "every": max(1, steps // TIMES)}}


def _rl(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Watch, but never stop: an arm that goes wrong is a result here."""
    changed = merged(settings, RL)
    return {**_long(changed, steps), "guard": {**changed["guard"], "act": "warn"}}
