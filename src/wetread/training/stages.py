"""Runs the stages of a recipe into one run folder.

    recipe.yaml          the recipe, as it was given
    preflight.json       what was found of each stage before it began
    STAGE/               run folder of `wetread train sft` or `rl`
    evaluate/            drafts and scores of the policies
    evaluation.json      the table: the form of `wetread evaluate --json`
    model/               the last stage's policy

Each stage resumes as it does by itself; what is done is not done again.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError, WetreadError, WetreadWarning
from wetread.models import Model, open_model
from wetread.records import Sampling, Study
from wetread.runs import evaluate
from wetread.runs.progress import Bar, mover
from wetread.runs.store import RUN_FILE, RunFolder, read_run, restate, write_atomic, write_json
from wetread.studies import folder, leaks, priors
from wetread.training import loop, preflight, processes
from wetread.training.config import RlConfig, SftConfig
from wetread.training.data import distinct
from wetread.training.preflight import Preflight
from wetread.training.recipe import Recipe, Stage
from wetread.training.recipe_file import Evaluation
from wetread.training.saving import save_whole

Bars = Callable[[str, int], AbstractContextManager[Bar]]
"""Makes a progress bar of a title and a total, as ``runs.progress.bar``."""


def look(recipe: Recipe, out: Path, until: str = "") -> Iterator[tuple[Stage, Preflight]]:
    """Yield the stages up to ``until`` that have not begun, each with what can be told of it before.

    With the last stage goes what it will be scored on.
    """
    for stage in _wanted(recipe, until):
        if (out / stage.name / RUN_FILE).exists():
            continue
        found = preflight.look(stage.placed(out), _to_come(recipe, stage, out))
        yield stage, _with_evaluation(recipe, found) if stage is recipe.stages[-1] else found


def _to_come(recipe: Recipe, stage: Stage, out: Path) -> list[SftConfig | RlConfig]:
    """Return the trainings that ``stage`` builds on and whose policies are not in ``out`` yet, in order."""
    found: list[SftConfig | RlConfig] = []
    for one in reversed(recipe.before(stage)):
        if (out / one.name / "model" / "config.json").exists():
            break
        found.insert(0, one.placed(out))
    return found


def _with_evaluation(recipe: Recipe, found: Preflight) -> Preflight:
    """Return what was found of the last stage, and what it will be scored on or why that cannot be."""
    if recipe.evaluate is None:
        return found
    try:
        return replace(found, rows={**found.rows, "evaluate": told(tested(recipe), recipe.evaluate)})
    except WetreadError as error:
        return replace(found, problems=(*found.problems, error))


@loop.alone
def run(
    recipe: Recipe, out: Path, bars: Bars, *, until: str = "", checks: Sequence[tuple[Stage, Preflight]] = ()
) -> Path:
    """Run or continue the stages up to ``until``, all without it, and return the folder of the last one's policy.

    Parameters
    ----------
    recipe
        What to run.
    out
        Run folder.
    bars
        Shows progress.
    until
        Name of the last stage to run; empty: all, then the policy is copied to ``out/model``.
    checks
        What ``look`` found; its problems are raised before anything is written.

    Raises
    ------
    WetreadError
        The first problem of ``checks``, or what a stage raises.
    RunError
        ``out`` was written by another recipe, or the disk is full.
    """
    wanted = _wanted(recipe, until)
    for _, found in checks:
        for problem in found.problems:
            raise problem
    home = loop.open_run(out, "recipe", recipe.identity())
    if processes.main():
        _keep(out, recipe, checks)
    target = out
    for stage in wanted:
        target = train(stage, out, bars)
    if wanted[-1] is not recipe.stages[-1]:
        return target
    if not loop.done(home, "recipe.done"):
        loop.finish(home, "recipe", lambda: _publish(target, out / "model"))
    return out / "model"


def train(stage: Stage, out: Path, bars: Bars) -> Path:
    """Run or continue one stage in ``out/NAME`` and return the folder of its policy."""
    from wetread.training import rl, sft

    config = stage.placed(out)
    with processes.first():
        if stage.start and processes.main():
            _found_again(stage, out)
    with bars(stage.name, max(1, config.optim.steps)) as line:
        if isinstance(config, SftConfig):
            return sft.train(config, out / stage.name, mover(line))
        return rl.train(config, out / stage.name, mover(line))


def _found_again(stage: Stage, out: Path) -> None:
    """Let a stage that has begun say where the policy it started from is now.

    A stage is known by the name of the one before it, which the recipe's own ``run.json`` holds; the path in the stage's
    is only where that was: ``--out`` may be spelled in another way since, or the whole folder have been moved.
    """
    folder = out / stage.name
    if not (folder / RUN_FILE).exists():
        return
    said = str(read_run(folder).get("config", {}).get("model", ""))
    now = stage.placed(out).model
    if said != now and Path(said).parts[-2:] == (stage.start, "model"):
        restate(folder, "model", now)


def score(recipe: Recipe, out: Path, bars: Bars) -> list[evaluate.Row]:
    """Score the policies of all stages as the recipe asks, write ``evaluation.json``, and return its rows; none where it asks for nothing.

    Warns
    -----
    WetreadWarning
        A policy has no draft for some of the studies; the numbers of its rows are of the others.
    """
    plan = recipe.evaluate
    if plan is None:
        return []
    last = recipe.stages[-1].config
    folders = plan.data or last.data.path
    studies = tested(recipe)
    training = [study for path in folders for study in folder.read(path) if study.split == last.data.split]
    run = RunFolder.open(out / "evaluate", "evaluate", {"recipe": recipe.identity()}, alone=True)
    models: dict[str, Model] = dict(evaluate.baselines(training, studies))
    models |= {stage.name: open_model(str(out / stage.name / "model")) for stage in recipe.stages}
    sampling = Sampling(batch_size=plan.batch, max_new_tokens=_longest(plan, recipe))
    rows = []
    with bars("drafting", len(studies) * len(models)) as line:
        for name, model in models.items():
            drafts = evaluate.answer(model, name, studies, sampling, run, line.advance)
            failed = evaluate.lost(name, drafts, studies, run)
            if failed:
                warnings.warn(f"{failed.rstrip('.')}. It is scored on the others.", WetreadWarning, stacklevel=2)
            rows += evaluate.rows(
                evaluate.judge(name, drafts, studies, run), studies, seed=last.seed, resamples=RESAMPLES
            )
    write_json(out / "evaluation.json", {"data": told(studies, plan), "rows": [row.to_json() for row in rows]})
    return rows


RESAMPLES = 2000
"""Bootstrap resamples."""


def tested(recipe: Recipe) -> list[Study]:
    """Return the studies that the policies are scored on, with ids that differ, as in training; none where it asks for nothing.

    Raises
    ------
    WetreadError
        A folder is not there, has no study with a report in one of the splits or one without an image, or has nothing that
        another lacks; or a study, its patient, or report and picture of it are also trained on.

    Warns
    -----
    WetreadWarning
        Studies that are listed in two folders.
    """
    plan = recipe.evaluate
    if plan is None:
        return []
    if not plan.splits:
        raise ConfigError("evaluate.splits is empty; name a split, or leave evaluate out.")
    parts = []
    try:
        data = recipe.stages[-1].config.data
        paths = tuple(plan.data or data.path)
        folders = priors.read(paths, data.priors)[0]
        for every in folders:
            parts.append([study for split in plan.splits for study in folder.choose(every, split, plan.limit)])
        _check_apart(recipe, [study for part in parts for study in part], {(paths, data.priors): folders})
        apart, repeated = distinct(parts, "evaluate.data" if plan.data else "data.path")
        folder.check_shown(study for part in apart for study in part)
    except WetreadError as error:
        raise type(error)(f"evaluate: {error}") from error
    if repeated:
        what = f"{repeated} of the studies to be scored are listed more than once and taken once."
        warnings.warn(what, WetreadWarning, stacklevel=2)
    return [study for part in apart for study in part]


def _check_apart(recipe: Recipe, studies: Sequence[Study], read: dict[tuple[tuple[str, ...], str], Any]) -> None:
    """Refuse studies of which a stage learns; ``read`` holds folders that have been read, by their paths and priors."""
    looked = []
    for stage in recipe.stages:
        data = stage.config.data
        if (what := (data.path, data.priors, data.split, data.limit)) in looked:
            continue
        looked.append(what)
        if (data.path, data.priors) not in read:
            read[data.path, data.priors] = priors.read(data.path, data.priors)[0]
        folders = read[data.path, data.priors]
        limits = data.limit if len(data.limit) == len(folders) else data.limit * len(folders)
        train: list[Study] = []
        for every, limit in zip(folders, limits, strict=False):  # what does not fit is told of the stage itself
            own = [study for study in every if study.split == data.split and study.report]
            train += own[:limit] if limit else own
        try:
            leaks.check_held_out(train, studies)
            leaks.check_priors(train, studies)
        except WetreadError as error:
            raise type(error)(f"stage {stage.name} is trained on what is scored: {error}") from error


def told(studies: Sequence[Study], plan: Evaluation) -> str:
    """Return what was scored on, in words."""
    sources = " and ".join(sorted({f"{study.source or 'unknown source'}" for study in studies}))
    return f"{len(studies)} studies, split {' and '.join(plan.splits)}, {sources} data"


def _longest(plan: Evaluation, recipe: Recipe) -> int:
    lengths = [stage.config.group.max_new_tokens for stage in recipe.stages if isinstance(stage.config, RlConfig)]
    return plan.max_new_tokens or (lengths[-1] if lengths else 0)


def _wanted(recipe: Recipe, until: str) -> tuple[Stage, ...]:
    if not until:
        return recipe.stages
    return recipe.stages[: recipe.stages.index(recipe.stage(until)) + 1]


def _keep(out: Path, recipe: Recipe, checks: Sequence[tuple[Stage, Preflight]]) -> None:
    """Store the recipe whole, and what was found before its stages began."""
    if not (out / "recipe.yaml").exists():
        sets = "".join(f"# --set {item}\n" for item in recipe.sets)
        write_atomic(out / "recipe.yaml", sets + recipe.text)
    if checks:
        file = out / "preflight.json"
        earlier: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        body: Mapping[str, Any] = {
            stage.name: {"found": dict(one.rows), "numbers": dict(one.numbers), "warnings": list(one.warnings)}
            for stage, one in checks
        }
        write_json(file, {**earlier, **body})


def _publish(model: Path, target: Path) -> None:
    """Copy a policy to where the next command looks for it."""

    def save(part: Path) -> None:
        shutil.copytree(model, part, dirs_exist_ok=True)

    save_whole(save, target)
