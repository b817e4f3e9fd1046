"""What of a draft a term of a reward looks at: its report, what was perceived before it, or its structured answer.

A view is put as a report, so that every metric that compares reports can compare it: perception in the words of the
perception tree, an answer as one sentence a label.
"""

from __future__ import annotations

from typing import Literal, get_args

from wetread.knowledge.tree import phrase
from wetread.records import Draft, Report

View = Literal["report", "perception", "answer"]
VIEWS: tuple[View, ...] = get_args(View)
Against = Literal["reference", "report", "perception", "answer"]
AGAINST: tuple[Against, ...] = get_args(Against)
_SAID = {"present": "{}.", "uncertain": "Possible {}.", "absent": "No {}."}
NO_FINDING = "No Finding"


def view(draft: Draft, which: str) -> Report | None:
    """Return a view of a draft; None where the draft has no such part.

    >>> from wetread.records import Thought
    >>> draft = Draft("s", Report("Clear."), thought=Thought(labels={"Edema": "uncertain", "Fracture": "absent"}))
    >>> view(draft, "answer")
    Report(findings='Possible Edema. No Fracture.', impression='')
    """
    if which == "report":
        return draft.report
    thought = draft.thought
    if thought is None:
        return None
    if which == "perception":
        return Report(" ".join(f"{phrase(one)}." for one in thought.perception) or "No finding.")
    if thought.labels is None:
        return None
    said = [_SAID[value].format(name) for name, value in thought.labels.items() if name != NO_FINDING]
    return Report(" ".join(said) or "No finding.")
