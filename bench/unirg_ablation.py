"""UniRG's ablation on phantom studies: what RL on clinical metrics adds to SFT, and which part of its reward does it.

    python bench/unirg_ablation.py --out runs/unirg_ablation            about 80 minutes on 2 cores
    python bench/unirg_ablation.py --out runs/unirg_quick --quick       under 10 minutes; shows that all of it runs

Every arm is trained with each seed on the same studies: a base that writes reports and hardly looks, SFT from it, SFT for as
long as SFT and both steps of RL take together, RL without SFT, SFT and RL by one metric alone, by step 1 of the recipe
`phantom`, and by both steps. All are drafted greedily on the test studies of the sites trained on and of the one held out,
and scored by every metric that needs no weights. Trainings are single-thread processes, as many at once as there are cores;
the same command continues where it was stopped. `--write docs/results` writes the page and its plots.

Nothing was chosen by looking at test studies. Phantom data; nothing here is clinical.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from ablation import arms, jobs, measure
from ablation.arms import Plan

from wetread.runs import evaluate
from wetread.runs.store import RunFolder, write_atomic
from wetread.studies import phantom
from wetread.studies.phantom import PhantomConfig

FULL = Plan(studies=9000, prior_share=0.45, seeds=(0, 1, 2), warmup=1000, base=60, sft=1500, sft_long=3000, rl=400)
QUICK = Plan(
    studies=1500, prior_share=0.45, seeds=(0, 1, 2), warmup=60, base=20, sft=30, sft_long=50, rl=3, test_limit=60,
    resamples=300, hack=20,
)  # fmt: skip


def data(plan: Plan, out: Path) -> Path:
    """Make the studies, or what is missing of them, and return their folder."""
    path = out / "phantom"
    phantom.write(path, plan.studies, seed=0, config=PhantomConfig(prior_share=plan.prior_share))
    return path


def planned(plan: Plan, out: Path) -> list[jobs.Job]:
    """Return every job: trainings, planted hacks, drafts and scores."""
    made = arms.jobs(plan, out)
    for kind in ("length", "normals"):
        policy, folder = arms.model(out, plan.seeds[0], arms.SFT), out / "planted" / kind
        told = ("--model", str(policy), "--data", str(out / "phantom"), "--out", str(folder), "--steps", str(plan.hack))
        made.append(jobs.Job(f"planted/{kind}", jobs.module("planted", kind, *told), (f"seed{plan.seeds[0]}/sft",)))
    for group in measure.GROUPS:
        for baseline in evaluate.BASELINES:
            made.append(_scored(plan, out, baseline, group, baseline, baseline, ()))
        for seed in plan.seeds:
            for arm in arms.TRAINED:
                after, policy = (arms.job_name(seed, arms.ARMS[arm]),), str(arms.model(out, seed, arm))
                made.append(_scored(plan, out, arm, group, policy, f"seed{seed}/{arm}", after))
                if arm == arms.STEP2:
                    for prior in ("none", "report", "image"):
                        made.append(_scored(plan, out, arm, group, policy, f"seed{seed}/{arm}", after, prior))
    return made


def _scored(
    plan: Plan, out: Path, name: str, group: str, model: str, where: str, after: tuple[str, ...], prior: str = ""
) -> jobs.Job:
    folder = arms.scored_folder(out, group, where, prior)
    told = ["--data", str(out / "phantom"), "--group", group, "--model", model, "--name", name, "--out", str(folder)]
    told += ["--limit", str(plan.test_limit)] + (["--prior", prior] if prior else [])
    return jobs.Job(f"score/{folder.relative_to(out / 'scores')}", jobs.module("measure", *told), after)


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
    start = time.monotonic()
    run = RunFolder.open(given.out, "unirg_ablation", {"plan": arms.to_json(plan)})
    studies = data(plan, given.out)
    took = jobs.run(planned(plan, given.out), given.out, given.workers)
    run.event("trained", seconds=round(time.monotonic() - start))
    from ablation import unirg_page

    page = unirg_page.write(plan, given.out, studies, took, given.write or given.out / "page", sys.argv)
    write_atomic(given.out / "page.txt", str(page))
    run.event("done", seconds=round(time.monotonic() - start))
    print(f"{time.monotonic() - start:.0f} s; {page}")


if __name__ == "__main__":
    main()
