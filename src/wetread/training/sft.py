"""Supervised fine-tuning on reports, through TRL's SFTTrainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wetread import prompts
from wetread.errors import ConfigError
from wetread.models import inputs_of, tiny, transformers
from wetread.records import Inputs
from wetread.runs.config import to_dict
from wetread.training import adapters, guarding, lessons, loop
from wetread.training.card import Card
from wetread.training.config import SftConfig
from wetread.training.data import as_dataset, digests, select
from wetread.training.lessons import Lesson
from wetread.training.sampling import Order

if TYPE_CHECKING:
    from wetread.training.warmup import Labels

STAGE = "sft"
IMAGE_WORDS = 100
"""Length of an image beside words, roughly: 30 tokens in the tiny policy, some hundreds in large models."""


@loop.alone
def train(config: SftConfig, out: Path, on_step: loop.Step | None = None) -> Path:
    """Train, or continue where an interrupted run stopped, and return the model's folder ``out/model``.

    Raises
    ------
    MissingError, UsageError
        The data or the model is not there or not usable.
    RunError
        ``out`` was written by another config or begun with other data, or the disk is full.
    """
    loop.quiet()
    inputs = config.inputs.over(Inputs() if config.model == "tiny" else inputs_of(config.model))
    prompts.get(config.style, inputs)
    loop.check_batch(config.optim)
    if _warmup_steps(config):
        from wetread.training import warmup

        warmup.check_batch()
    adapters.check(config.adapter, config.compute, config.model)
    if config.model != "tiny":
        transformers.check(config.model)
    given = config
    studies = select(config.data, config.seed)
    learned, guide, told = lessons.of(studies, config.lessons, config.style, config.plain)
    style = prompts.get(config.style, inputs, guide)
    config = replace(config, optim=config.optim.counted(len(learned), config.optim.batch))
    run = loop.open_run(out, STAGE, to_dict(given))
    if loop.done(run, f"{STAGE}.done"):
        return out / "model"
    marks = {**digests(studies), **lessons.mark(learned, guide)}
    loop.same_data(run, f"{STAGE}.data", marks)
    run.event(f"{STAGE}.data", **studies.event(), **told, digests=marks)
    from trl.trainer.sft_config import SFTConfig as Arguments
    from trl.trainer.sft_trainer import SFTTrainer

    from wetread.training.preparing import with_memory
    from wetread.training.scored import score_labels_only
    from wetread.training.sharing import keep_features
    from wetread.training.warmup import Labels, warm_up

    total = config.optim.steps + _warmup_steps(config)

    def ahead(done: int, _: int, numbers: Mapping[str, float]) -> None:
        if on_step is not None:
            on_step(done, total, numbers)

    near = config.inputs.closer not in (None, "none")
    labels = Labels.read(studies, most=config.tiny.vision_width, near=near) if _warmup_steps(config) else None
    model, processor = starting_point(config, learned, style, labels)
    if labels is not None:
        warm_up(model.model.vision_tower, processor, studies, labels, config, run, ahead)
    if config.freeze_vision and config.adapter.kind == "none":
        loop.freeze_vision(model)
    folder = out / "checkpoints"
    arguments = Arguments(
        **{
            **loop.common_arguments(folder, config.optim, every=config.checkpoint_every, seed=config.seed),
            **adapters.arguments(config.compute),
            **({"save_total_limit": 3} if config.guard.every else {}),
        },
        max_length=None,  # truncation would cut image tokens
        completion_only_loss=True,
    )
    references = [study.report for study in studies.studies if study.report]
    guards = guarding.watch(config, run, STAGE, style, processor, references)
    if guards is not None and guards.stopped is not None:  # by an earlier call, which was killed before it was done
        arguments.max_steps = guards.stopped.step
    recorder = loop.Recorder(run, STAGE, lambda done, _, numbers: ahead(done + _warmup_steps(config), _, numbers))
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=as_dataset(learned, style, with_target=True),
        processing_class=with_memory(processor),
        callbacks=[recorder, *([guards] if guards else [])],
        peft_config=adapters.lora(model, config.adapter, dropout=True, freeze_vision=config.freeze_vision),
    )
    score_labels_only(trainer.model)
    keep_features(trainer, len({study.id for study in studies}), config.optim.steps * config.optim.batch)
    if guards is not None:
        guards.trainer = trainer
    order = Order(len(learned), config.optim.batch, arguments.max_steps, config.seed, lengths=lengths(learned, style))
    loop.run_trainer(trainer, run, folder, order)
    kept = guards.restore(folder) if guards is not None else None
    if config.model == "tiny":
        model.model.vision_tower.freeze_statistics()

    card = Card(
        verb="train sft",
        how=f"supervised fine-tuning, {config.optim.steps} steps of {config.optim.batch}, {adapters.words(config.adapter)}"
        + guarding.words(kept, config.guard),
        base="random weights (tiny LLaVA)" if config.model == "tiny" else "/".join(Path(config.model).parts[-2:]),
        samples=studies,
        inputs=inputs,
        guide=guide,
        config=to_dict(given),
    )
    return adapters.finish(run, STAGE, config, trainer, processor, card)


def starting_point(
    config: SftConfig, learned: Sequence[Lesson], style: prompts.Style, labels: Labels | None
) -> tuple[Any, Any]:
    """Return (model, processor): the tiny policy built for these reports, or what ``config.model`` names.

    ``labels`` are what the tower's warm-up will teach it; None: no warm-up, and a tower without slots for labels.
    """
    if config.model != "tiny":
        return adapters.load(config.model, config.adapter, config.compute)
    texts = [text for one in learned for text in (*one.prompt(style).texts, one.target(style))]
    if config.style in lessons.THINKING:  # so that a tree that it is taught later is not spelled letter by letter
        texts += [lessons.guided(one) for one in learned]
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


def lengths(learned: Sequence[Lesson], style: prompts.Style) -> list[int]:
    """Return about how long the prompt and target of each lesson are, in words; an image counts as ``IMAGE_WORDS``."""
    made = []
    for one in learned:
        prompt = one.prompt(style)
        words = sum(len(text.split()) for text in (*prompt.texts, one.target(style)))
        made.append(words + IMAGE_WORDS * len(prompt.all_images))
    return made
