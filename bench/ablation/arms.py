"""What UniRG's ablation trains: arms, the trainings that make them, and how long each is.

Every arm starts from one base, which has seen studies of other patients, as a pretrained model has. How long anything is
trained is said in the plan and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablation import planted
from ablation.chains import DATA, ORDER, PRETRAIN, RL, Training, job, long, looked_at, place, rewarded, scored, step
from ablation.jobs import Job
from wetread.runs import evaluate
from wetread.runs.config import merged

BASE, SFT, SFT_LONG, RL_ONLY = "base", "SFT", "SFT, same compute", "RL only, step 1"
LEXICAL, LABELS, ENTITIES = "SFT + RL, lexical alone", "SFT + RL, labels alone", "SFT + RL, entities alone"
STEP1, STEP2 = "SFT + RL, step 1", "SFT + RL, steps 1 and 2"
SINGLE: Mapping[str, str] = {LEXICAL: "lexical_similarity", LABELS: "label_agreement", ENTITIES: "entity_f1"}
"""Arm to the one metric that it is paid by."""
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
    looks: int = 480
    """Validation studies of a look: with 160 chance decided which look was kept."""
    hack: int = 300
    """Most GRPO steps on a planted reward, if no guard stops it before."""
    test_limit: int = 0
    """Test studies scored of each site group; 0: all."""
    resamples: int = 2000
    """Bootstrap resamples."""
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"prior": "both", "prior_sections": "all"})
    """What the policies are shown beside the frontal image."""


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


def trainings(plan: Plan) -> Iterator[Training]:
    """Yield every training of a seed; settings that are not named here are those of the recipe ``phantom``."""
    sft = step("sft")
    tiny = {**sft["tiny"], "warmup_steps": plan.warmup}
    yield Training("base", "sft", "", {**long(sft, plan.base), "tiny": tiny, "inputs": plan.inputs})
    yield Training("sft", "sft", "base", looked_at(sft, plan.sft, plan.looks))
    yield Training("sft-more", "sft", "sft", looked_at(sft, plan.sft_more, plan.looks))
    one, two = rewarded(step("step1"), plan.rl, plan.looks), rewarded(step("step2"), plan.rl_more, plan.looks)
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
    made = [job(out, "base", base)]
    for seed in plan.seeds:
        for chain, names in CHAINS.items():
            tasks = [_train(plan, several[name], out, seed) for name in names]
            ends = [arm for arm in TRAINED if ARMS[arm] in names]
            tasks += [_score(plan, out, arm, place(out, ARMS[arm], seed), seed) for arm in ends]
            start = several[names[0]].start
            made.append(job(out, f"seed{seed}-{chain}", tasks, "base" if start == "base" else f"seed{seed}-{start}"))
    made.append(job(out, "untrained", [_score(plan, out, name, name) for name in evaluate.BASELINES]))
    first = plan.seeds[0]
    for kind in planted.KINDS:
        settings = merged(step("step1"), RL) | {"reward": planted.REWARDS[kind], "guard": planted.GUARD}
        task = _train(plan, Training(kind, "rl", "sft", long(settings, plan.hack)), out, first, out / "planted" / kind)
        made.append(job(out, f"planted-{kind}", [task | {"do": "plant"}], f"seed{first}-sft"))
    return made


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
