"""The reasoned style: perception along the tree and what it means inside ``<think>``, then the report.

    <think>
    Pleura: pleural effusion yes mild left; pneumothorax no
    Heart and mediastinum: clear
    Reasoning: Fluid blunts the left costophrenic angle, which makes it an effusion.
    </think>
    Findings: … Impression: …

After Med-R2 (arXiv 2504.02885), of which the idea is published and no prompt; the form is ours. Metrics and rewards see
only what follows the last closing tag.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wetread.knowledge import walk
from wetread.prompts import tags
from wetread.prompts.direct import DirectStyle, OnePass
from wetread.prompts.guide import Guide
from wetread.records import Draft, Generation, Inputs, Prompt, Report, Study, Thought

TAG = "think"
FORM = f"<{TAG}> what you see, region by region, and what it means </{TAG}>"
_REASONING = re.compile(r"^[ \t*#]*reasoning[ \t*]*:[ \t*]*", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class ReasonedStyle(OnePass):
    """``<think>`` perception and reasoning ``</think>`` before the report."""

    inputs: Inputs = field(default_factory=Inputs)
    """What of a study is shown."""
    guide: Guide = field(default_factory=Guide)
    """What perception is guided by."""

    longest = 448
    views = ("report", "perception")

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the prompt of a study: the direct style's, with the tree where the guide shows it and the form asked for."""
        return DirectStyle(self.inputs).asked(study, sections, self.guide.question(), f"{FORM} ")

    def target(self, report: Report, thought: Thought | None = None) -> str:
        """Return the completion for ``report`` after ``thought``; without one the report alone."""
        text = tags.plain(report.text)
        return f"{compose(thought)}\n{text}" if thought else text

    def parse(self, generation: Generation, turn: int = 0) -> Draft:
        """Return the draft with its thought.

        A completion that never closes ``<think>`` has a thought and no report; one that does not think has a report and
        a reason that says so.
        """
        found = tags.part(generation.text, TAG)
        draft = DirectStyle().parse(replace(generation, text=tags.without(generation.text, TAG)))
        if generation.stop == "error":
            return draft
        if generation.stop == "length" and not draft.report and found is not None and found.closed:
            draft = replace(draft, parse="truncated", reason=f"cut at the limit of {generation.tokens} tokens")
        if found is None:
            said = draft.reason or f"the model wrote no <{TAG}>"
            return replace(draft, reason=said)
        thought = understand(found.text, self.guide, closed=found.closed)
        if not found.closed:
            cut = generation.stop == "length"
            why = f"cut at the limit of {generation.tokens} tokens" if cut else "the model ended"
            return Draft(
                generation.study, Report(), "truncated" if cut else "malformed", f"{why} inside <{TAG}>", thought
            )
        return replace(draft, thought=thought)


def compose(thought: Thought) -> str:
    """Return a thought between its tags."""
    return f"<{TAG}>\n{thought.text}\n</{TAG}>"


def understand(text: str, guide: Guide, *, closed: bool = True) -> Thought:
    """Return what a thought says; never raises.

    Parameters
    ----------
    text
        What stands between the tags.
    guide
        Whose tree it walks.
    closed
        Whether the closing tag is there.
    """
    text = text.strip()
    start = _REASONING.search(text)
    seen = text[: start.start()] if start else text
    said = walk.read(seen, guide.tree)
    return Thought(
        text, said.findings, said.regions, text[start.end() :].strip() if start else "", said.outside, said.loose,
        closed=closed,
    )  # fmt: skip
