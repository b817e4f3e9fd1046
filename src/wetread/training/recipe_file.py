"""What a recipe's file holds, as it stands there; ``training.recipe`` tells of its keys and puts choices and settings in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wetread.runs.config import limits


@dataclass(frozen=True)
class StageEntry:
    """A stage as the file has it."""

    name: str
    """Its name, and that of its run folder."""
    kind: Literal["sft", "rl"]
    """`sft` or `rl`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `wetread train sft` or `rl`."""


@dataclass(frozen=True)
class Deviation:
    """A place where a recipe differs from its paper."""

    field: str
    """Which field of the recipe."""
    paper: str
    """What the paper says, or that it is silent."""
    here: Any
    """What the field holds."""
    reason: str
    """Why."""


@dataclass(frozen=True)
class Choice:
    """Something that the paper leaves open."""

    question: str
    """What is open, and what speaks for which answer."""
    here: str
    """The answer taken."""
    options: Mapping[str, Any]
    """Every answer to the fields that it sets."""


@dataclass(frozen=True)
class Evaluation:
    """What the last stage's policy is scored on, beside the stages before it and the baselines."""

    splits: tuple[str, ...] = ("test",)
    """Splits of the data folders."""
    data: tuple[str, ...] = ()
    """Folders; none: those that are trained on."""
    limit: int = limits(0, 0)
    """Use the first so many studies of a folder; 0: all."""
    batch: int = limits(32, 1, 4096)
    """Studies generated at once."""
    max_new_tokens: int = limits(0, 0, 65_536)
    """Longest draft in tokens; 0: as in the last stage."""


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as the file has it; ``training.recipe`` tells of its fields."""

    name: str
    """What the recipe is called."""
    source: str
    """The paper, or what else it follows."""
    stages: tuple[StageEntry, ...]
    """The stages in order."""
    model: str = "tiny"
    """What the first stage starts from, and others that name nothing else."""
    seed: int = limits(0, 0, 2**31 - 1)
    """Seed of every stage that says no other."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    adapter: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    compute: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    choices: Mapping[str, Any] = field(default_factory=dict)
    """Name to choice."""
    deviations: tuple[Deviation, ...] = ()
    """Where it differs from its source."""
    evaluate: Evaluation | None = None
    """What is scored at the end; nothing where it is left out."""
