"""What a look at a policy in training says, and which policy is the best of those that were looked at."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wetread import metrics, rewards
from wetread.records import Draft, Report
from wetread.rewards import FindingCalls, guard, rules
from wetread.rewards.rules import Values
from wetread.training.config import GuardConfig

FEWEST = 20
"""Fewer studies than this say too little to end a training by; their guards only warn."""
WORST = -sys.float_info.max


@dataclass(frozen=True)
class Look:
    """What a look at the policy found."""

    step: int
    """Optimiser steps done."""
    values: Values
    """Name to value, see ``rewards.rules.VALUES``; ``panel/METRIC`` for each held-out metric."""
    calls: tuple[FindingCalls, ...] = ()
    """How each finding was called."""
    score: float | None = None
    """What policies are chosen by; more is better."""
    warn: tuple[str, ...] = ()
    """Rules that are broken, in words."""
    stop: tuple[str, ...] = ()
    """Rules that are broken badly enough to end the training."""
    failed: int = field(default=0, compare=False)
    """Studies that could not be drafted."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "step": self.step,
            "score": self.score,
            "warn": list(self.warn),
            "stop": list(self.stop),
            "failed": self.failed,
            "values": dict(self.values),
            "calls": {call.name: [call.tp, call.fp, call.fn, call.n] for call in self.calls},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Look:
        """Return the look that ``to_json`` wrote."""
        calls = tuple(FindingCalls(name, *counts) for name, counts in data["calls"].items())
        return cls(
            data["step"], data["values"], calls, data["score"], tuple(data["warn"]), tuple(data["stop"]), data["failed"]
        )


@dataclass(frozen=True)
class Paid:
    """A reward, ready to be computed."""

    recipe: rewards.RewardRecipe
    """What it is made of."""
    entries: Mapping[str, metrics.MetricEntry]
    """Its metrics, ready for any batch."""

    def mean(self, drafts: Sequence[Draft], references: Sequence[Report]) -> float | None:
        """Return the mean reward of the drafts that could be scored; None where none could."""
        scored = [one.value for one in rewards.score_batch(drafts, references, self.recipe, self.entries)]
        known = [value for value in scored if value is not None]
        return sum(known) / len(known) if known else None


class Judge:
    """What is said of drafts of the sample: guards, held-out metrics, the reward, and which rules they break.

    Parameters
    ----------
    config
        What is looked at.
    reward
        The reward of the training; None: it has none.
    names, entries
        Held-out metrics and the one that policies are chosen by, ready for any batch.
    chosen_by
        The reward that policies are chosen by, where that is another one than the training's.
    """

    def __init__(
        self,
        config: GuardConfig,
        reward: Paid | None,
        names: Sequence[str],
        entries: Mapping[str, metrics.MetricEntry],
        chosen_by: Paid | None = None,
    ) -> None:
        self.config = config
        self.reward = reward
        self.panel = tuple(names)
        self.entries = entries
        self.chosen_by = chosen_by
        self.rules = rules.rules(config.rules)

    def look(
        self, step: int, drafts: Sequence[Draft], references: Sequence[Report], logged: Values, start: Look | None
    ) -> Look:
        """Return what is to be said of ``drafts`` at ``step``.

        Parameters
        ----------
        step
            Optimiser steps done.
        drafts, references
            One of each a study, in the same order.
        logged
            What the trainer logged last, by our names.
        start
            The look at the policy that training started from; None: this is it, and no rule ends the training.
        """
        reports = [draft.report for draft in drafts]
        found = guard(drafts, references)
        wanted = [*self.panel, *([self.config.keep] if self.config.keep in metrics.METRICS else [])]
        scores = metrics.score(wanted, reports, references, entries=self.entries)
        corpus = {name: self.entries[name].aggregate(values) for name, values in scores.items()}
        values: dict[str, float | None] = {
            "reward": self.reward.mean(drafts, references) if self.reward else None,
            "template_share": found.template_share,
            "duplicate_share": found.duplicate_share,
            "length_ratio": found.length_ratio,
            "length_off": rules.length_off(found.length_ratio),
            "unreadable": found.unreadable / found.n if found.n else None,
            "contradiction_share": found.contradiction_share,
            "over_calling": found.over_calling,
            "under_calling": found.under_calling,
            "abnormal_f1": found.abnormal_f1,
            **{f"panel/{name}": corpus[name] for name in self.panel},
            **logged,
        }
        before = start.values if start is not None else values
        then = start.calls if start is not None else found.calls
        values["worst_over_calling"] = rules.worst_rise(found.calls, then, "over")
        values["worst_under_calling"] = rules.worst_rise(found.calls, then, "under")
        values["panel_loss"] = rules.panel_loss(values, before, [self.entries[name].spec for name in self.panel])
        broken = rules.breaks(self.rules, values, before)
        stops = start is not None and self.config.act == "stop" and found.n >= FEWEST
        return Look(
            step,
            {name: None if value is None else round(value, 6) for name, value in values.items()},
            found.calls,
            self.chosen_by.mean(drafts, references) if self.chosen_by else self._score(values["reward"], corpus, step),
            broken["warn"] + (() if stops else broken["stop"]),
            broken["stop"] if stops else (),
        )

    def _score(self, reward: float | None, corpus: Mapping[str, float | None], step: int) -> float | None:
        if self.config.keep == "last":
            return float(step)
        if self.config.keep == "reward":
            return reward
        value = corpus[self.config.keep]
        lower = self.entries[self.config.keep].spec.better == "lower"
        return None if value is None else -value if lower else value


def best_of(looks: Mapping[int, Look]) -> Look:
    """Return the look with the best score among those that broke no rule, of equal ones the last.

    The start is one of them: a policy that no look found better than what it began as is not published in its place.
    """
    good = [look for look in looks.values() if not look.stop] or [looks[min(looks)]]
    return max(good, key=lambda look: (WORST if look.score is None else look.score, look.step))
