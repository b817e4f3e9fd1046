"""What a user would write with TRL alone: the plain scripts that the trainings are timed against.

The same model, studies, batch and steps as ours; TRL's own collator; pictures opened from their files; nothing cached.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    load_dataset,  # noqa: F401  (the import that such a script starts with)
)
from datasets import Image as ImageFeature
from datasets import List as ListFeature
from transformers import TrainerCallback

from wetread import prompts
from wetread.records import Study


def rows(studies: list[Study], folder: Path, *, target: bool) -> Dataset:
    """Return a plain data set: messages and the paths of the pictures."""
    style = prompts.get("direct")
    data: dict[str, list[Any]] = {"prompt": [], "images": [], "study": []}
    if target:
        data["completion"] = []
    for study in studies:
        prompt = style.render(study)
        data["prompt"].append([{"role": "user", "content": prompt.text}])
        data["images"].append([str(folder / image.name) for image in prompt.images])
        data["study"].append(study.id)
        if target and study.report:
            data["completion"].append([{"role": "assistant", "content": style.target(study.report)}])
    return Dataset.from_dict(data).cast_column("images", ListFeature(ImageFeature()))


def common(out: Path, batch: int, steps: int) -> dict[str, Any]:
    """Return the arguments that both plain scripts use."""
    return {
        "output_dir": str(out), "max_steps": steps, "per_device_train_batch_size": batch, "learning_rate": 1e-4,
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "logging_steps": 1, "seed": 0,
    }  # fmt: skip


class Clock(TrainerCallback):
    """Notes when each step of a trainer ended and how many tokens it had learned from by then."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        trainer.ends, trainer.tokens = [], []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note both."""
        self.trainer.ends.append(time.perf_counter())
        self.trainer.tokens.append(self.trainer._total_train_tokens)


def trained(trainer: Any) -> Any:
    """Train, with a clock, and return the trainer."""
    trainer.add_callback(Clock(trainer))
    trainer.train()
    return trainer


def sft(model: Any, processor: Any, studies: list[Study], folder: Path, out: Path, batch: int, steps: int) -> Any:
    """Train by SFT and return the trainer."""
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(**common(out, batch, steps), max_length=None)
    data = rows(studies, folder, target=True)
    return trained(SFTTrainer(model=model, args=args, train_dataset=data, processing_class=processor))


def grpo(
    model: Any, processor: Any, studies: list[Study], folder: Path, out: Path, batch: int, steps: int, tokens: int
) -> Any:
    """Train by GRPO on our reward and return the trainer."""
    from trl import GRPOConfig, GRPOTrainer

    from wetread import rewards
    from wetread.records import Generation

    references = {study.id: study.report for study in studies if study.report}
    style, recipe = prompts.get("direct"), rewards.get("unirg_step1")

    def reward(completions: Any, study: Any, **_: Any) -> list[float | None]:
        drafts = [
            style.parse(Generation(name, turn[0]["content"])) for name, turn in zip(study, completions, strict=True)
        ]
        return [one.value for one in rewards.score_batch(drafts, [references[name] for name in study], recipe)]

    args = GRPOConfig(
        **common(out, batch, steps), num_generations=16, max_completion_length=tokens, beta=0.0, temperature=1.0
    )
    data = rows(studies, folder, target=False)
    return trained(
        GRPOTrainer(model=model, args=args, reward_funcs=[reward], train_dataset=data, processing_class=processor)
    )
