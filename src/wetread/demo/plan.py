"""How much the demo does: the full form fits in 10 minutes on 2 cores and 4 GB, the quick one in 3 minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wetread.models.tiny import TinyConfig
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
    step1 = RlConfig(
        model="sft/model",
        reward="unirg_step1",
        data=data,
        optim=OptimConfig(size.step1, size.batch, size.micro_batch, size.rl_rate, 0.05, 0.0, "constant"),
        group=GroupConfig(rollouts=size.rollouts, temperature=0.8, max_new_tokens=size.max_new_tokens),
        freeze_vision=True,
        seed=seed,
    )
    step2 = replace(
        step1,
        model="rl-step1/model",
        reward="unirg_step2",
        optim=replace(step1.optim, steps=size.step2),
        group=replace(step1.group, kl=0.03),
        seed=seed + 1,
    )
    sft = SftConfig(
        data=data,
        optim=OptimConfig(size.sft, 32, 0, 3e-3, 0.05, 0.02, "cosine"),
        tiny=TinyConfig(warmup_steps=size.warmup),
        freeze_vision=True,
        seed=seed,
    )
    return DemoConfig(size.studies, sft, step1, step2, size.test_limit, seed=seed)


@dataclass(frozen=True)
class _Size:
    studies: int
    warmup: int
    sft: int
    step1: int
    step2: int
    batch: int = 128
    micro_batch: int = 0
    rollouts: int = 8
    rl_rate: float = 4e-4
    max_new_tokens: int = 88
    test_limit: int = 0


_FULL = _Size(studies=9000, warmup=1000, sft=450, step1=40, step2=40)
_QUICK = _Size(studies=2000, warmup=300, sft=120, step1=5, step2=3, test_limit=120)


def placed(config: DemoConfig, out: Path) -> DemoConfig:
    """Return the config with its paths under the run folder ``out``."""
    data = replace(config.sft.data, path=str(out / "phantom"))
    return replace(
        config,
        sft=replace(config.sft, data=data),
        step1=replace(config.step1, data=data, model=str(out / "sft" / "model")),
        step2=replace(config.step2, data=data, model=str(out / "rl-step1" / "model")),
    )
