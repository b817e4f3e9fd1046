"""Plain English into sentences, tokens and stems, and a phrase trie over them. Every function is linear in its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

GAP = 5
"""Most words that the ``~`` of a phrase may stand for."""

_BOUNDARY = re.compile(
    r"""(?<![.!?])[.!?]++(?=\s|$)  # a stop before white space; 1.2 cm is not one. One try a run: "......" stays linear
      | (?<=[a-z)])\.(?=[A-Z])    # a stop whose space was forgotten
      | \n[^\S\n]*\n\s*           # an empty line
      | \n\s*(?=\d{1,2}[.)]\s|[-*\u2022]\s)   # a new item of a list
      | (?<=\s)\d{1,2}\)(?=\s)    # 2) within a line
      | (?<=\s)\d{1,2}\.(?=[A-Z])   # 2.Left effusion
      | (?<![,;:(\s])[^\S\n]*\n[^\S\n]*(?=[A-Z][a-z])   # a line that ends without a stop before one that begins anew
    """,
    re.VERBOSE,
)
_TOKEN = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|[,;:()?&]|--|[\u2013\u2014]|(?<=\s)-(?=\s)")
_MASK = re.compile(r"[xX]{2,}$")
_DASHES = frozenset({"-", "--", "\u2013", "\u2014"})


class Token(NamedTuple):
    """One word, number or mark."""

    word: str
    """Stem, in lower case."""
    start: int
    """First character."""
    end: int
    """One past the last character."""


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each sentence; headers, empty pieces and white space around are left to the caller.

    >>> [("One. Two is 1.2 cm. "[a:b]) for a, b in sentences("One. Two is 1.2 cm. ")]
    ['One', ' Two is 1.2 cm']
    """
    start = 0
    for stop in _BOUNDARY.finditer(text):
        if stop.start() > start:
            yield start, stop.start()
        start = stop.end()
    if text[start:].strip():
        yield start, len(text)


def stem(word: str) -> str:
    """Return a word without its plural ending, by rule only.

    >>> [stem(word) for word in ("opacities", "masses", "lungs", "atelectasis", "is")]
    ['opacity', 'mass', 'lung', 'atelectasis', 'is']
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


class Speller:
    """Words to stems, with the spellings of a knowledge file; remembers what it has seen.

    Parameters
    ----------
    spelling
        Variant or misspelt word to the word that is meant, both in lower case.
    """

    def __init__(self, spelling: Mapping[str, str]) -> None:
        self._spelling = dict(spelling)
        self._known: dict[str, str] = {}

    def word(self, raw: str) -> str:
        """Return the stem of one raw token."""
        known = self._known.get(raw)
        if known is None:
            lower = raw.lower()
            lower = self._spelling.get(lower, lower)
            known = "--" if raw in _DASHES else stem(lower)
            known = self._spelling.get(known, known)
            if len(self._known) < 100_000:
                self._known[raw] = known
        return known

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of ``text``; de-identification marks (XXXX, ___) are passed over as if they were not there."""
        found: list[Token] = []
        known, make = self._known, tuple.__new__  # a third of the time of Token(…), and this is the inner loop
        for match in _TOKEN.finditer(text):
            raw = match.group()
            if raw[0] in "xX" and _MASK.match(raw):
                continue
            word = known.get(raw)
            start, end = match.span()
            found.append(make(Token, (self.word(raw) if word is None else word, start, end)))
        return found


def expand(phrase: str) -> Iterator[list[str]]:
    """Yield every plain phrase that a phrase of a knowledge file stands for, as words; ``~`` stays as a word of its own.

    >>> [" ".join(words) for words in expand("heart/cardiac ~ enlarged")]
    ['heart ~ enlarged', 'cardiac ~ enlarged']
    """
    for choice in product(*(word.split("/") for word in phrase.split())):
        yield list(choice)


class Match(NamedTuple):
    """One phrase found in a list of words."""

    last: int
    """Index of its last word."""
    used: tuple[int, ...]
    """Indices of the words that it takes; words under its gap are not among them."""
    value: tuple[str, Any]
    """Kind of the phrase and what it says."""


class Trie:
    """Phrases over stems; finds the longest that starts at a word.

    Parameters
    ----------
    speller
        The same that reads the text, so that both sides are stemmed alike.
    walls
        Words that no gap may cross: commas, conjunctions, breaks.
    preferred
        Kind (first member of a value) that wins among phrases of as many words.
    """

    def __init__(self, speller: Speller, walls: Iterable[str], preferred: str = "") -> None:
        self.speller = speller
        self.walls = frozenset(walls)
        self.preferred = preferred
        self.root: dict[Any, Any] = {}

    def add(self, phrase: str, value: tuple[str, Any]) -> None:
        """Add a phrase (with ``/`` and ``~``) as (kind, what it says); the first value of a phrase stays."""
        for words in expand(phrase):
            node = self.root
            for word in words:
                for piece in (word,) if word == "~" else tuple(t.word for t in self.speller.tokens(word)):
                    node = node.setdefault(piece, {})
            if node is not self.root:
                node.setdefault(None, value)

    def longest(self, words: list[str], start: int, taken: bytearray) -> Match | None:
        """Return the phrase at ``start`` that takes the most words, or None; among equals by ``rank``."""
        node = self.root.get(words[start])
        if node is None:
            return None
        best: Match | None = None
        end = len(words)
        todo: list[tuple[dict[Any, Any], tuple[int, ...]]] = [(node, (start,))]
        while todo:
            node, used = todo.pop()
            if None in node and (best is None or len(used) >= len(best.used)):
                match = Match(used[-1], used, node[None])
                if best is None or self.rank(match) > self.rank(best):
                    best = match
            after = used[-1] + 1
            if after >= end:
                continue
            child = node.get(words[after])
            if child is not None and not taken[after]:
                todo.append((child, (*used, after)))
            if "~" in node:
                todo.extend(self._over_gap(node["~"], words, used, taken))
        return best

    def rank(self, match: Match) -> tuple[int, bool, int]:
        """Return the order of preference: more words, then one of the preferred values, then the shorter gap."""
        return len(match.used), match.value[0] == self.preferred, -match.last

    def _over_gap(
        self, node: dict[Any, Any], words: list[str], used: tuple[int, ...], taken: bytearray
    ) -> Iterator[tuple[dict[Any, Any], tuple[int, ...]]]:
        first = used[-1] + 1
        for index in range(first, min(first + GAP + 1, len(words))):
            child = node.get(words[index])
            if child is not None and not taken[index]:
                yield child, (*used, index)
            if words[index] in self.walls:
                return


def headed(names: frozenset[str], inline: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of the break before a section header: where a section begins though no stop ended the last.

    Every header may begin a line; the ``inline`` ones, capitalised, may also stand within one, as in a report whose sections
    were joined: "No infiltrate Impression: Emphysema."
    """
    every = "|".join(map(re.escape, sorted(names, key=lambda name: (-len(name), name))))
    within = "|".join(re.escape(form) for name in sorted(inline) for form in (name.capitalize(), name.upper()))
    return re.compile(rf"\n[^\S\n]*(?=(?i:{every})\s*:)|(?<=\S)[^\S\n]+(?=(?:{within})\s*:)")


def header(names: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of a section header: one of the names at a line's or sentence's start, then a colon."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile(r"\s*(" + "|".join(map(re.escape, longest_first)) + r")\s*:", re.IGNORECASE)
