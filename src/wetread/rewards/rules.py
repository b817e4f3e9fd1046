"""When a training has gone astray: thresholds on what guards, held-out metrics and the trainer say of the policy.

A reward that rises says nothing by itself; a policy may have found out what the reward does not see. Rules therefore look
at everything else, and mostly at its change since the policy that training started from, on the same studies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wetread.errors import UsageError, nearest
from wetread.metrics import METRICS, CompositeEntry, get
from wetread.records import MetricSpec
from wetread.rewards.guards import FindingCalls

Side = Literal["above", "below"]
Measure = Literal["value", "change", "ratio"]
Values = Mapping[str, float | None]
"""Name to value; None: not known."""

VALUES: Mapping[str, str] = {
    "template_share": "share of drafts with the most frequent text",
    "duplicate_share": "share of drafts also written for another study",
    "length_ratio": "draft words / reference words",
    "length_off": "length ratio or its inverse, whichever is greater: 1 is right",
    "unreadable": "share of drafts that hold no report",
    "contradiction_share": "share of drafts that claim and deny one finding",
    "over_calling": "share of findings not in the reference that drafts claim",
    "under_calling": "share of findings in the reference that drafts miss",
    "worst_over_calling": "greatest rise of over-calling of one finding since the start",
    "worst_under_calling": "greatest rise of under-calling of one finding since the start",
    "abnormal_f1": "F1 of present findings where the reference has one",
    "panel_loss": "mean loss of the held-out metrics since the start, relative to the start",
    "reward": "the reward on the sample",
    "entropy": "mean entropy of the rollouts' tokens, nats",
    "kl": "KL to the policy of the start, where training has it",
    "unscored": "share of rollouts that our side could not score",
}
"""What rules may be about, beside ``panel/METRIC``."""
FEW = 8
"""A finding that fewer references have, or lack, is not looked at by itself."""
SMALL = 0.05
"""A held-out metric that started nearer to 0 loses relative to this."""
PANEL = ("rouge_l", "bleu_4", "labels14_f1_macro", "findings_f1_sided", "report_similarity")
"""Held-out metrics, as far as the reward does not have them."""
RESERVE = ("findings_f1", "errors_significant", "entity_f1", "bleu_2_rexrank", "labels14_f1_micro")
"""What takes the place of those that it has."""
MANY = 4
"""Fewest held-out metrics that are chosen."""


@dataclass(frozen=True)
class Rule:
    """A threshold beyond which something has gone wrong.

    >>> Rule("length_off", "above", "ratio", warn=1.2, stop=1.5).broken({"length_off": 2.0}, {"length_off": 1.0})
    ('stop', 'length_off is 2, 2 times the start: above 1.5')
    """

    of: str
    """What is looked at: one of ``VALUES``, or ``panel/METRIC``."""
    side: Side
    """On which side of the threshold it is wrong."""
    measure: Measure = "change"
    """``value`` as it is, ``change``: minus that of the start, ``ratio``: divided by it."""
    warn: float | None = None
    """Beyond this a warning is given; None: never."""
    stop: float | None = None
    """Beyond this training ends and an earlier policy is kept; None: never."""

    def __post_init__(self) -> None:
        if self.of not in VALUES and not self.of.startswith("panel/"):
            raise UsageError(
                f"no guard is called {self.of!r}.{nearest(self.of, VALUES)} There are: {', '.join(VALUES)}, panel/METRIC."
            )
        held = self.of.removeprefix("panel/")
        if held != self.of and held not in METRICS:
            raise UsageError(f"guard.rules: no metric is called {held!r} (of: {self.of}).{nearest(held, METRICS)}")

    def broken(self, values: Values, start: Values) -> tuple[Literal["warn", "stop"], str] | None:
        """Return what is to be done and why, in words; None while all is well or the value is not known."""
        now, then = values.get(self.of), start.get(self.of)
        if now is None or (self.measure != "value" and then is None):
            return None
        if self.measure == "value":
            seen, words = now, ""
        elif self.measure == "change":
            seen, words = now - (then or 0.0), f", {now - (then or 0.0):+.3g} since the start"
        elif then:
            seen, words = now / then, f", {now / then:.3g} times the start"
        else:
            return None
        for what, threshold in (("stop", self.stop), ("warn", self.warn)):
            if threshold is not None and (seen > threshold if self.side == "above" else seen < threshold):
                return what, f"{self.of} is {now:.3g}{words}: {self.side} {threshold:g}"  # type: ignore[return-value]
        return None


RULES = (
    Rule("template_share", "above", "change", 0.15, 0.4),
    Rule("duplicate_share", "above", "change", 0.25, 0.5),
    Rule("length_off", "above", "ratio", 1.2, 1.5),
    Rule("unreadable", "above", "change", 0.05, 0.25),
    Rule("contradiction_share", "above", "change", 0.05, 0.2),
    Rule("over_calling", "above", "change", 0.05, 0.15),
    Rule("under_calling", "above", "change", 0.1, 0.25),
    Rule("worst_over_calling", "above", "value", 0.3),
    Rule("worst_under_calling", "above", "value", 0.4),
    Rule("abnormal_f1", "below", "change", -0.05, -0.2),
    Rule("panel_loss", "above", "value", 0.05, 0.25),
    Rule("entropy", "below", "ratio", 0.3),
    Rule("kl", "above", "value", 0.5),
    Rule("unscored", "above", "value", 0.05, 0.5),
)
"""Thresholds unless said otherwise. Those that stop are beyond what 64 studies give by chance."""


def rules(given: Sequence[Rule] = ()) -> tuple[Rule, ...]:
    """Return ``RULES`` with those of the same name and side replaced by ``given``, and the others of it added."""
    named = {(rule.of, rule.side): rule for rule in RULES}
    for rule in given:
        named[rule.of, rule.side] = rule
    return tuple(named.values())


def check(given: Sequence[Rule], panel: Sequence[str]) -> None:
    """Refuse rules of a config that would never fire.

    A rule without a threshold is one only where it takes the place of a usual one, which it turns off.

    Parameters
    ----------
    given
        The rules of a config.
    panel
        The held-out metrics, as the function of that name returns them.

    Raises
    ------
    UsageError
        One is about a metric that is not held out, or has neither ``warn`` nor ``stop`` and turns nothing off.

    >>> check([Rule("kl", "above"), Rule("panel/bleu_4", "below", stop=-0.1)], ["bleu_4"])
    """
    usual = {(rule.of, rule.side) for rule in RULES}
    for rule in given:
        held = rule.of.removeprefix("panel/")
        if held != rule.of and held not in panel:
            raise UsageError(
                f"guard.rules: {rule.of!r} is never looked at; held out are {', '.join(panel)}. Name {held} in guard.panel, "
                "or make the rule about one of these."
            )
        if rule.warn is None and rule.stop is None and (rule.of, rule.side) not in usual:
            raise UsageError(
                f"guard.rules: the rule {rule.of} {rule.side} has neither warn nor stop and would never fire; give one of "
                "them, or leave the rule out."
            )


def panel(reward: Iterable[str], chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the held-out metrics of a training, none of which is in the reward.

    Parameters
    ----------
    reward
        Metrics of the reward; those that they are made of count as well.
    chosen
        The panel that is wanted; empty: metrics without weights are chosen.

    Raises
    ------
    UsageError
        One that is wanted is in the reward, looks at the draft alone, or is not known.

    >>> panel(["rouge_l", "entity_f1"])
    ('bleu_4', 'labels14_f1_macro', 'findings_f1_sided', 'report_similarity')
    """
    paid = set(_with_parts(reward))
    if not chosen:
        free = [name for name in (*PANEL, *RESERVE) if name not in paid]
        return tuple(free[: max(MANY, sum(name in free for name in PANEL))])
    for name in chosen:
        if name not in METRICS:
            raise UsageError(f"guard.panel: no metric is called {name!r}.{nearest(name, METRICS)}")
        both = sorted(set(_with_parts([name])) & paid)
        if both:
            raise UsageError(
                f"guard.panel: {name!r} is in the reward{'' if both == [name] else ' (' + ', '.join(both) + ')'}, so it cannot "
                "be held out; choose a metric that training does not see."
            )
        if get(name).spec.reference_free:
            raise UsageError(
                f"guard.panel: {name!r} looks at the draft alone; choose a metric that looks at the reference."
            )
    return tuple(dict.fromkeys(chosen))


def _with_parts(names: Iterable[str]) -> list[str]:
    found = list(names)
    for name in found:  # grows while it is walked
        entry = get(name)
        found += [part for part in (entry.parts if isinstance(entry, CompositeEntry) else ()) if part not in found]
    return found


def panel_loss(values: Values, start: Values, specs: Iterable[MetricSpec]) -> float | None:
    """Return the mean loss of the held-out metrics since the start, relative to the start; None where none is known."""
    losses = []
    for spec in specs:
        now, then = values.get(f"panel/{spec.name}"), start.get(f"panel/{spec.name}")
        if now is not None and then is not None:
            losses.append((then - now if spec.better == "higher" else now - then) / max(abs(then), SMALL))
    return math.fsum(losses) / len(losses) if losses else None


def length_off(ratio: float | None) -> float | None:
    """Return a length ratio or its inverse, whichever is greater, 100 at most; a policy may be nearer to 1 than its start was.

    >>> length_off(0.5), length_off(1.25), length_off(0.0)
    (2.0, 1.25, 100.0)
    """
    return None if ratio is None else min(max(ratio, 1 / ratio), 100.0) if ratio > 0 else 100.0


def worst_rise(
    now: Sequence[FindingCalls], then: Sequence[FindingCalls], kind: Literal["over", "under"]
) -> float | None:
    """Return the greatest rise of over- or under-calling of one finding, among those that are not too rare; None: no such."""
    before = {call.name: call for call in then}
    rises = []
    for call in now:
        start = before.get(call.name, FindingCalls(call.name, 0, 0, call.tp + call.fn, call.n))
        seen = call.n - call.tp - call.fn if kind == "over" else call.tp + call.fn
        a, b = (call.over_calling, start.over_calling) if kind == "over" else (call.under_calling, start.under_calling)
        if seen >= FEW and a is not None and b is not None:
            rises.append(a - b)
    return max(rises, default=None)


def breaks(given: Sequence[Rule], values: Values, start: Values) -> dict[str, tuple[str, ...]]:
    """Return ``warn`` and ``stop`` to what is wrong, in words."""
    found: dict[str, Any] = {"warn": [], "stop": []}
    for rule in given:
        broken = rule.broken(values, start)
        if broken is not None:
            found[broken[0]].append(broken[1])
    return {what: tuple(why) for what, why in found.items()}
