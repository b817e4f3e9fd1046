"""Reinforcement learning on clinical rewards: GRPO through TRL's GRPOTrainer.

UniRG (arXiv 2601.17151) runs two steps, each a training of its own: step 1 without KL on the similarity reward, step 2 from
step 1's best policy with the error term and a small KL to it. Here each is one call with ``reward`` and ``group.kl`` set.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from wetread import prompts, rewards
from wetread.errors import MissingError
from wetread.models import inputs_of, taught, transformers
from wetread.runs.config import to_dict
from wetread.training import adapters, guarding, lessons, loop, rewarding
from wetread.training.card import Card
from wetread.training.config import RlConfig
from wetread.training.data import as_dataset, digests, select
from wetread.training.sampling import Order

STAGE = "rl"


@loop.alone
def train(config: RlConfig, out: Path, on_step: loop.Step | None = None) -> Path:
    """Train, or continue where an interrupted run stopped, and return the policy's folder ``out/model``.

    Raises
    ------
    MissingError, UsageError
        The data, the policy or the reward is not there or not usable.
    RunError
        ``out`` was written by another config or begun with other data, or the disk is full.
    """
    loop.quiet()
    given, config = config, config.in_completions().after(taught(config.model) or "direct")
    recipe = rewards.get(config.reward)
    inputs = config.inputs.over(inputs_of(config.model))
    guide = prompts.guide_of(config.model)
    style = prompts.get(config.style, inputs, guide)
    _check(config)
    studies = select(config.data, config.seed)
    asked, told = lessons.rollouts(studies, config.lessons, config.style)
    config = replace(config, optim=config.optim.counted(len(asked), config.optim.batch // config.group.rollouts))
    run = loop.open_run(out, STAGE, to_dict(given))
    if loop.done(run, f"{STAGE}.done"):
        return out / "model"
    marks = {**digests(studies), **lessons.mark(asked)}
    loop.same_data(run, f"{STAGE}.data", marks)
    run.event(f"{STAGE}.data", **studies.event(), **told, digests=marks)
    from wetread.training.grouped import GroupedTrainer
    from wetread.training.noise import own_streams
    from wetread.training.preparing import with_memory

    references = {study.id: study.report for study in studies.studies if study.report}
    reward = rewarding.build(config, recipe, style, references)
    reward.on_lost = lambda reasons: run.event(f"{STAGE}.unscored", reasons=dict(Counter(reasons).most_common(3)))
    model, processor = adapters.load(config.model, config.adapter, config.compute)
    processor.tokenizer.padding_side = "left"
    if config.freeze_vision and config.adapter.kind == "none":
        loop.freeze_vision(model)
    folder = out / "checkpoints"
    arguments = _arguments(config, folder)
    paid = guarding.Paid(recipe, reward.entries)
    guards = guarding.watch(config, run, STAGE, style, processor, references.values(), paid)
    if guards is not None and guards.stopped is not None:  # by an earlier call, which was killed before it was done
        arguments.max_steps = guards.stopped.step
    trainer = GroupedTrainer(
        on_sharing=lambda shared: run.event(f"{STAGE}.sharing", **shared),
        model=model,
        args=arguments,
        reward_funcs=[reward],
        train_dataset=as_dataset(asked, style, with_target=False),
        processing_class=with_memory(processor),
        callbacks=[rewarding.Clock(), loop.Recorder(run, STAGE, on_step), *([guards] if guards else [])],
        peft_config=adapters.lora(model, config.adapter, dropout=False, freeze_vision=config.freeze_vision),
    )
    rewarding.attach(trainer, reward)
    if guards is not None:
        guards.trainer = trainer
    if config.vllm.use == "none":
        own_streams(trainer, config.seed, config.group.max_new_tokens, config.group.temperature)
    loop.run_trainer(trainer, run, folder, _order(config, len(asked), arguments))
    kept = guards.restore(folder) if guards is not None else None

    card = Card(
        verb="train rl",
        how=f"GRPO, {config.optim.steps} steps of {config.optim.batch} rollouts, groups of {config.group.rollouts}, "
        f"reward `{recipe.name}`, KL {config.group.kl}, {adapters.words(config.adapter)}"
        + guarding.words(kept, config.guard),
        base=f"{Path(config.model).parent.name}/{Path(config.model).name}",
        samples=studies,
        inputs=inputs,
        guide=guide,
        config=to_dict(replace(given, style=config.style)),
    )
    return adapters.finish(run, STAGE, config, trainer, processor, card)


def _order(config: RlConfig, size: int, arguments: Any) -> Order:
    rollouts, passes = config.group.rollouts, arguments.steps_per_generation
    return Order(
        size, config.optim.batch // rollouts, arguments.max_steps, config.seed, rollouts=rollouts, passes=passes
    )


def _check(config: RlConfig) -> None:
    loop.check_batch(config.optim, config.group.rollouts)
    check_policy(config.model)
    adapters.check(config.adapter, config.compute)
    adapters.vllm_arguments(config.vllm)


def check_policy(name: str) -> None:
    """Refuse what RL cannot start from, without loading anything (``MissingError``)."""
    if not Path(name).exists() and name.count("/") != 1:
        raise MissingError(f"no policy in {name!r}. Train one with `wetread train sft`, or set model.")
    transformers.check(name)


def _arguments(config: RlConfig, folder: Path) -> Any:
    from trl.trainer.grpo_config import GRPOConfig

    group = config.group
    shared = loop.common_arguments(folder, config.optim, every=config.checkpoint_every, seed=config.seed)
    return GRPOConfig(
        **{**shared, **adapters.arguments(config.compute), "logging_steps": 1, "save_total_limit": 3},
        num_generations=group.rollouts,
        generation_batch_size=config.optim.batch,
        max_completion_length=group.max_new_tokens,
        temperature=group.temperature,
        epsilon=group.clip_low,
        epsilon_high=group.clip_high,
        beta=group.kl,
        scale_rewards=group.scale,
        loss_type=group.loss,
        num_iterations=1,
        disable_dropout=True,
        log_completions=False,
        **adapters.vllm_arguments(config.vllm),
    )
