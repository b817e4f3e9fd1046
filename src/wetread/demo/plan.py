"""How much the demo does: the full form fits in 10 minutes on 2 cores and 4 GB, the quick one in 3 minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wetread.training.config import DataConfig, GroupConfig, OptimConfig, RlConfig, SftConfig


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does, and how much of it."""

    studies: int
    """Phantom studies made, all splits together."""
    sft: SftConfig
    """The supervised stage."""
    step1: RlConfig
    """GRPO on the similarity reward, without KL."""
    step2: RlConfig
    """GRPO with the error term added and a KL to step 1's policy."""
    test_limit: int = 0
    """Test studies scored; 0: all."""
    resamples: int = 4000
    """Bootstrap resamples."""
    seed: int = 0
    """Seed of everything."""


def plan(*, quick: bool, seed: int) -> DemoConfig:
    """Return the demo's config; ``quick`` is the form that fits in 3 minutes on 2 cores."""
    size = _QUICK if quick else _FULL
    data = DataConfig(path="phantom")
    group = GroupConfig(rollouts=size.rollouts, max_new_tokens=size.max_new_tokens)
    rl = OptimConfig(size.step1, size.batch, 0, size.rl_rate, 0.05, 0.0, "constant")
    return DemoConfig(
        studies=size.studies,
        sft=SftConfig(
            data=data, optim=OptimConfig(size.sft, 32, 0, 1.5e-3, 0.05, 0.02, "cosine"), checkpoint_every=100, seed=seed
        ),
        step1=RlConfig("sft/model", "direct", "unirg_step1", data, rl, group, 25, seed),
        step2=RlConfig(
            "rl-step1/model",
            "direct",
            "unirg_step2",
            data,
            OptimConfig(size.step2, size.batch, 0, size.rl_rate, 0.05, 0.0, "constant"),
            GroupConfig(rollouts=size.rollouts, max_new_tokens=size.max_new_tokens, kl=0.03),
            25,
            seed + 1,
        ),
        test_limit=size.test_limit,
        seed=seed,
    )


@dataclass(frozen=True)
class _Size:
    studies: int
    sft: int
    step1: int
    step2: int
    batch: int = 128
    rollouts: int = 16
    rl_rate: float = 2e-4
    max_new_tokens: int = 112
    test_limit: int = 0


_FULL = _Size(studies=6000, sft=600, step1=50, step2=30)
_QUICK = _Size(studies=1500, sft=150, step1=8, step2=4, test_limit=120)


def placed(config: DemoConfig, out: Path) -> DemoConfig:
    """Return the config with its paths under the run folder ``out``."""
    data = replace(config.sft.data, path=str(out / "phantom"))
    return replace(
        config,
        sft=replace(config.sft, data=data),
        step1=replace(config.step1, data=data, model=str(out / "sft" / "model")),
        step2=replace(config.step2, data=data, model=str(out / "rl-step1" / "model")),
    )
