"""From scores to one reward per draft.

Two kinds of failure are kept apart. When *our* side fails (a scorer gave no value, the reference is empty) the reward
is None: the rollout is dropped and counted, never treated as 0. When the *model's* text cannot be read as a report, the
reward is the recipe's floor, below everything a readable draft can get, so that breaking the format never pays.

Terms that ask an endpoint wait for somebody else's machine. They are asked as soon as the drafts are there (``start``), in
a thread of their own, and waited for when the rewards are wanted (``Started.rewards``); all others are computed meanwhile.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wetread import metrics
from wetread.errors import UsageError, WetreadError
from wetread.metrics import MetricEntry
from wetread.metrics.lexical import word_count
from wetread.metrics.weights import Precision
from wetread.records import Draft, Report, Score
from wetread.rewards.recipe import RewardRecipe
from wetread.rewards.rehearsal import ready

REFERENCE_EMPTY = "the reference report is empty"
ENDPOINT = "endpoint"
"""A metric that needs something of this name asks another machine."""


@dataclass(frozen=True)
class Reward:
    """What one draft is worth to training."""

    value: float | None
    """The reward; None: not judged, to be dropped and counted."""
    terms: Mapping[str, float | None] = field(default_factory=dict)
    """Term to what it added, weight and transform applied; None where not scored. Empty at the floor."""
    reason: str = ""
    """Why it is None or the floor, in words."""

    @property
    def floored(self) -> bool:
        """Whether the draft could not be read and got the floor."""
        return self.value is not None and not self.terms

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"value": self.value, "terms": dict(self.terms), "reason": self.reason}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reward:
        """Return the reward that ``to_json`` wrote."""
        return cls(data["value"], data.get("terms", {}), data.get("reason", ""))


def combine(scores: Mapping[str, Score], draft: Draft, reference: Report, recipe: RewardRecipe) -> Reward:
    """Return the reward of ``draft``, given one score per metric of ``recipe``.

    Parameters
    ----------
    scores
        Metric name to score; not looked at when the draft is unreadable, so it may then be empty.
    draft
        The draft; malformed, empty or shorter than ``min_words`` or ``min_ratio`` allow gives the floor. A truncated draft
        with a report in it is judged by what is there.
    reference
        What is true; its length is compared.
    recipe
        What to sum.

    Raises
    ------
    UsageError
        When a readable draft comes without the score of one of the recipe's metrics.
    """
    broken = _unreadable(draft, reference, recipe)
    if broken:
        return Reward(recipe.floor, {}, broken)
    words = word_count(reference)
    ratio = word_count(draft.report) / words if words else 1.0
    terms: dict[str, float | None] = {}
    reasons: list[str] = []
    for term in recipe.terms:
        values: dict[str, float] = {}
        for metric in term.metrics:
            if metric not in scores:
                raise UsageError(f"reward {recipe.name!r} needs the score of {metric!r}, which was not given.")
            score = scores[metric]
            if score.value is None or not math.isfinite(score.value):
                reasons.append(f"{metric} not scored: {score.reason or f'its value is {score.value}'}")
            else:
                values[metric] = score.value
        added = term.contribution(values, ratio) if len(values) == len(term.metrics) else None
        if added is not None and not math.isfinite(added):
            reasons.append(f"{term.name} not scored: its transform has no value for {values}")
            added = None
        terms[term.name] = added
    if reasons:
        return Reward(None, terms, "; ".join(dict.fromkeys(reasons)))
    return Reward(math.fsum(part for part in terms.values() if part is not None), terms)


def bind(
    recipe: RewardRecipe,
    references: Iterable[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision | None = None,
) -> dict[str, MetricEntry]:
    """Return the metrics of a recipe as training uses them; they pickle, and a draft gets the same score in any batch.

    Parameters
    ----------
    recipe
        The reward.
    references
        All references of the training. CIDEr-D, which weighs words by how rare they are, is frozen on them.
    weights, precision
        As for ``metrics.get``; None: what the environment names.
    """
    return metrics.bind(recipe.metrics, references, weights=weights, precision=precision)


class Started:
    """Rewards under way: the terms that ask an endpoint are being asked."""

    def __init__(
        self,
        drafts: Sequence[Draft],
        references: Sequence[Report],
        recipe: RewardRecipe,
        entries: Mapping[str, MetricEntry],
    ) -> None:
        self.drafts = drafts
        self.references = references
        self.recipe = recipe
        self.entries = entries
        self._judged = [
            i for i, draft in enumerate(drafts) if references[i] and not _unreadable(draft, references[i], recipe)
        ]
        self._asked = [name for name in recipe.metrics if asks(entries[name])]
        self._outcome: dict[str, list[Score]] | BaseException = {}
        self._thread: threading.Thread | None = None
        if self._asked and self._judged:
            self._thread = threading.Thread(target=self._ask, name="wetread rewards", daemon=True)
            self._thread.start()

    def _ask(self) -> None:
        try:
            self._outcome = self._scored(self._asked)
        except BaseException as error:
            self._outcome = error

    def _scored(self, names: Sequence[str]) -> dict[str, list[Score]]:
        """Score what can be read; what breaks a scorer costs its own metric's values only."""
        reports = [self.drafts[i].report for i in self._judged]
        truths = [self.references[i] for i in self._judged]
        try:
            return metrics.score(names, reports, truths, entries=self.entries)
        except WetreadError:
            raise
        except Exception as error:
            if len(names) == 1:
                why = f"the scorer failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
                return {names[0]: [Score(names[0], None, why) for _ in reports]}
            return {name: scores for one in names for name, scores in self._scored([one]).items()}

    def rewards(self) -> list[Reward]:
        """Return one reward per draft, in order, once all terms are there; errors as ``score_batch``."""
        scores = self._scored([name for name in self.recipe.metrics if name not in self._asked]) if self._judged else {}
        if self._thread is not None:
            self._thread.join()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        scores |= self._outcome
        row = {index: position for position, index in enumerate(self._judged)}
        found = []
        for index, (draft, reference) in enumerate(zip(self.drafts, self.references, strict=True)):
            if not reference:
                lost: dict[str, float | None] = {term.name: None for term in self.recipe.terms}
                found.append(Reward(None, lost, REFERENCE_EMPTY))
                continue
            mine = {name: scores[name][row[index]] for name in self.recipe.metrics} if index in row else {}
            found.append(combine(mine, draft, reference, self.recipe))
        return found


def asks(entry: MetricEntry) -> bool:
    """Whether a metric asks an endpoint."""
    return any(ENDPOINT in need for need in entry.spec.needs)


def start(
    drafts: Sequence[Draft],
    references: Sequence[Report],
    recipe: RewardRecipe,
    entries: Mapping[str, MetricEntry] | None = None,
) -> Started:
    """Ask the endpoints that ``recipe`` needs and return at once; for parameters and errors see ``score_batch``."""
    if len(drafts) != len(references):
        raise UsageError(f"{len(drafts)} drafts but {len(references)} references; give one reference for each draft.")
    return Started(drafts, references, recipe, ready(recipe, entries))


def score_batch(
    drafts: Sequence[Draft],
    references: Sequence[Report],
    recipe: RewardRecipe,
    entries: Mapping[str, MetricEntry] | None = None,
) -> list[Reward]:
    """Return one reward per draft, in order.

    Each metric runs once over the distinct (draft, reference) pairs that can be read. Rollouts on an empty reference
    are all None, unreadable ones too: a group in which only the floor is left would teach nothing true.

    Parameters
    ----------
    drafts, references
        What was written and what is true, in the same order and number.
    recipe
        The reward.
    entries
        Its metrics as ``bind`` gives them; None: as they are, with what the environment names.

    Raises
    ------
    UsageError
        When the lengths differ, the recipe names an unknown metric, pays for what looks at the draft alone or for the
        opposite of what a metric calls better, or one of its metrics needs a corpus and is not frozen.
    MissingError
        When weights or an endpoint are not there.
    """
    return start(drafts, references, recipe, entries).rewards()


def _unreadable(draft: Draft, reference: Report, recipe: RewardRecipe) -> str:
    """Say why a draft gets the floor; empty when it is to be judged."""
    if draft.parse == "malformed":
        return f"unreadable draft: {draft.reason or 'no report can be told from the text'}"
    if not draft.report:
        return "unreadable draft: the report is empty"
    words, least = word_count(draft.report), max(recipe.min_words, math.ceil(recipe.min_ratio * word_count(reference)))
    if words < least:
        return f"unreadable draft: {words} words, at least {least} are needed"
    return ""
