"""UniRG's ablation on phantom studies: what RL on clinical metrics adds to SFT, and which part of its reward does it.

    python bench/unirg_ablation.py --out runs/unirg_phantom             meant for 90 minutes on 2 cores
    python bench/unirg_ablation.py --out runs/unirg_quick --quick       the smallest form; shows that all of it runs

Every arm is trained with each seed on the same studies: a base that writes reports and hardly looks, SFT from it, more
SFT for as long as both steps of RL take, RL without SFT, SFT and RL by one metric alone, by step 1 of the recipe
`phantom`, and by both steps. SFT and RL alike keep the best of their looks at validation studies. All are drafted greedily on the test studies of the sites trained on and of the one held out,
and scored by every metric that needs no weights. Trainings are single-thread processes, as many at once as there are cores;
the same command continues where it was stopped. `--write docs/results` writes the page and its plots.

Nothing was chosen by looking at test studies. Phantom data; nothing here is clinical.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ablation import arms, jobs
from ablation.arms import Plan

from wetread.errors import WetreadError
from wetread.runs.store import RunFolder
from wetread.studies import phantom
from wetread.studies.phantom import PhantomConfig

FULL = Plan(
    pretrain=12000, studies=9000, train=3000, prior_share=0.45, seeds=(0, 1, 2), warmup=2000, base=150, sft=1000,
    sft_more=1400, rl=100, rl_more=120, hack=200, test_limit=600,
)  # fmt: skip
QUICK = Plan(
    pretrain=700, studies=900, train=300, prior_share=0.45, seeds=(0, 1, 2), warmup=60, base=20, sft=30, sft_more=20,
    rl=3, rl_more=3, test_limit=60, resamples=300, hack=20,
)  # fmt: skip


def data(plan: Plan, out: Path) -> Path:
    """Make the studies, or what is missing of them, and return the folder of those that are tested on."""
    config = PhantomConfig(prior_share=plan.prior_share)
    for name, count, seed in ((arms.PRETRAIN, plan.pretrain, 1), (arms.DATA, plan.studies, 0)):
        phantom.write(out / name, count, seed=seed, config=config)
    return out / arms.DATA


def ablate(plan: Plan, out: Path, workers: int, to: Path, flags: Sequence[str] = ()) -> Path:
    """Do whatever of a plan has not been done in ``out`` and write its page to the folder ``to``.

    ``flags`` are what the page says of the command beside ``--out``.
    """
    from ablation import unirg_page

    out = out.resolve()  # trainings are known by their folders
    RunFolder.open(out, "unirg_ablation", {"plan": arms.to_json(plan)})
    made = arms.jobs(plan, out)
    if jobs.left(made, out):
        with jobs.clocked(out):
            data(plan, out)
            jobs.run(made, out, workers)
    took = jobs.run(made, out, workers)
    page = unirg_page.write(plan, out, out / arms.DATA, took, to, flags)
    print(f"{sum(jobs.calls(out)):.0f} s; {page}")
    return page


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--quick", action="store_true", help="the smallest form of all of it")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of the trainings; 0 1 2")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once; the cores")
    parser.add_argument("--write", type=Path, help="folder that the page and its plots are written to; OUT/page")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    plan = replace(plan, seeds=tuple(given.seeds or plan.seeds))
    flags = ["--quick"] * given.quick + (["--seeds", *map(str, given.seeds)] if given.seeds else [])
    try:
        ablate(plan, given.out, given.workers, given.write or given.out / "page", flags)
    except (WetreadError, jobs.Failed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
