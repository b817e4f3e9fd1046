"""Guards: what tells a better policy from one that has found a short cut. Never part of a reward.

Known short cuts: a normal template for every patient, ever shorter reports, calling everything, calling nothing. Each
guard is a pure function of drafts and references, listed per study so that intervals can be made of it.

Whether a text is a template or a duplicate depends on the other drafts. These flags are therefore set once, on the
full corpus, and a bootstrap resamples the flags: within a resample every study that is drawn twice would look like a
duplicate of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from wetread.metrics.entry import MEAN, MICRO_F1, Aggregation, check_lengths, fold_mean
from wetread.metrics.facts import findings_of, is_abnormal, pair_of, present
from wetread.metrics.findings import f1, set_counts
from wetread.metrics.lexical import word_count
from wetread.records import Draft, Report, Score
from wetread.registry import Registry

LENGTH_RATIO_ALARM = (0.7, 1.4)
"""Outside this range of draft words to reference words something has gone wrong, whatever the reward says."""

CONTRADICTION_ALARM = 0.05
"""More than this share of drafts that contradict themselves, above that of the references, is worth an alarm."""


@dataclass(frozen=True)
class GuardEntry:
    """One guard, in the shape of a metric but without a better direction of its own."""

    name: str
    """Public name."""
    function: Callable[[Sequence[Report], Sequence[Report]], list[Score]]
    """Scores of the whole corpus at once; unlike a metric's they may depend on the other drafts."""
    aggregation: Aggregation
    """How the corpus value is made."""
    source: str
    """What it says, in words."""
    version: str = "1"
    """Changes when any number may change."""

    def __call__(self, drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
        """Return one score a study, over the full corpus (``UsageError`` when the lengths differ)."""
        return self.function(drafts, references)

    def signature(self, *, sections: str = "findings+impression", n: int | None = None) -> str:
        """Return the same kind of line as ``MetricSpec.signature``."""
        count = "n=?" if n is None else f"n={n}"
        return "|".join((self.name, f"v{self.version}", "no weights", sections, "as scored", count))


@dataclass(frozen=True)
class FindingCalls:
    """How one finding is called over a corpus."""

    name: str
    """Name of the finding."""
    tp: int
    """Reports that have it on both sides."""
    fp: int
    """Drafts that claim it against the reference."""
    fn: int
    """Drafts that miss it."""
    n: int
    """Reports judged."""

    @property
    def over_calling(self) -> float | None:
        """Share of the reports without it whose draft claims it; None when every reference has it."""
        without = self.n - self.tp - self.fn
        return self.fp / without if without else None

    @property
    def under_calling(self) -> float | None:
        """Share of the reports with it whose draft misses it; None when no reference has it."""
        having = self.tp + self.fn
        return self.fn / having if having else None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; the two shares are written for the reader and not read back."""
        return {
            "name": self.name, "tp": self.tp, "fp": self.fp, "fn": self.fn, "n": self.n,
            "over_calling": self.over_calling, "under_calling": self.under_calling,
        }  # fmt: skip


@dataclass(frozen=True)
class GuardReport:
    """What the guards say of a corpus of drafts."""

    n: int
    """Drafts looked at."""
    unreadable: int
    """Drafts that hold no report."""
    template_share: float | None
    """Share of drafts with the most frequent text, 0 to 1."""
    duplicate_share: float | None
    """Share of drafts whose text was also written for another study, 0 to 1."""
    length_ratio: float | None
    """Draft words divided by reference words."""
    abnormal_f1: float | None
    """Micro F1 of present findings where the reference has at least one that is not a device."""
    contradiction_share: float | None
    """Share of drafts that claim and deny the same finding, 0 to 1."""
    calls: tuple[FindingCalls, ...]
    """Per finding that either side has, by name."""
    alarms: tuple[str, ...]
    """What to look into, in words; empty when nothing is out of range."""

    @property
    def over_calling(self) -> float | None:
        """Share of all findings that references lack which drafts claim; None when they lack none."""
        lacked = sum(call.n - call.tp - call.fn for call in self.calls)
        return sum(call.fp for call in self.calls) / lacked if lacked else None

    @property
    def under_calling(self) -> float | None:
        """Share of all findings that references have which drafts miss; None when they have none."""
        had = sum(call.tp + call.fn for call in self.calls)
        return sum(call.fn for call in self.calls) / had if had else None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "n": self.n,
            "unreadable": self.unreadable,
            "template_share": self.template_share,
            "duplicate_share": self.duplicate_share,
            "length_ratio": self.length_ratio,
            "abnormal_f1": self.abnormal_f1,
            "contradiction_share": self.contradiction_share,
            "calls": [item.to_json() for item in self.calls],
            "alarms": list(self.alarms),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GuardReport:
        """Return the report that ``to_json`` wrote."""
        calls = tuple(FindingCalls(c["name"], c["tp"], c["fp"], c["fn"], c["n"]) for c in data["calls"])
        plain = {key: data[key] for key in data if key not in ("calls", "alarms")}
        return cls(**plain, calls=calls, alarms=tuple(data["alarms"]))


def normalised(report: Report) -> str:
    """Return the text by which two drafts are called the same: lower-case, single spaces.

    >>> normalised(Report("Clear  lungs."))
    'findings: clear lungs.'
    """
    return " ".join(report.text.lower().split())


def template_share(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Flag each draft that equals the most frequent draft text (ties: the first in the alphabet); corpus: share."""
    check_lengths(drafts, references)
    texts = [normalised(draft) for draft in drafts]
    counts = Counter(texts)
    template = min(counts, key=lambda text: (-counts[text], text), default="")
    return [Score("template_share", float(text == template)) for text in texts]


def duplicate_share(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Flag each draft whose text was also written for another study; corpus: share."""
    check_lengths(drafts, references)
    texts = [normalised(draft) for draft in drafts]
    counts = Counter(texts)
    return [Score("duplicate_share", float(counts[text] > 1)) for text in texts]


def length_ratio(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Draft words divided by reference words, headers not counted; corpus: ratio of the sums. Best near 1."""
    check_lengths(drafts, references)
    scores = []
    for draft, reference in zip(drafts, references, strict=True):
        ours, theirs = float(word_count(draft)), float(word_count(reference))
        counts = {"draft_words": ours, "reference_words": theirs}
        if theirs:
            scores.append(Score("length_ratio", ours / theirs, counts=counts))
        else:
            scores.append(Score("length_ratio", None, "the reference report is empty", counts))
    return scores


def abnormal_f1(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """F1 of present findings, only where the reference has one that is not a device; others are None. Corpus: micro.

    An all-normal template gets 0 here, however many normal studies the corpus has.
    """
    check_lengths(drafts, references)
    scores = []
    for draft, reference in zip(drafts, references, strict=True):
        if is_abnormal(reference):
            counts = set_counts(*pair_of(present, draft, reference))
            scores.append(Score("abnormal_f1", f1(**counts), counts=counts))
        else:
            scores.append(Score("abnormal_f1", None, "the reference shows no finding besides devices"))
    return scores


def contradiction_share(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Flag each draft that claims a finding and denies it outright; corpus: share.

    A policy that is paid for every right word learns to say both. Such claims earn nothing in the finding metrics, but a
    lexical reward cannot see them.
    """
    check_lengths(drafts, references)
    return [
        Score("contradiction_share", float(any(finding.denied for finding in findings_of(draft)))) for draft in drafts
    ]


def finding_calls(drafts: Sequence[Report], references: Sequence[Report]) -> tuple[FindingCalls, ...]:
    """Count how each finding is called, over the pairs whose reference has text; sorted by name."""
    check_lengths(drafts, references)
    pairs = [pair_of(present, d, r) for d, r in zip(drafts, references, strict=True) if r]
    names = sorted(frozenset().union(*(ours | theirs for ours, theirs in pairs)))
    return tuple(
        FindingCalls(
            name,
            tp=sum(name in ours and name in theirs for ours, theirs in pairs),
            fp=sum(name in ours and name not in theirs for ours, theirs in pairs),
            fn=sum(name not in ours and name in theirs for ours, theirs in pairs),
            n=len(pairs),
        )
        for name in names
    )


def guard(drafts: Sequence[Draft], references: Sequence[Report]) -> GuardReport:
    """Run every guard over a corpus: one draft and one reference a study, in the same order.

    A draft without a report is a text like any other (the empty one), so a policy that writes nothing shows up as a
    template. Raises ``UsageError`` when the lengths differ.
    """
    reports = [draft.report for draft in drafts]
    values = {name: get(name).aggregation.aggregate(get(name)(reports, references)) for name in GUARDS}
    unreadable = sum(not draft.readable for draft in drafts)
    return GuardReport(
        n=len(drafts),
        unreadable=unreadable,
        template_share=values["template_share"],
        duplicate_share=values["duplicate_share"],
        length_ratio=values["length_ratio"],
        abnormal_f1=values["abnormal_f1"],
        contradiction_share=values["contradiction_share"],
        calls=finding_calls(reports, references),
        alarms=_alarms(unreadable, values, references),
    )


def _alarms(unreadable: int, values: Mapping[str, float | None], references: Sequence[Report]) -> tuple[str, ...]:
    texts = Counter(normalised(reference) for reference in references)
    contradicting = sum(any(f.denied for f in findings_of(one)) for one in references)
    n = len(references)
    return alarms(
        values,
        n=n,
        unreadable=unreadable,
        usual_template=max(texts.values(), default=0) / n if n else 0.0,
        usual_contradicting=contradicting / n if n else 0.0,
    )


def alarms(
    values: Mapping[str, float | None],
    *,
    n: int,
    unreadable: int,
    usual_template: float,
    usual_contradicting: float,
) -> tuple[str, ...]:
    """Return what to look into, in words.

    Parameters
    ----------
    values
        Corpus value of each guard.
    n
        Drafts looked at.
    unreadable
        Drafts that hold no report.
    usual_template, usual_contradicting
        Template share and contradiction share of the references, 0 to 1.
    """
    found = []
    low, high = LENGTH_RATIO_ALARM
    length, template = values["length_ratio"], values["template_share"]
    if length is not None and not low <= length <= high:
        found.append(f"length ratio {length:.2f} is outside {low} to {high}")
    if template is not None and n and template > 2 * usual_template and template * n > 2:
        found.append(f"{template:.0%} of the drafts are one text; among the references it is {usual_template:.0%}")
    if unreadable:
        found.append(f"{unreadable} drafts hold no report")
    contradicting = values["contradiction_share"]
    if contradicting and n and contradicting > CONTRADICTION_ALARM + usual_contradicting:
        found.append(
            f"{contradicting:.0%} of the drafts claim and deny one finding; among the references {usual_contradicting:.0%} do"
        )
    if values["abnormal_f1"] == 0:
        found.append("no finding of any abnormal study was called")
    return tuple(found)


def _length_keys(scores: Sequence[Score]) -> tuple[str, ...]:
    return ("draft_words", "reference_words")


LENGTH = Aggregation(_length_keys, fold_mean)
TEMPLATE_SHARE = GuardEntry("template_share", template_share, MEAN, "share of drafts with the most frequent text")
DUPLICATE_SHARE = GuardEntry("duplicate_share", duplicate_share, MEAN, "share of drafts also written for another study")
LENGTH_RATIO = GuardEntry("length_ratio", length_ratio, LENGTH, "draft words / reference words, sums")
CONTRADICTION_SHARE = GuardEntry(
    "contradiction_share", contradiction_share, MEAN, "share of drafts that claim and deny the same finding"
)
ABNORMAL_F1 = GuardEntry("abnormal_f1", abnormal_f1, MICRO_F1, "micro F1 of present findings, abnormal references only")

GUARDS = Registry(
    "guard",
    {
        "template_share": "wetread.rewards.guards:TEMPLATE_SHARE",
        "duplicate_share": "wetread.rewards.guards:DUPLICATE_SHARE",
        "length_ratio": "wetread.rewards.guards:LENGTH_RATIO",
        "abnormal_f1": "wetread.rewards.guards:ABNORMAL_F1",
        "contradiction_share": "wetread.rewards.guards:CONTRADICTION_SHARE",
    },
)
"""Every guard that has one number per study, by name."""


def get(name: str) -> GuardEntry:
    """Return the guard called ``name``; an unknown name raises ``UsageError`` with the names that exist."""
    return cast(GuardEntry, GUARDS[name])
