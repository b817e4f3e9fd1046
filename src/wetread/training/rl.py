"""Reinforcement learning on clinical rewards: GRPO through TRL's GRPOTrainer.

UniRG (arXiv 2601.17151) runs two steps, each a training of its own: step 1 without KL on the similarity reward, step 2 from
step 1's best policy with the error term and a small KL to it. Here each is one call with ``reward`` and ``group.kl`` set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wetread import prompts, rewards
from wetread.errors import ConfigError, MissingError
from wetread.models import transformers
from wetread.records import Generation, Report
from wetread.runs.config import to_dict
from wetread.runs.store import RunFolder
from wetread.training import loop
from wetread.training.card import Card
from wetread.training.config import RlConfig
from wetread.training.data import as_dataset, select
from wetread.training.saving import save_policy
from wetread.training.sharing import share_images

STAGE = "rl"


class ReportReward:
    """The reward that TRL calls: completions in, one number or None each out.

    It parses each completion with the prompt style, so that rewards see reports only, and scores the whole batch at once.
    None (a scorer of ours failed) becomes NaN in TRL and drops the rollout from its group.
    """

    def __init__(
        self, recipe: rewards.RewardRecipe, style: prompts.Style, references: Mapping[str, Report], limit: int
    ) -> None:
        self.recipe = recipe
        self.style = style
        self.references = references
        self.limit = limit
        self.__name__ = recipe.name

    def __call__(
        self,
        *,
        completions: Sequence[Sequence[Mapping[str, str]]],
        completion_ids: Sequence[Sequence[int]],
        study: Sequence[str],
        log_metric: Any = None,
        **_: Any,
    ) -> list[float | None]:
        """Return one reward per completion; logs the mean of every term, of the length ratio and of unreadable drafts."""
        drafts = [
            self.style.parse(
                Generation(name, turn[0]["content"], "length" if len(ids) >= self.limit else "end", len(ids))
            )
            for name, turn, ids in zip(study, completions, completion_ids, strict=True)
        ]
        references = [self.references[name] for name in study]
        scored = rewards.score_batch(drafts, references, self.recipe)
        if log_metric is not None:
            self._log(drafts, references, scored, log_metric)
        return [one.value for one in scored]

    def _log(
        self, drafts: Sequence[Any], references: Sequence[Report], scored: Sequence[rewards.Reward], log_metric: Any
    ) -> None:
        for term in self.recipe.terms:
            values = [value for one in scored if (value := one.terms.get(term.metric)) is not None]
            if values:
                log_metric(f"term/{term.metric}", sum(values) / len(values))
        words = sum(len(reference.text.split()) for reference in references)
        log_metric("guard/length_ratio", sum(len(draft.report.text.split()) for draft in drafts) / max(1, words))
        log_metric("guard/unreadable", sum(not draft.readable for draft in drafts) / len(drafts))
        log_metric("guard/unscored", sum(one.value is None for one in scored) / len(scored))
        log_metric("guard/distinct_drafts", len({draft.report.text for draft in drafts}) / len(drafts))


def train(config: RlConfig, out: Path, on_step: loop.Step | None = None) -> Path:
    """Train, or continue where an interrupted run stopped, and return the policy's folder ``out/model``.

    Raises
    ------
    MissingError, UsageError
        The data, the policy or the reward is not there or not usable.
    RunError
        ``out`` was written by another config, or the disk is full.
    """
    loop.quiet()
    recipe = rewards.get(config.reward)
    style = prompts.get(config.style)
    _check(config)
    studies = select(config.data)
    run = RunFolder.open(out, STAGE, to_dict(config))
    target = out / "model"
    if run.done(f"{STAGE}.done"):
        return target
    from trl.trainer.grpo_trainer import GRPOTrainer

    references = {study.id: study.report for study in studies if study.report}
    rewards.dry_run(recipe, list(references.values())[:64])
    model, processor = transformers.load(config.model)
    processor.tokenizer.padding_side = "left"
    share_images(model)
    if config.freeze_vision:
        loop.freeze_vision(model)
    folder = out / "checkpoints"
    trainer = GRPOTrainer(
        model=model,
        args=_arguments(config, folder),
        reward_funcs=[ReportReward(recipe, style, references, config.group.max_new_tokens)],
        train_dataset=as_dataset(studies, style, with_target=False),
        processing_class=processor,
        callbacks=[loop.Recorder(run, STAGE, on_step)],
    )
    loop.run_trainer(trainer, run, folder)

    card = Card(
        verb="train rl",
        how=f"GRPO, {config.optim.steps} steps of {config.optim.batch} rollouts, groups of {config.group.rollouts}, "
        f"reward `{config.reward}`, KL {config.group.kl}",
        base=f"{Path(config.model).parent.name}/{Path(config.model).name}",
        studies=len(studies),
        source=studies[0].source,
        config=to_dict(config),
    )
    save_policy(model, processor, card, target)
    run.event(f"{STAGE}.done", steps=config.optim.steps)
    return target


def _check(config: RlConfig) -> None:
    if config.optim.batch % config.group.rollouts:
        raise ConfigError(
            f"optim.batch={config.optim.batch} is not a multiple of group.rollouts={config.group.rollouts}; a group must not be cut."
        )
    loop.check_batch(config.optim)
    if not Path(config.model).exists() and config.model.count("/") != 1:
        raise MissingError(f"no policy in {config.model!r}. Train one with `wetread train sft`, or set model.")
    transformers.check(config.model)


def _arguments(config: RlConfig, folder: Path) -> Any:
    from trl.trainer.grpo_config import GRPOConfig

    group = config.group
    shared = loop.common_arguments(folder, config.optim, every=config.checkpoint_every, seed=config.seed)
    return GRPOConfig(
        **{**shared, "logging_steps": 1},
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
        use_vllm=False,
    )
