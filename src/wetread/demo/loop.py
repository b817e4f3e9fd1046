"""The stages of the demo, each continued where a kill left it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wetread.demo.plan import DemoConfig
from wetread.models import Model, open_model
from wetread.records import Draft, Report, Sampling, Study
from wetread.rewards import guards
from wetread.runs import evaluate
from wetread.runs.progress import bar
from wetread.runs.store import JsonLines, RunFolder, write_atomic
from wetread.runs.table import WIDTH, markdown, table
from wetread.studies import folder, phantom
from wetread.training.config import RlConfig, SftConfig
from wetread.training.recipe import Recipe

if TYPE_CHECKING:
    from wetread.runs.compare import Paired

SFT, RL = "SFT", "SFT+RL"
RL_STAGES = ("step1", "step2")


@dataclass(frozen=True)
class Result:
    """What the demo found."""

    title: str
    """What was measured on what, in a line; says phantom data."""
    studies: Sequence[Study]
    """Test studies of the sites that were trained on."""
    systems: Sequence[evaluate.System]
    """Baselines, SFT, SFT+RL on those studies."""
    rows: Sequence[evaluate.Row]
    """Their numbers."""
    gain: Mapping[str, Mapping[str, Paired]]
    """Label to metric to paired difference."""
    unseen: Sequence[evaluate.Row]
    """The same numbers on the site held out of training."""
    config: DemoConfig
    """How much was done."""
    recipe: Recipe
    """What was trained."""
    seconds: float
    """Wall time of all calls that this run folder took."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """What the guards say of the last system, in words."""
        drafts = [
            draft or Draft(study.id, Report())
            for draft, study in zip(self.systems[-1].drafts, self.studies, strict=True)
        ]
        return guards.guard(drafts, [study.report or Report() for study in self.studies]).alarms


def run(out: Path, config: DemoConfig) -> Path:
    """Run or continue the demo in ``out``, print its table, and return its page ``out/index.html``."""
    from rich.console import Console

    from wetread.demo.page import write

    start = time.monotonic()
    recipe = config.recipe(out)
    home = RunFolder.open(out, "recipe", recipe.identity(), alone=True)
    with bar("phantom studies", config.studies) as line:
        phantom.write(
            out / "phantom",
            config.studies,
            seed=config.seed,
            size=_sft(recipe).tiny.image_size,
            progress=lambda done, _: line.to(done),
        )
    from wetread.training import stages  # heavy: torch

    stages.run(recipe, out, bar)
    result = _measure(out, config, recipe, _elapsed(home, start))
    shown = table(result.rows, result.title, result.gain)
    Console(width=max(Console().width, WIDTH)).print(shown)
    for alarm in result.alarms:
        sys.stdout.write(f"guard: {alarm}\n")
    unseen_title = (
        f"Site held out of training, phantom data, {max((row.n for row in result.unseen), default=0)} studies"
    )
    write_atomic(
        out / "table.md",
        f"{result.title}\n\n{markdown(result.rows, result.gain)}\n{unseen_title}\n\n{markdown(result.unseen)}",
    )
    page = write(out, result)
    home.event("demo.done", seconds=round(time.monotonic() - start, 1))
    sys.stdout.write(
        f"\npage   {page}\nmodel  {out / 'model'}\nnext   wetread draft RADIOGRAPH --model {out / 'model'}\n"
    )
    return page


def _sft(recipe: Recipe) -> SftConfig:
    return next(stage.config for stage in recipe.stages if isinstance(stage.config, SftConfig))


def _longest(recipe: Recipe) -> int:
    return next(stage.config.group.max_new_tokens for stage in recipe.stages if isinstance(stage.config, RlConfig))


def _measure(out: Path, config: DemoConfig, recipe: Recipe, seconds: float) -> Result:
    every = folder.read(out / "phantom")
    test = [study for study in every if study.split == "test"]
    limit = config.test_limit or None
    seen = [study for study in test if not study.meta.get("unseen_site")][:limit]
    unseen = [study for study in test if study.meta.get("unseen_site")][:limit]
    training = [study for study in every if study.split == "train"]
    systems = _systems(out, "evaluate", seen, training, config, recipe)
    elsewhere = _systems(out, "evaluate-unseen", unseen, training, config, recipe)

    def rows(of: Sequence[evaluate.System], studies: Sequence[Study]) -> list[evaluate.Row]:
        return [
            row for system in of for row in evaluate.rows(system, studies, seed=config.seed, resamples=config.resamples)
        ]

    named = {system.name: system for system in systems}
    gain = evaluate.differences(named[RL], named[SFT], seen, seed=config.seed, resamples=config.resamples)
    title = f"wetread demo, phantom data: {len(seen)} test studies (nothing clinical)"
    return Result(
        title,
        seen,
        systems,
        rows(systems, seen),
        {f"{RL} − {SFT}": gain},
        rows(elsewhere, unseen),
        config,
        recipe,
        seconds,
    )


def _systems(
    out: Path, name: str, studies: Sequence[Study], training: Sequence[Study], config: DemoConfig, recipe: Recipe
) -> list[evaluate.System]:
    run = RunFolder.open(out / name, "evaluate", {"data": "phantom", "limit": config.test_limit, "seed": config.seed})
    models: dict[str, Model] = dict(evaluate.baselines(training))
    for label, stage in ((SFT, "sft"), (RL, RL_STAGES[-1])):
        models[label] = open_model(str(out / stage / "model"), device="auto")
    sampling = Sampling(batch_size=64, max_new_tokens=_longest(recipe), seed=config.seed)
    made = []
    with bar("drafting " + ("unseen site" if "unseen" in name else "test studies"), len(studies) * len(models)) as line:
        for label, model in models.items():
            drafts = evaluate.answer(model, label, studies, sampling, run, line.advance)
            made.append(evaluate.judge(label, drafts, studies, run))
    return made


def _elapsed(home: RunFolder, start: float) -> float:
    """Return the seconds of this call plus those of earlier, finished ones."""
    earlier = sum(float(event["seconds"]) for event in home.events.read() if event["event"] == "demo.done")
    return earlier + time.monotonic() - start


def events(out: Path, stage: str) -> list[Mapping[str, float]]:
    """Return the logged steps of a stage, the last log of a step that was repeated after a kill."""
    kind = f"{'sft' if stage == 'sft' else 'rl'}.step"
    found = {event["step"]: event for event in JsonLines(out / stage / "events.jsonl").read() if event["event"] == kind}
    return [found[step] for step in sorted(found)]
