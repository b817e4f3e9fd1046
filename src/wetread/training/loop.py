"""What both trainings share: resuming from whole checkpoints, events in the run folder, progress, seeds, the model card."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from wetread.errors import ConfigError, RunError
from wetread.runs.store import RunFolder, disk_error
from wetread.training.config import OptimConfig

WHOLE = "whole"
"""Empty file in a checkpoint folder, written after everything else is on the disk."""

Step = Callable[[int, int, Mapping[str, float]], None]
"""Called after each optimiser step: steps done, steps in all, what was logged."""


class Recorder(TrainerCallback):
    """Writes what a trainer logs to events.jsonl, marks whole checkpoints, and reports progress."""

    def __init__(self, run: RunFolder, stage: str, on_step: Step | None) -> None:
        self.run = run
        self.stage = stage
        self.on_step = on_step
        self.last: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Append the numbers of a step; NaN is left out, since it is not JSON and says nothing."""
        numbers = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
        kept = {key: round(value, 6) for key, value in numbers.items() if math.isfinite(value)}
        if "train_runtime" in kept:  # the trainer's own summary, not a step
            return
        self.last = kept
        self.run.event(f"{self.stage}.step", step=state.global_step, **kept)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the progress bar."""
        if self.on_step is not None:
            self.on_step(state.global_step, state.max_steps, self.last)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as whole."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        os.sync()
        (folder / WHOLE).touch()


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint under ``folder`` and remove those that a kill left half-written."""
    if not folder.is_dir():
        return None
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if (path / WHOLE).exists():
            whole.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path)
    return str(max(whole)[1]) if whole else None


def check_batch(optim: OptimConfig) -> None:
    """Refuse a micro-batch that does not divide the batch (``ConfigError``)."""
    if optim.micro_batch and optim.batch % optim.micro_batch:
        raise ConfigError(f"optim.micro_batch={optim.micro_batch} does not divide optim.batch={optim.batch}.")


def common_arguments(folder: Path, optim: OptimConfig, *, every: int, seed: int) -> dict[str, Any]:
    """Return the ``TrainingArguments`` that SFT and RL share."""
    import torch

    micro = optim.micro_batch or optim.batch
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "max_steps": optim.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": optim.batch // micro,
        "learning_rate": optim.rate,
        "lr_scheduler_type": {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}[
            optim.schedule
        ],
        "warmup_steps": round(optim.warmup * optim.steps),
        "weight_decay": optim.decay,
        "adam_beta2": 0.98,
        "max_grad_norm": 1.0,
        "logging_steps": max(1, min(5, optim.steps // 20)),
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "seed": seed,
        "data_seed": seed,
        "bf16": gpu,
        "use_cpu": not gpu,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


def freeze_vision(model: Any) -> None:
    """Take the image encoder out of training.

    Raises
    ------
    ConfigError
        The model has no part that is known as one.
    """
    parts = [
        part
        for name, part in model.named_modules()
        if name.split(".")[-1] in ("vision_tower", "visual", "vision_model")
    ]
    if not parts:
        raise ConfigError(
            f"freeze_vision: {type(model).__name__} has no vision_tower, visual or vision_model to freeze; set it to false."
        )
    for part in parts:
        part.requires_grad_(False)


def run_trainer(trainer: Any, run: RunFolder, folder: Path) -> None:
    """Train from the newest whole checkpoint, or from the start.

    Raises
    ------
    RunError
        The disk is full or the folder cannot be written.
    """
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    except OSError as error:
        raise disk_error(run.path, error) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" in str(error) or "No space left" in str(error):
            raise RunError(
                f"cannot write a checkpoint in {run.path.name}: the disk is full. Free space; then run the same command again, it continues."
            ) from error
        raise


def quiet() -> None:
    """Silence the libraries' own bars and advice; what matters is in events.jsonl and in our progress line."""
    import warnings

    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", module=r"(trl|transformers|torch|accelerate)\b.*")
