"""The labelled style: the findings inside ``<think>``, then structured labels inside ``<answer>``.

    <think>
    Findings: … Impression: …
    </think>
    <answer>
    Cardiomegaly: present
    Edema: uncertain
    </answer>

The form of HERO (arXiv 2601.03321), whose reward asks that narrative and labels agree. The report is what stands in
``<think>``. Labels are CheXpert's 14 (Irvin et al. 2019); one that is not mentioned is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wetread.knowledge import CHEXPERT14, extract, label_set
from wetread.prompts import tags
from wetread.prompts.direct import DirectStyle, OnePass, split_sections
from wetread.prompts.guide import Guide
from wetread.records import Draft, Generation, Inputs, Prompt, Report, Study, Thought

THINK, ANSWER = "think", "answer"
FORM = f" </{THINK}> <{ANSWER}> a line for each label: present, absent or uncertain </{ANSWER}>"
SET = "chexpert14"
VALUES: Mapping[int, str] = {1: "present", -1: "uncertain", 0: "absent"}
"""Value of a label to the word for it."""
_OPENED = re.compile(rf"<\s*{ANSWER}\s*>", re.IGNORECASE)
_NAMES = {name.lower(): name for name in CHEXPERT14}
_LINE = re.compile(r"^[ \t*-]*([A-Za-z](?:[A-Za-z ]*[A-Za-z])?)[ \t*]*:[ \t*]*([A-Za-z]+)[ \t.*]*$", re.MULTILINE)


@dataclass(frozen=True)
class LabelledStyle(OnePass):
    """``<think>`` report ``</think><answer>`` labels ``</answer>``."""

    inputs: Inputs = field(default_factory=Inputs)
    """What of a study is shown."""
    guide: Guide = field(default_factory=Guide)
    """What perception is guided by."""

    longest = 256
    views = ("report", "perception", "answer")

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the prompt of a study: the direct style's, with the form asked for."""
        return DirectStyle(self.inputs).asked(study, sections, self.guide.question(), f"<{THINK}> ", FORM)

    def target(self, report: Report, thought: Thought | None = None) -> str:
        """Return the completion for ``report``, with the labels of ``thought``, or else those that the report claims."""
        labels = thought.labels if thought and thought.labels is not None else labels_of(report)
        lines = "\n".join(f"{name}: {value}" for name, value in labels.items())
        return f"<{THINK}>\n{tags.plain(report.text)}\n</{THINK}>\n<{ANSWER}>\n{lines}\n</{ANSWER}>"

    def parse(self, generation: Generation, turn: int = 0) -> Draft:
        """Return the draft: the report of ``<think>``, the labels of ``<answer>``.

        Labels are None where ``<answer>`` is missing, and without those that are none of the set or say something else.
        """
        if generation.stop == "error":
            return DirectStyle().parse(generation)
        text = generation.text
        answer = tags.part(text, ANSWER)
        before = _OPENED.split(text, maxsplit=1)[0]  # what is answered is no part of the narrative, closed or not
        narrative = tags.part(before, THINK)
        report = split_sections(narrative.text if narrative else before)
        labels = read_labels(answer.text) if answer else None
        thought = Thought(text.strip(), extract(report), labels=labels, closed=bool(answer and answer.closed))
        if not report:
            return Draft(generation.study, Report(), "malformed", f"no report inside <{THINK}>", thought)
        if generation.stop == "length":
            return Draft(
                generation.study, report, "truncated", f"cut at the limit of {generation.tokens} tokens", thought
            )
        open_ = [tag for tag, one in ((THINK, narrative), (ANSWER, answer)) if one is not None and not one.closed]
        if open_:
            return Draft(generation.study, report, "malformed", f"the model ended inside <{open_[0]}>", thought)
        missing = "" if labels is not None else f"the model wrote no <{ANSWER}>"
        return Draft(generation.study, report, reason=missing, thought=thought)


def labels_of(report: Report) -> dict[str, str]:
    """Return the labels that a report claims, without those that it does not mention.

    >>> labels_of(Report("Small left effusion. No pneumothorax."))
    {'Pneumothorax': 'absent', 'Pleural Effusion': 'present'}
    """
    found = label_set(SET, extract(report))
    return {name: VALUES[value] for name, value in found.items() if value is not None}


def read_labels(text: str) -> dict[str, str]:
    """Return the labels that the lines of an answer give; of a label that is given twice the last."""
    return {
        _NAMES[name.lower()]: value.lower()
        for name, value in _LINE.findall(text)
        if name.lower() in _NAMES and value.lower() in VALUES.values()
    }
