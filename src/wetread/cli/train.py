"""``wetread train sft``, ``wetread train rl`` and ``wetread train recipe``."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wetread.runs.progress import Bar
    from wetread.training.config import RlConfig, SftConfig
    from wetread.training.preflight import Preflight
    from wetread.training.recipe import Recipe

app = typer.Typer(
    help="Train a model: sft (on reports), rl (on clinical rewards), or both as a recipe says.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

CONFIG = typer.Option(None, "--config", help="YAML file with config keys.")
SET = typer.Option([], "--set", help="key=value, with dotted keys; repeatable.", show_default=False)
OUT = typer.Option(
    ..., "--out", help="Run folder; the model is written to OUT/model. The same command continues a killed run."
)
PROCESSES = typer.Option(
    1,
    "--processes",
    min=1,
    help="Processes of this machine that share every batch; see docs/training.md for several machines.",
)


DRY = typer.Option(False, "--dry-run", help="Say what would be run and what can be told before, and stop.")


@app.command("sft")
def sft(
    config: Path | None = CONFIG,
    set_: list[str] = SET,
    out: Path = OUT,
    processes: int = PROCESSES,
    dry_run: bool = DRY,
) -> int:
    """Supervised fine-tuning on reports."""
    from wetread.runs.config import build
    from wetread.training.config import SftConfig

    return _run("SFT", "sft", build(SftConfig, config, set_), out, processes, dry_run)


@app.command("rl")
def rl(
    config: Path | None = CONFIG,
    set_: list[str] = SET,
    out: Path = OUT,
    processes: int = PROCESSES,
    dry_run: bool = DRY,
) -> int:
    """Reinforcement learning (GRPO) on clinical rewards."""
    from wetread.runs.config import build
    from wetread.training.config import RlConfig

    return _run("GRPO", "rl", build(RlConfig, config, set_), out, processes, dry_run)


@app.command("recipe")
def recipe(
    file: str = typer.Argument(
        ..., help="Recipe file, or the name of one that comes with wetread: phantom, unirg_cxr."
    ),
    set_: list[str] = typer.Option(
        [], "--set", help="STAGE.key=value, key=value for all stages, or CHOICE=ANSWER; repeatable.", show_default=False
    ),
    out: Path = OUT,
    stage: str = typer.Option("", "--stage", help="Run the stages up to this one."),
    processes: int = PROCESSES,
    dry_run: bool = DRY,
) -> int:
    """Run the stages of a recipe, each continued where it stopped, and score what it made."""
    from wetread.training.recipe import find, open_recipe

    made = open_recipe(find(file), set_)
    if not dry_run and _launched(processes):
        return 0
    from wetread.cli import processes as group
    from wetread.training import processes as together
    from wetread.training import stages

    checks = []
    if dry_run:
        _tell_recipe(made)
    if group.writes():
        for one, found in stages.look(made, out, stage):
            checks.append((one, found))
            _tell(f"{one.name} ({one.kind}{', from ' + one.start if one.start else ''})", found, whole=dry_run)
    if dry_run:
        _raise(found for _, found in checks)
        return 0
    model = stages.run(made, out, _bar, until=stage, checks=checks)
    together.leave()
    if group.writes():
        typer.echo(f"model: {model}")
        if not stage or made.stage(stage) is made.stages[-1]:
            _score(made, out)
    return 0


def _run(title: str, module: str, config: SftConfig | RlConfig, out: Path, processes: int, dry_run: bool) -> int:
    """Launch, look at and train by one config; ``module`` of the training room does it."""
    if not dry_run and _launched(processes):
        return 0
    if _looked(title, config, out, dry_run=dry_run):
        return 0
    from importlib import import_module

    training = import_module(f"wetread.training.{module}")
    return _train(title, lambda step: training.train(config, out, step))


def _launched(count: int) -> bool:
    """Run this command as ``count`` processes; False where that is not asked for or has been done already."""
    from wetread.cli import processes

    if count == 1 or processes.started(count):
        return False
    processes.launch(count, sys.argv[1:])
    return True


def _looked(title: str, config: SftConfig | RlConfig, out: Path, *, dry_run: bool) -> bool:
    """Look at a training that has not begun; its problems are raised. Return whether that was all that was asked for."""
    from wetread.cli import processes
    from wetread.training import preflight

    if processes.writes() and (dry_run or not (out / "run.json").exists()):
        found = preflight.look(config)
        _tell(title, found, whole=dry_run)
        _raise([found])
    return dry_run


def _tell(title: str, found: Preflight, *, whole: bool) -> None:
    """Print what was found, on standard output; warnings and problems alone, on standard error, where not ``whole``."""
    if whole:
        typer.echo(f"\n{title}")
        for name, text in found.rows.items():
            typer.echo(f"  {name:<8} {text}")
    for warning in found.warnings:
        typer.echo(f"  warning  {warning}" if whole else f"{title}: {warning}", err=not whole)
    for problem in found.problems if whole else ():
        typer.echo(f"  problem  {problem}")


def _tell_recipe(recipe: Recipe) -> None:
    """Print what a recipe would do, what it chose and where it differs from its source."""
    from wetread.training.recipe import changed

    typer.echo(f"{recipe.name}: {recipe.source}")
    for name, answer in recipe.chosen.items():
        typer.echo(f"  choice   {name}: {answer}")
    other = changed(recipe)
    for one in recipe.deviations:
        here = "set otherwise on the command line" if one.field in other else f"here {one.here!r}"
        typer.echo(f"  differs  {one.field}: {here}. Paper: {one.paper} Reason: {one.reason}")


def _raise(checks: Iterator[Preflight] | Sequence[Preflight]) -> None:
    for found in checks:
        for problem in found.problems:
            raise problem


def _score(recipe: Recipe, out: Path) -> None:
    from rich.console import Console

    from wetread.runs.table import WIDTH, table
    from wetread.training import stages

    rows = stages.score(recipe, out, _bar)
    if rows:
        console = Console()
        console.width = max(console.width, WIDTH)
        console.print(table(rows, f"{recipe.name}: {rows[0].n} studies"))


@contextmanager
def _bar(title: str, steps: int) -> Iterator[Bar]:
    """Show a progress bar while the block runs; where several processes train, only the one that writes shows it."""
    from wetread.cli import processes
    from wetread.runs.progress import bar

    with Path(os.devnull).open("w") as nowhere, bar(title, steps, None if processes.writes() else nowhere) as line:
        yield line


def _train(title: str, train: Callable[[Any], Path]) -> int:
    from wetread.cli import processes
    from wetread.runs.progress import mover
    from wetread.training import processes as together

    with _bar(title, 1) as line:
        model = train(mover(line))
    together.leave()
    if processes.writes():
        typer.echo(f"model: {model}")
    return 0
