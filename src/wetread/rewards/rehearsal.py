"""The rehearsal of a reward before anything is trained on it: whether it pays for the truth, and for nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from wetread import metrics
from wetread.errors import UsageError
from wetread.metrics import MetricEntry
from wetread.metrics.lexical import word_count
from wetread.records import MetricSpec, Report, Score
from wetread.rewards import transforms
from wetread.rewards.recipe import RewardRecipe, Term
from wetread.rewards.transforms import Span

ENDPOINT = "endpoint"
"""A metric that needs something of this name asks another machine."""
CLOSE = 1e-6
"""Two contributions nearer than this are equal but for rounding."""
LARGEST = 1e6
"""Rewards beyond this are refused, well before the single precision of trainers overflows, which squares them."""
FINEST = 1e-4
"""Least difference between the worst and the best reward, and least part of their size: trainers add as much to a group's
deviation, and single precision rounds away what is smaller."""


def ready(recipe: RewardRecipe, entries: Mapping[str, MetricEntry] | None) -> Mapping[str, MetricEntry]:
    """Return the entries that score a recipe, after ``check``; None: the metrics as they are.

    Raises
    ------
    UsageError
        Also where scores would depend on the batch.
    """
    known = metrics.bind(recipe.metrics) if entries is None else entries
    loose = [name for name, entry in known.items() if isinstance(entry, metrics.CorpusEntry)]
    if loose:
        raise UsageError(
            f"{', '.join(loose)} of reward {recipe.name!r} depends on a corpus of references; pass entries=bind(recipe, "
            "references) with those of the whole training, so that no reward depends on its batch."
        )
    check(recipe, known)
    return known


def check(recipe: RewardRecipe, entries: Mapping[str, MetricEntry]) -> None:
    """Refuse a reward that cannot be right, whatever is scored with it.

    Raises
    ------
    UsageError
        Naming the term: nothing in it looks at the reference, a transform turns a metric's direction round or is not made
        for its values, a factor of a product may be below 0, where worse would be paid more, a product pays for what looks
        at the draft alone even where all the rest is as wrong as can be, a transform makes one value of all, or what it
        adds is too large to be computed with; also when the floor is.
    """
    if abs(recipe.floor) > LARGEST:
        raise UsageError(
            f"floor {recipe.floor:g} of reward {recipe.name!r} is too large to be computed with; allowed is from "
            f"{-LARGEST:g} to {LARGEST:g}."
        )
    for term in recipe.terms:
        where = f"term {term.name!r} of reward {recipe.name!r}"
        specs = [entries[one.metric].spec for one in term.factors]
        if all(blind(one, spec) for one, spec in zip(term.factors, specs, strict=True)):
            raise UsageError(
                f"{where} looks at the draft alone and says nothing of truth; multiply it by a metric that does, such as "
                "times: entity_f1."
            )
        for one, spec in zip(term.factors, specs, strict=True):
            if one.slot != one.metric and any(ENDPOINT in need for need in spec.needs):
                raise UsageError(
                    f"{where}: {one.metric!r} asks an endpoint, which judges reports against references alone."
                )
            if (spec.better == "higher") == transforms.turned(one.steps):
                said = _said(one)
                raise UsageError(
                    f"{where}: of {one.metric!r} {spec.better} is better, but transform {said} pays for the opposite; "
                    f"use {'identity' if spec.better == 'higher' else 'inverse'}."
                )
            try:
                low, _ = transforms.span(one.steps, values_of(spec))
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
            if len(specs) > 1 and low < 0:
                raise UsageError(
                    f"{where}: {one.metric!r} may be {low:g} there, and a product of numbers below 0 pays for the worse; "
                    "clip or shift it to begin at 0."
                )
        _check_truth(term, specs, where)
        for one, spec in zip(term.factors, specs, strict=True):
            _check_varies(one, spec, where)
        _check_size(term, specs, where)


def _said(one: Term) -> str:
    return ", ".join(step.kind for step in one.steps) or "identity"


def _check_truth(term: Term, specs: Sequence[MetricSpec], where: str) -> None:
    """Refuse a product that pays a draft for its form although it says nothing true.

    The worst is taken at the reference's length: a factor that only a wrong length brings to 0 says nothing of truth.
    """
    form = [one.slot for one, spec in zip(term.factors, specs, strict=True) if blind(one, spec)]
    rest = [(one, spec) for one, spec in zip(term.factors, specs, strict=True) if not blind(one, spec)]
    least = math.prod(min(transforms.apply(one.steps, end) for end in values_of(spec)) for one, spec in rest)
    if form and least > 0:
        truth = " and ".join(repr(one.metric) for one, _ in rest)
        raise UsageError(
            f"{where}: {truth} never falls below {least:g} there, so that {' and '.join(map(repr, form))}, which looks at "
            "the draft alone, is paid for in a draft that is all wrong; let what it is multiplied by begin at 0, without "
            "a shift or a clip above it."
        )


def _check_varies(one: Term, spec: MetricSpec, where: str) -> None:
    """Refuse a factor that is the same for the worst and the best draft of the reference's length."""
    low, high = values_of(spec)
    value = transforms.apply(one.steps, high)
    if transforms.apply(one.steps, low) == value:
        raise UsageError(
            f"{where}: transform {_said(one)} makes {value:g} of every value of {one.metric!r}, which is from {low:g} to "
            f"{high:g}, so that it teaches nothing; choose numbers that tell these values apart."
        )


def _check_size(term: Term, specs: Sequence[MetricSpec], where: str) -> None:
    """Refuse a term that may be too large; an end that the metric itself does not bound is left to the rehearsal."""
    bounded = all(math.isfinite(end) for spec in specs for end in values_of(spec))
    spans = [transforms.span(one.steps, values_of(spec)) for one, spec in zip(term.factors, specs, strict=True)]
    for ends in zip(*spans, strict=True):
        added = term.weight * math.prod(ends)
        if not abs(added) <= LARGEST and (bounded or math.isfinite(added)):
            raise UsageError(
                f"{where} may add {added:g}, too large to be computed with; allowed is from {-LARGEST:g} to {LARGEST:g}, "
                "so make its weight, scale or shift smaller."
            )


def blind(one: Term, spec: MetricSpec) -> bool:
    """Whether a factor says nothing of truth: its metric, or what it is held against, is the draft's own."""
    return spec.reference_free or one.against != "reference"


def values_of(spec: MetricSpec) -> Span:
    """Return the least and the greatest value that a metric can have; counts of errors begin at 0."""
    if spec.bounds is not None:
        return spec.bounds
    counts = spec.better == "lower" and not spec.reference_free
    return (0.0 if counts else -math.inf), math.inf


def best_value(spec: MetricSpec) -> float | None:
    """Return the best value of one report, or None when the spec does not bound it; error counts are best at 0."""
    low, high = values_of(spec)
    best = high if spec.better == "higher" else low
    return best if math.isfinite(best) else None


def dry_run(
    recipe: RewardRecipe, references: Sequence[Report], entries: Mapping[str, MetricEntry] | None = None
) -> float:
    """Check the ruler before measuring: each reference, handed in as its own draft, must get the best reward reachable.

    Some metrics have references that reach no best: too short for BLEU-4, without a relation for RadGraph. For those no
    other reference may get more. Of a product, what looks at the reference is checked; the rest is taken as it is.

    Parameters
    ----------
    recipe
        The reward.
    references
        Some of the training's.
    entries
        As for ``score_batch``.

    Returns
    -------
    float
        The best reward.

    Raises
    ------
    UsageError
        Naming the term: what ``check`` refuses, when a reference gets less than that term's best value against itself and
        another report no less, or when the floor is not below the least reachable reward; also when the least and the
        best reward are too large or too close to be told apart in training, and when there is no reference with text.
    """
    texts = list(dict.fromkeys(reference for reference in references if reference))
    if not texts:
        raise UsageError("the dry run of the reward needs at least one reference with text; none was given.")
    known = ready(recipe, entries)
    least = sum(_least(term, known) for term in recipe.terms)
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
    scores = metrics.score(recipe.metrics, texts, texts, entries=known)
    best = 0.0
    for term in recipe.terms:
        reached = term.weight
        for one in term.factors:
            spec = known[one.metric].spec
            paid = [transforms.apply(one.steps, score.value) for score in scores[one.metric] if score.value is not None]
            if blind(one, spec):
                reached *= max(paid, default=0.0)
                continue
            target = best_value(spec)
            wanted = None if target is None else transforms.apply(one.steps, target)
            _check_identity(one, recipe, known, (texts, scores[one.metric]), wanted)
            reached *= max(paid, default=0.0) if wanted is None else wanted
        best += reached
    if not abs(best) <= LARGEST:
        raise UsageError(
            f"reward {recipe.name!r} pays {best:g} for a reference as its own draft, too large to be computed with; at most "
            f"{LARGEST:g} is allowed, so make weights, scales and shifts smaller."
        )
    if best - least < FINEST * max(1.0, abs(least), abs(best)):
        raise UsageError(
            f"reward {recipe.name!r} is from {least:g} to {best:g}; a trainer cannot tell such values apart, so that it "
            f"teaches nothing. The difference must be at least {FINEST:g}, and {FINEST:g} of the greater; make weights "
            "larger or shifts smaller."
        )
    return best


def _least(term: Term, entries: Mapping[str, MetricEntry]) -> float:
    """Return the least that a term can add; minus infinity when the spec of its metric does not bound it."""
    return term.weight * math.prod(
        transforms.span(one.steps, values_of(entries[one.metric].spec))[0] for one in term.factors
    )


def _check_identity(
    term: Term,
    recipe: RewardRecipe,
    entries: Mapping[str, MetricEntry],
    judged: tuple[Sequence[Report], Sequence[Score]],
    wanted: float | None,
) -> None:
    """Refuse a factor by which references, scored against themselves in ``judged``, get too little."""

    def paid(score: Score) -> float | None:
        return None if score.value is None else transforms.apply(term.steps, score.value)

    texts, scores = judged
    own = [paid(score) for score in scores]
    least = min((value for value in own if value is not None), default=None)
    unscored = next((f" (not scored: {score.reason})" for score in scores if score.value is None), "")
    refusal = UsageError(
        f"term {term.metric!r} of reward {recipe.name!r}: a reference against itself gets {least}{unscored}, "
        f"but the best is {wanted}; the metric or the references are not fit for a reward."
    )
    if least is None or any(value is not None and wanted is not None and value > wanted + CLOSE for value in own):
        raise refusal
    short = [at for at, value in enumerate(own) if value is not None and not _reaches(value, wanted)]
    if not short:
        return
    others = metrics.score(
        [term.metric], [texts[at - 1] for at in short], [texts[at] for at in short], entries=entries
    )[term.metric]
    gains = [
        cast(float, own[at]) - other
        for at, score in zip(short, others, strict=True)
        if (other := paid(score)) is not None
    ]
    reached = any(_reaches(value, wanted) for value in own)
    if any(gain < -CLOSE for gain in gains) or not (reached or any(gain > CLOSE for gain in gains)):
        raise refusal


def _reaches(value: float | None, wanted: float | None) -> bool:
    return value is not None and wanted is not None and abs(value - wanted) <= CLOSE
