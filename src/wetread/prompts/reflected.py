"""The reflected style: a first pass as in the reasoned style, then, in a second turn, what is wrong with it and the repair.

    <reflect>
    omitted finding: mild left pleural effusion
    </reflect>
    <think> the walk, corrected </think>
    Findings: … Impression: …

or ``no error`` where nothing is wrong, with which the turn ends: the draft stands. After the reflection of Med-R2 (arXiv 2504.02885), which repairs perception and
report; the form is ours. A second turn may show the image again, closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wetread.knowledge import critique
from wetread.prompts import closer, tags
from wetread.prompts.guide import Guide
from wetread.prompts.reasoned import ReasonedStyle
from wetread.records import Draft, Generation, Inputs, Prompt, Report, Study, Thought, Turn

REFLECT = "reflect"
QUESTION = f"Check this draft against the images. Write: <{REFLECT}> what is wrong, or {critique.NOTHING} </{REFLECT}>, then, if anything is wrong, all of it again, corrected."
CLOSER = "The frontal image again, closer."


@dataclass(frozen=True)
class ReflectedStyle:
    """A reasoned first pass, and a second turn that corrects it."""

    inputs: Inputs = field(default_factory=Inputs)
    """What of a study is shown."""
    guide: Guide = field(default_factory=Guide)
    """What perception is guided by."""

    passes = 2
    longest = 512
    views = ("report", "perception")

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the first pass's prompt: the reasoned style's."""
        return ReasonedStyle(self.inputs, self.guide).render(study, sections)

    def again(self, prompt: Prompt, answer: str) -> Prompt:
        """Return the prompt of the next pass.

        Parameters
        ----------
        prompt
            The first pass's, with the frontal image first; where ``inputs.closer`` is ``again``, closer views of it are shown.
        answer
            The completion of the pass before, as it was written; only the latest is kept, so that prompts do not grow.
        """
        near = closer.views(prompt.images[0]) if self.inputs.closer == "again" else ()
        question = f"{CLOSER}\n{QUESTION}" if near else QUESTION
        return replace(prompt, turns=(Turn(answer, question, near),))

    def target(self, report: Report, thought: Thought | None = None) -> str:
        """Return the completion of the turn that ``thought`` belongs to: with its critique, where it has one.

        A critique that finds nothing is all of its turn, whatever ``report`` is: what would follow has been written already.
        """
        first = ReasonedStyle(self.inputs, self.guide).target(report, thought)
        if thought is None or thought.critique is None:
            return first
        said = f"<{REFLECT}>\n{critique.write(thought.critique)}\n</{REFLECT}>"
        return f"{said}\n{first}" if thought.critique else said

    def parse(self, generation: Generation, turn: int = 0) -> Draft:
        """Return the draft of a pass; a correction's thought has a critique.

        A correction without a reflection, or with one that is never closed, or that says neither an error nor that there
        is none, is malformed: the pass before then stands. One that finds no error is complete without a report, and what else it
        writes is not read: the pass before stands too. What a first pass reflects on is no part of it.
        """
        plain = ReasonedStyle(self.inputs, self.guide)
        if generation.stop == "error":
            return plain.parse(generation)
        if turn == 0:
            return plain.parse(replace(generation, text=tags.without(generation.text, REFLECT)))
        found = tags.part(generation.text, REFLECT)
        if found is None:
            draft = plain.parse(generation)
            why = f"the model wrote no <{REFLECT}>"
            return replace(draft, parse="malformed", reason=why) if draft.parse == "complete" else draft
        items = critique.read(found.text)
        if not found.closed:
            cut = generation.stop == "length"
            why = f"cut at the limit of {generation.tokens} tokens" if cut else "the model ended"
            thought = Thought(found.text.strip(), critique=items, closed=False)
            return Draft(
                generation.study, Report(), "truncated" if cut else "malformed", f"{why} inside <{REFLECT}>", thought
            )
        if items == ():
            return Draft(generation.study, Report(), thought=Thought(found.text.strip(), critique=()))
        draft = plain.parse(replace(generation, text=found.after))
        thought = replace(draft.thought or Thought(), critique=items)
        if items is None:
            why = f"<{REFLECT}> names neither an error nor that there is none"
            return replace(draft, parse="malformed", reason=why, thought=thought)
        return replace(draft, thought=thought)
