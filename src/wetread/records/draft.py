"""What a model's completion says once a prompt style has read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wetread.records.report import Report
from wetread.records.thought import Thought

ParseStatus = Literal["complete", "truncated", "malformed"]


@dataclass(frozen=True)
class Draft:
    """What a model's text says once a prompt style has read it."""

    study: str
    """Id of the study it was drafted for."""
    report: Report
    """The report; the thinking around it, if any, is not part of it."""
    parse: ParseStatus = "complete"
    """``truncated``: the length limit cut it; ``malformed``: no report can be told from the text."""
    reason: str = ""
    """Why it is not complete, or why a later pass of it does not stand, in words."""
    thought: Thought | None = None
    """What was said beside the report; None where the style asks for nothing, or the model said nothing."""
    passes: tuple[Draft, ...] = ()
    """Every pass in order, this one among them, where a draft was corrected; empty where there was one."""
    tokens: int = 0
    """Tokens that were written for it, all passes together; 0: not counted."""

    @property
    def readable(self) -> bool:
        """Whether there is a report in it that can be scored as such."""
        return self.parse != "malformed" and bool(self.report)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "report": self.report.to_json(),
            "parse": self.parse,
            "reason": self.reason,
            **({"thought": self.thought.to_json()} if self.thought else {}),
            **({"tokens": self.tokens} if self.tokens else {}),
            **({"passes": [one.to_json() for one in self.passes]} if self.passes else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Draft:
        """Return the draft that ``to_json`` wrote."""
        return cls(
            study=data["study"],
            report=Report.from_json(data["report"]),
            parse=data.get("parse", "complete"),
            reason=data.get("reason", ""),
            thought=Thought.from_json(data["thought"]) if data.get("thought") else None,
            tokens=data.get("tokens", 0),
            passes=tuple(cls.from_json(one) for one in data.get("passes", ())),
        )
