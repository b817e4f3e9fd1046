"""What stands beside a report: what was perceived, why it means what is reported, and what was found wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wetread.records.report import Finding


@dataclass(frozen=True)
class Correction:
    """One thing that a critique finds wrong with a draft."""

    kind: str
    """Which of the six kinds of ``knowledge.KINDS``."""
    said: Finding | None = None
    """What the draft says; None where it says nothing."""
    meant: Finding | None = None
    """What it should say; None where it should say nothing."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "said": self.said.to_json() if self.said else None,
            "meant": self.meant.to_json() if self.meant else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Correction:
        """Return the correction that ``to_json`` wrote."""
        said, meant = data.get("said"), data.get("meant")
        return cls(data["kind"], Finding.from_json(said) if said else None, Finding.from_json(meant) if meant else None)


@dataclass(frozen=True)
class Thought:
    """What a completion says beside its report."""

    text: str = ""
    """The thinking as it was written, without its tags."""
    perception: tuple[Finding, ...] = ()
    """What was perceived and denied; ``span`` is its place in ``text``."""
    regions: tuple[str, ...] = ()
    """Regions of the perception tree that were walked, in order."""
    reasoning: str = ""
    """Why what was perceived means what is reported."""
    outside: tuple[str, ...] = ()
    """Findings that were perceived and for which the tree has no place."""
    loose: tuple[str, ...] = ()
    """Parts of the perception that could not be read as findings."""
    critique: tuple[Correction, ...] | None = None
    """What was found wrong with the draft before; empty: nothing was; None: there was no reflection."""
    labels: Mapping[str, str] | None = None
    """Structured answer, label to value; None where the style asks for none."""
    closed: bool = True
    """Whether the thinking was ended by its tag."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "text": self.text,
            "perception": [one.to_json() for one in self.perception],
            "regions": list(self.regions),
            "reasoning": self.reasoning,
            "outside": list(self.outside),
            "loose": list(self.loose),
            "critique": None if self.critique is None else [one.to_json() for one in self.critique],
            "labels": None if self.labels is None else dict(self.labels),
            "closed": self.closed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Thought:
        """Return the thought that ``to_json`` wrote."""
        critique, labels = data.get("critique"), data.get("labels")
        return cls(
            text=data.get("text", ""),
            perception=tuple(Finding.from_json(one) for one in data.get("perception", ())),
            regions=tuple(data.get("regions", ())),
            reasoning=data.get("reasoning", ""),
            outside=tuple(data.get("outside", ())),
            loose=tuple(data.get("loose", ())),
            critique=None if critique is None else tuple(Correction.from_json(one) for one in critique),
            labels=None if labels is None else dict(labels),
            closed=bool(data.get("closed", True)),
        )
