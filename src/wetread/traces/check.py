"""Whether a trace may be trained on: it says what the report says, nothing else, and does not speak of its source.

A trace is written from the report and not from the image. What it perceives must therefore be what the report claims; what
it adds can only be invented. The rules follow the filter of the design notes; every rejection names its kind:

``report``      nothing can be read in the report that it was written from, so that no trace of it can be held against anything
``form``        what it perceives could not be read back, or regions are missing or out of the tree's order
``findings``    it perceives something else than the report claims, or a side, place, grade or change that the report leaves open
``denials``     it denies something that the report does not deny, and the tree does not ask for
``foreign``     its reasoning claims findings that neither the report nor the knowledge of a reported finding has, gives one another
                side, place or grade, denies what the report claims, or has a sentence in words that rest on neither
``source``      it speaks of the report that it was written from
``comparison``  it states a change although there is no earlier study, and the report states none
``language``    its reasoning, or the report, is not in the knowledge file's language
``length``      it has more words than allowed
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from wetread.knowledge import Knowledge, differences, extract, load
from wetread.knowledge.tree import phrase
from wetread.prompts.guide import Guide
from wetread.records import Finding, Thought
from wetread.traces import anchor
from wetread.traces.anchor import words_of

KINDS = ("report", "form", "findings", "denials", "foreign", "source", "comparison", "language", "length")
"""Kinds of fault, in the order in which they are looked for."""
MOST_WORDS = 400
"""Words of a trace by default."""
_SOURCE = re.compile(
    r"\b(?:the|this|a|provided|given|gold|reference|original|ground[- ]truth)\s+(?:report|text|findings section|impression section)\b"
    r"|\bthe\s+(?:impression|findings)\s+(?:mention|say|state|describe|note|read|list|document)s?\b|\b(?:dictated|documented)\b"
    r"|\b(?:according to|based on|as (?:stated|described|mentioned|noted|reported) (?:in|by))\b|\bthe radiologist\b|\bground[- ]truth\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_ELSEWHERE = words_of(
    """
    kein keine keinen keiner keinem keines ohne nicht und oder der das dem ist sind mit eine einen einer links rechts
    beidseits sans aucun aucune pas avec hay nessun nessuna senza sem geen zonder een het och utan inte uden ikke brak bez ou
    gauche droite derecha izquierda
    """
)
"""Words of other languages in Latin letters that a short text is given away by: denials, articles, sides. English has none of them."""
_FEW = 6
"""Fewer words than this may be of any language in Latin letters."""
_KNOWN = 0.4
"""Least share of the words that English text has in common with words of reasoning and with the knowledge file: of Open-i's reports
the poorest has 0.69, while sentences tried in six other languages stay below 0.25."""
_LATIN = "\u024f"
"""Last letter of Latin Extended-B."""
_FOREIGN = 0.1
"""Greatest share of letters that are not Latin."""


@dataclass(frozen=True)
class Source:
    """What a trace was written from."""

    findings: tuple[Finding, ...]
    """What the report claims and denies."""
    prior: bool
    """Whether there is an earlier study that it may be compared with."""
    text: str = ""
    """The report; empty: it is not looked at."""


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
    if source.text and not source.findings:
        yield "report: it claims and denies nothing that can be read"
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
    for text, what in ((thought.reasoning, "its reasoning"), (source.text, "the report")):
        if not english(text):
            yield f"language: {what} is not in English"
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
    added = [one for one in seen if one.presence != "absent" and not any(map(partial(_within, one), wanted))]
    if added and not found:
        yield f"findings: more than the report says: {'; '.join(map(phrase, added))}"
    denied = {f.name for f in source.findings if f.presence == "absent"}
    asked = guide.tree.asked if guide.tree and guide.negatives == "every" else frozenset()
    if guide.tree is not None and asked:
        missing = [name for name in guide.tree.names if name in asked and name not in {f.name for f in seen}]
        if missing:
            yield f"denials: it says nothing of {', '.join(missing[:3])}"
    if guide.negatives == "none":
        denied = set()
    extra = dict.fromkeys(
        f.name
        for f in seen
        if f.presence == "absent" and f.name not in denied and f.name not in asked and f.change != "resolved"
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
        told = [f for f in source.findings if f.presence != "absent"]
        same = [f for f in told if f.name == one.name] or told
        same += [f for name in claimed for f in spoken(name, known).get(one.name, ())]
        if one.side and not {f.side for f in same} & {one.side, "bilateral"}:
            yield f"foreign: {one.side} {one.name}"
        if one.severity and one.severity not in {f.severity for f in same}:
            yield f"foreign: {one.severity} {one.name}"
        if one.location and one.location not in {f.location for f in same}:
            yield f"foreign: {one.name} in the {one.location}"
    denied = {f.name for f in source.findings if f.presence == "absent"}
    against = dict.fromkeys(
        f.name for f in extract(text, known) if f.presence == "absent" and f.name in claimed.keys() - denied
    )
    if against:
        yield f"foreign: it denies {', '.join(against)}"
    if source.text:
        for sentence in anchor.loose(text, source.text, allowed, denied, known):
            yield f"foreign: neither the report nor what is known of its findings says {sentence!r}"


def _within(one: Finding, other: Finding) -> bool:
    """Whether a claim says no more than another one."""
    if (one.name, one.presence) != (other.name, other.presence):
        return False
    pairs = (
        (one.side, other.side),
        (one.location, other.location),
        (one.severity, other.severity),
        (one.change, other.change),
    )
    return all(mine in ("", theirs) for mine, theirs in pairs)


def timeless(one: Finding) -> Finding:
    """Return a finding without its change; what has resolved is plainly absent."""
    return replace(one, change="") if one.change else one


@lru_cache(maxsize=4096)
def mentioned(name: str, known: Knowledge) -> frozenset[str]:
    """Return the findings that the knowledge of one speaks of: mimics, causes, what it comes with."""
    return frozenset(one.name for one in extract(known[name].knowledge, known))


@lru_cache(maxsize=4096)
def spoken(name: str, known: Knowledge) -> Mapping[str, tuple[Finding, ...]]:
    """Return finding to how the knowledge of ``name`` speaks of it: clips are small, whatever a report says."""
    if name not in known:
        return {}
    found: dict[str, list[Finding]] = {}
    for one in extract(f"{name}: {known[name].knowledge}", known):
        found.setdefault(one.name, []).append(one)
    return {key: tuple(several) for key, several in found.items()}


def english(text: str) -> bool:
    """Whether a text may be English: a few words may be, more must have enough that English or the knowledge file has.

    Words that other languages are given away by it must not have at all.

    >>> english("Fluid lies in the costophrenic angle, which makes it an effusion on the left side of the chest.")
    True
    >>> english("Erguss links, sonst ist alles so, wie man es erwartet."), english("Kein Pneumothorax."), english("左侧胸腔积液")
    (False, False, False)
    """
    letters = [letter for letter in text if letter.isalpha()]
    if sum(letter > _LATIN for letter in letters) > _FOREIGN * len(letters):
        return False
    words = [word.lower() for word in _WORD.findall(text) if len(word) > 1 and set(word) != {"X"}]
    if not _ELSEWHERE.isdisjoint(words):
        return False
    known = vocabulary()
    return len(words) < _FEW or sum(word in known or word.rstrip("s") in known for word in words) >= _KNOWN * len(words)


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Return the words of the knowledge file, and English function words and words of reasoning, in lower case."""
    known = load()
    told = [
        " ".join((one.name, one.radlex, one.knowledge, one.lay, *one.terms, *one.locations))
        for one in known.findings.values()
    ]
    return anchor.FUNCTION | anchor.NEUTRAL | frozenset(word.lower() for text in told for word in _WORD.findall(text))
