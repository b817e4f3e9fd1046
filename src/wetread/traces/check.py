"""Whether a trace may be trained on: it says what the report says, nothing else, and does not speak of its source.

A trace is written from the report and not from the image. What it perceives must therefore be what the report claims; what
it adds can only be invented. The rules follow the filter of the design notes; every rejection names its kind:

``form``        what it perceives could not be read back, or regions are missing or out of the tree's order
``findings``    it perceives something else than the report claims
``denials``     it denies something that the report does not deny, and the tree does not ask for
``foreign``     its reasoning claims findings that neither the report nor the knowledge of a reported finding has
``source``      it speaks of the report that it was written from
``comparison``  it states a change although there is no earlier study, and the report states none
``language``    its reasoning is not in the knowledge file's language
``length``      it has more words than allowed
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from wetread.knowledge import Knowledge, differences, extract, load
from wetread.prompts.guide import Guide
from wetread.records import Finding, Thought

KINDS = ("form", "findings", "denials", "foreign", "source", "comparison", "language", "length")
"""Kinds of fault, in the order in which they are looked for."""
MOST_WORDS = 400
"""Words of a trace by default."""
_SOURCE = re.compile(
    r"\b(?:the|this|a|provided|given|gold|reference|original|ground[- ]truth)\s+(?:report|text|findings section|impression section)"
    r"|\b(?:according to|based on|as (?:stated|described|mentioned|noted|reported) (?:in|by))\b|\bthe radiologist\b|\bground[- ]truth\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_FUNCTION = frozenset(
    [
        "and",
        "are",
        "at",
        "be",
        "been",
        "both",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "how",
        "if",
        "is",
        "it",
        "its",
        "not",
        "of",
        "or",
        "than",
        "that",
        "the",
        "their",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "were",
        "when",
        "where",
        "which",
        "while",
        "with",
    ]
)
"""Words that English text of some length has some of, and other languages in Latin letters have not."""
_STRETCH = 25
"""Words in a row of which at least one must be such a word."""


@dataclass(frozen=True)
class Source:
    """What a trace was written from."""

    findings: tuple[Finding, ...]
    """What the report claims and denies."""
    prior: bool
    """Whether there is an earlier study that it may be compared with."""


def faults(thought: Thought, source: Source, guide: Guide, *, most_words: int = MOST_WORDS) -> tuple[str, ...]:
    """Return why ``thought`` may not be trained on, ``kind: detail`` each; empty: it may.

    Parameters
    ----------
    thought
        The trace as the style reads it back.
    source
        The report's findings, and whether there is a prior.
    guide
        Whose tree it should walk.
    most_words
        Words that it may have.
    """
    return tuple(_faults(thought, source, guide, most_words, load()))


def _faults(thought: Thought, source: Source, guide: Guide, most: int, known: Knowledge) -> Iterator[str]:
    yield from _form(thought, guide)
    yield from _perception(thought.perception, source, guide)
    yield from _reasoning(thought.reasoning, source, known)
    told = _SOURCE.search(thought.text)
    if told:
        yield f"source: it says {told[0]!r}"
    stated = {f.change for f in source.findings if f.change}
    changes = {f.change for f in (*thought.perception, *extract(thought.reasoning, known)) if f.change} - stated
    if changes and not source.prior:
        yield f"comparison: it says {', '.join(sorted(changes))}, and there is no earlier study"
    if not english(thought.reasoning):
        yield "language: its reasoning is not in English"
    words = len(thought.text.split())
    if words > most:
        yield f"length: it has {words} words; allowed are {most}"


def _form(thought: Thought, guide: Guide) -> Iterator[str]:
    if not thought.closed:
        yield "form: it is cut off"
    if thought.loose:
        yield f"form: not read as findings: {'; '.join(thought.loose[:3])}"
    if guide.tree is None:
        return
    wanted = [branch.region for branch in guide.tree.branches]
    if list(thought.regions) != wanted:
        missing = [one for one in wanted if one not in thought.regions]
        yield (
            f"form: it leaves out {', '.join(missing)}" if missing else "form: its regions are not in the tree's order"
        )


def _perception(seen: Sequence[Finding], source: Source, guide: Guide) -> Iterator[str]:
    wanted = source.findings if source.prior else tuple(map(timeless, source.findings))
    found = differences(wanted, seen if source.prior else tuple(map(timeless, seen)))
    if found:
        said = dict.fromkeys(f"{one.kind.replace('_', ' ')} {one.finding}" for one in found)
        yield f"findings: {'; '.join(said)}"
    denied = {f.name for f in source.findings if f.presence == "absent"}
    asked = guide.tree.names if guide.tree and guide.negatives == "every" else ()
    extra = dict.fromkeys(
        f.name for f in seen if f.presence == "absent" and f.name not in denied and f.name not in asked
    )
    if extra:
        yield f"denials: {', '.join(extra)}"


def _reasoning(text: str, source: Source, known: Knowledge) -> Iterator[str]:
    claimed = {f.name: f for f in source.findings if f.presence != "absent"}
    allowed = set(claimed)
    for name in claimed:
        allowed |= mentioned(name, known) | set(known.ancestors(name)) if name in known else set()
    said = [f for f in extract(text, known) if f.presence != "absent"]
    foreign = dict.fromkeys(f.name for f in said if f.name not in allowed)
    if foreign:
        yield f"foreign: {', '.join(foreign)}"
    for one in said:
        sides = {f.side for f in source.findings if f.name == one.name and f.presence != "absent"}
        if one.side and sides and not sides & {one.side, "", "bilateral"}:
            yield f"foreign: {one.side} {one.name}"


def timeless(one: Finding) -> Finding:
    """Return a finding without its change; what has resolved is plainly absent."""
    return replace(one, change="") if one.change else one


@lru_cache(maxsize=4096)
def mentioned(name: str, known: Knowledge) -> frozenset[str]:
    """Return the findings that the knowledge of one speaks of: mimics, causes, what it comes with."""
    return frozenset(one.name for one in extract(known[name].knowledge, known))


def english(text: str) -> bool:
    """Whether a text may be English: short ones may, longer ones must have some of its function words all along.

    >>> english("Fluid lies in the costophrenic angle, which makes it an effusion on the left side of the chest.")
    True
    >>> english("Flüssigkeit liegt im linken Winkel und spricht für einen Erguss; sonst ist alles so, wie man es erwartet. " * 2)
    False
    """
    said = [word.lower() in _FUNCTION for word in _WORD.findall(text)]
    return all(any(said[start : start + _STRETCH]) for start in range(max(0, len(said) - _STRETCH + 1)))
