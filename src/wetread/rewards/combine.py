"""From scores to one reward per draft.

Two kinds of failure are kept apart. When *our* side fails (a scorer gave no value, the reference is empty) the reward
is None: the rollout is dropped and counted, never treated as 0. When the *model's* text cannot be read as a report, the
reward is the recipe's floor, below everything a readable draft can get, so that breaking the format never pays.

Terms that ask an endpoint wait for somebody else's machine. They are asked as soon as a draft is there (``ask``) or all are
(``start``), in a thread of their own, and waited for when the rewards are wanted (``Started.rewards``); all others are
computed meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wetread import metrics
from wetread.errors import UsageError
from wetread.metrics import MetricEntry
from wetread.metrics.lexical import word_count
from wetread.metrics.weights import Precision
from wetread.records import Draft, Report, Score
from wetread.rewards.asking import Asking, score
from wetread.rewards.recipe import RewardRecipe, Term
from wetread.rewards.rehearsal import ENDPOINT, ready
from wetread.rewards.views import view

REFERENCE_EMPTY = "the reference report is empty"


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
    """Return the reward of ``draft``, given one score for each of the ``scores`` of ``recipe``.

    Parameters
    ----------
    scores
        Name of a score (``Term.slot``, mostly the metric's) to score; not looked at when the draft is unreadable, so it may then be empty.
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
        for slot in term.slots:
            if slot not in scores:
                raise UsageError(f"reward {recipe.name!r} needs the score of {slot!r}, which was not given.")
            score = scores[slot]
            if score.value is None or not math.isfinite(score.value):
                reasons.append(f"{slot} not scored: {score.reason or f'its value is {score.value}'}")
            else:
                values[slot] = score.value
        added = term.contribution(values, ratio) if len(values) == len(term.slots) else None
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
        asking: Asking,
    ) -> None:
        self.drafts = drafts
        self.references = references
        self.recipe = recipe
        self.entries = entries
        self._asking = asking
        self._judged = [i for i, draft in enumerate(drafts) if readable(draft, references[i], recipe)]
        self._pairs = [(drafts[i].report, references[i]) for i in self._judged]
        asking.add(self._pairs)

    def rewards(self) -> list[Reward]:
        """Return one reward per draft, in order, once all terms are there; errors as ``score_batch``."""
        asked = self._asking.names
        scores: dict[str, list[Score]] = {}
        for (of, against), slots in self._looked_at().items():
            names = {term.metric: slot for slot, term in slots.items() if slot not in asked}
            found_here = score(list(names), self._viewed(of, against), self.entries) if names else {}
            scores |= {names[metric]: found_here[metric] for metric in names}
        scores |= self._asking.get(self._pairs)
        row = {index: position for position, index in enumerate(self._judged)}
        found = []
        for index, (draft, reference) in enumerate(zip(self.drafts, self.references, strict=True)):
            if not reference:
                lost: dict[str, float | None] = {term.name: None for term in self.recipe.terms}
                found.append(Reward(None, lost, REFERENCE_EMPTY))
                continue
            mine = {slot: scores[slot][row[index]] for slot in self.recipe.scores} if index in row else {}
            found.append(combine(mine, draft, reference, self.recipe))
        return found

    def _looked_at(self) -> dict[tuple[str, str], dict[str, Term]]:
        """Return what is held against what, to the scores that do so."""
        groups: dict[tuple[str, str], dict[str, Term]] = {}
        for slot, term in self.recipe.scores.items():
            groups.setdefault((term.of, term.against), {})[slot] = term
        return groups

    def _viewed(self, of: str, against: str) -> list[tuple[Report, Report]]:
        """Return the pairs of those that are judged; every view that is asked for is there, else they were not."""
        pairs = []
        for index in self._judged:
            draft = self.drafts[index]
            other = self.references[index] if against == "reference" else view(draft, against)
            pairs.append((view(draft, of) or Report(), other or Report()))
        return pairs


def asks(entry: MetricEntry) -> bool:
    """Whether a metric asks an endpoint."""
    return any(ENDPOINT in need for need in entry.spec.needs)


def ask(recipe: RewardRecipe, entries: Mapping[str, MetricEntry]) -> Asking:
    """Return what asks the endpoints that ``recipe`` needs, about drafts that come in one after another."""
    return Asking([name for name in recipe.metrics if asks(entries[name])], entries)


def readable(draft: Draft, reference: Report, recipe: RewardRecipe) -> bool:
    """Whether a draft is judged: there is something to hold it against, and it does not get the floor."""
    return bool(reference) and not _unreadable(draft, reference, recipe)


def start(
    drafts: Sequence[Draft],
    references: Sequence[Report],
    recipe: RewardRecipe,
    entries: Mapping[str, MetricEntry] | None = None,
    asking: Asking | None = None,
) -> Started:
    """Ask the endpoints that ``recipe`` needs and return at once; for parameters and errors see ``score_batch``.

    ``asking`` has been told of some of the drafts already, as ``ask`` gives it.
    """
    if len(drafts) != len(references):
        raise UsageError(f"{len(drafts)} drafts but {len(references)} references; give one reference for each draft.")
    made = ready(recipe, entries)
    return Started(drafts, references, recipe, made, ask(recipe, made) if asking is None else asking)


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
    for part in sorted(recipe.views):
        if view(draft, part) is None:
            return f"unreadable draft: it has no {part}"
    words, least = word_count(draft.report), max(recipe.min_words, math.ceil(recipe.min_ratio * word_count(reference)))
    if words < least:
        return f"unreadable draft: {words} words, at least {least} are needed"
    return ""
