r"""Sentences as RaTEScore sees them: what medspaCy 1.3.1 with PyRuSH 1.0.13 makes of a report, without either.

RaTEScore reads a report one sentence at a time, so where a sentence ends decides which entities there are. Both packages need
a spaCy that no current NumPy loads. This module reproduces what they do, not how they are written down.

The method is that of Shi, Mowery and Zhang (RuSH, 2016): clues for a begin and clues for an end are looked for separately, a
wider clue beats those it overlaps and an earlier one those of its width, some clues exist only to beat others
(the full stop of a title), and the begins and ends that are left are paired from left to right. What it makes of a report
is often not what a reader would: a list's "1." at the start is a sentence of its own, too short to count, and its "2." is not,
and after a stop that no known begin follows, the next sentences may be one.

A letter or digit of no ASCII is to the matcher both what it is and a gap. Where a clue lies within a token of spaCy's, the
sentence begins or ends with the token: marks and symbols stand apart, a full stop only between words and at their end.

Left out are the clues of discharge letters (headings of hospital courses, doses, vital signs, lists of dates, rows of
asterisks), which radiology reports do not have.

>>> sentences("1. Heart is normal. 2. No effusion, seen by Dr. Smith at 3 cm.")
['Heart is normal.', '2. No effusion, seen by Dr. Smith at 3 cm.']
>>> sentences("Lungs are clear.. No effusion. Heart is normal. .")
['Lungs are clear.. No effusion. Heart is normal.']
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import regex

SHORTEST = 3
"""Characters that a sentence must have; shorter ones are dropped."""
RUN = 50
"""Characters of one kind in a row that a clue looks at, and no more."""
GAP = 5
"""Text that no pair of clues claims is a sentence of its own when it is longer than this, in characters."""


class _Clue(NamedTuple):
    """Where a sentence may begin or end; one that is not real only keeps others away."""

    begin: int
    end: int
    real: bool


class _Family(NamedTuple):
    """Clues of texts that hold ``trigger``; the clue is the group of each pattern, the rest its surroundings."""

    trigger: str
    real: tuple[re.Pattern[str], ...]
    unreal: tuple[re.Pattern[str], ...]


_UPPER, _LOWER, _DIGIT, _BLANK, _SPACE, _OTHER = "\xc0\xe0\xb2\t\x0b\x7f"
"""What ``_plain`` writes for a character of no ASCII."""
_MARKS = {
    "<A>": "[A-Z]",
    "<a>": "[a-z]",
    "<0>": "[0-9]",
    "<_>": r"[ \t]",
    "<n>": r"[\r\n]",
    "<w>": rf"[\s{_OTHER}{_UPPER}{_LOWER}{_DIGIT}]",
    "<x>": r"\S",
    "A-Z": f"A-Z{_UPPER}",
    "a-z": f"a-z{_LOWER}",
    "0-9": f"0-9{_DIGIT}",
}
"""Upper case, lower case, digit, blank, line break, white space and whatever is no ASCII, anything but white space.

A letter or digit of no ASCII is thus of two kinds, and counts as a gap where the clue wants one."""
_PRONOUNS = "He|His|Her|She|We|Our|The|They|Their|I|My"
_OPENERS = f"{_PRONOUNS}|But|Now|Discharge|This|That|this|that|he|she|we|our|his|her|they|their|my|but"
_HEADINGS = "FINDINGS|Findings|INDICATION|Indication|REASON|Reason"


def _family(trigger: str, real: Sequence[str] = (), unreal: Sequence[str] = ()) -> _Family:
    return _Family(trigger, tuple(map(_compiled, real)), tuple(map(_compiled, unreal)))


def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = re.sub(r"(<.>)([*+])", lambda run: f"{run[1]}{{{'01'[run[2] == '+']},{RUN}}}", pattern)
    for mark, meaning in _MARKS.items():
        pattern = pattern.replace(mark, meaning)
    return re.compile(pattern)


_BEGINS = (
    _family("", [r"\A<_>*([A-Z0-9])"]),
    _family(
        ".",
        [
            r"(?<=<a>{2})\.(?=<w>(<a>+))",
            r"(?<=[a-z0-9)])\.(?=<_>+(<A>))",
            r"(?<=<A>{3})\.(?=<_>+(<A>)<a>)",
            r"(?<=<a>)\.\"(?=<_>+(<A>))",
            rf"\.(?=<w>+((?:{_OPENERS}) |\"))",
            r"\.(?=<_>+(The|<0>\.<_>*<A>))",
            r"(?<=<a>{2})\.(?=<w>++(<a>+))",
            r"(?:(?<=<a><_>)|(?<=<a><_>{2}))\.(?=<_>+(<A><a>+))",
            r"(?:(?<=<0><_>)|(?<=<0><_>{2}))\.(?=<_>+(<A>))",
        ],
    ),
    _family("?", [r"\?(?=<_>+(<A>(?=<a>)|<0>))"]),
    _family("!", [r"!(?=<_>+(<A>(?=<a>)|<0>))"]),
    _family(
        ")",
        [
            r"(?<=<a>)\.?<w>++(?=(<0>)\)<_>+<A>)",
            r"(?<=<a>)<w>++(?=(<0>\)<A>))",
            r"<_>{2}(?=(<0>{1,2}\)<_>+<A>|<0>\)<A>))",
        ],
    ),
    _family("-", [r"(?<=<a>)\.?<_>+(-)(?=<_>+<A>)"], [r"<A><a>+<_>+(-)(?=<_>+<A><a>+)"]),
    _family("*", [], [r"(\*)"]),
    _family(":", [r"(F)INDINGS:"]),
    _family(
        "\n",
        [
            r"<n>++(?=(?:<_>{2,4})?(<A>)|( <A>))",
            r"<n>{2}(?=<_>+(<A>))",
            r"<n>(?=(<0>+)\.<_>+<A>)",
            r"(?<=<x>)<n>++(?=(<0>\.<_>+<A>))",
            r"<n>(?=(<0>+\.(?:<A>|<_>+<a>)))",
            r"<n>(?=<_>+(<0>{1,2}\.<_>+<A>))",
            r"<n><_>*(?=(<0>\.\)<_>*<A>))",
            r"<n>(?=(<0>{1,2}\)<_>+[A-Za-z]|<0>\)<A>|\(<0>\)<_>+<A>))",
            r"<n>(?=(-<A>|[-#*?] [A-Za-z]|[.+/] <A>|#[A-Za-z]|\"<A>))",
            r"<n>{2}(?=<_>*(-<_>+<A>|[\"'%*(]<_>*<A>))",
            r"(?<=<a>)\.<n>++(?=(-<0>|\(<x>+))",
            r"(?<=<a>{2})\.<n>++(?=(<0>+))",
            r"(?<=<a>)\.<_>*<n>++<_>*(?=(<0>+)<_>)",
            r"(?<=<a>):(?:<n>++|<_>+<n>)(?=(<x>))",
            r"(?<=[A-Z0-9]):<_>*<n>++(?=(<0>))",
            r"(?<=<A>{3}):<n>++(?=(<a>))",
            r"<n>{2}(?=(<0>+)<_>)",
            r"<n>++(?=(<a>)<a>:)",
        ],
    ),
)
_ENDS = (
    _family("", [r"(<x>)(?=<w>+\Z)"]),
    _family(
        ".",
        [
            r"(?<=<x>)(\.)(?= )",
            r"(?:(?<=<a>{2})|(?<=[0-9)]))(\.)(?=<_>+<A>)",
            r"(?<=[\w)\]])(\.)(?=<n>)",
            r"(?=(\.<_>+<0>\.<_>+<A>))\.",
            r"(?<=<a>)(?=(\.<_>+<0>\.<A>))\.",
            rf"(\.)(?=<w>+(?:{_PRONOUNS}) |<_>+The)",
            r"(?<=<a>)\.(\")(?=<_>+<A>)",
            r"(?:(?<=<a><_>)|(?<=<a><_>{2}))(\.)(?=<_>+<A><a>)",
        ],
        [
            r"(<_>(?:[Mm]rs?|[Mm]s|[Dd]r|phd)\. )",
            r"(<_>pulm\.)",
            r"(?<=<_>Dr)(\.)(?=<_>)",
        ],
    ),
    _family("?", [r"(?<=[A-Za-z0-9])(\?)(?=<w>)"]),
    _family(
        ")",
        [r"(<a>|(?<=<A>)<A>|(?<=<0>)%|<0>)(?=<w>+<0>{1,2}\))", r"(?<=<a>{2})(\.)(?=<w>+<0>\)<_>+<A>)"],
        [r"(?=([A-Za-z]{2})<w>+<0>{1,2}\)[,.])[A-Za-z]", r"(?=(\)<w>+<0> ))\)", r"(?=(\((?:<A>+|<a>+)<_>+<0>{2}\)))\("],
    ),
    _family(
        "-",
        [r"(?=(<a><_>+-<_>+<A>))<a>", r"(?<=<a>)(\.)(?=<_>+-<_>+<A>)"],
        [r"(?=(<A><a>+<_>+-<_>+<A><a>+))<A>"],
    ),
    _family(":", [rf"([A-Za-z0-9!-/:-@\[-`{{-~])(?=<w>+(?:{_HEADINGS}):)"]),
    _family(
        "\n",
        [
            r"(?=(<x><_>*<n>{2}))<x>",
            r"(?<=<a>)(<a>)(?=(?:<_>+<n>++|<n>++ ?)<A>)",
            r"(?<=[\w])(:)(?=<_>*<n>)",
            r"([A-Za-z0-9])(?=<_>+<n>++<0>{1,2}\.<_>+[A-Za-z])",
            r"(<x>)(?=<n>++(?:<0>\.<_>+<A>|<A>[A-Za-z]+:))",
            r"(<x>)(?=<_>+<n>++<A>[A-Za-z]+:)",
            r"(<A>)(?=<n>++<0>+\.<_>+<A>)",
            r"(<0>)(?=<n>++<A>{2})",
            r"(<a>)(?=<n>- [A-Za-z])",
            r"(<x>)(?=<_>+<n>++-)",
            r"(?=(<a><n>++<a>+:))<a>",
        ],
        [
            r"<n><0>+(\.)(?=<_>+<A>)",
            r"(?=(<a><_>*<n>++<_>*<a>))<a>",
            r"(?=(<a><_>*<n>++<_>*<0>+(?:\.<0>+)?<_>+<a>{2}))<a>",
            r"<_>[Tt]h(?=(e<n><A><a>+))",
            r"(?=(<_>and)<_>*<n>++[A-Za-z])<_>",
            r"(?=( (?:and|that)<_>+<n>{2}| (?:for|had|have|has)<_>+<n>))<_>",
        ],
    ),
)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, stripped, those shorter than ``SHORTEST`` left out; none for a blank text."""
    return [text[start:end] for start, end in offsets(text)]


def offsets(text: str) -> list[tuple[int, int]]:
    """Return where these sentences lie: begin and end in characters, end exclusive."""
    starts = sorted({0, *_starts(text, _spans(text))})
    found = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        sentence = text[start:end].strip()
        if len(sentence) >= SHORTEST:
            first = end - len(text[start:end].lstrip())
            found.append((first, first + len(sentence)))
    return found


def _plain(text: str) -> str:
    """Return the text, as long as it was, with one character for all of a kind that are no ASCII.

    A backslash and an n become line breaks and a plus after a blank a blank, since that is how upstream's matcher takes them.
    """
    if not text.isascii():
        text = "".join(char if char.isascii() else _stand_in(char) for char in text)
    return text.translate(_CONTROLS).replace("\\n", "\n\n").replace(" +", "  ")


def _stand_in(char: str) -> str:
    if char.isdigit():
        return _DIGIT
    if char.isupper() or char.islower():
        return _UPPER if char.isupper() else _LOWER
    return _BLANK if char == "\xa0" else _SPACE if char.isspace() else _OTHER


_CONTROLS = dict.fromkeys(range(0x1C, 0x20), "\x0b")


def _clues(plain: str, families: Sequence[_Family]) -> list[_Clue]:
    """Return the real clues that no wider or earlier one beats, in the order of their surroundings."""
    candidates: list[tuple[int, _Clue]] = []
    for family in families:
        if family.trigger in plain or (family.trigger == "\n" and "\r" in plain):
            for patterns, real in ((family.real, True), (family.unreal, False)):
                candidates += [
                    (match.start(), _Clue(*match.span(match.lastindex or 0), real))
                    for pattern in patterns
                    for match in pattern.finditer(plain)
                ]
    kept: list[_Clue] = []
    for _, clue in sorted(candidates, key=lambda one: one[0]):
        for place in range(len(kept) - 1, max(-1, len(kept) - 5), -1):
            if kept[place].begin < clue.end and clue.begin < kept[place].end:
                if clue.end - clue.begin > kept[place].end - kept[place].begin:
                    kept[place] = clue
                break
        else:
            kept.append(clue)
    return [clue for clue in kept if clue.real]


def _spans(text: str) -> list[tuple[int, int]]:
    """Pair begins with ends; text between two pairs is a span of its own or the end of the one before it."""
    plain = _plain(text)
    begins, ends = _clues(plain, _BEGINS), _clues(plain, _ENDS)
    found: list[tuple[int, int]] = []
    start = stop = next_end = 0
    is_open = False
    for place, clue in enumerate(begins):
        if clue.begin < stop:
            continue
        if not is_open:
            start, is_open = clue.begin, True
        _claim_gap(found, text, start)
        following = begins[place + 1].begin if place + 1 < len(begins) else None
        for index in range(next_end, len(ends)):
            final = index == len(ends) - 1
            if following is not None and not final and following <= ends[index].begin:
                break
            next_end = index
            stop = len(text[: ends[index].begin + 1].rstrip())
            if stop < start:
                continue
            if is_open:
                found.append((start, stop))
                is_open = False
                if following is not None and (final or following <= ends[index + 1].end):
                    break
            else:  # several ends before the next begin: the last one counts
                found[-1] = (start, stop)
    return _outer(found, text, ends)


def _outer(found: list[tuple[int, int]], text: str, ends: Sequence[_Clue]) -> list[tuple[int, int]]:
    """Add what lies before the first and after the last span."""
    if not found:
        whole = _trimmed(text, 0, len(text))
        return [whole] if whole and whole[1] - whole[0] > GAP else []
    before = _trimmed(text, 0, found[0][0])
    if before and ends and found[0][0] <= ends[0].begin:
        found[0] = (before[0], found[0][1])
    elif before:
        found.insert(0, before)
    after = _trimmed(text, found[-1][1], len(text))
    if after and after[1] - after[0] > GAP:
        found.append(after)
    elif after:
        found[-1] = (found[-1][0], after[1])
    return found


def _claim_gap(found: list[tuple[int, int]], text: str, end: int) -> None:
    gap = _trimmed(text, found[-1][1] if found else 0, end)
    if gap and gap[1] - gap[0] > GAP:
        found.append(gap)
    elif gap and found:
        found[-1] = (found[-1][0], gap[1])


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Cut a stretch to its first character and its last letter, digit or closing mark; None when these are not two."""
    if start >= end:
        return None
    first = end - len(text[start:end].lstrip())
    for last in range(end - 1, first, -1):
        if text[last].isalnum() or text[last] in _CLOSING:
            return first, last + 1
    return None


def _starts(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Yield where sentences start: at the token that a span begins with and at the first one after its end."""
    for start, end in spans:
        if _divides(text, start):
            yield start
        while not _divides(text, end):
            end += 1
        yield end
        if blank := _BLANKS.match(text, end):
            yield blank.end()


def _divides(text: str, place: int) -> bool:
    """Whether a token may end before ``place``: at white space, beside most marks, and at the others between words."""
    if place in (0, len(text)) or any(_apart(char) for char in text[place - 1 : place + 1]):
        return True
    return any(_JOINT.match(text, at) for at in (place - 1, place))


def _apart(char: str) -> bool:
    if char.isspace() or char in _DIVIDERS:
        return True
    return "\x7f" < char <= _LAST_SYMBOL and unicodedata.category(char) == "So"


_CLOSING = frozenset('.!?)]"')
_LAST_SYMBOL = "\U0001fa6d"  # spaCy 3.7 knows the symbols of Unicode 11
_DIVIDERS = frozenset(
    string.punctuation + "…¿؟¡。？！，、；：～·।،۔؛٪—–”“‘´’‚„»«「」『』（）〔〕【】《》〈〉"
) - frozenset(".-=/+~")
_JOINT = regex.compile(
    r"(?<=[\p{Ll}\p{Lo}])\.(?=[\p{Lu}\p{Lo}])|(?<=[\p{L}0-9])[-~=/](?=\p{L})|(?<=[0-9])[-+](?=[0-9-])|\.\.+"
)
_BLANKS = re.compile(r"\S{0,5}\s{2,}|\S{0,5}[\r\n]")
