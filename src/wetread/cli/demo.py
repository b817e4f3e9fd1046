"""``wetread demo``: the whole loop on phantom studies."""

from __future__ import annotations

from pathlib import Path

import typer


def run(
    quick: bool = typer.Option(
        False, "--quick", help="A smaller data set and less training: at most 3 minutes on 2 cores."
    ),
    out: Path | None = typer.Option(
        None, "--out", help="Run folder; runs/demo by default, runs/demo-quick with --quick."
    ),
    seed: int = typer.Option(
        0, "--seed", min=0, max=2**31 - 1, help="Same seed, same numbers (on the same machine, with as many threads)."
    ),
) -> int:
    """Make phantom studies, train the tiny policy by SFT, improve it by GRPO on clinical rewards, evaluate, write one page."""
    from wetread import demo

    folder = out or Path("runs/demo-quick" if quick else "runs/demo")
    demo.run(folder, demo.plan(quick=quick, seed=seed))
    return 0
