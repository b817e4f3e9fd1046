"""The command of an ablation: make the studies, do the jobs that are left, write the page."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation import chains, jobs
from ablation.jobs import Job, Took
from wetread.errors import WetreadError
from wetread.runs.store import RunFolder
from wetread.studies import phantom
from wetread.studies.phantom import PhantomConfig

Write = Callable[[Any, Path, str, Path], Path]
"""Writes a page: from the plan, the run folder and the line that says where it comes from, into a folder."""


@dataclass(frozen=True)
class Ablation:
    """One ablation."""

    script: str
    """Its file in ``bench``."""
    name: str
    """Name of its page, and of the run folder that the page's command has."""
    doc: str
    """What it does, for ``--help``."""
    full: Any
    """The plan that its page is of."""
    quick: Any
    """The smallest one that has everything in it."""
    jobs: Callable[[Any, Path], list[Job]]
    """What is to be done for a plan in a run folder."""
    write: Write
    """Its page."""
    size: int = 128
    """Side of its studies' images, in pixels."""


def data(one: Ablation, plan: Any, out: Path) -> None:
    """Make the studies of a plan, or what is missing of them."""
    config = PhantomConfig(prior_share=plan.prior_share)
    for name, count, seed in ((chains.PRETRAIN, plan.pretrain, 1), (chains.DATA, plan.studies, 2)):
        phantom.write(out / name, count, seed=seed, size=one.size, config=config)


def ablate(one: Ablation, plan: Any, out: Path, workers: int, to: Path, flags: Sequence[str] = ()) -> Path:
    """Do whatever of a plan has not been done in ``out`` and write its page to the folder ``to``.

    ``flags`` are what the page says of the command beside ``--out``.
    """
    out = out.resolve()  # trainings are known by their folders
    RunFolder.open(out, one.script, {"plan": chains.to_json(plan)})
    made = one.jobs(plan, out)
    if jobs.left(made, out):
        with jobs.clocked(out):
            data(one, plan, out)
            jobs.run(made, out, workers)
    took = jobs.run(made, out, workers)
    page = one.write(plan, out, origin(one, plan, out, took, flags), to)
    print(f"{sum(jobs.calls(out)):.0f} s; {page}")
    return page


def origin(one: Ablation, plan: Any, out: Path, took: Mapping[str, Took], flags: Sequence[str]) -> str:
    """Return where the numbers come from: command, seeds, date, machine, and what all of it took."""
    command = " ".join([f"python bench/{one.script}.py", "--out", f"runs/{one.name}", *flags])
    calls = jobs.calls(out)
    spent = f"{sum(each.cpu for each in took.values()) / 60:.0f} processor minutes"
    several = f" over {len(calls)} calls" if len(calls) > 1 else ""
    return (
        f"Command: `{command}`, seeds {', '.join(map(str, plan.seeds))}, {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {machine()}; "
        f"{sum(calls) / 60:.0f} minutes{several} ({spent}), single-thread processes side by side."
    )


def machine() -> str:
    """Return system, processor, cores and versions."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    told = [f"{platform.system()} {platform.machine()}", model, f"{os.cpu_count()} cores"]
    told += [f"Python {platform.python_version()}", f"torch {torch.__version__.partition('+')[0]}"]
    return ", ".join(part for part in told if part)


def main(one: Ablation) -> None:
    """Train, score and write, as the command line says."""
    parser = argparse.ArgumentParser(description=one.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--quick", action="store_true", help="the smallest form of all of it")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of the trainings; 0 1 2")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once; the cores")
    parser.add_argument("--write", type=Path, help="folder that the page and its plots are written to; OUT/page")
    parser.set_defaults(split="")
    if hasattr(one.full, "split"):
        parser.add_argument("--split", choices=("val", "test"), help="split that is scored; test")
    given = parser.parse_args()
    plan = one.quick if given.quick else one.full
    plan = replace(plan, seeds=tuple(given.seeds or plan.seeds))
    if given.split:
        plan = replace(plan, split=given.split)
    flags = ["--quick"] * given.quick + (["--seeds", *map(str, given.seeds)] if given.seeds else [])
    flags += ["--split", given.split] if given.split else []
    try:
        ablate(one, plan, given.out, given.workers, given.write or given.out / "page", flags)
    except (WetreadError, jobs.Failed) as error:
        sys.exit(str(error))
