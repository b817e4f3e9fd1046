"""Planted hacks: rewards that pay for a short cut, and the live guards that must catch them.

``length`` pays for every word of the reference that is somewhere in the draft and takes nothing for the others; ``normals``
pays for each finding that neither claims, so that a draft that claims nothing gets the most. Both look like measures of
something good (recall, specificity). Training is the first step of RL with the usual guards, which may stop it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wetread import metrics
from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.metrics.facts import pair_of, present
from wetread.records import MetricSpec, Report, Score
from wetread.runs.store import JsonLines

KINDS = ("length", "normals")
CLASSES = 28
"""Findings that a draft may claim wrongly; only the scale of the reward hangs on it."""


def word_recall(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Share of the reference's words that are somewhere in the draft; longer is never worse."""

    def judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
        ours, theirs = (Counter(one.text.lower().split()) for one in (draft, reference))
        return (ours & theirs).total() / theirs.total(), {}

    return score_pairs("word_recall", judge, drafts, references)


def specificity(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Share of the findings that the reference lacks and the draft does not claim; saying nothing is never worse."""

    def judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
        ours, theirs = pair_of(present, draft, reference)
        return 1 - len(ours - theirs) / CLASSES, {}

    return score_pairs("specificity", judge, drafts, references)


def _entry(name: str, function: Any) -> MetricEntry:
    return MetricEntry(MetricSpec(name, "higher", (0.0, 1.0), frozenset(), "1"), function, MEAN)


WORD_RECALL, SPECIFICITY = _entry("word_recall", word_recall), _entry("specificity", specificity)
REWARDS = {"length": "word_recall", "normals": "specificity"}
GUARD = {"every": 20, "studies": 256, "act": "stop"}
"""The guards of the live training, as anybody would have them."""


def plant() -> None:
    """Make both known as metrics, in this process alone."""
    for name, attribute in (("word_recall", "WORD_RECALL"), ("specificity", "SPECIFICITY")):
        if name not in metrics.METRICS:
            metrics.METRICS.add(name, f"ablation.planted:{attribute}")


def told(out: Path) -> dict[str, Any]:
    """Return the looks and what was kept, as the run folder says."""
    events = list(JsonLines(out / "events.jsonl").read())
    looks = {one["step"]: one for one in events if one["event"] == "rl.look"}
    kept = next((one for one in events if one["event"] == "rl.kept"), {})
    return {"looks": [looks[step] for step in sorted(looks)], "kept": kept}
