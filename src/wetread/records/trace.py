"""A reasoning trace: what a model is to think before it writes a given report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wetread.records.report import Report
from wetread.records.thought import Thought


@dataclass(frozen=True)
class Trace:
    """One study's trace, accepted or rejected."""

    study: str
    """Id of the study."""
    report: str
    """16 hex digits that stand for the text of the report that it leads to."""
    guide: str
    """16 hex digits that stand for the guide that it was written by."""
    writer: str
    """Who wrote it: ``rules``, or model and prompt of an endpoint."""
    thought: Thought | None = None
    """The trace; None where nothing was written."""
    first: str = ""
    """Completion of the pass that it corrects; empty: it leads to a first pass."""
    origin: str = ""
    """Where that completion comes from: ``sampled``, ``slip`` (made wrong on purpose); empty: there is none."""
    target: Report | None = None
    """The report to be written, where it is not the study's own: a draft without an error stays as it is."""
    answer: str = ""
    """What the writer said, as far as it is kept, where no trace could be read in it."""
    faults: tuple[str, ...] = ()
    """Why it is rejected, ``kind: detail`` each; empty: it is accepted."""

    @property
    def accepted(self) -> bool:
        """Whether it may be trained on."""
        return self.thought is not None and not self.faults

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "report": self.report,
            "guide": self.guide,
            "writer": self.writer,
            "thought": self.thought.to_json() if self.thought else None,
            **({"first": self.first, "origin": self.origin} if self.first else {}),
            **({"target": self.target.to_json()} if self.target else {}),
            **({"answer": self.answer} if self.answer else {}),
            "faults": list(self.faults),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trace:
        """Return the trace that ``to_json`` wrote."""
        thought = data.get("thought")
        return cls(
            study=data["study"],
            report=data["report"],
            guide=data["guide"],
            writer=data["writer"],
            thought=Thought.from_json(thought) if thought else None,
            first=data.get("first", ""),
            origin=data.get("origin", ""),
            target=Report.from_json(data["target"]) if data.get("target") else None,
            answer=data.get("answer", ""),
            faults=tuple(data.get("faults", ())),
        )
