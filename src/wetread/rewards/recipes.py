"""The rewards that come with the house.

UniRG's reward has two steps: 0.370 BERTScore + 0.253 SembScore + 0.377 RadGraph F1, then the same + 0.5 / (errors + 1)
(coefficients from the paper, arXiv 2601.17151). They are here in three forms:

    unirg_step1, unirg_step2                  every neural scorer replaced by the weight-free metric of the same duty
    unirg_step1_neural, unirg_step2_neural    the paper's scorers, raw, as printed there; an endpoint counts the errors
    unirg_step1_radcliq, unirg_step2_radcliq  -RadCliQ-v1, that is the scorers standardised before they are weighed

Numbers made with the first are not UniRG's numbers. Whether the paper means the second or the third is not told there; the
printed weights are those of the second. BERTScore and RadCliQ, which only texts without sense take to their worst ends, are
clipped far outside of what reports get, so that the floor need not lie so deep that one unreadable draft outweighs its group.

A policy that has learnt to write normals is paid 1 on every normal study by the agreement terms. Watch the guards
(recall, abnormal-only F1, template share) beside any of these rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wetread import metrics
from wetread.errors import UsageError, nearest
from wetread.rewards.guards import GUARDS
from wetread.rewards.recipe import RewardRecipe, Term

ERROR_WEIGHT = 0.5
"""Weight of 1 / (E + 1) in the second step; the paper's."""
STANDARDISED = 3.891
"""Sum of the slopes of -RadCliQ-v1 in its parts, against 1.000 of the raw weights. The error term beside it is made heavier by
as much, or it would weigh four times less than the paper's."""

_OFFLINE = (Term("lexical_similarity", 0.370), Term("label_agreement", 0.253), Term("entity_f1", 0.377))
_NEURAL = (Term("bertscore", 0.370, {"clip": [-1, 1]}), Term("semb_score", 0.253), Term("radgraph_combined", 0.377))
_RADCLIQ = (Term("radcliq_v1", 1.0, [{"clip": [-2, 5]}, "negate"]),)
_STEP1, _STEP2 = "UniRG step 1, weights from the paper", "UniRG step 2: step 1 + 0.5 / (errors + 1), total errors"


def _errors(metric: str, weight: float = ERROR_WEIGHT) -> Term:
    return Term(metric, weight, "inverse")


_LABELS = "labels14_f1_micro"
_READY = (
    RewardRecipe("unirg_step1", _OFFLINE, source=f"{_STEP1}; weight-free stand-ins; 0 to 1"),
    RewardRecipe("unirg_step2", (*_OFFLINE, _errors("errors_total")), source=f"{_STEP2}; weight-free stand-ins; 0 to 1.5"),
    RewardRecipe("unirg_step1_neural", _NEURAL, source=f"{_STEP1}; its own scorers, raw"),
    RewardRecipe("unirg_step2_neural", (*_NEURAL, _errors("error_judge")), source=f"{_STEP2}; its own scorers, raw"),
    RewardRecipe("unirg_step1_radcliq", _RADCLIQ, floor=-6.0, source="UniRG step 1 with standardised scorers: -RadCliQ-v1"),
    RewardRecipe(
        "unirg_step2_radcliq", (*_RADCLIQ, _errors("error_judge", round(ERROR_WEIGHT * STANDARDISED, 3))), floor=-6.0,
        source="UniRG step 2 with standardised scorers: -RadCliQ-v1 + 1.946 / (errors + 1)",
    ),
    RewardRecipe(
        "self_consistent",
        (
            Term(_LABELS, 0.4), Term(_LABELS, 0.4, of="answer"),
            Term(_LABELS, 0.2, of="answer", against="report", times=_LABELS),
        ),
        source="HERO (arXiv 2601.03321) for the style labelled: F1 of narrative and of labels, and their agreement times the "
        "narrative's; the paper's weights are not published, these are ours",
    ),
)  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in _READY}
"""The composed recipes by name; every metric's name is a recipe too."""
_ALLOWED = f"Allowed: {', '.join(RECIPES)}, or a metric of docs/metrics.md or docs/knowledge.md."


def single(metric: str) -> RewardRecipe:
    """Return the reward that is one metric alone, turned so that more is better by the metric's own spec.

    Bounded metrics where lower is better are negated; unbounded ones (error counts) become 1 / (value + 1), so that a
    floor below every reward exists.

    >>> single("errors_total").terms
    (Term(metric='errors_total', weight=1.0, transform=(Step(kind='inverse', numbers=()),), times=None, of='report', against='reference'),)
    """
    spec = metrics.get(metric).spec
    if spec.reference_free:
        raise UsageError(
            f"{metric!r} looks at the draft alone and cannot be a reward by itself; multiply it by a metric that looks at the "
            f"reference (times: entity_f1), or use another. {_ALLOWED}"
        )
    if spec.better == "higher":
        term = Term(metric)
    else:
        term = Term(metric, 1.0, "inverse" if spec.bounds is None else "negate")
    least = 0.0 if spec.bounds is None else min(spec.bounds[0], -spec.bounds[1] if spec.better == "lower" else 0.0)
    return RewardRecipe(metric, (term,), floor=min(least, 0.0) - 1.0, source=f"{metric} alone")


def names() -> tuple[str, ...]:
    """Return every recipe name, composed ones first; metrics that look at the draft alone are none."""
    return (*RECIPES, *(name for name in metrics.METRICS if not metrics.get(name).spec.reference_free))


def get(reward: str | Mapping[str, Any]) -> RewardRecipe:
    """Return a recipe: a composed one by name, any metric alone by its name, or one that is written out.

    What is written out has the keys of ``RewardRecipe``. Without ``terms`` it is the recipe of that name with another floor,
    ``min_words`` or ``min_ratio``.

    >>> get({"name": "unirg_step2", "min_words": 5}).min_words
    5

    Raises
    ------
    UsageError
        When nothing has that name, with the nearest that does; when what is written out is no recipe, contains itself or
        names an unknown metric.
    """
    if isinstance(reward, Mapping):
        try:
            return _written_out(reward)
        except RecursionError:
            raise UsageError(
                "the reward that is written out contains itself (a YAML anchor within what it names); write every term out."
            ) from None
    if reward in RECIPES:
        return RECIPES[reward]
    if reward in metrics.METRICS:
        return single(reward)
    if reward in GUARDS:
        raise UsageError(
            f"{reward!r} is a guard, which watches a training and is never paid for; use another. {_ALLOWED}"
        )
    raise UsageError(f"no reward is called {reward!r}.{nearest(reward, names())} {_ALLOWED}")


def _written_out(data: Mapping[str, Any]) -> RewardRecipe:
    if "name" in data and "terms" not in data:
        return RewardRecipe.from_json({**get(str(data["name"])).to_json(), **data})
    recipe = RewardRecipe.from_json({"name": "reward", **data})
    for name in recipe.metrics:
        if name not in metrics.METRICS:
            raise UsageError(f"reward {recipe.name!r}: no metric is called {name!r}.{nearest(name, metrics.METRICS)}")
    return recipe
