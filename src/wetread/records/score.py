"""What a metric says of itself, and what it says of one draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wetread.records.report import Report


@dataclass(frozen=True)
class MetricSpec:
    """A metric's own description; printed and stored with every number."""

    name: str
    """Public name; label set and averaging are part of it."""
    better: Literal["higher", "lower"]
    """Direction, the same for one report and for a corpus."""
    bounds: tuple[float, float] | None
    """Least and greatest value of one report's score; None when unbounded."""
    modalities: frozenset[str]
    """Modalities it may be used for; refused outside them. Empty: any text."""
    version: str
    """Changes when any number may change."""
    needs: tuple[str, ...] = ()
    """Weights or services it needs, by name."""
    source: str = ""
    """Where the formula comes from."""
    reference_free: bool = False
    """Whether it looks at the draft alone; such a figure says nothing of truth and is no reward by itself."""
    empty_draft: str = "0"
    """What a draft without text gets where the reference has some, in words. An empty reference is never scored."""

    def signature(
        self, made_with: Sequence[str] = (), *, sections: str = "findings+impression", n: int | None = None
    ) -> str:
        """Return ``name|version|weights|sections|normalisation|n``, what goes with every number.

        Parameters
        ----------
        made_with
            The weights with their contents, or the judge, as ``MetricEntry.made_with`` names them; empty for a metric that
            needs none.
        sections
            Sections of the report that were compared.
        n
            Reports scored.

        >>> spec = MetricSpec("semb_score", "higher", (-1, 1), frozenset(), "1", ("CheXbert",))
        >>> spec.signature(["CheXbert@1a2b3c4d"], n=20)
        'semb_score|v1|CheXbert@1a2b3c4d|findings+impression|as scored|n=20'
        """
        weights = ",".join(made_with or ("no weights",))
        count = "n=?" if n is None else f"n={n}"
        return "|".join((self.name, f"v{self.version}", weights, sections, "as scored", count))


@dataclass(frozen=True)
class Score:
    """One metric's judgement of one draft."""

    metric: str
    """Name of the metric."""
    value: float | None
    """The score; None: not scored (never 0 in its place)."""
    reason: str = ""
    """Why it was not scored, in words."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """What corpus values are aggregated from (true positives, lengths …), so that nothing is scored twice."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"metric": self.metric, "value": self.value, "reason": self.reason, "counts": dict(self.counts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Score:
        """Return the score that ``to_json`` wrote."""
        return cls(data["metric"], data["value"], data.get("reason", ""), data.get("counts", {}))


Metric = Callable[[Sequence[Report], Sequence[Report]], list[Score]]
"""Scores drafts against references, same order and length: ``metric(drafts, references)``; a module-level, picklable function."""
