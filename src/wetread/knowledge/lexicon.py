"""All phrases of a knowledge file in one trie, and the known phrases of a sentence."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from wetread.knowledge.ontology import Knowledge, Location, NormalSpec
from wetread.knowledge.text import Speller, Trie, expand


class Item(NamedTuple):
    """One known phrase in a sentence."""

    first: int
    """Index of its first word."""
    last: int
    """Index of its last word."""
    kind: str
    """What it is: finding, side, before …"""
    value: Any
    """What it says, by kind."""


class Named(NamedTuple):
    """What a phrase that names a finding says."""

    name: str
    """The finding."""
    places: tuple[Location, ...] = ()
    """Places that are part of the phrase: the apex of "apical capping"."""


_WORD_SETS = (
    "articles", "verbs", "plural_verbs", "seen", "prepositions", "comparing", "everything", "remaining", "qualifiers",
)  # fmt: skip


class Subject(NamedTuple):
    """What a phrase says that may be called normal."""

    normal: NormalSpec
    """What is then denied."""
    places: tuple[Location, ...] = ()
    """Places that it names too: the base of "lung bases"."""


class Lexicon:
    """All phrases of a knowledge file in one trie, and its sets of single words, each under its name in the file."""

    articles: frozenset[str]
    verbs: frozenset[str]
    plural_verbs: frozenset[str]
    seen: frozenset[str]
    prepositions: frozenset[str]
    comparing: frozenset[str]
    everything: frozenset[str]
    remaining: frozenset[str]
    qualifiers: frozenset[str]

    def __init__(self, knowledge: Knowledge) -> None:
        words = knowledge.words
        breaks = words["breaks"]
        self.speller = Speller(knowledge.spelling)
        walls = {self.speller.word(word) for group in breaks.values() for word in group if " " not in word}
        self.trie = Trie(self.speller, walls, preferred="finding")
        self.places = self._places(knowledge)
        for spec in knowledge.findings.values():
            for term in spec.terms:
                for phrase in map(" ".join, expand(term)):
                    self.trie.add(phrase, ("finding", Named(spec.name, self._inside(phrase))))
        for normal in knowledge.normals:
            self._add_all("abnormal", normal.abnormalities, normal)
            for phrase in (" ".join(one) for term in normal.subjects for one in expand(term)):
                self.trie.add(phrase, ("subject", Subject(normal, self._inside(phrase))))
        for place in knowledge.locations:
            self._add_all("place", place.terms, place)
        for kind, group in (("side", "sides"), ("severity", "severities"), ("change", "changes")):
            for value, phrases in words[group].items():
                self._add_all(kind, phrases, value)
        self._add_all("ignore", (*words["ignore"][""], *words["not_sides"][""]), None)
        for kind, phrases in breaks.items():
            self._add_all(kind, phrases, None)
        marks = {mark: frozenset(words[mark][""]) for mark in ("qualified", "probable", "listing")}
        for group in ("negation", "uncertainty"):
            for value, phrases in words[group].items():
                for phrase in phrases:
                    told = frozenset(mark for mark, marked in marks.items() if phrase in marked)
                    self.trie.add(phrase, (f"{group} {value}", told))
        for kind in ("commitment", "history", "recommendation", "nearby", "normal", "everything", "anaphora"):
            self._add_all(kind, words[kind][""], None)
        for name in _WORD_SETS:
            setattr(self, name, frozenset(map(self.speller.word, words[name][""])))
        self.findings = knowledge.findings

    def _places(self, knowledge: Knowledge) -> Trie:
        trie = Trie(self.speller, ())
        for place in knowledge.locations:
            for term in place.terms:
                trie.add(term, ("place", place))
        return trie

    def _inside(self, phrase: str) -> tuple[Location, ...]:
        words = [token.word for token in self.speller.tokens(phrase)]
        free = bytearray(len(words))
        matches = (self.places.longest(words, at, free) for at in range(len(words)))
        return tuple(match.value[1] for match in matches if match is not None)

    def _add_all(self, kind: str, phrases: tuple[str, ...], value: Any) -> None:
        for phrase in phrases:
            self.trie.add(phrase, (kind, value))

    def items(self, words: list[str]) -> list[Item]:
        """Return the known phrases in reading order; no two share a word."""
        found = []
        taken = bytearray(len(words))
        root = self.trie.root
        for index, word in enumerate(words):
            if taken[index] or word not in root:
                continue
            match = self.trie.longest(words, index, taken)
            if match is None:
                continue
            for used in match.used:
                taken[used] = 1
            found.append(Item(index, match.last, *match.value))
        return found


@lru_cache(maxsize=8)
def lexicon(knowledge: Knowledge) -> Lexicon:
    """Return the lexicon of a knowledge file, built once."""
    return Lexicon(knowledge)
