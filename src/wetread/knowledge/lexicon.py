"""All phrases of a knowledge file in one trie, and the known phrases of a sentence."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from wetread.knowledge.ontology import Knowledge
from wetread.knowledge.text import Speller, Trie


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


class Lexicon:
    """All phrases of a knowledge file in one trie."""

    def __init__(self, knowledge: Knowledge) -> None:
        words = knowledge.words
        breaks = words["breaks"]
        self.speller = Speller(knowledge.spelling)
        walls = {self.speller.word(word) for group in breaks.values() for word in group if " " not in word}
        self.trie = Trie(self.speller, walls, preferred="finding")
        for spec in knowledge.findings.values():
            for term in spec.terms:
                self.trie.add(term, ("finding", spec.name))
        for normal in knowledge.normals:
            self._add_all("abnormal", normal.abnormalities, normal)
            self._add_all("subject", normal.subjects, normal)
        for place in knowledge.locations:
            self._add_all("place", place.terms, place)
        for kind, group in (("side", "sides"), ("severity", "severities"), ("change", "changes")):
            for value, phrases in words[group].items():
                self._add_all(kind, phrases, value)
        self._add_all("ignore", (*words["ignore"][""], *words["not_sides"][""]), None)
        for kind, phrases in breaks.items():
            self._add_all(kind, phrases, None)
        for value, phrases in words["negation"].items():
            self._add_all(f"negation {value}", phrases, None)
        probable = frozenset(words["probable"][""])
        for value, phrases in words["uncertainty"].items():
            for phrase in phrases:
                self.trie.add(phrase, (f"uncertainty {value}", phrase in probable))
        for kind in ("commitment", "history", "recommendation", "nearby", "normal", "everything", "anaphora"):
            self._add_all(kind, words[kind][""], None)
        self.articles, self.verbs, self.plural_verbs, self.seen, self.prepositions = (
            frozenset(map(self.speller.word, words[name][""]))
            for name in ("articles", "verbs", "plural_verbs", "seen", "prepositions")
        )
        self.findings = knowledge.findings

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
