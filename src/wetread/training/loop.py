"""What both trainings share: resuming from whole checkpoints, events in the run folder, progress, seeds, the model card."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, set_seed

from wetread.errors import ConfigError, RunError
from wetread.runs.store import RunFolder, disk_error, letting_go
from wetread.training import processes
from wetread.training.config import OptimConfig
from wetread.training.norms import share_statistics
from wetread.training.sampling import Order

WHOLE = "whole"
"""Empty file in a checkpoint folder, written after everything else is on the disk."""

TOWERS = ("vision_tower", "visual", "vision_model")
"""Names under which models keep their image encoder."""

Step = Callable[[int, int, Mapping[str, float]], None]
"""Called after each optimiser step: steps done, steps in all, what was logged."""


Train = TypeVar("Train", bound=Callable[..., Path])


def alone(train: Train) -> Train:
    """Let a training, which is given a config and its run folder, unlock the folder when it ends, however it does."""

    @functools.wraps(train)
    def trained(config: Any, out: Path, *args: Any, **options: Any) -> Path:
        with letting_go(out):
            return train(config, out, *args, **options)

    return cast("Train", trained)


class Follower(RunFolder):
    """The run folder as the processes see it that do not write: it can be read, and events are left to the first."""

    def event(self, what: str, **fields: Any) -> None:
        """Write nothing."""


def open_run(out: Path, kind: str, config: Mapping[str, Any]) -> RunFolder:
    """Create or continue a training's run folder, for every process that shares the training; errors as ``RunFolder.open``.

    The first process locks it; what calls this is to be ``alone``.
    """
    with processes.first():
        run = RunFolder.open(out, kind, config, alone=processes.main())
    return run if processes.main() else Follower(run.path, run.meta)


def done(run: RunFolder, what: str) -> bool:
    """Whether an event has been written, as the first process finds it; all must call it, so that all take the same way.

    A process that looked for itself might be late and see what the first has written since.
    """
    return bool(processes.told([run.done(what)])[0])


def same_data(run: RunFolder, what: str, marks: Mapping[str, str]) -> None:
    """Refuse to continue with other data than those that the run was begun with.

    Weights fit the tokens, the order and the reports that they were learned from; with others they go on without a word.

    Parameters
    ----------
    run
        The run.
    what
        Name of the events that keep marks as ``digests``; the first one counts, and where none does, nothing is compared.
    marks
        Part of the data to what stands for it, as ``data.digests`` makes them.

    Raises
    ------
    RunError
        Says which parts have changed.
    """
    kept = (one["digests"] for one in run.events.read() if one["event"] == what and "digests" in one)
    begun = processes.told([next(kept, dict(marks))])[0]
    changed = [part for part, mark in marks.items() if begun.get(part, mark) != mark]
    if changed:
        raise RunError(
            f"{run.path.name} was begun with other data: {', '.join(changed)} have changed since. "
            "Put the data back as they were, or choose another --out."
        )


def finish(run: RunFolder, stage: str, save: Callable[[], None], **fields: Any) -> None:
    """Let one process ``save`` what the stage made and note that it is done; all return when it is."""
    if processes.main():
        save()
        run.event(f"{stage}.done", **fields)
    processes.wait()


class Recorder(TrainerCallback):
    """Writes what a trainer logs to events.jsonl, marks whole checkpoints, reports progress, and seeds every step."""

    def __init__(self, run: RunFolder, stage: str, on_step: Step | None) -> None:
        self.run = run
        self.stage = stage
        self.on_step = on_step
        self.last: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note where a continued training goes on."""
        if state.global_step:
            self.run.event(f"{self.stage}.resumed", step=state.global_step, processes=processes.count())

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seed the step, so that its random numbers do not depend on where the run was begun or continued."""
        sequence = np.random.SeedSequence([args.seed, state.global_step, processes.rank()])
        set_seed(int(sequence.generate_state(1)[0]))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Append the numbers of a step; NaN is left out, since it is not JSON and says nothing."""
        numbers = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
        kept = {key: round(value, 6) for key, value in numbers.items() if math.isfinite(value)}
        if "train_runtime" in kept:  # the trainer's own summary, not a step
            return
        kept.pop("epoch", None)  # to the trainer all steps are one epoch, see Order
        self.last = kept
        self.run.event(f"{self.stage}.step", step=state.global_step, **kept)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the progress bar; log wherever a checkpoint is made, so that a continued run averages over the same steps."""
        control.should_log |= control.should_save
        if self.on_step is not None and processes.main():
            self.on_step(state.global_step, state.max_steps, self.last)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as whole once every process has written its part."""
        processes.wait()
        if processes.main():
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


def check_batch(optim: OptimConfig, rollouts: int = 1) -> None:
    """Refuse a batch that cannot be dealt: to processes, then to micro-batches and groups.

    Parameters
    ----------
    optim
        Its batch counts samples or, in RL, completions.
    rollouts
        Completions of a group; 1: there are no groups.

    Raises
    ------
    ConfigError
        Says which number does not divide which.
    """
    share = processes.share(optim.batch, "optim.batch")
    if optim.micro_batch and share % optim.micro_batch:
        whole = f"optim.batch={optim.batch}" + (f" / {processes.count()} processes" if share != optim.batch else "")
        raise ConfigError(f"optim.micro_batch={optim.micro_batch} does not divide {whole}.")
    if share % rollouts:
        whole = f"optim.batch={optim.batch}"
        if share != optim.batch:
            whole += f", of which each of {processes.count()} processes takes {share},"
        raise ConfigError(f"{whole} is not a multiple of group.rollouts={rollouts}; a group must not be cut.")


def common_arguments(folder: Path, optim: OptimConfig, *, every: int, seed: int) -> dict[str, Any]:
    """Return the ``TrainingArguments`` that SFT and RL share."""
    import torch

    share = processes.share(optim.batch, "optim.batch")
    micro = optim.micro_batch or share
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "max_steps": optim.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "learning_rate": optim.rate,
        "lr_scheduler_type": {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}[
            optim.schedule
        ],
        "warmup_steps": round(optim.warmup * optim.steps),
        "weight_decay": optim.decay,
        "adam_beta2": optim.beta2,
        "max_grad_norm": optim.clip,
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
        "ddp_broadcast_buffers": False,  # the statistics of share_statistics are equal everywhere
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


def vision(model: Any) -> list[Any]:
    """Return the image encoder's modules.

    Raises
    ------
    ConfigError
        The model has no part that is known as one.
    """
    parts = [part for name, part in model.named_modules() if name.split(".")[-1] in TOWERS]
    if not parts:
        raise ConfigError(
            f"freeze_vision: {type(model).__name__} has no {', '.join(TOWERS[:-1])} or {TOWERS[-1]} to freeze; "
            "set it to false."
        )
    return parts


def freeze_vision(model: Any) -> None:
    """Take the image encoder out of training; errors as ``vision``."""
    for part in vision(model):
        part.requires_grad_(False)


def run_trainer(trainer: Any, run: RunFolder, folder: Path, order: Order) -> None:
    """Train on the samples of ``order``, from the newest whole checkpoint or from the start.

    Raises
    ------
    RunError
        The disk is full or the folder cannot be written.
    """
    trainer.remove_callback(PrinterCallback)
    trainer._get_train_sampler = lambda dataset=None: order
    share_statistics(trainer.model)
    with processes.first():
        checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        trainer._total_train_tokens = _tokens(Path(checkpoint))
    _restore_by_name(trainer)
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except OSError as error:
        raise disk_error(run.path, error) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" in str(error) or "No space left" in str(error):
            raise RunError(
                f"cannot write a checkpoint in {run.path.name}: the disk is full. Free space; then run the same command again, it continues."
            ) from error
        raise


def _tokens(checkpoint: Path) -> float:
    """Return how many tokens had been learned from at a checkpoint; TRL's SFT trainer logs the number but does not keep it."""
    history = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["log_history"]
    return float(next((entry["num_tokens"] for entry in reversed(history) if "num_tokens" in entry), 0))


def _restore_by_name(trainer: Any) -> None:
    """Let the trainer restore a model's weights as ``from_pretrained`` reads them, and fail where one is missing.

    Its own way takes the names in the file for the model's. Most vision-language models are saved under other names than
    they have in memory; their weights would be left as they were before the checkpoint, without a word.
    """
    plain = trainer._load_from_checkpoint

    def restore(checkpoint: str, model: Any = None) -> None:
        if model is not None or not isinstance(trainer.model, PreTrainedModel):  # FSDP, adapters, a bare module
            plain(checkpoint, model)
            return
        saved = type(trainer.model).from_pretrained(checkpoint, dtype="auto")
        trainer.model.load_state_dict(saved.state_dict())

    trainer._load_from_checkpoint = restore


def quiet() -> None:
    """Silence the libraries' own bars and advice; what matters is in events.jsonl and in our progress line."""
    import warnings

    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", module=r"(trl|transformers|torch|accelerate)\b.*")
