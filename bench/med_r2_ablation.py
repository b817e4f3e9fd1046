"""Med-R2's ablation on phantom studies: what thinking before a report adds, what knowledge does, and what a second look repairs.

    python bench/med_r2_ablation.py --out runs/med_r2_phantom
    python bench/med_r2_ablation.py --out runs/med_r2_quick --quick     the smallest form; shows that all of it runs

Every arm of fine-tuning is trained with each seed on the same studies for about the same processor time: direct SFT, reasoning without a
tree, with the tree, with knowledge, with reflection; and the controls: two passes without reflection data, the better of two
samples, a shuffled tree, closer views from the first pass on. Then both steps of UniRG's RL on direct, reasoned and reflected
policies, and RL on labels and narrative that agree. SFT and RL alike keep the best of their looks at validation studies.
Drafts are greedy, on test studies of the sites trained on and of the one held out. Trainings are single-thread processes, as many at once
as there are cores; the same command continues where it was stopped. `--write docs/results` writes the page and its plots.

The design was chosen on validation studies (`--split val`). Phantom data; nothing here is clinical.
"""

from __future__ import annotations

from pathlib import Path

from ablation import chains, command, med_arms
from ablation.med_arms import CONSISTENT, RL_DIRECT, RL_REASONED, RL_REFLECTED, Plan

FULL = Plan(
    pretrain=12000, studies=9000, train=3000, prior_share=0.45, seeds=(0, 1, 2), warmup=4500, base=2000, shape={"text_layers": 4, "text_heads": 4},
    steps={"direct": 1000, "labelled": 800, "free": 700, "tree": 650, "knows": 550, "shuffled": 650, "closer": 500, "half": 350, "full": 250},
    rl={RL_DIRECT: (100, 100), RL_REASONED: (60, 60), RL_REFLECTED: (60, 60), CONSISTENT: (60, 0)}, test_limit=600,
)  # fmt: skip
QUICK = Plan(
    pretrain=700, studies=900, train=300, prior_share=0.45, seeds=(0, 1, 2), warmup=60, base=30, shape={"text_heads": 4},
    steps={"direct": 20, "labelled": 20, "free": 20, "tree": 20, "knows": 20, "shuffled": 20, "closer": 20, "half": 10, "full": 10},
    rl={RL_DIRECT: (2, 2), RL_REASONED: (2, 2), RL_REFLECTED: (2, 2), CONSISTENT: (2, 0)}, looks=16, test_limit=40, resamples=300,
)  # fmt: skip


def write(plan: Plan, out: Path, origin: str, to: Path) -> Path:
    """Write the page."""
    from ablation import med_page

    return med_page.write(plan, out, out / chains.DATA, origin, to)


ABLATION = command.Ablation("med_r2_ablation", "med_r2_phantom", __doc__, FULL, QUICK, med_arms.jobs, write, size=256)

if __name__ == "__main__":
    command.main(ABLATION)
