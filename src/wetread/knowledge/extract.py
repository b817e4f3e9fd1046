"""Report text into findings.

Rules worth knowing
-------------------
- One finding per name and side (and location, where both mentions state one). Mentions of a whole report are merged:
  present beats uncertain beats absent, an absence is kept beside a presence only when their sides differ, and gaps are
  filled from less specific mentions. Of two grades the higher counts. The order of sentences does not matter.
- What is claimed in one place and denied outright in another stays claimed and says where it is denied.
- "in keeping with", "consistent with", "suggests" assert; "possible", "likely", "may represent", "cannot exclude" hedge.
- A descriptive sign ("opacity", "nodule", "blunting") that is explained for certain ("opacity in keeping with
  atelectasis") is not counted beside its explanation; the explanation inherits side and location.
- "resolved" and "removed" mean absent with the change ``resolved``. "no new effusion" means absent.
- History, recommendations, and the sections Indication, Comparison and Technique assert nothing.
- A statement of normality denies findings without naming them; these share one span (see ``label_set``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from wetread.knowledge.attach import read
from wetread.knowledge.merge import CHANGE_RANK, Said, merge
from wetread.knowledge.ontology import FindingSpec, Knowledge, load
from wetread.knowledge.scope import Mention
from wetread.knowledge.text import headed, header, sentences
from wetread.records import CHANGES, SEVERITIES, Change, Finding, Presence, Report, Side

_LONGEST_CACHED = 2_000
_Sentence = tuple[tuple[Said, ...], str, str]
"""What one sentence says: its findings, a change of everything, a change of the one before."""


def extract(report: Report | str, knowledge: Knowledge | None = None) -> tuple[Finding, ...]:
    """Return what a report claims, in reading order, one finding per name and side.

    Parameters
    ----------
    report
        A report, or its text.
    knowledge
        Whose findings to look for; None: chest X-ray.

    Returns
    -------
    tuple of Finding
        ``span`` counts characters in the given string, or in ``report.text``; it covers the words that name the finding.

    >>> [(f.name, f.presence, f.side, f.severity) for f in extract("Small left effusion. No pneumothorax.")]
    [('pleural effusion', 'present', 'left', 'mild'), ('pneumothorax', 'absent', '', '')]
    """
    text = report.text if isinstance(report, Report) else report
    known = load() if knowledge is None else knowledge
    return _extract_cached(text, known) if len(text) <= 8 * _LONGEST_CACHED else _extract(text, known)


@lru_cache(maxsize=8_192)
def _extract_cached(text: str, knowledge: Knowledge) -> tuple[Finding, ...]:
    return _extract(text, knowledge)


def _extract(text: str, knowledge: Knowledge) -> tuple[Finding, ...]:
    mentions: list[Said] = []
    everything = ""
    for start, end in _statements(text, knowledge):
        sentence = text[start:end]
        said, of_all, of_last = (
            _sentence_cached(sentence, knowledge)
            if len(sentence) <= _LONGEST_CACHED
            else _sentence(sentence, knowledge)
        )
        everything = of_all or everything
        if of_last and mentions:
            mentions[-1] = _changed(mentions[-1], of_last)
        asked = text[end : end + 1] == "?"
        for one in said:
            span = one.finding.span or (0, 0)
            moved = (span[0] + start, span[1] + start)
            finding = _with(one.finding, span=moved)
            if asked and finding.presence == "present":
                finding = replace(finding, presence="uncertain")
            mentions.append(Said(finding, one.implied, one.plain))
    merged = merge(mentions)
    if everything:
        merged = [_with(f, change="unchanged") if f.presence == "present" and not f.change else f for f in merged]
    return tuple(merged)


def _statements(text: str, knowledge: Knowledge) -> Iterator[tuple[int, int]]:
    """Yield the sentences that assert something: without section headers and the sections that only ask."""
    pattern, skip, breaks = _headers(knowledge)
    skipping = False
    for start, end in _pieces(text, breaks):
        match = pattern.match(text, start, end)
        while match is not None:
            skipping = match.group(1).lower() in skip
            start = match.end()
            match = pattern.match(text, start, end)
        while start < end and text[start].isspace():
            start += 1
        if start < end and not skipping:
            yield start, end


def _pieces(text: str, breaks: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield the sentences, cut before section headers too."""
    for start, end in sentences(text):
        for cut in breaks.finditer(text, start, end):
            if cut.start() > start:
                yield start, cut.start()
            start = cut.end()
        yield start, end


@lru_cache(maxsize=8)
def _headers(knowledge: Knowledge) -> tuple[re.Pattern[str], frozenset[str], re.Pattern[str]]:
    """Return the pattern of a section header, the names of the sections that assert nothing, and the breaks before headers."""
    heads = knowledge.words["headers"]
    skip = frozenset(name.lower() for name in heads["skip"])
    every = frozenset(heads["read"]) | skip
    return header(every), skip, headed(every, frozenset(heads["read"]))


@lru_cache(maxsize=65_536)
def _sentence_cached(sentence: str, knowledge: Knowledge) -> _Sentence:
    return _sentence(sentence, knowledge)


def _sentence(sentence: str, knowledge: Knowledge) -> _Sentence:
    reading = read(sentence, knowledge)
    within = knowledge.within
    found = []
    for mention in reading.mentions:
        span = (reading.tokens[mention.first].start, reading.tokens[mention.last].end)
        finding = _finding(mention, knowledge.findings[mention.name], span, within)
        plain = mention.negated and not (mention.qualified or mention.severities or mention.changes)
        found.append(Said(finding, mention.implied, plain))
    return tuple(found), reading.everything, reading.referred


def _finding(mention: Mention, spec: FindingSpec, span: tuple[int, int], within: Mapping[str, str]) -> Finding:
    """Return a mention as a finding, with only the attributes that its spec allows."""
    change = max(mention.changes, key=CHANGE_RANK.__getitem__, default="")
    presence: Presence = "present"
    if mention.negated or change == "resolved":
        presence = "absent"
    elif mention.hedged:
        presence = "uncertain"
    grade = max(mention.severities, key=SEVERITIES.index, default="")
    place = _place(mention, spec, within)
    absent = presence == "absent"
    return Finding(
        name=spec.name,
        presence=presence,
        side=_side(mention, spec),
        location=place,
        severity=grade if grade in spec.severities and not absent else "",
        change=change if change in spec.changes and (not absent or change == "resolved") else "",
        span=span,
        likely=presence == "uncertain" and mention.likely,
    )


def _side(mention: Mention, spec: FindingSpec) -> Side:
    sides = mention.sides or {place.side for place in mention.places if place.side}
    if not sides:
        return ""
    side = next(iter(sides)) if len(sides) == 1 else "bilateral"
    return side if side in spec.sides else ""


def _place(mention: Mention, spec: FindingSpec, within: Mapping[str, str]) -> str:
    """Return the first stated place that the finding may have, or the larger place that it lies in."""
    for place in mention.places:
        name = place.name
        while name and name not in spec.locations:
            name = within.get(name, "")
        if name:
            return name
    return ""


def _with(finding: Finding, *, span: tuple[int, int] | None = None, change: Change | None = None) -> Finding:
    return Finding(
        finding.name, finding.presence, finding.side, finding.location, finding.severity,
        finding.change if change is None else change, finding.span if span is None else span, finding.likely, finding.denied,
    )  # fmt: skip


def _changed(mention: Said, change: str) -> Said:
    finding = mention.finding
    if finding.presence == "absent" or change not in CHANGES:
        return mention
    if change == "resolved":
        gone = Finding(finding.name, "absent", finding.side, finding.location, "", "resolved", finding.span)
        return Said(gone, mention.implied)
    return mention._replace(finding=_with(finding, change=change))
