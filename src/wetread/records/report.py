"""What comes out: reports and the findings that they claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

Presence = Literal["present", "absent", "uncertain"]
Side = Literal["left", "right", "bilateral", ""]
Severity = Literal["mild", "moderate", "severe", ""]
Change = Literal["new", "increased", "decreased", "unchanged", "resolved", ""]
PRESENCES: tuple[Presence, ...] = get_args(Presence)
SIDES: tuple[Side, ...] = get_args(Side)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
CHANGES: tuple[Change, ...] = get_args(Change)


@dataclass(frozen=True)
class Finding:
    """One thing that a report claims, or that a study truly shows."""

    name: str
    """Name in the knowledge file, such as ``pleural effusion``."""
    presence: Presence = "present"
    """Whether it is claimed present, absent or uncertain (hedged)."""
    side: Side = ""
    """Body side; empty when it has none or none is stated."""
    location: str = ""
    """Location name of the knowledge file, such as ``lower zone``; empty when none is stated."""
    severity: Severity = ""
    """Grade; words of size are mapped to it (small = mild, large = severe)."""
    change: Change = ""
    """Change against the prior; empty when none is stated."""
    span: tuple[int, int] | None = None
    """Start and end of the evidence in the text, in characters, end exclusive; None for a truth."""
    likely: bool = field(default=False, compare=False)
    """Whether an uncertain finding is called probable, or one of two that were named, and not merely possible."""
    denied: tuple[int, int] | None = field(default=None, compare=False)
    """Where the same report denies it outright; None: nowhere. A report that says both is of no use to its reader."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "presence": self.presence,
            "side": self.side,
            "location": self.location,
            "severity": self.severity,
            "change": self.change,
            "span": list(self.span) if self.span else None,
            **({"likely": True} if self.likely else {}),
            **({"denied": list(self.denied)} if self.denied else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Return the finding that ``to_json`` wrote."""
        span, denied = data.get("span"), data.get("denied")
        return cls(
            name=data["name"],
            presence=data.get("presence", "present"),
            side=data.get("side", ""),
            location=data.get("location", ""),
            severity=data.get("severity", ""),
            change=data.get("change", ""),
            span=(span[0], span[1]) if span else None,
            likely=bool(data.get("likely", False)),
            denied=(denied[0], denied[1]) if denied else None,
        )


@dataclass(frozen=True)
class Report:
    """A report in two sections; either may be empty."""

    findings: str = ""
    """The Findings section, without its header."""
    impression: str = ""
    """The Impression section, without its header."""

    @cached_property
    def text(self) -> str:
        """The one string that metrics see: ``Findings: … Impression: …``; an empty section is left out with its header.

        >>> Report("Clear lungs.", "Normal chest.").text
        'Findings: Clear lungs. Impression: Normal chest.'
        >>> Report(impression="Normal chest.").text
        'Impression: Normal chest.'
        """
        parts = (("Findings", self.findings), ("Impression", self.impression))
        return " ".join(f"{name}: {text.strip()}" for name, text in parts if text.strip())

    @cached_property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections that are not empty, in order."""
        parts = (("findings", self.findings), ("impression", self.impression))
        return tuple(name for name, text in parts if text.strip())

    def __bool__(self) -> bool:
        return bool(self.sections)

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"findings": self.findings, "impression": self.impression}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Return the report that ``to_json`` wrote."""
        return cls(findings=data.get("findings") or "", impression=data.get("impression") or "")
