"""The reward as TRL calls it: completions in, one number or None each out, with a log of what it is made of."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from wetread import prompts, rewards
from wetread.errors import UsageError
from wetread.metrics import MetricEntry
from wetread.records import Draft, Generation, Report
from wetread.runs import passes
from wetread.training import processes
from wetread.training.config import RlConfig

GOLD = 64
"""References that the reward is tried on before training."""
ASKED = 8
"""The same where every judgement has its price."""
Turns = Sequence[Sequence[Mapping[str, str]]]
"""Completions as TRL has them: one turn each."""


class ReportReward:
    """The reward that TRL calls.

    It parses each completion with the prompt style, so that rewards see reports only, and scores the whole batch at once.
    None (a scorer of ours failed) becomes NaN in TRL and drops the rollout from its group.

    Parameters
    ----------
    recipe
        The reward.
    style
        How completions are read.
    references
        Study id to what is true.
    limit
        Tokens at which a completion was cut.
    rollouts
        Completions of one study, which stand side by side.
    entries
        The recipe's metrics; None: bound here, on all references.
    """

    def __init__(
        self,
        recipe: rewards.RewardRecipe,
        style: prompts.Style,
        references: Mapping[str, Report],
        limit: int,
        *,
        rollouts: int = 1,
        entries: Mapping[str, MetricEntry] | None = None,
    ) -> None:
        self.recipe = recipe
        self.style = style
        self.references = references
        self.limit = limit
        self.rollouts = rollouts
        self.entries = rewards.bind(recipe, references.values()) if entries is None else entries
        self.on_lost: Callable[[Mapping[str, int]], None] | None = None
        """Told why rollouts could not be scored, those of all processes: reason to how many."""
        self.flat: list[int] = []
        """Places, in the last batch, of the groups whose rewards are all equal or not known."""
        self.__name__ = recipe.name
        self.asks = any(rewards.asks(entry) for entry in self.entries.values())
        """Whether an endpoint is asked."""
        self._asking: rewards.Asking | None = None
        self._started: tuple[list[Draft], list[Report], rewards.Started] | None = None
        self._seconds = 0.0

    def _read(self, study: str, before: str, text: str, tokens: int) -> Draft:
        """Return the draft that a completion makes: of a reflection that finds no error the draft ``before`` it."""
        made = Generation(study, text, "length" if tokens >= self.limit else "end", tokens)
        if not before:
            return self.style.parse(made)
        draft = self.style.parse(made, 1)
        return self.style.parse(Generation(study, before)) if passes.content(draft) else draft

    def ask(self, study: str, before: str, text: str, tokens: int) -> None:
        """Ask the endpoints about one completion of the batch that is still being generated."""
        draft, reference = self._read(study, before, text, tokens), self.references[study]
        if self._asking is None:
            self._asking = rewards.ask(self.recipe, self.entries)
        if rewards.readable(draft, reference, self.recipe):
            self._asking.add([(draft.report, reference)])

    def start(
        self, completions: Turns, completion_ids: Sequence[Sequence[int]], study: Sequence[str], before: Sequence[str]
    ) -> None:
        """Read a batch and ask the endpoints about what they have not been asked yet; the next call waits for them."""
        begin = time.perf_counter()
        drafts = [
            self._read(name, first, said[0]["content"], len(ids))
            for name, first, said, ids in zip(study, before, completions, completion_ids, strict=True)
        ]
        references = [self.references[name] for name in study]
        asking, self._asking = self._asking, None
        started = rewards.start(drafts, references, self.recipe, self.entries, asking)
        self._started = drafts, references, started
        self._seconds = time.perf_counter() - begin

    def __call__(
        self,
        *,
        completions: Turns,
        completion_ids: Sequence[Sequence[int]],
        study: Sequence[str],
        before: Sequence[str] = (),
        log_metric: Any = None,
        **_: Any,
    ) -> list[float | None]:
        """Return one reward per completion, of the batch that was started where one was.

        Logged are the mean of every term and the rollouts that it lost, shares of rollouts at the floor, unreadable and
        unscored, of groups without a difference, of distinct drafts, the length ratio, and the seconds that it took.
        """
        if self._started is None:
            self.start(completions, completion_ids, study, before or [""] * len(study))
        assert self._started is not None
        begin = time.perf_counter()
        drafts, references, started = self._started
        self._started = None
        scored = started.rewards()
        self._look_at_groups(scored)
        self._seconds += time.perf_counter() - begin
        if log_metric is not None:
            self._log(drafts, references, scored, log_metric)
        if self.on_lost is not None:
            mine = Counter(one.reason for one in scored if one.value is None)
            if reasons := sum(processes.gathered(mine), Counter[str]()):
                self.on_lost(reasons)
        return [one.value for one in scored]

    def _look_at_groups(self, scored: Sequence[rewards.Reward]) -> None:
        self.flat = []
        for first in range(0, len(scored), self.rollouts):
            group = [one.value for one in scored[first : first + self.rollouts]]
            if len({value for value in group if value is not None}) < 2:
                self.flat += range(first, first + len(group))

    def _log(
        self, drafts: Sequence[Draft], references: Sequence[Report], scored: Sequence[rewards.Reward], log_metric: Any
    ) -> None:
        for term in self.recipe.terms:
            found = [one.terms[term.name] for one in scored if term.name in one.terms]
            values = [value for value in found if value is not None]
            if values:
                log_metric(f"term/{term.name}", sum(values) / len(values))
            if len(values) < len(found):
                log_metric(f"lost/{term.name}", (len(found) - len(values)) / len(scored))
        words = sum(len(reference.text.split()) for reference in references)
        log_metric("guard/length_ratio", sum(len(draft.report.text.split()) for draft in drafts) / max(1, words))
        log_metric("guard/unreadable", sum(not draft.readable for draft in drafts) / len(drafts))
        log_metric("guard/floor", sum(one.floored for one in scored) / len(scored))
        log_metric("guard/unscored", sum(one.value is None for one in scored) / len(scored))
        log_metric("guard/distinct_drafts", len({draft.report.text for draft in drafts}) / len(drafts))
        if self.rollouts > 1:
            log_metric("guard/flat_groups", len(self.flat) / len(scored))
        log_metric("reward_time", self._seconds)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_started": None, "_asking": None, "on_lost": None}


def rehearse(
    config: RlConfig, recipe: rewards.RewardRecipe, references: Sequence[Report]
) -> tuple[dict[str, MetricEntry], int, float]:
    """Return the reward's metrics, ready for training, on how many gold reports it was tried, and what they get, the best.

    Raises
    ------
    UsageError
        The reward does not pay for the truth, or looks at what drafts of this style do not have.
    MissingError
        Its weights or its endpoint are not there.
    """
    has = prompts.get(config.style).views
    lacking = sorted(frozenset().union(*(term.views for term in recipe.terms)) - set(has))
    if lacking:
        fit = [name for name in prompts.STYLES if set(lacking) <= set(prompts.get(name).views)]
        raise UsageError(
            f"reward {recipe.name} looks at the {' and the '.join(lacking)} of a draft, and the style {config.style} has none; "
            f"start from a policy of the style {' or '.join(fit)}, or take a reward that looks at the {' or the '.join(has)}."
        )
    scorers = config.scorers
    entries = rewards.bind(recipe, references, weights=scorers.weights or None, precision=scorers.precision or None)
    most = ASKED if any(rewards.asks(entry) for entry in entries.values()) else GOLD
    gold = references[:: max(1, len(references) // most)][:most]
    return entries, len(gold), rewards.dry_run(recipe, gold, entries)


def build(
    config: RlConfig, recipe: rewards.RewardRecipe, style: prompts.Style, references: Mapping[str, Report]
) -> ReportReward:
    """Return the reward of a training, once it is rehearsed; errors as ``rehearse``."""
    entries, _, _ = rehearse(config, recipe, list(references.values()))
    return ReportReward(
        recipe, style, references, config.group.max_new_tokens, rollouts=config.group.rollouts, entries=entries
    )


class Clock(TrainerCallback):
    """Adds ``reward_share``, the part of a step's time that went into the reward, to what a trainer logs."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add it, for the callbacks that come after."""
        if logs and logs.get("step_time") and logs.get("reward_time") is not None:
            logs["reward_share"] = logs["reward_time"] / logs["step_time"]


def attach(trainer: Any, reward: ReportReward) -> None:
    """Start the reward as soon as a trainer has its completions, and let groups without a difference teach nothing.

    An endpoint is asked about each rollout as soon as that has ended, while the others are still generated (where the trainer
    decodes them itself). What comes between generation and reward, log-probabilities of the policy that training started
    from, overlaps with it too. Of a group whose rewards are equal, TRL's advantages are 0 but for rounding, which is divided
    by a deviation that is rounding as well; here they are 0.
    """
    generate, whole = trainer._generate, trainer._generate_and_score_completions
    names: list[str] = []
    before: list[str] = []

    def generated(prompts: Any) -> Any:
        made = generate(prompts)
        reward.start(made[3], made[1], names, before)
        return made

    def ended(rollouts: Mapping[int, list[int]]) -> None:
        texts = trainer.processing_class.batch_decode(list(rollouts.values()), skip_special_tokens=True)
        for (row, ids), text in zip(rollouts.items(), texts, strict=True):
            reward.ask(names[row], before[row], text, len(ids))

    def scored(inputs: Any) -> Any:
        names[:] = [one["study"] for one in inputs]
        before[:] = [one["before"] for one in inputs]
        made = whole(inputs)
        made["advantages"][reward.flat] = 0.0
        return made

    trainer._generate, trainer._generate_and_score_completions = generated, scored
    if reward.asks:
        trainer.ended = ended
