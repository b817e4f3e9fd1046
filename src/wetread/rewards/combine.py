"""From scores to one reward per draft.

Two kinds of failure are kept apart. When *our* side fails (a scorer gave no value, the reference is empty) the reward
is None: the rollout is dropped and counted, never treated as 0. When the *model's* text cannot be read as a report, the
reward is the recipe's floor, below everything a readable draft can get, so that breaking the format never pays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wetread import metrics
from wetread.errors import UsageError, nearest
from wetread.metrics.lexical import word_count
from wetread.records import Draft, MetricSpec, Report, Score

Transform = Literal["identity", "inverse", "negate"]
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
REFERENCE_EMPTY = "the reference report is empty"


@dataclass(frozen=True)
class Term:
    """One metric's part in a reward: ``weight · transform(value)``."""

    metric: str
    """Name of the metric."""
    weight: float = 1.0
    """Above 0; the direction is the transform's."""
    transform: Transform = "identity"
    """``identity``: the value; ``inverse``: 1 / (value + 1), for counts from 0 up; ``negate``: minus the value."""

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            hint = nearest(str(self.transform), TRANSFORMS)
            raise UsageError(f"transform {self.transform!r} is not known.{hint} There are: {', '.join(TRANSFORMS)}.")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UsageError(
                f"weight {self.weight} of {self.metric!r} must be above 0; a transform turns the direction."
            )

    def contribution(self, value: float) -> float:
        """Return what ``value`` adds to the reward.

        >>> Term("errors_total", 0.5, "inverse").contribution(1.0)
        0.25
        """
        if self.transform == "inverse":
            return self.weight / (value + 1)
        return self.weight * (-value if self.transform == "negate" else value)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"metric": self.metric, "weight": self.weight, "transform": self.transform}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Term:
        """Return the term that ``to_json`` wrote."""
        return cls(data["metric"], float(data.get("weight", 1.0)), data.get("transform", "identity"))


@dataclass(frozen=True)
class RewardRecipe:
    """A reward: the sum of its terms, and what an unreadable draft gets instead."""

    name: str
    """Public name, stored with every reward."""
    terms: tuple[Term, ...]
    """At least one; no metric twice."""
    floor: float = -1.0
    """Reward of an unreadable draft; below the least that the terms can sum to."""
    min_words: int = 1
    """A draft with fewer words in its sections counts as unreadable."""
    source: str = ""
    """Where it comes from."""

    def __post_init__(self) -> None:
        names = [term.metric for term in self.terms]
        if not names:
            raise UsageError(f"reward {self.name!r} has no terms; give at least one metric.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"reward {self.name!r} has {', '.join(twice)} twice; give each metric one term.")
        if not math.isfinite(self.floor):
            raise UsageError(f"floor {self.floor} of reward {self.name!r} must be a finite number.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics it needs, in the order of its terms."""
        return tuple(term.metric for term in self.terms)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "terms": [term.to_json() for term in self.terms],
            "floor": self.floor,
            "min_words": self.min_words,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RewardRecipe:
        """Return the recipe that ``to_json`` wrote."""
        return cls(
            name=data["name"],
            terms=tuple(Term.from_json(item) for item in data["terms"]),
            floor=float(data.get("floor", -1.0)),
            min_words=int(data.get("min_words", 1)),
            source=data.get("source", ""),
        )


@dataclass(frozen=True)
class Reward:
    """What one draft is worth to training."""

    value: float | None
    """The reward; None: not judged, to be dropped and counted."""
    terms: Mapping[str, float | None] = field(default_factory=dict)
    """Metric name to what it added, weight and transform applied; None where not scored. Empty at the floor."""
    reason: str = ""
    """Why it is None or the floor, in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"value": self.value, "terms": dict(self.terms), "reason": self.reason}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reward:
        """Return the reward that ``to_json`` wrote."""
        return cls(data["value"], data.get("terms", {}), data.get("reason", ""))


def combine(scores: Mapping[str, Score], draft: Draft, recipe: RewardRecipe) -> Reward:
    """Return the reward of ``draft``, given one score per metric of ``recipe``.

    Parameters
    ----------
    scores
        Metric name to score; not looked at when the draft is unreadable, so it may then be empty.
    draft
        The draft; malformed, empty or shorter than ``recipe.min_words`` gives the floor. A truncated draft with a
        report in it is judged by what is there.
    recipe
        What to sum.

    Raises
    ------
    UsageError
        When a readable draft comes without the score of one of the recipe's metrics.
    """
    broken = _unreadable(draft, recipe)
    if broken:
        return Reward(recipe.floor, {}, broken)
    terms: dict[str, float | None] = {}
    reasons = []
    for term in recipe.terms:
        if term.metric not in scores:
            raise UsageError(f"reward {recipe.name!r} needs the score of {term.metric!r}, which was not given.")
        score = scores[term.metric]
        if score.value is None or not math.isfinite(score.value):
            terms[term.metric] = None
            reasons.append(f"{term.metric} not scored: {score.reason or f'its value is {score.value}'}")
        else:
            terms[term.metric] = term.contribution(score.value)
    if reasons:
        return Reward(None, terms, "; ".join(reasons))
    return Reward(math.fsum(part for part in terms.values() if part is not None), terms)


def score_batch(drafts: Sequence[Draft], references: Sequence[Report], recipe: RewardRecipe) -> list[Reward]:
    """Return one reward per draft, in order.

    Each metric runs once over the distinct (draft, reference) pairs that can be read. Rollouts on an empty reference
    are all None, unreadable ones too: a group in which only the floor is left would teach nothing true.

    Raises
    ------
    UsageError
        When the lengths differ or the recipe names an unknown metric.
    """
    if len(drafts) != len(references):
        raise UsageError(f"{len(drafts)} drafts but {len(references)} references; give one reference for each draft.")
    judged = [i for i, draft in enumerate(drafts) if references[i] and not _unreadable(draft, recipe)]
    scores = metrics.score(recipe.metrics, [drafts[i].report for i in judged], [references[i] for i in judged])
    row = {index: position for position, index in enumerate(judged)}
    rewards = []
    for index, (draft, reference) in enumerate(zip(drafts, references, strict=True)):
        if not reference:
            rewards.append(Reward(None, dict.fromkeys(recipe.metrics), REFERENCE_EMPTY))
            continue
        mine = {name: scores[name][row[index]] for name in recipe.metrics} if index in row else {}
        rewards.append(combine(mine, draft, recipe))
    return rewards


def best_value(spec: MetricSpec) -> float | None:
    """Return the best value of one report, or None when the spec does not bound it; error counts are best at 0."""
    if spec.bounds is not None:
        return spec.bounds[1] if spec.better == "higher" else spec.bounds[0]
    return 0.0 if spec.better == "lower" else None


def dry_run(recipe: RewardRecipe, references: Sequence[Report]) -> float:
    """Check the ruler before measuring: each reference, handed in as its own draft, must get the best reward reachable.

    Returns
    -------
    float
        The best reward reachable.

    Raises
    ------
    UsageError
        Naming the term: when its transform turns the metric's direction round, when a reference does not get that
        term's best value against itself, or when the floor is not below the least reachable reward; also when there
        is no reference with text.
    """
    texts = list(dict.fromkeys(reference for reference in references if reference))
    if not texts:
        raise UsageError("the dry run of the reward needs at least one reference with text; none was given.")
    least, best = 0.0, 0.0
    scores = metrics.score(recipe.metrics, texts, texts)
    for term in recipe.terms:
        spec = metrics.get(term.metric).spec
        if (spec.better == "higher") != (term.transform == "identity"):
            raise UsageError(
                f"term {term.metric!r} of reward {recipe.name!r}: {spec.better} is better, but transform "
                f"{term.transform!r} pays for the opposite; use {'identity' if spec.better == 'higher' else 'inverse'}."
            )
        target = best_value(spec)
        wanted = None if target is None else term.contribution(target)
        _check_identity(term, recipe, scores[term.metric], wanted)
        best += wanted or 0.0
        least += _least(term, spec)
    if recipe.floor >= least:
        raise UsageError(
            f"floor {recipe.floor:g} of reward {recipe.name!r} must be below the least readable reward {least:g}, "
            "or unreadable drafts pay; lower it, or use 'inverse' for unbounded errors."
        )
    for text in texts:
        if word_count(text) < recipe.min_words:
            raise UsageError(
                f"reward {recipe.name!r} floors drafts under {recipe.min_words} words, but a reference has "
                f"{word_count(text)}; lower min_words."
            )
    return best


def _check_identity(term: Term, recipe: RewardRecipe, scores: Sequence[Score], wanted: float | None) -> None:
    for score in scores:
        got = None if score.value is None else term.contribution(score.value)
        if got is None or (wanted is not None and abs(got - wanted) > 1e-9):
            raise UsageError(
                f"term {term.metric!r} of reward {recipe.name!r}: a reference against itself gets {got}, "
                f"but the best is {wanted}; the metric or the references are not fit for a reward."
            )


def _least(term: Term, spec: MetricSpec) -> float:
    """Least contribution of a term; minus infinity when the spec does not bound it."""
    if term.transform == "inverse":
        return 0.0 if spec.bounds is None else term.contribution(spec.bounds[1])
    if spec.bounds is None:
        return -math.inf
    return min(term.contribution(spec.bounds[0]), term.contribution(spec.bounds[1]))


def _unreadable(draft: Draft, recipe: RewardRecipe) -> str:
    """Say why a draft gets the floor; empty when it is to be judged."""
    if draft.parse == "malformed":
        return f"unreadable draft: {draft.reason or 'no report can be told from the text'}"
    if not draft.report:
        return "unreadable draft: the report is empty"
    words = word_count(draft.report)
    if words < recipe.min_words:
        return f"unreadable draft: {words} words, at least {recipe.min_words} are needed"
    return ""
