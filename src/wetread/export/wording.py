"""What every readable form of a report says: banner, facts, sections, findings by region. Text, HTML and PDF lay it out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wetread.knowledge import fill, load
from wetread.knowledge.tree import phrase
from wetread.records import NOTICE, UNVERIFIED, Document, Finding
from wetread.records.document import moment

LONGEST_QUOTE = 160
"""Most characters of evidence that are quoted beside a finding, and of names in the banner."""
# Controls and marks that change the direction of writing would let a report's text steer a terminal or hide what it
# says; halves of surrogate pairs and non-characters cannot be written in UTF-8 or XML.
_STEERING = (*range(9), *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ILLEGAL = (*range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
_CONTROLS = {0x0B: " ", 0x0C: " "} | dict.fromkeys((*_STEERING, *_ILLEGAL), "\ufffd")


def clean(text: str) -> str:
    r"""Return ``text`` as every format can hold it: line breaks as ``\n``, what cannot be shown as U+FFFD.

    Tabs and line breaks stay; vertical tab and form feed become blanks. Nothing else is changed.

    >>> clean("clear\r\nlungs\x00")
    'clear\nlungs\ufffd'
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


@dataclass(frozen=True)
class Line:
    """One line of the findings: what is claimed, and the words that say so."""

    sign: str
    """``+`` present, ``?`` uncertain, ``-`` absent."""
    said: str
    """The finding in a few words, or several that are denied together."""
    quote: str = ""
    """The words of the report that say so; empty: it does not quote any."""


@dataclass(frozen=True)
class Group:
    """What is said of one region."""

    title: str
    """Name of the region."""
    lines: tuple[Line, ...]
    """Its findings, present before uncertain before absent."""


@dataclass(frozen=True)
class Reading:
    """A document in words, ready to be laid out; all of it is clean."""

    title: str
    """What it is: ``Chest radiograph report``."""
    study: str
    """Key of the study."""
    banner: str
    """``AI draft, not verified``, or who has verified it."""
    banner_more: str
    """What the banner means."""
    verified: bool
    """Whether it is signed."""
    facts: tuple[tuple[str, str], ...]
    """Label and value: study, images, model, version, dates."""
    sections: tuple[tuple[str, str], ...]
    """Title and text: indication, comparison, findings, impression; empty ones are left out."""
    groups: tuple[Group, ...]
    """Findings by region, those without a word left out."""
    notes: tuple[str, ...]
    """What a reader should know besides."""
    footer: str
    """What stands at the foot of every page."""


def read(document: Document) -> Reading:
    """Return a document in words."""
    banner, more = _banner(document)
    title = f"{document.modality.replace('_', ' ').replace('xray', 'radiograph').capitalize()} report"
    sections = (
        ("Indication", document.indication),
        ("Comparison", document.comparison),
        ("Findings", document.report.findings),
        ("Impression", document.report.impression),
    )
    return Reading(
        title=clean(title),
        study=one_line(document.study),
        banner=one_line(banner),
        banner_more=one_line(more),
        verified=document.signature is not None,
        facts=tuple((label, one_line(value)) for label, value in _facts(document) if value),
        sections=tuple((name, clean(text).strip()) for name, text in sections if clean(text).strip()),
        groups=tuple(_groups(document)),
        notes=tuple(one_line(note) for note in document.notes),
        footer=one_line(f"{banner}. {_by(document)}. Research use only."),
    )


def one_line(text: str) -> str:
    """Return ``text`` clean and in one line."""
    return " ".join(clean(text).split())


def when(time: str) -> str:
    """Return a time for people.

    >>> when("2027-01-05T14:30:00+01:00")
    '2027-01-05 13:30 UTC'
    """
    return moment(time).strftime("%Y-%m-%d %H:%M UTC")


def evidence(document: Document, finding: Finding) -> str:
    """Return the words of the report that state a finding, in one line; empty where there are none."""
    if finding.span is None:
        return ""
    return _cut(one_line(document.report.text[slice(*finding.span)]))


def _cut(text: str) -> str:
    return f"{text[:LONGEST_QUOTE]}…" if len(text) > LONGEST_QUOTE else text


def _banner(document: Document) -> tuple[str, str]:
    signed = document.signature
    if signed is None:
        return UNVERIFIED, NOTICE.removeprefix(f"{UNVERIFIED}. ")
    place = f", {_cut(one_line(signed.organization))}" if signed.organization else ""
    changed = "corrected and verified" if signed.changed else "verified as drafted"
    return (
        f"Verified by {signed.name}{place}",
        f"Drafted by an AI model, {changed} on {when(signed.time)}. Research use only.",
    )


def _by(document: Document) -> str:
    return f"Drafted by {document.author} on {when(document.drafted)}"


def _facts(document: Document) -> Iterable[tuple[str, str]]:
    yield "Study", document.study
    yield "Images", ", ".join(f"{image.name} ({image.view})" for image in document.images)
    age = "" if document.age is None else "90 years or older" if document.age >= 90 else f"{document.age} years"
    yield "Patient", ", ".join(part for part in (age, "" if document.sex == "unknown" else document.sex) if part)
    yield "Model", document.model
    yield "Version", document.version
    yield "Drafted", when(document.drafted)
    if document.signature is not None:
        yield "Verified", when(document.signature.time)


def _groups(document: Document) -> Iterable[Group]:
    known = load()
    for branch in fill(document.findings, known):
        claims = [claim for claim in branch.claims if claim.presence != "absent" or claim.change == "resolved"]
        lines = [_line(document, claim) for claim in claims]
        denied = [claim for claim in branch.claims if claim not in claims]
        if denied:
            lines.append(Line("-", _denied(denied)))
        if lines:
            yield Group(branch.title, tuple(lines))


def _line(document: Document, claim: Finding) -> Line:
    said = f"{phrase(claim)} (denied elsewhere in the report)" if claim.denied else phrase(claim)
    words = evidence(document, claim)
    told = words.casefold() == claim.name.casefold()  # a quote that only says the name again
    return Line({"present": "+", "uncertain": "?"}.get(claim.presence, "-"), said, "" if told else words)


def _denied(claims: Sequence[Finding]) -> str:
    """Return findings that are denied, in one line; one that is denied on two sides stands there once.

    >>> _denied([Finding("nodule", "absent"), Finding("mass", "absent", "left"), Finding("mass", "absent", "right")])
    'no nodule, mass (left, right)'
    """
    sides: dict[str, list[str]] = {}
    for claim in claims:
        sides.setdefault(claim.name, []).extend([claim.side] if claim.side else [])
    return "no " + ", ".join(f"{name} ({', '.join(said)})" if said else name for name, said in sides.items())
