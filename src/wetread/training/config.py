"""Configs of the two trainings. Units and ranges stand with the fields; the defaults are those of a small GPU or a laptop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wetread.models.tiny import TinyConfig
from wetread.runs.config import limits


@dataclass(frozen=True)
class DataConfig:
    """Which studies are trained on."""

    path: str = "runs/phantom"
    """Folder with `studies.jsonl`."""
    split: str = "train"
    """Split that is trained on."""
    limit: int = limits(0, 0)
    """Use the first so many studies; 0 uses all."""


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser: AdamW, linear warm-up, then the schedule."""

    steps: int = limits(1000, 1, 10_000_000)
    """Optimiser steps."""
    batch: int = limits(32, 1, 65_536)
    """Samples (SFT) or completions (RL) per optimiser step."""
    micro_batch: int = limits(0, 0, 65_536)
    """Samples per forward pass; 0 takes `batch`. Must divide `batch`."""
    rate: float = limits(1e-3, above=0, high=1.0)
    """Peak learning rate."""
    warmup: float = limits(0.05, 0, 1)
    """Share of the steps that warm up."""
    decay: float = limits(0.01, 0, 1)
    """Weight decay."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up."""


@dataclass(frozen=True)
class SftConfig:
    """Supervised fine-tuning on reports."""

    model: str = "tiny"
    """`tiny` (built here from scratch), a model folder, or a Hugging Face id."""
    style: str = "direct"
    """Prompt style."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which studies."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How they are learned."""
    tiny: TinyConfig = field(default_factory=TinyConfig)
    """Shape of the tiny policy; used when `model` is `tiny`."""
    freeze_vision: bool = False
    """Keep the image encoder as it is; with a warmed-up tower the language model learns to use what it sees."""
    checkpoint_every: int = limits(100, 1)
    """Steps between checkpoints from which a killed run resumes."""
    seed: int = limits(0, 0, 2**31 - 1)
    """Seed of weights and order."""


@dataclass(frozen=True)
class GroupConfig:
    """GRPO's groups and clipping."""

    rollouts: int = limits(16, 2, 1024)
    """Completions per study; UniRG: 16."""
    temperature: float = limits(1.0, above=0, high=5)
    """Sampling temperature of the rollouts."""
    max_new_tokens: int = limits(128, 1, 65_536)
    """Most tokens a completion may have."""
    clip_low: float = limits(0.2, above=0, high=1)
    """Ratio clip below 1."""
    clip_high: float = limits(0.28, above=0, high=1)
    """Ratio clip above 1; larger than `clip_low` is clip-higher, as in UniRG."""
    kl: float = limits(0.0, 0, 10)
    """Weight of the KL to the policy that training starts from; UniRG: 0 in step 1, 0.03 in step 2."""
    scale: Literal["group", "batch", "none"] = "group"
    """By which standard deviation advantages are divided."""
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    """How token losses are averaged (TRL's names)."""


@dataclass(frozen=True)
class RlConfig:
    """Reinforcement learning (GRPO) on clinical rewards."""

    model: str = "runs/sft/model"
    """Folder of the policy to start from; also the KL reference."""
    style: str = "direct"
    """Prompt style."""
    reward: str = "unirg_step1"
    """Reward recipe: `unirg_step1`, `unirg_step2`, or a metric's name."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which studies."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(steps=100, batch=128, rate=1e-4, decay=0.0, schedule="constant")
    )
    """How fast; `batch` counts completions."""
    group: GroupConfig = field(default_factory=GroupConfig)
    """Rollouts, clipping, KL."""
    freeze_vision: bool = False
    """Keep the image encoder as it is."""
    checkpoint_every: int = limits(25, 1)
    """Steps between checkpoints from which a killed run resumes."""
    seed: int = limits(0, 0, 2**31 - 1)
    """Seed of order and sampling."""
