"""How much the demo does: the full form takes about 10 minutes on 2 cores and 4 GB, the quick one 3 minutes.

What is trained is said by the recipe `phantom`; here is only what the demo changes of it, and how many studies it makes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from wetread.training.recipe import Recipe, find, open_recipe

RECIPE = "phantom"
"""The recipe that the demo runs."""


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does, and how much of it."""

    studies: int
    """Phantom studies made, all splits together."""
    sets: tuple[str, ...] = ()
    """Settings on top of the recipe."""
    test_limit: int = 0
    """Test studies scored; 0: all."""
    resamples: int = 4000
    """Bootstrap resamples."""
    seed: int = 0
    """Seed of everything."""

    def recipe(self, out: Path) -> Recipe:
        """Return the recipe with the demo's settings, on the phantoms in the run folder ``out``."""
        seeds = (f"seed={self.seed}", f"step2.seed={self.seed + 1}")
        return open_recipe(find(RECIPE), (f"data.path={json.dumps(str(out / 'phantom'))}", *seeds, *self.sets))


def plan(*, quick: bool, seed: int) -> DemoConfig:
    """Return the demo's config; ``quick`` is the form that fits in 3 minutes on 2 cores."""
    if not quick:
        return DemoConfig(studies=9000, seed=seed)
    steps = ("sft.tiny.warmup_steps=300", "sft.optim.steps=120", "step1.optim.steps=5", "step2.optim.steps=3")
    return DemoConfig(studies=2000, sets=steps, test_limit=120, seed=seed)
