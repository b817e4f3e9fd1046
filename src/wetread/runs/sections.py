"""Reports that lie in files as one text: findings and impression out, what a radiologist's report has besides left out.

A report from an archive begins with examination, indication, technique and comparison, and may end with a recommendation or
with who was told. An indication asks for findings that nobody has seen; read as findings it would be scored as claims.
"""

from __future__ import annotations

import re

from wetread.prompts.direct import HEADER, split_sections
from wetread.records import Report

_NAMES = (
    r"examinations?|exams?|indications?|clinical[ ]+(?:history|indications?|information|data|statement)|clinical|"
    r"(?:patient[ ]+)?history|reasons?(?:[ ]+for[ ]+(?:the[ ]+)?(?:examination|exam|study|test))?|"
    r"(?:type[ ]+of[ ]+)?(?:study|examination)|studies|views?|procedures?(?:[ ]+comments?)?|techniques?|"
    r"comparisons?(?:[ ]+(?:studies|study|films?|examinations?|exams?))?|priors?|"
    r"recommendations?(?:[(]s[)])?|notifications?(?:[(]s[)])?|communications?|signed(?:[ ]+by)?|dictated(?:[ ]+by)?"
)
# In capitals a header may stand anywhere; in other letters only where a sentence can begin, for prose has such words too.
_OTHER = re.compile(
    rf"(?:^|(?<=\s)|(?<=[*#]))[*#_ ]*(?:{_NAMES.upper()})[*_ ]*:[*_]*"
    rf"|(?:^|(?<=\n)|(?<=[.;!?)]\s)|(?<=[.;!?)]\s\s))[*#_ \t]*(?=[A-Z])(?i:{_NAMES})[*_ ]*:[*_]*"
)
_TITLE = re.compile(r"[^a-z.;:!?]*")


def sectioned(text: str) -> Report:
    """Return a report's findings and impression by their headers; a text without such headers is the findings, as it stands.

    >>> sectioned("INDICATION: Cough, pneumonia? FINDINGS: The lungs are clear. IMPRESSION: Normal.")
    Report(findings='The lungs are clear.', impression='Normal.')
    >>> sectioned("The lungs are clear. Comparison: none.")
    Report(findings='The lungs are clear. Comparison: none.', impression='')
    """
    report = split_sections(without_others(text))
    whole = not report.impression and report.findings == " ".join(text.split())
    return Report(findings=text.strip()) if whole else report


def without_others(text: str) -> str:
    """Return a report without its sections that are neither findings nor impression, and without a title before them.

    A text that has neither header is returned as it is, since nothing says where its findings begin.
    """
    own = list(HEADER.finditer(text))
    if not own:
        return text
    ends = {match.end() for match in own}
    others = [one for one in _OTHER.finditer(text) if len(text[: one.start()].rstrip(" ")) not in ends]
    if not others:
        return text
    starts = sorted([match.start() for match in own] + [one.start() for one in others] + [len(text)])
    kept = []
    position = 0
    for one in others:
        before = text[position : one.start()]
        kept.append("" if position == 0 and _TITLE.fullmatch(before) else before)
        position = max(position, next(start for start in starts if start > one.start()))
    return " ".join([*kept, text[position:]])
