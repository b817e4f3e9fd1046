"""What Med-R2's ablation trains: arms, the trainings, traces and reflections that make them, and how long each is.

Every arm starts from one base, whose tower reads whole images and closer views and which has written reports and traces of
other patients. All that is spent on an arm counts: also sampling the first passes that reflections correct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablation.chains import (
    BASE,
    DATA,
    ORDER,
    PRETRAIN,
    Training,
    job,
    long,
    looked_at,
    place,
    rewarded,
    scored,
    step,
)
from ablation.jobs import Job
from ablation.measure import LONGEST_PASS

DIRECT, FREE, TREE = "direct SFT", "+ reasoning", "+ tree"
KNOWS, SHUFFLED = "+ knowledge", "control: tree shuffled"
FIRST, FULL = "+ reflection data, first pass", "+ reflection"
TWICE, BEST = "control: two passes, no reflection data", "control: best of two samples"
CLOSER = "control: closer views from the first pass on"
RL_DIRECT, RL_REASONED, RL_REFLECTED = "direct + RL", "reasoned + RL", "reflected + RL"
ROWS = (DIRECT, FREE, TREE, KNOWS, FIRST, FULL, TWICE, BEST, SHUFFLED, CLOSER)
"""Arms of fine-tuning, in the order of the tables."""
JOINED = (RL_DIRECT, RL_REASONED, RL_REFLECTED)
"""Arms with both steps of RL after it."""
LABELLED, CONSISTENT = "labelled SFT", "labelled + RL, self-consistent"
ANSWERS = (LABELLED, CONSISTENT)
"""Arms that answer with labels beside their narrative."""

TRACES: Mapping[str, Mapping[str, Any]] = {
    "traces-free": {"tree": "none", "knowledge": False},
    "traces-tree": {"tree": "pruned", "knowledge": False},
    "traces-knows": {"tree": "pruned", "knowledge": True},
    "traces-shuffled": {"tree": "pruned", "knowledge": False, "shuffle": 0},
}
"""Folder of traces to how they are written."""


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    pretrain: int
    """Phantom studies that the base is made of, all splits together; of other patients than all that follows."""
    studies: int
    """Phantom studies that everything else is trained and tested on, all splits together."""
    train: int
    """Most training studies of them."""
    prior_share: float
    """Share of the studies that have an earlier one."""
    seeds: tuple[int, ...]
    """Seeds of the trainings; the studies, the base and the traces are the same for all."""
    warmup: int
    """Steps in which the tower learns labels."""
    base: int
    """SFT steps of the base, half of whose samples are asked for the report alone."""
    shape: Mapping[str, int]
    """Shape of the policy where it is not the recipe's."""
    steps: Mapping[str, int]
    """Training to its SFT steps, so that arms take the same processor time."""
    rl: Mapping[str, tuple[int, int]]
    """Arm of RL to its GRPO steps: of step 1, and of step 2."""
    negatives: str = "every"
    """What of that which is not there a walk of a tree says."""
    mix: Mapping[str, Any] = field(default_factory=lambda: {"draws": 1, "right": None})
    """How reflections are mixed: first passes without an error as often as they are, or a model corrects too much."""
    test_limit: int = 0
    """Test studies scored of each site group; 0: all."""
    batch: int = 16
    """Samples of a step of the arms' SFT."""
    looks: int = 160
    """Validation studies of a look."""
    split: str = "test"
    """Split that is scored; the design was chosen on `val`."""
    resamples: int = 2000
    """Bootstrap resamples."""
    inputs: Mapping[str, Any] = field(
        default_factory=lambda: {"prior": "report", "prior_sections": "impression", "closer": "again"}
    )
    """What the policies are shown beside the frontal image."""


PATHS: Mapping[str, tuple[str, ...]] = {
    DIRECT: ("direct",), FREE: ("traces-free", "free"), TREE: ("traces-tree", "tree"), KNOWS: ("traces-knows", "knows"),
    FIRST: ("traces-knows", "half", "reflections", "full"), FULL: ("traces-knows", "half", "reflections", "full"),
    TWICE: ("traces-knows", "knows"), BEST: ("traces-knows", "knows"), SHUFFLED: ("traces-shuffled", "shuffled"),
    CLOSER: ("traces-knows", "closer"),
    RL_DIRECT: ("direct", "direct-step1", "direct-step2"),
    RL_REASONED: ("traces-knows", "knows", "reasoned-step1", "reasoned-step2"),
    RL_REFLECTED: ("traces-knows", "half", "reflections", "full", "again", "reflected-step1", "reflected-step2"),
    LABELLED: ("labelled",), CONSISTENT: ("labelled", "consistent"),
}  # fmt: skip
"""Arm to all that was spent on it after the base, in order."""


THINKS: Mapping[str, str] = {
    "free": "traces-free", "tree": "traces-tree", "knows": "traces-knows", "shuffled": "traces-shuffled",
    "half": "traces-knows", "closer": "traces-knows",
}  # fmt: skip
"""Training that learns to think from the base, to the traces that it learns from."""


def trainings(plan: Plan) -> Iterator[Training]:
    """Yield every training; settings that are not named here are those of the recipe ``phantom``."""
    sft = step("sft")
    tiny = {**sft["tiny"], "warmup_steps": plan.warmup, "max_positions": 2048, **plan.shape}
    both = {"style": "reasoned", "plain": 0.5, "inputs": plan.inputs}
    yield Training(BASE, "sft", "", {**long(sft, plan.base), "tiny": tiny, **both}, ("base-lessons",))
    sft = {**sft, "optim": {**sft["optim"], "batch": plan.batch}}
    yield Training("direct", "sft", BASE, _looked_at(plan, sft, plan.steps["direct"]))
    yield Training("labelled", "sft", BASE, {**_looked_at(plan, sft, plan.steps["labelled"]), "style": "labelled"})
    for name, lessons in THINKS.items():
        inputs = {"inputs": {"closer": "always"}} if name == "closer" else {}
        settings = {**_looked_at(plan, sft, plan.steps[name]), "style": "reasoned", **inputs}
        yield Training(name, "sft", BASE, settings, (lessons,))
    full = {**_looked_at(plan, sft, plan.steps["full"]), "style": "reflected"}
    yield Training("full", "sft", "half", full, ("traces-knows", "reflections"))
    yield from _joined(plan)


def _joined(plan: Plan) -> Iterator[Training]:
    """Yield the trainings of RL: two steps on each of three policies, and one on labels and narrative that agree."""
    for arm, start, style, lessons in (
        (RL_DIRECT, "direct", "direct", ()), (RL_REASONED, "knows", "reasoned", ()), (RL_REFLECTED, "full", "reflected", ("again",)),
    ):  # fmt: skip
        for count, number in enumerate(plan.rl[arm], 1):
            name = f"{style}-step{count}"
            yield Training(name, "rl", start, _rl(plan, step(f"step{count}"), number, style), lessons)
            start = name
    settings = _rl(plan, step("step1"), plan.rl[CONSISTENT][0], "labelled") | {"reward": "self_consistent"}
    yield Training("consistent", "rl", "labelled", settings)


def _looked_at(plan: Plan, settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return the settings of an SFT that is looked at, with drafts as long as passes that think."""
    made = looked_at(settings, steps, plan.looks)
    return made | {"guard": {**made["guard"], "max_new_tokens": LONGEST_PASS}}


def jobs(plan: Plan, out: Path) -> list[Job]:
    """Return all jobs: the base and the traces, and for each seed the chains of trainings with what is scored of them."""
    make = Tasks(plan, out)
    lessons = {"do": "prime", "data": str(out / PRETRAIN), "limit": 0, "out": str(out / "base-lessons")}
    base = [lessons, make.train(BASE)]
    made = [job(out, BASE, base, threads=2), job(out, "traces", [make.traces(name) for name in TRACES], BASE)]
    for seed in plan.seeds:
        for name, tasks, after in make.chains(seed):
            made.append(job(out, f"seed{seed}-{name}", tasks, after))
    return made


def shared(out: Path) -> Mapping[str, Path]:
    """Return name to folder of the traces, which all seeds learn from."""
    return {name: out / name for name in (*TRACES, "base-lessons")}


class Tasks:
    """The tasks of a plan, which jobs are made of."""

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan, self.out = plan, out
        self.several = {one.name: one for one in trainings(plan)}

    def chains(self, seed: int) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
        """Yield name, tasks and the job before, for every chain of a seed."""

        def train(name: str) -> dict[str, Any]:
            return self.train(name, seed)

        def think(arm: str, **more: Any) -> dict[str, Any]:
            return self.think(arm, seed, **more)

        yield "direct", [train("direct"), think(DIRECT)], BASE
        yield "labelled", [train("labelled"), think(LABELLED)], BASE
        for arm, name in ((FREE, "free"), (TREE, "tree"), (SHUFFLED, "shuffled"), (CLOSER, "closer")):
            yield name, [train(name), think(arm)], "traces"
        yield "knows", [train("knows"), think(KNOWS, best=BEST), think(TWICE, style="reflected", rounds=1)], "traces"
        full = [
            train("half"),
            self.reflections("reflections", "half", seed),
            train("full"),
            think(FULL, rounds=1, first=FIRST),
        ]
        yield "full", full, "traces"
        yield "direct-rl", [*map(train, PATHS[RL_DIRECT][-2:]), think(RL_DIRECT)], f"seed{seed}-direct"
        yield "knows-rl", [*map(train, PATHS[RL_REASONED][-2:]), think(RL_REASONED)], f"seed{seed}-knows"
        again = self.reflections("again", "full", seed)
        yield (
            "full-rl",
            [again, *map(train, PATHS[RL_REFLECTED][-2:]), think(RL_REFLECTED, rounds=1)],
            f"seed{seed}-full",
        )
        yield "consistent", [train("consistent"), think(CONSISTENT)], f"seed{seed}-labelled"

    def train(self, name: str, seed: int = 0) -> dict[str, Any]:
        """Return the task of a training."""
        one = self.several[name]
        after = next((path.index(name) for path in PATHS.values() if name in path), 0)
        pretrained = name == BASE
        data = {
            "path": str(self.out / (PRETRAIN if pretrained else DATA)),
            "limit": 0 if pretrained else self.plan.train,
        }
        # What takes up another training meets the studies in another order.
        config = {**one.settings, "data": data, "seed": seed + ORDER * (after + 1) if not pretrained else seed}
        if one.lessons:
            config["lessons"] = [str(self.lessons(lesson, seed)) for lesson in one.lessons]
        if one.start:
            config["model"] = str(place(self.out, one.start, seed) / "model")
        return {"do": "train", "kind": one.kind, "config": config, "out": str(place(self.out, name, seed))}

    def lessons(self, name: str, seed: int) -> Path:
        """Return the folder of traces, which all seeds share, or of a seed's reflections."""
        return shared(self.out).get(name) or place(self.out, name, seed)

    def traces(self, name: str) -> dict[str, Any]:
        """Return the task of writing traces; without a tree there is nothing to ask for, and what is not there is left out."""
        how = TRACES[name]
        negatives = self.plan.negatives if how["tree"] != "none" else "none"
        common = {"data": str(self.out / DATA), "limit": self.plan.train, "out": str(self.out / name)}
        return {"do": "trace", **how, "negatives": negatives, **common}

    def reflections(self, name: str, start: str, seed: int) -> dict[str, Any]:
        """Return the task of writing reflections on the first passes of the training ``start``."""
        return {
            "do": "reflect", "model": str(place(self.out, start, seed) / "model"), "data": str(self.out / DATA), "limit": self.plan.train,
            "traces": str(self.out / "traces-knows"), "mix": {**self.plan.mix, "seed": seed}, "out": str(place(self.out, name, seed)),
        }  # fmt: skip

    def think(
        self, arm: str, seed: int, *, style: str = "", rounds: int = 0, first: str = "", best: str = ""
    ) -> dict[str, Any]:
        """Return the task of drafting and scoring the last training of an arm."""
        model = place(self.out, PATHS[arm][-1], seed) / "model"
        return {
            "do": "think", "name": arm, "model": str(model), "data": str(self.out / DATA), "limit": self.plan.test_limit,
            "split": self.plan.split, "style": style, "rounds": rounds, "first": first, "best": best, "out": str(scored(self.out, arm, seed)),
        }  # fmt: skip


def _rl(plan: Plan, settings: Mapping[str, Any], steps: int, style: str) -> dict[str, Any]:
    """Return the settings of RL on a style: completions as long as it writes."""
    changed = rewarded(settings, steps, plan.looks) | {"style": style}
    if style != "direct":
        changed["group"] = {**changed["group"], "max_new_tokens": 320}
    return changed
