"""Supervised fine-tuning on reports, through TRL's SFTTrainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wetread import prompts
from wetread.errors import ConfigError
from wetread.models import tiny, transformers
from wetread.records import Report, Study
from wetread.runs.config import to_dict
from wetread.runs.store import RunFolder
from wetread.training import loop
from wetread.training.card import Card
from wetread.training.config import SftConfig
from wetread.training.data import as_dataset, select
from wetread.training.sampling import LengthGrouped
from wetread.training.saving import save_policy

if TYPE_CHECKING:
    from wetread.training.warmup import Labels

STAGE = "sft"


def train(config: SftConfig, out: Path, on_step: loop.Step | None = None) -> Path:
    """Train, or continue where an interrupted run stopped, and return the model's folder ``out/model``.

    Raises
    ------
    MissingError, UsageError
        The data or the model is not there or not usable.
    RunError
        ``out`` was written by another config, or the disk is full.
    """
    loop.quiet()
    style = prompts.get(config.style)
    loop.check_batch(config.optim)
    if config.model != "tiny":
        transformers.check(config.model)
    studies = select(config.data)
    run = RunFolder.open(out, STAGE, to_dict(config))
    target = out / "model"
    if run.done(f"{STAGE}.done"):
        return target
    from trl.trainer.sft_config import SFTConfig as Arguments

    from wetread.training.warmup import Labels, warm_up

    total = config.optim.steps + _warmup_steps(config)

    def ahead(done: int, _: int, numbers: Mapping[str, float]) -> None:
        if on_step is not None:
            on_step(done, total, numbers)

    labels = Labels.read(studies, most=config.tiny.vision_width) if _warmup_steps(config) else None
    model, processor = starting_point(config, studies, style, labels)
    if labels is not None:
        warm_up(model.model.vision_tower, processor, studies, labels, config, run, ahead)
    if config.freeze_vision:
        loop.freeze_vision(model)
    folder = out / "checkpoints"
    arguments = Arguments(
        **loop.common_arguments(folder, config.optim, every=config.checkpoint_every, seed=config.seed),
        max_length=None,  # truncation would cut image tokens
        completion_only_loss=True,
    )
    trainer = _trainer_class()(
        lengths=lengths(studies, style),
        model=model,
        args=arguments,
        train_dataset=as_dataset(studies, style, with_target=True),
        processing_class=processor,
        callbacks=[loop.Recorder(run, STAGE, lambda done, _, numbers: ahead(done + _warmup_steps(config), _, numbers))],
    )
    loop.run_trainer(trainer, run, folder)
    if config.model == "tiny":
        model.model.vision_tower.freeze_statistics()

    card = Card(
        verb="train sft",
        how=f"supervised fine-tuning, {config.optim.steps} steps of {config.optim.batch}",
        base="random weights (tiny LLaVA)" if config.model == "tiny" else config.model,
        studies=len(studies),
        source=studies[0].source,
        config=to_dict(config),
    )
    save_policy(model, processor, card, target)
    run.event(f"{STAGE}.done", steps=config.optim.steps)
    return target


def starting_point(
    config: SftConfig, studies: Sequence[Study], style: prompts.Style, labels: Labels | None
) -> tuple[Any, Any]:
    """Return (model, processor): the tiny policy built for these reports, or what ``config.model`` names.

    ``labels`` are what the tower's warm-up will teach it; None: no warm-up, and a tower without slots for labels.
    """
    if config.model != "tiny":
        return transformers.load(config.model)
    texts = [
        text for study in studies if study.report for text in (style.render(study).text, style.target(study.report))
    ]
    slots = labels.layout() if labels is not None else None
    if slots and len(slots) + len(slots[0]) > config.tiny.vision_width:
        raise ConfigError(
            f"tiny.vision_width={config.tiny.vision_width} is too narrow for the {len(slots)} findings of these "
            f"reports; set at least {len(slots) + len(slots[0])}."
        )
    tokenizer = tiny.build_tokenizer(texts, config.tiny)
    processor = tiny.build_processor(tokenizer, config.tiny, slots)
    return tiny.build_model(tokenizer, config.tiny, seed=config.seed, slots=slots), processor


def _warmup_steps(config: SftConfig) -> int:
    return config.tiny.warmup_steps if config.model == "tiny" else 0


def lengths(studies: Sequence[Study], style: prompts.Style) -> list[int]:
    """Return the words of each study's prompt and target, which is all that its length in a batch depends on."""
    return [len(style.render(study).text.split()) + len((study.report or Report()).text.split()) for study in studies]


@cache
def _trainer_class() -> Any:
    """Return TRL's SFTTrainer with batches of like length; made on demand, since importing TRL takes seconds."""
    from trl.trainer.sft_trainer import SFTTrainer

    class LengthGroupedTrainer(SFTTrainer):
        def __init__(self, *, lengths: list[int], **options: Any) -> None:
            self._lengths = lengths
            super().__init__(**options)

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return LengthGrouped(self._lengths, self.args.train_batch_size, self.args.seed)

    return LengthGroupedTrainer
