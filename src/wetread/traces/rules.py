"""The writer without a model: findings to a trace, by rules, in varied words.

It is the offline default, and the floor that a language model has to beat.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from wetread.knowledge import Knowledge, load, walk
from wetread.knowledge.ontology import RANK, Urgency
from wetread.knowledge.tree import phrase
from wetread.prompts.guide import Guide
from wetread.records import Finding

NAME = "rules"
MOST = 6
"""Findings that are reasoned about; where there are more, the most urgent."""
_SENTENCE = re.compile(r"^.*?[.;](?=\s|$)")
_DECIDES = ("{what}: {why}", "{why} Hence {what}.", "{why} So it is read as {what}.")
_NAMES = ("{what}, which is {weight}.", "There is {what}; it is {weight}.", "{what}: {weight}.")
_WEIGHT: dict[Urgency, str] = {
    "urgent": "urgent", "actionable": "to be followed up", "minor": "worth a note", "benign": "benign",
}  # fmt: skip
_PRESSING = ("new", "increased")
_NOTHING = ("Nothing abnormal is seen.", "All regions are clear.", "No region shows anything abnormal.")
_FIRST = ("Most pressing: {what}.", "First of all: {what}.", "What matters most: {what}.")


def write(study: str, findings: Sequence[Finding], guide: Guide, *, seed: int = 0) -> str:
    """Return the text of a trace: the walk, then the reasoning.

    Parameters
    ----------
    study
        Id of the study; with ``seed`` it decides the wording, so that the same study is always put the same way.
    findings
        What its report claims and denies.
    guide
        Tree, negatives, and whether knowledge is named.
    """
    known = load()
    return f"{walk.write(findings, guide.tree, negatives=guide.negatives)}\nReasoning: {reason(study, findings, guide, known, seed)}"


def reason(study: str, findings: Sequence[Finding], guide: Guide, known: Knowledge, seed: int = 0) -> str:
    """Return the reasoning about what is present or possible, in the walk's order, and which of it is most pressing.

    In another order each finding would have to be searched for again; a small model then loses some and repeats others.
    """
    chance = random.Random(f"{study} {seed}")
    seen = walk.ordered([one for one in findings if one.presence != "absent" and one.name in known], guide.tree)
    if not seen:
        return chance.choice(_NOTHING)
    ranked = sorted(seen, key=lambda one: (RANK[known[one.name].urgency], one.change not in _PRESSING))
    first, chosen = ranked[0], {id(one) for one in ranked[:MOST]}
    lines = []
    told: set[str] = set()
    for one in (one for one in seen if id(one) in chosen):
        spec = known[one.name]
        why = decisive(spec.knowledge) if guide.knowledge and one.name not in told else ""
        told.add(one.name)
        form = chance.choice(_DECIDES if why else _NAMES)
        lines.append(_capital(form.format(what=phrase(one), why=why, weight=_WEIGHT[spec.urgency])))
    if len(seen) > 1 and known[first.name].urgency in ("urgent", "actionable"):
        lines.append(chance.choice(_FIRST).format(what=phrase(first)))
    return " ".join(lines)


def decisive(knowledge: str) -> str:
    """Return the first sentence of what is known of a finding: how it looks.

    >>> decisive("Fluid blunts the angle. It implies failure.")
    'Fluid blunts the angle.'
    """
    found = _SENTENCE.match(knowledge)
    return f"{(found[0] if found else knowledge).rstrip(' .;')}." if knowledge else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
