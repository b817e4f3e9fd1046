"""Reports cut into sentences, and the finding words in them: what the edits of `edits.py` stand on.

Nothing here asks the extractor what a sentence claims. Finding words are looked up in the knowledge file, and a sentence
counts as plain only when it holds no word at all that could deny, doubt or set aside what it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product

from wetread.knowledge import load
from wetread.knowledge.text import Speller, Token
from wetread.records import Report

GAP = 5
"""Words that may stand between the two halves of a phrase such as "heart ~ enlarged"."""
REACH = 5
"""Words that may stand between an attribute and the finding that it belongs to."""

_STOP = re.compile(r"(?<=[.!?])\s+")
_NUMBER = re.compile(r"(?:\d{1,2}[.)]\s*)+$")


def _words(text: str) -> frozenset[str]:
    return frozenset(SPELLER.word(word) for word in text.split())


SPELLER = Speller(load().spelling)
CUES: dict[str, frozenset[str]] = {
    "denial": _words(
        "no not without negative free absent absence neither nor none never non devoid lack lacks cannot unlikely "
        "rather excluded deny denies fails ruled otherwise resolving unrelated"
    ),
    "gone": _words("resolved resolution cleared clearing clearance removed removal disappeared longer"),
    "doubt": _words(
        "may might could can would possible possibly possibility probable probably likely suspect suspected suspicion "
        "suspicious concern concerning worrisome versus vs question questionable questioned exclude consider considered "
        "considerations differential suggest suggests suggesting suggestive suggested compatible consistent represent represents "
        "representing reflect reflects reflecting indicate indicates indicating keeping equivocal either perhaps "
        "potential potentially presumed presumably apparent favor favored due secondary related relate attributable"
    ),
    "aside": _words(
        "history status post prior previous previously evaluate evaluation evaluated assess rule recommend recommended "
        "recommendation advised advise followup follow correlate correlation clinical clinically ct mri repeat if comparison "
        "compared indication obscure obscured limits limited limiting limit limitation technique views since please "
        "should needed warranted further given setting because despite between exchanged"
    ),
    "normal": _words(
        "normal unremarkable clear intact midline sharp preserved satisfactory negative normally maintained"
    ),
    "back": _words(
        "it this these they that which those such same above also again other another additional remaining remainder residual former latter otherwise as"
    ),
}
"""Words after which a statement is no longer plain; ``back``: it leans on the sentence before it."""
SPLITS = _words("without no but however although though except while whereas yet otherwise") | {";", ":", "--"}
"""Words that begin another statement within a sentence."""
STOPS = _words(
    ", ; : ( ) and or but with without is are was were has have appears appear remains remain of in on at to from for by "
    "than seen noted present identified the there"
) | {",", ";", ":", "(", ")", "&", "--"}
"""Words that end a noun phrase."""
_WALLS = _words("and or but with without") | {",", ";", ":", "(", ")", "&", "--"}


@dataclass(frozen=True)
class Mention:
    """One finding word or phrase in a sentence."""

    name: str
    """Name of the finding."""
    first: int
    """Index of its first token."""
    last: int
    """Index of its last token."""
    used: tuple[int, ...]
    """The tokens that it takes; those under the gap of "heart ~ enlarged" are not among them."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report."""

    section: int
    """0 findings, 1 impression."""
    mark: str
    """Its number in a list, such as "1."; empty for none."""
    text: str
    """The sentence itself."""

    @cached_property
    def tokens(self) -> list[Token]:
        """Its words and marks, stemmed."""
        return SPELLER.tokens(self.text)

    @cached_property
    def phrases(self) -> list[Mention]:
        """Its finding words, and with an empty name the words that the knowledge file says are none ("left lateral")."""
        return _terms().mentions([token.word for token in self.tokens])

    @cached_property
    def mentions(self) -> list[Mention]:
        """Its finding words."""
        return [mention for mention in self.phrases if mention.name]

    @cached_property
    def blocked(self) -> frozenset[int]:
        """Tokens that are part of no finding and no attribute."""
        return frozenset(index for mention in self.phrases if not mention.name for index in mention.used)

    @cached_property
    def names(self) -> frozenset[str]:
        """The findings that it names, whatever it says of them."""
        return frozenset(mention.name for mention in self.mentions)

    @cached_property
    def statements(self) -> list[range]:
        """Its statements as ranges of tokens: "small effusion" and "without pneumothorax" are two."""
        after = [token.word for token in self.tokens[1:]] + [""]
        cuts = [at for at, token in enumerate(self.tokens) if at and token.word in SPLITS and after[at] != "longer"]
        return [range(a, b) for a, b in pairwise([0, *cuts, len(self.tokens)])]

    def cues_in(self, statement: range) -> frozenset[str]:
        """Return which kinds of cue a statement holds, outside of the finding words themselves."""
        taken = {index for mention in self.mentions for index in mention.used}
        words = {self.tokens[index].word for index in statement if index not in taken}
        return frozenset(kind for kind, cues in CUES.items() if words & cues)

    @cached_property
    def cues(self) -> frozenset[str]:
        """Which kinds of cue the sentence holds."""
        return self.cues_in(range(len(self.tokens)))

    @cached_property
    def stances(self) -> dict[str, frozenset[str]]:
        """For each finding that it names, the cues of the statements that name it."""
        found: dict[str, frozenset[str]] = {}
        for statement in self.statements:
            for mention in self.mentions:
                if mention.first in statement:
                    found[mention.name] = found.get(mention.name, frozenset()) | self.cues_in(statement)
        return found

    @cached_property
    def asserted(self) -> frozenset[str]:
        """The findings that it plainly asserts."""
        if "?" in self.text:
            return frozenset()
        return frozenset(name for name, cues in self.stances.items() if not cues - {"back"})

    @property
    def plain(self) -> bool:
        """Whether it plainly asserts all that it names, and nothing else is in it."""
        return not self.cues - {"back"} and "?" not in self.text

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the characters of the tokens ``first`` to ``last``."""
        return self.tokens[first].start, self.tokens[last].end

    def words(self, first: int, last: int) -> str:
        """Return the text of the tokens ``first`` to ``last`` as one lower-case phrase, hyphens as spaces."""
        start, end = self.span(first, last)
        return " ".join(re.sub(r"[-\s]+", " ", self.text[start:end]).lower().split())

    def with_text(self, text: str) -> Sentence:
        """Return the same place with other words, its first letter in capitals and a stop at its end."""
        text = " ".join(text.split())
        text = re.sub(r"\s+([.,;])", r"\1", text)
        text = re.sub(r"\b([Aa])n?(?= [A-Za-z])", _article, text)
        if text and text[-1] not in ".!?":
            text += "."
        return Sentence(self.section, self.mark, text[:1].upper() + text[1:])


def _article(match: re.Match[str]) -> str:
    following = match.string[match.end() + 1]
    return match.group(1) + ("n" if following.lower() in "aeiou" else "")


def cut(report: Report) -> list[Sentence]:
    """Return the sentences of a report in order; the number of a list item stays with its item."""
    found = []
    for section, text in enumerate((report.findings, report.impression)):
        mark = ""
        for piece in _STOP.split(" ".join(text.split())):
            if _NUMBER.fullmatch(piece):
                mark = piece
                continue
            lead = re.match(r"\d{1,2}[.)]\s*(?=[A-Za-z])", piece)
            if lead:
                mark, piece = lead.group().strip(), piece[lead.end() :]
            if piece.strip(" ."):
                found.append(Sentence(section, mark, piece if piece[-1] in ".!?" else piece + "."))
            mark = ""
    return found


def join(sentences: list[Sentence]) -> Report:
    """Return the report that the sentences make up."""
    parts = ["", ""]
    for sentence in sentences:
        text = f"{sentence.mark} {sentence.text}".strip()
        parts[sentence.section] = f"{parts[sentence.section]} {text}".strip()
    return Report(*parts)


def tidy(report: Report) -> Report:
    """Return the report with single spaces and a stop after each sentence, as the edits rebuild it."""
    return join(cut(report))


def tied_before(sentence: Sentence, at: int, mention: Mention) -> bool:
    """Whether the token ``at`` stands before the finding in the same noun phrase, or under its gap."""
    if mention.first < at < mention.last:
        return at not in mention.used
    between = range(at + 1, mention.first)
    if not 0 <= len(between) <= REACH or at >= mention.first:
        return False
    others = {index for other in sentence.mentions for index in other.used}
    return all(sentence.tokens[index].word not in STOPS and index not in others for index in between)


_AFTER = _words(
    "is are was were seen noted present identified visualized in on at of within along overlying over near involving "
    "the a lower upper mid middle lung lobe zone base apex hemithorax chest mild small tiny minimal moderate large field side"
)
_PREPOSITIONS = _words("in on at of within along overlying over near involving")


def tied_after(sentence: Sentence, at: int, mention: Mention) -> bool:
    """Whether the token ``at`` follows the finding as in "in the left lower lobe"."""
    between = [sentence.tokens[index].word for index in range(mention.last + 1, at)]
    return 0 < len(between) <= REACH + 1 and set(between) <= _AFTER and bool(_PREPOSITIONS & set(between))


def plain_term(name: str) -> str:
    """Return the plainest phrase for a finding: its name."""
    return load()[name].terms[0]


class _Terms:
    """Every phrase that names a finding, by its first word."""

    def __init__(self) -> None:
        known = load()
        self.phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for spec in known.findings.values():
            for term in spec.terms:
                self._add(term, spec.name)
        for group in ("ignore", "not_sides"):
            for phrase in known.words.get(group, {}).get("", ()):
                self._add(phrase, "")

    def _add(self, phrase: str, name: str) -> None:
        for choice in product(*(word.split("/") for word in phrase.split())):
            words = [
                piece
                for word in choice
                for piece in ([word] if word == "~" else [t.word for t in SPELLER.tokens(word)])
            ]
            if words:
                self.phrases.setdefault(words[0], []).append((tuple(words), name))

    def mentions(self, words: list[str]) -> list[Mention]:
        """Return the findings that are named, no two sharing a word; at each place the phrase of the most words."""
        found: list[Mention] = []
        taken: set[int] = set()
        for start, word in enumerate(words):
            if start in taken:
                continue
            matches = [
                (used, name)
                for phrase, name in self.phrases.get(word, ())
                for used in self._match(phrase, words, start)
                if not taken & set(used)
            ]
            if matches:
                used, name = max(matches, key=lambda match: (len(match[0]), -match[0][-1]))
                taken |= set(used)
                found.append(Mention(name, used[0], used[-1], used))
        return found

    def _match(self, phrase: tuple[str, ...], words: list[str], start: int) -> Iterator[tuple[int, ...]]:
        used: list[int] = []
        at = start
        gap = False
        for word in phrase:
            if word == "~":
                gap = True
                continue
            stop = min(len(words), at + GAP + 1 if gap else at + 1)
            while at < stop and words[at] != word:
                if words[at] in _WALLS:
                    return
                at += 1
            if at >= stop:
                return
            used.append(at)
            at += 1
            gap = False
        yield tuple(used)


@lru_cache(maxsize=1)
def _terms() -> _Terms:
    return _Terms()


def phrase_name(phrase: str) -> str:
    """Return the finding that a phrase as a whole names; empty when it names none, or only in part."""
    words = [token.word for token in SPELLER.tokens(phrase)]
    found = _terms().mentions(words)
    whole = len(found) == 1 and (found[0].first, found[0].last) == (0, len(words) - 1)
    return found[0].name if whole else ""
