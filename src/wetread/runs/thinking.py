"""Scores of what stands beside a report: whether the perception is true, the report follows from it, and corrections help.

Measures look at a whole draft, its thought and its passes, where metrics look at its report alone. They are never in a reward.
A draft without what a measure looks at is not scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wetread.knowledge import differences, extract, load
from wetread.metrics.entry import MEAN, MICRO_F1, PRECISION, Aggregation
from wetread.metrics.findings import f1, set_counts
from wetread.records import Draft, Finding, Report, Score
from wetread.runs import passes

Facts = Sequence[Finding]


@dataclass(frozen=True)
class Measure:
    """One number of a draft and what is true of its study."""

    name: str
    """Public name."""
    judge: Callable[[Draft, Facts], tuple[float, dict[str, float]] | str]
    """Value and counts of one draft, or why there is none."""
    aggregation: Aggregation
    """How the corpus value is made."""
    better: Literal["higher", "lower", ""]
    """Its better direction; empty: it has none."""
    source: str
    """What it says, in words."""
    version: str = "1"
    """Changes when any number may change."""

    def signature(self, *, sections: str = "findings+impression", n: int | None = None) -> str:
        """Return the same kind of line as ``MetricSpec.signature``."""
        count = "n=?" if n is None else f"n={n}"
        return "|".join((self.name, f"v{self.version}", "no weights", sections, "as scored", count))


def score(
    drafts: Mapping[str, Draft], facts: Mapping[str, Facts], names: Sequence[str] = ()
) -> dict[str, dict[str, Score]]:
    """Return measure to study to score.

    Parameters
    ----------
    drafts
        Study to draft, with its thought and passes.
    facts
        Study to what its reference claims, or to what is true of it.
    names
        Measures; all by default.
    """
    found: dict[str, dict[str, Score]] = {}
    for name in names or MEASURES:
        found[name] = {}
        for study, draft in drafts.items():
            said = MEASURES[name].judge(draft, facts[study])
            one = Score(name, None, said) if isinstance(said, str) else Score(name, said[0], counts=said[1])
            found[name][study] = one
    return found


def thought_of(drafts: Sequence[Draft | None]) -> bool:
    """Whether any of the drafts has a thought, so that measures have something to look at."""
    return any(one is not None and (one.thought is not None or one.passes) for one in drafts)


def _sure(findings: Facts) -> frozenset[str]:
    return frozenset(one.name for one in findings if one.presence == "present")


def _perceived(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    if draft.thought is None:
        return "no thought"
    counts = set_counts(_sure(draft.thought.perception), _sure(truth))
    return f1(**counts), counts


Claims = frozenset[tuple[str, str]]
"""Names with their sides, of what is claimed, be it hedged."""


def _claims(findings: Facts) -> Claims:
    return frozenset((one.name, one.side) for one in findings if one.presence != "absent")


def _support(draft: Draft, _: Facts) -> tuple[Claims, Claims] | str:
    """Return what the report and what the perception claim."""
    if draft.thought is None:
        return "no thought"
    if not draft.readable:
        return "no report"
    return _claims(extract(draft.report)), _claims(draft.thought.perception)


def _share(these: Claims, those: Claims) -> tuple[float, dict[str, float]] | str:
    """Return the share of some claims that others have: the finding or a more special one, and no other side."""
    if not these:
        return "nothing is claimed"
    known = load()
    there: dict[str, set[str]] = {}
    for name, side in those:
        for one in (name, *(known.ancestors(name) if name in known else ())):
            there.setdefault(one, set()).add(side)
    kept = sum(any(_meet(side, other) for other in there.get(name, ())) for name, side in these)
    return kept / len(these), {"tp": float(kept), "fp": float(len(these) - kept), "fn": 0.0}


def _meet(side: str, other: str) -> bool:
    """Whether two sides may be of one finding: equal, or one of them open or both-sided."""
    return side == other or not {side, other}.isdisjoint({"", "bilateral"})


def _supported(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _support(draft, truth)
    return found if isinstance(found, str) else _share(found[0], found[1])


def _reported(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _support(draft, truth)
    return found if isinstance(found, str) else _share(found[1], found[0])


def _errors(report: Report, truth: Facts) -> Counter[tuple[str, str]]:
    """Return the errors of a report as (kind, finding) to how many there are: a finding may be wrong on both sides."""
    return Counter((one.kind, one.finding) for one in differences(truth, report))


def _both(draft: Draft, truth: Facts) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]] | str:
    """Return the errors of the first pass and those of the draft that stands."""
    if not draft.passes:
        return "one pass"
    if not draft.passes[0].readable:
        return "no first pass"
    return _errors(draft.passes[0].report, truth), _errors(draft.report, truth)


def _number(count: float) -> tuple[float, dict[str, float]]:
    return float(count), {}


def _fixed(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _both(draft, truth)
    return found if isinstance(found, str) else _number((found[0] - found[1]).total())


def _broken(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _both(draft, truth)
    return found if isinstance(found, str) else _number((found[1] - found[0]).total())


def _untouched(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _both(draft, truth)
    return found if isinstance(found, str) else _number((found[0] & found[1]).total())


def _never_worse(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _both(draft, truth)
    return found if isinstance(found, str) else _number(found[1].total() <= found[0].total())


def _improved(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    found = _both(draft, truth)
    return found if isinstance(found, str) else _number(found[1].total() < found[0].total())


def _changed(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    return _number(draft.report != draft.passes[0].report) if draft.passes else "one pass"


def _right(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    """Never-worse of the drafts whose first pass has no error: what a reflection must leave alone."""
    found = _both(draft, truth)
    if isinstance(found, str):
        return found
    return "the first pass has an error" if found[0] else _number(not found[1])


def _unread(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    """Whether a second pass failed, was cut or could not be read, so that one before it stands."""
    if not draft.passes:
        return "one pass"
    return _number(any(not passes.stands(one) and not passes.content(one) for one in draft.passes[1:]))


def _content(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    said = [one.thought.critique for one in draft.passes[1:] if one.thought and one.thought.critique is not None]
    return _number(not said[0]) if said else "no reflection"


def _called(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    """Errors of the first pass that the reflection names, against those that it has."""
    found = _both(draft, truth)
    if isinstance(found, str):
        return found
    said = draft.passes[1].thought.critique if len(draft.passes) > 1 and draft.passes[1].thought else None
    if said is None:
        return "no reflection"
    named = frozenset((one.kind, (one.meant or one.said).name) for one in said if one.meant or one.said)  # type: ignore[union-attr]
    counts = set_counts(named, frozenset(found[0]))
    return f1(**counts), counts


def _tokens(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    return _number(draft.tokens) if draft.tokens else "not counted"


def _conflicts(draft: Draft, truth: Facts) -> tuple[float, dict[str, float]] | str:
    """Whether labels and narrative of a labelled draft say different things."""
    if draft.thought is None or draft.thought.labels is None:
        return "no labels"
    from wetread.prompts.labelled import labels_of

    ours = {name for name, value in labels_of(draft.report).items() if value != "absent"}
    theirs = {name for name, value in draft.thought.labels.items() if value != "absent"}
    return _number(ours != theirs)


MEASURES: Mapping[str, Measure] = {
    one.name: one
    for one in (
        Measure("perception_f1", _perceived, MICRO_F1, "higher", "present findings of the thought against those of the reference"),
        Measure("supported_share", _supported, PRECISION, "higher", "report findings that the perception has"),
        Measure("reported_share", _reported, PRECISION, "higher", "perceived findings that the report has"),
        Measure("fixed", _fixed, MEAN, "higher", "errors of the first pass that the final report has not"),
        Measure("broken", _broken, MEAN, "lower", "errors of the final report that the first pass had not"),
        Measure("untouched", _untouched, MEAN, "lower", "errors that both have"),
        Measure("never_worse", _never_worse, MEAN, "higher", "share of reports with no more errors than their first pass"),
        Measure("lost_share", _unread, MEAN, "lower", "share of drafts with a reflection that failed or could not be read"),
        Measure("improved", _improved, MEAN, "higher", "share of reports with fewer errors than their first pass"),
        Measure("changed", _changed, MEAN, "", "share of reports that differ from their first pass"),
        Measure("right_kept", _right, MEAN, "higher", "share of error-free first passes that stay so"),
        Measure("no_error_share", _content, MEAN, "", "share of reflections that find no error"),
        Measure("critique_f1", _called, MICRO_F1, "higher", "errors that a reflection names against those there are"),
        Measure("tokens", _tokens, MEAN, "", "tokens written for a report, all passes together"),
        Measure("inconsistent_share", _conflicts, MEAN, "lower", "share of drafts whose labels and narrative differ"),
    )
}  # fmt: skip
"""Measure name to measure."""
