"""Sections of MIMIC-CXR's text files, by the rules of the official code, written anew.

Facts are those of ``txt/section_parser.py`` and ``txt/create_section_files.py`` of github.com/MIT-LCP/mimic-cxr (MIT
licence): what is a header, how headers are named in one way, that empty findings and impressions are passed over, that of
several sections with one name the last counts, and what holds the text where no header says so. Slips of the official
table (``ndication`` is an impression) are kept, since published references were made with them.

31 reports have bounds that were set by hand, 23 a section that holds the text under another name. They are listed by a
digest of the study's number, so that no number stands here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from wetread.records import Report

HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
"""A header: capitals behind a line break and one blank, before a colon and a blank or line break."""
PARAGRAPH = "\n \n"
"""What stands between paragraphs."""

_ONE_WAY: Mapping[str, str] = {
    **{name: name for name in (
        "preamble", "impression", "comparison", "indication", "findings", "examination", "technique", "history",
        "notification", "addendum", "date", "comment", "wet read", "recommendations",
    )},
    **dict.fromkeys(("comparisons", "reference exam", "comparison exam", "comparison film", "comparision", "comparsion",
                     "comparrison", "comparisions"), "comparison"),
    **dict.fromkeys(("clinical history", "clinical information", "patient history", "pfi"), "history"),
    **dict.fromkeys(("reason for examination", "reason for exam", "clinical indication", "idication"), "indication"),
    **dict.fromkeys(("exam", "type of examination"), "examination"),
    **dict.fromkeys((
        "conclusion", "findings and impression", "findings/impression", "findings/ impression", "ndication", "impresson",
        "imprression", "imoression", "impressoin", "imprssion", "impresion", "imperssion", "mpression", "impession",
    ), "impression"),
    **dict.fromkeys((
        "chest, two views", "finding", "findins", "findindgs", "findgings", "findngs", "findnings", "finidngs",
        "reference findings",
    ), "findings"),
    **dict.fromkeys(("recommendation(s)", "recommendation"), "recommendations"),
    "wetread": "wet read",
}  # fmt: skip
_MAIN = ("impression", "findings", "history", "comparison", "addendum")
# A header that names the examination alone ("CHEST, PA AND LATERAL:") is followed by what was found.
_EXAMINATION = re.compile(
    "chest|portable|pa and lateral|lateral and pa|ap and lateral|lateral and ap|frontal and|two views|frontal view|pa view"
    "|ap view|one view|lateral view|bone window|frontal upright|frontal semi-upright|ribs|pa and lat"
)
_RULES = "official rule for this report"

# Digest of the study's number to the section that holds the text, or to the first character of it and the one behind.
_NAMED: Mapping[str, str] = {
    "02a55c1b8413": "recommendations", "0caa14996148": "examination", "164663d3b12e": "indication",
    "208980657b2b": "recommendations", "287a277e02a8": "technique", "29921106da1f": "recommendations",
    "481ab2eb8dc2": "recommendations", "5d4fe329e8eb": "recommendations", "677007ec5330": "indication",
    "6cd909474e44": "indication", "7eb490e156be": "technique", "87a1fd525abf": "recommendations",
    "9748fef09fc2": "examination", "9abeddc199c4": "examination", "b5caf8c48ca8": "technique",
    "bd9e1f9edba9": "note", "bec68c2196b6": "examination", "c4d88913f08e": "examination",
    "c65bd9d45009": "indication", "d8b2b1a76f27": "recommendations", "dbf7d787cc89": "indication",
    "fb451c158f0c": "indication", "fc8f1e4b7bd9": "history",
}  # fmt: skip
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "037da15ada4b": (219, 457), "1c39d209fce8": (59, 306), "20a38a69890c": (0, 0), "20d0631a3fed": (313, 717),
    "293beead1311": (192, 568), "4d5487c56801": (179, 454), "4e93d5845b97": (292, 631), "52bb7f4fc739": (59, 399),
    "5af4062220d7": (61, 394), "66b43b697365": (201, 349), "66b78efb4ae5": (0, 0), "6fd5e162fe65": (0, 0),
    "71d738819cd8": (47, 320), "76820e19635a": (59, 450), "76ee7bb6cb02": (140, 655), "7b493e0deb47": (262, 505),
    "896ed376b405": (158, 348), "8f966c6bf63f": (145, 296), "9a2ed468247a": (59, 412), "a170cb47226c": (0, 0),
    "a196b236a16c": (0, 0), "b15b1e4088c9": (59, 218), "b558580d6772": (0, 0), "bc42fee6700f": (73, 377),
    "beeb3acf367b": (522, 822), "c51ac03e6a9f": (234, 988), "ca1bbe34eb0f": (172, 453), "d72de32f844c": (149, 475),
    "d8e7ca83c23a": (233, 554), "f7e390b90f71": (0, 0), "f9acfa8a7176": (0, 0),
}  # fmt: skip


class Section(NamedTuple):
    """One section of a text file."""

    name: str
    """Its name in the one way that the official code has."""
    text: str
    """Its text as it stands."""


class Sections(NamedTuple):
    """What the sections of a report are taken for."""

    report: Report
    """Findings and impression."""
    indication: str
    """Indication, else history."""
    comparison: str
    """Comparison."""
    by: str
    """What told the report: ``headers``, ``last paragraph``, the official rule for this report, or nothing."""


def named(header: str) -> str:
    """Return a header's name in the one way.

    >>> named("IMPRESSON"), named("CHEST, PORTABLE AP"), named("FINAL IMPRESSION")
    ('impression', 'findings', 'impression')
    """
    name = header.lower().strip()
    if name in _ONE_WAY:
        return _ONE_WAY[name]
    main = next((one for one in _MAIN if one in name), "")
    return main or ("findings" if _EXAMINATION.search(name) else name)


def split(text: str) -> list[Section]:
    """Return the sections of a text file in order; what comes before the first header is the ``preamble``.

    The search for the next header goes on behind the first line break of a section, so that a header alone on the line
    behind another is none. Findings and impressions without text are left out. Where neither is left and the last section
    has several paragraphs, those behind its first are the ``last_paragraph``.
    """
    found: list[Section] = []
    match = HEADER.search(text)
    if match is None:
        found.append(Section("full report", text))
    else:
        found.append(Section("preamble", text[: match.start(1)]))
    while match is not None:
        line = text.find("\n", match.end())
        following = HEADER.search(text, line if line >= 0 else match.end())
        end = len(text) if following is None else following.start()
        found.append(Section(named(match[1]), text[match.end() : end]))
        match = following
    found = [one for one in found if one.name not in ("impression", "findings") or one.text.strip()]
    if not any(one.name in ("impression", "findings") for one in found) and found and PARAGRAPH in found[-1].text:
        first, _, rest = found[-1].text.partition(PARAGRAPH)
        found[-1:] = [Section(found[-1].name, first), Section("last_paragraph", rest)]
    return found


def read(text: str, study: str) -> Sections:
    """Return what a text file says.

    Parameters
    ----------
    text
        The file's text as it stands.
    study
        The study's number, as in ``s12345678.txt`` without the letter; decides on exceptions alone.
    """
    mark = hashlib.blake2b(study.encode(), digest_size=6).hexdigest()
    found = split(text)
    last = {one.name: one.text for one in found}
    indication = _line(last.get("indication", "")) or _line(last.get("history", ""))
    comparison = _line(last.get("comparison", ""))
    if mark in _BOUNDS:
        start, end = _BOUNDS[mark]
        return Sections(Report(findings=_line(text[start:end])), indication, comparison, _RULES)
    if mark in _NAMED and _NAMED[mark] in last:
        other = _NAMED[mark]
        report = Report(findings=_line(last[other]))
        return Sections(
            report, "" if other in ("indication", "history") else indication,
            "" if other == "comparison" else comparison, _RULES,
        )  # fmt: skip
    report = Report(_line(last.get("findings", "")), _line(last.get("impression", "")))
    if report:
        return Sections(report, indication, comparison, "headers")
    report = Report(findings=_line(last.get("last_paragraph", "")))
    return Sections(report, indication, comparison, "last paragraph" if report else "")


def _line(text: str) -> str:
    return " ".join(text.split())
