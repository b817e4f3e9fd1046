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

from pathlib import Path

from ablation import arms, chains, command
from ablation.arms import Plan

FULL = Plan(
    pretrain=12000, studies=9000, train=3000, prior_share=0.45, seeds=(0, 1, 2), warmup=2000, base=150, sft=1000,
    sft_more=1650, rl=80, rl_more=180, hack=200, test_limit=600,
)  # fmt: skip
QUICK = Plan(
    pretrain=700, studies=900, train=300, prior_share=0.45, seeds=(0, 1, 2), warmup=60, base=20, sft=30, sft_more=20,
    rl=3, rl_more=3, looks=60, test_limit=60, resamples=300, hack=20,
)  # fmt: skip


def write(plan: Plan, out: Path, origin: str, to: Path) -> Path:
    """Write the page."""
    from ablation import unirg_page

    return unirg_page.write(plan, out, out / chains.DATA, origin, to)


ABLATION = command.Ablation("unirg_ablation", "unirg_phantom", __doc__, FULL, QUICK, arms.jobs, write)

if __name__ == "__main__":
    command.main(ABLATION)
