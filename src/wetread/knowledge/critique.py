"""What is wrong with a draft, as text: one line an error, by the six kinds that ``differences`` counts.

    omitted finding: mild left pleural effusion
    wrong location: right nodule, upper zone -> left nodule, upper zone

or the one line ``no error``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from wetread.knowledge.differences import KINDS, Difference
from wetread.knowledge.ontology import Knowledge, load
from wetread.knowledge.pruning import Tree
from wetread.knowledge.tree import phrase
from wetread.knowledge.walk import parse
from wetread.records import Correction, Finding

NOTHING = "no error"
"""What stands where there is nothing to correct."""
ARROW = " -> "
_WORDS = {kind: kind.replace("_", " ") for kind in KINDS}
_KINDS = {words: kind for kind, words in _WORDS.items()}
_LINE = re.compile(r"^[ \t*-]*(?P<kind>" + "|".join(_KINDS) + r")[ \t]*:[ \t]*(?P<said>[^\n]*)$", re.MULTILINE | re.I)
_NOTHING = re.compile(r"^[ \t*-]*(?:no errors?|nothing is wrong|none)[ \t.]*$", re.MULTILINE | re.IGNORECASE)


def corrections(found: Iterable[Difference], tree: Tree | None = None) -> tuple[Correction, ...]:
    """Return differences as corrections, in the tree's order; without a tree in theirs.

    A false finding keeps only what the draft says of it, an omitted one only what it should have said.
    """
    made = [
        Correction(
            one.kind,
            None if one.kind == "omitted_finding" else _bare(one.draft),
            None if one.kind == "false_finding" else _bare(one.reference),
        )
        for one in found
    ]
    if tree is None:
        return tuple(made)
    place = {name: number for number, name in enumerate(tree.names)}
    return tuple(sorted(made, key=lambda one: place.get(about(one), len(place))))


def about(correction: Correction) -> str:
    """Return the name of the finding that a correction is about; empty where it names none."""
    one = correction.meant or correction.said
    return one.name if one else ""


def _bare(one: Finding | None) -> Finding | None:
    return replace(one, span=None, denied=None) if one else None


def write(items: Sequence[Correction]) -> str:
    """Return corrections as text.

    >>> print(write([Correction("omitted_finding", None, Finding("pneumothorax", side="left"))]))
    omitted finding: left pneumothorax
    >>> print(write([]))
    no error
    """
    lines = []
    for one in items:
        said, meant = (phrase(side) if side else "" for side in (one.said, one.meant))
        if one.kind == "false_finding":
            meant = ""
        elif one.kind == "omitted_finding":
            said = ""
        lines.append(f"{_WORDS[one.kind]}: {ARROW.join(part for part in (said, meant) if part)}")  # type: ignore[index]
    return "\n".join(lines) or NOTHING


def read(text: str, knowledge: Knowledge | None = None) -> tuple[Correction, ...] | None:
    """Return the corrections in ``text``; None where it says neither an error nor that there is none.

    >>> read("wrong severity: mild cardiomegaly -> severe cardiomegaly")[0].meant.severity
    'severe'
    >>> read("No error."), read("I am not sure.")
    ((), None)
    """
    known = load() if knowledge is None else knowledge
    made: list[Correction] = []
    for line in _LINE.finditer(text):
        kind = _KINDS[line["kind"].lower()]
        before, arrow, after = line["said"].partition(ARROW.strip())
        said, meant = (parse(part.strip(" ."), known) for part in (before, after))
        if kind == "omitted_finding" or (kind == "omitted_comparison" and not arrow):
            said, meant = None, meant or said
        elif kind == "false_finding":
            meant = None
        if said is not None or meant is not None:
            made.append(Correction(kind, said, meant))
    if not made and not _NOTHING.search(text):
        return None
    return tuple(made)
