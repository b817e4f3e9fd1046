"""The rewards that come with the house.

``unirg_step1`` and ``unirg_step2`` are the two-step reward of UniRG with each of its neural scorers replaced by the
weight-free metric of the same duty: BERTScore by ``lexical_similarity``, SembScore by ``label_agreement``, RadGraph F1
by ``entity_f1``, CheXprompt's error count by ``errors_total``. The coefficients are the paper's and multiply raw
values, as printed there. Numbers made with them are not UniRG's numbers.

A policy that has learnt to write normals is paid 1 on every normal study by the agreement terms. Watch the guards
(recall, abnormal-only F1, template share) beside any of these rewards.
"""

from __future__ import annotations

from wetread import metrics
from wetread.errors import UsageError, nearest
from wetread.rewards.combine import RewardRecipe, Term

STEP1_TERMS = (
    Term("lexical_similarity", 0.370),
    Term("label_agreement", 0.253),
    Term("entity_f1", 0.377),
)
ERROR_WEIGHT = 0.5
"""Weight of 1 / (E + 1) in the second step; the paper's."""

UNIRG_STEP1 = RewardRecipe(
    "unirg_step1", STEP1_TERMS, source="UniRG step 1 (weights from the paper), weight-free stand-ins; 0 to 1"
)
UNIRG_STEP2 = RewardRecipe(
    "unirg_step2",
    (*STEP1_TERMS, Term("errors_total", ERROR_WEIGHT, "inverse")),
    source="UniRG step 2: step 1 + 0.5 / (errors + 1), total errors; weight-free stand-ins; 0 to 1.5",
)


def single(metric: str) -> RewardRecipe:
    """Return the reward that is one metric alone, turned so that more is better by the metric's own spec.

    Bounded metrics where lower is better are negated; unbounded ones (error counts) become 1 / (value + 1), so that a
    floor below every reward exists.

    >>> single("errors_total").terms
    (Term(metric='errors_total', weight=1.0, transform='inverse'),)
    """
    spec = metrics.get(metric).spec
    if spec.reference_free:
        raise UsageError(
            f"{metric!r} looks at the draft alone and cannot be a reward by itself; there are: {', '.join(names())}."
        )
    if spec.better == "higher":
        term = Term(metric)
    else:
        term = Term(metric, 1.0, "inverse" if spec.bounds is None else "negate")
    least = 0.0 if spec.bounds is None else min(spec.bounds[0], -spec.bounds[1] if spec.better == "lower" else 0.0)
    return RewardRecipe(metric, (term,), floor=min(least, 0.0) - 1.0, source=f"{metric} alone")


RECIPES = {recipe.name: recipe for recipe in (UNIRG_STEP1, UNIRG_STEP2)}
"""The composed recipes by name; every metric's name is a recipe too."""


def names() -> tuple[str, ...]:
    """Return every recipe name, composed ones first; metrics that look at the draft alone are none."""
    return (*RECIPES, *(name for name in metrics.METRICS if not metrics.get(name).spec.reference_free))


def get(name: str) -> RewardRecipe:
    """Return the recipe called ``name``: a composed one, or any metric alone.

    Raises
    ------
    UsageError
        When nothing has that name; the message lists those that do.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name in metrics.METRICS:
        return single(name)
    raise UsageError(f"no reward is called {name!r}.{nearest(name, names())} There are: {', '.join(names())}.")
