"""Configs of the two trainings. Units and ranges stand with the fields; the defaults are those of a small GPU or a laptop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wetread.errors import ConfigError
from wetread.models.tiny import TinyConfig
from wetread.records import InputConfig
from wetread.rewards.rules import Rule
from wetread.runs.config import limits
from wetread.studies.priors import Priors


@dataclass(frozen=True)
class DataConfig:
    """Which studies are trained on, and which must not be among them.

    Several folders make a mixture. `weights` are their shares of the samples; without them every study counts once.
    """

    path: tuple[str, ...] = ("runs/phantom",)
    """Folder with `studies.jsonl`, or a list of them."""
    split: str = "train"
    """Split that is trained on."""
    limit: tuple[int, ...] = limits((0,), 0)
    """Use the first so many studies of a folder; 0 uses all. One number for all folders, or one each."""
    weights: tuple[float, ...] = limits((), above=0)
    """Share of the samples that each folder gets, up to a common factor; nothing: by its number of studies."""
    held_out: tuple[str, ...] = ()
    """Folders that will be tested on; training is refused where it would meet one of their patients or studies."""
    priors: Priors = "kept"
    """`kept`: those that the studies name; `recent`: for the others the patient's latest earlier study, by date."""


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser: AdamW, linear warm-up, then the schedule."""

    steps: int = limits(0, 0, 10_000_000)
    """Optimiser steps; 0: as many as `epochs` takes."""
    epochs: float = limits(0.0, 0, 1000)
    """Passes over the samples, instead of `steps`; where neither is set, one pass."""
    batch: int = limits(32, 1, 65_536)
    """Samples (SFT) or completions (RL, but see `group.batch_of`) per optimiser step."""
    micro_batch: int = limits(0, 0, 65_536)
    """Samples per forward pass; 0 takes `batch`. Must divide `batch`."""
    rate: float = limits(1e-3, above=0, high=1.0)
    """Peak learning rate."""
    warmup: float = limits(0.05, 0, 1)
    """Share of the steps that warm up."""
    decay: float = limits(0.01, 0, 1)
    """Weight decay."""
    beta2: float = limits(0.98, 0, 0.999999)
    """AdamW's second decay rate, of the mean of squared gradients; the first is 0.9."""
    clip: float = limits(1.0, 0, 1_000_000)
    """Norm to which longer gradients are scaled down; 0: none are."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up."""

    def __post_init__(self) -> None:
        if self.steps and self.epochs:
            raise ConfigError(
                f"optim.steps={self.steps} and optim.epochs={self.epochs:g} are both set; give one of them."
            )

    def counted(self, samples: int, batch: int) -> OptimConfig:
        """Return the same with its length in steps, for ``samples`` in an epoch of which a step takes ``batch``."""
        steps = self.steps or math.ceil((self.epochs or 1.0) * samples / batch)
        return replace(self, steps=steps, epochs=0.0)


@dataclass(frozen=True)
class AdapterConfig:
    """Low-rank adapters (LoRA): the model stays as it is and small matrices beside its layers are trained.

    The saved policy is always the whole model with the adapter merged in, so every command opens it.
    """

    kind: Literal["none", "lora", "qlora"] = "none"
    """`none` trains the model itself; `qlora` holds it in 4 bits and needs a GPU and bitsandbytes."""
    rank: int = limits(16, 1, 1024)
    """Rank of the matrices."""
    alpha: int = limits(32, 1, 4096)
    """Scale; what is added is divided by the rank."""
    dropout: float = limits(0.05, 0, 0.9)
    """Dropout before the matrices, in SFT; GRPO has none."""
    target: Literal["language", "all"] = "language"
    """Linear layers that get one: those of the language model, or also those of the image encoder and the projector."""
    keep: bool = False
    """Keep the adapter by itself too, in `adapter` beside `model`."""


@dataclass(frozen=True)
class ComputeConfig:
    """How a model is held and computed; matters for large ones."""

    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: trained weights in fp32, others as stored, computed in bf16 on a GPU; `fp32`: all; `bf16`: all, least memory."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them; about a third slower, far less memory."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """Attention kernels; `auto` is the library's choice."""
    image_side: int = limits(0, 0, 4096)
    """Side in pixels of the square that the processor scales an image to, or of its area where it keeps the shape; 0: as it is set."""


@dataclass(frozen=True)
class VllmConfig:
    """Rollouts by vLLM instead of by the trained model's own `generate`; needs a GPU."""

    use: Literal["none", "colocate", "server"] = "none"
    """`colocate`: on the GPUs that train; `server`: on one started with `trl vllm-serve`."""
    host: str = "127.0.0.1"
    """Where the server is."""
    port: int = limits(8000, 1, 65535)
    """Its port."""
    memory: float = limits(0.3, above=0, high=1)
    """Share of each GPU's memory that vLLM takes when colocated."""


@dataclass(frozen=True)
class GuardConfig:
    """Looks at the policy during training: drafts of studies that are not trained on, judged by more than the reward."""

    every: int = limits(25, 0)
    """Steps between looks, each with a checkpoint; the start and the end are looked at too. 0: none, and the last policy is kept."""
    split: str = "val"
    """Split that the studies are of."""
    studies: int = limits(64, 1, 100_000)
    """Studies that are drafted, the same at every look; guards of fewer than 20 only warn."""
    batch: int = limits(32, 1, 4096)
    """Studies drafted at once."""
    panel: tuple[str, ...] = ()
    """Held-out metrics, none of them in the reward; nothing: some without weights are chosen."""
    keep: str = "reward"
    """Which policy becomes the model: that with the best `reward`, the best value of a metric or of a ready reward, or the `last`."""
    max_new_tokens: int = limits(0, 0, 65_536)
    """Longest draft, or pass of one; 0: as long as a rollout, in SFT as the style usually needs."""
    act: Literal["stop", "warn"] = "stop"
    """`warn`: a guard that would stop the training only warns."""
    rules: tuple[Rule, ...] = ()
    """Thresholds in place of the usual ones of the same name and side, and more; see docs/rewards.md."""


@dataclass(frozen=True)
class SftConfig:
    """Supervised fine-tuning on reports."""

    model: str = "tiny"
    """`tiny` (built here from scratch), a model folder, or a Hugging Face id."""
    style: str = "direct"
    """Prompt style."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which studies."""
    inputs: InputConfig = field(default_factory=InputConfig)
    """What of a study the model is shown; what is not set is as the model says that training starts from."""
    lessons: tuple[str, ...] = ()
    """For styles that think: folders of `wetread traces` and `wetread reflect`; studies that have none are left out."""
    plain: float = limits(0.0, 0, 0.9)
    """For styles that think: share of the samples that are asked for the report alone, so that a policy can write either way."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How they are learned."""
    tiny: TinyConfig = field(default_factory=TinyConfig)
    """Shape of the tiny policy; used when `model` is `tiny`."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    """Whether small matrices are trained instead of the model."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """How the model is held and computed."""
    freeze_vision: bool = False
    """Keep the image encoder as it is; with a warmed-up tower the language model learns to use what it sees."""
    guard: GuardConfig = field(default_factory=lambda: GuardConfig(every=0, keep="findings_f1"))
    """How the policy is watched, and which one is kept; off unless `every` is set: then the last one is."""
    checkpoint_every: int = limits(100, 1)
    """Steps between checkpoints from which a killed run resumes."""
    seed: int = limits(0, 0, 2**31 - 1)
    """Seed of weights and order."""


@dataclass(frozen=True)
class GroupConfig:
    """GRPO's groups and clipping."""

    rollouts: int = limits(16, 2, 1024)
    """Completions per study; UniRG: 16."""
    batch_of: Literal["completions", "prompts"] = "completions"
    """What `optim.batch` counts; `optim.micro_batch` counts completions either way."""
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
class ScorerConfig:
    """What the metrics of the reward and of the guards compute with; judges are named by the environment alone."""

    weights: str = ""
    """Folder of the metrics' weights; empty: what `WETREAD_WEIGHTS` names, or the hub."""
    precision: Literal["", "fp32", "bf16"] = ""
    """Numbers that their networks compute with; empty: what `WETREAD_PRECISION` names, or fp32."""


@dataclass(frozen=True)
class RlConfig:
    """Reinforcement learning (GRPO) on clinical rewards."""

    model: str = "runs/sft/model"
    """Folder of the policy to start from; also the KL reference."""
    style: str = ""
    """Prompt style; empty: that of the policy's training."""
    reward: str | Mapping[str, Any] = "unirg_step1"
    """A ready reward (`unirg_step1` …), a metric's name, or a reward written out; see docs/rewards.md."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which studies."""
    inputs: InputConfig = field(default_factory=InputConfig)
    """What of a study the model is shown; what is not set is as the model says that training starts from."""
    lessons: tuple[str, ...] = ()
    """For the style `reflected`: folders of `wetread reflect`, whose drafts are to be corrected; nothing: first passes are trained."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(batch=128, rate=1e-4, decay=0.0, schedule="constant")
    )
    """How fast; `batch` counts completions."""
    group: GroupConfig = field(default_factory=GroupConfig)
    """Rollouts, clipping, KL."""
    scorers: ScorerConfig = field(default_factory=ScorerConfig)
    """What the reward's metrics compute with."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """How the policy is watched, and which one is kept."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    """Whether small matrices are trained instead of the model."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """How the model is held and computed."""
    vllm: VllmConfig = field(default_factory=VllmConfig)
    """Whether vLLM writes the rollouts."""
    freeze_vision: bool = False
    """Keep the image encoder as it is."""
    checkpoint_every: int = limits(25, 1)
    """Steps between checkpoints from which a killed run resumes."""
    seed: int = limits(0, 0, 2**31 - 1)
    """Seed of order and sampling."""

    def after(self, style: str) -> RlConfig:
        """Return the same in the style of the policy that it starts from, where no other is set."""
        return self if self.style else replace(self, style=style)

    def in_completions(self) -> RlConfig:
        """Return the same with a batch that counts completions."""
        if self.group.batch_of == "completions":
            return self
        optim = replace(self.optim, batch=self.optim.batch * self.group.rollouts)
        return replace(self, optim=optim, group=replace(self.group, batch_of="completions"))
