"""One sentence into mentions: which findings it names, denied or hedged, where, how severe, changed how.

The sentence is cut three ways: *clauses* end at hard breaks (semicolons, "but", "there is"), *groups* are the lists that
one negation, hedge or change word governs, *chunks* are the list members. Every pass is linear in the words.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from wetread.knowledge.ontology import Knowledge, Location, NormalSpec
from wetread.knowledge.text import Speller, Token, Trie

REACH = 12
"""Most list members that a word after the list governs; keeps the work linear on any text."""


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


@dataclass
class Mention:
    """One finding named in a sentence, while its attributes are gathered."""

    name: str
    first: int
    last: int
    clause: int
    group: int
    chunk: int
    negated: bool = False
    hedged: bool = False
    unasserted: bool = False
    implied: bool = False
    near: bool = False
    source: int | None = None
    committed: bool = False
    sides: set[str] = field(default_factory=set)
    places: list[Location] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    shares: bool = False


class Attribute(NamedTuple):
    """One attribute word and where it stands."""

    kind: str
    value: Any
    at: int
    clause: int
    group: int
    chunk: int
    after_preposition: bool


@dataclass
class Reading:
    """What one sentence says."""

    tokens: list[Token]
    mentions: list[Mention] = field(default_factory=list)
    everything: str = ""
    """A change that is said of all findings: "the findings are unchanged"."""
    referred: str = ""
    """A change that is said of the finding before: "it has increased"."""


class Lexicon:
    """All phrases of a knowledge file in one trie."""

    def __init__(self, knowledge: Knowledge) -> None:
        words = knowledge.words
        breaks = words["breaks"]
        self.speller = Speller(knowledge.spelling)
        walls = {self.speller.word(word) for group in breaks.values() for word in group if " " not in word}
        self.trie = Trie(self.speller, walls)
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
        for group in ("negation", "uncertainty"):
            for value, phrases in words[group].items():
                self._add_all(f"{group} {value}", phrases, None)
        for kind in ("commitment", "history", "recommendation", "nearby", "normal", "everything", "anaphora"):
            self._add_all(kind, words[kind][""], None)
        self.articles, self.verbs, self.seen, self.prepositions = (
            frozenset(map(self.speller.word, words[name][""])) for name in ("articles", "verbs", "seen", "prepositions")
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


_SEPARATORS = frozenset({"hard", "with", "list", "or"})
_ATTRIBUTES = frozenset({"side", "place", "severity", "change"})


class _Walk:
    """First pass: mentions with their presence, and attributes with their place."""

    def __init__(self, lex: Lexicon, tokens: list[Token]) -> None:
        self.lex = lex
        self.tokens = tokens
        self.words = [token.word for token in tokens]
        self.items = lex.items(self.words)
        self.mentions: list[Mention] = []
        self.attributes: list[Attribute] = []
        self.clause = self.group = self.chunk = 0
        self.group_start = 0
        self.negated = self.hedged = self.history = self.recommended = self.near = False
        self.source: int | None = None
        self.committed = False
        self.subjects: list[Item] = []
        self.normal_ahead: Item | None = None
        self.or_ahead = self._or_ahead()

    def _or_ahead(self) -> list[bool]:
        ahead = [False] * (len(self.items) + 1)
        for index in range(len(self.items) - 1, -1, -1):
            kind = self.items[index].kind
            ahead[index] = kind == "or" or (kind not in ("hard", "with", "negation before") and ahead[index + 1])
        return ahead

    def run(self) -> None:
        for index, item in enumerate(self.items):
            kind = item.kind
            if kind in _SEPARATORS:
                self._separate(index, kind)
            elif kind == "finding":
                self._mention(item, item.value)
            elif kind in _ATTRIBUTES:
                before = self.words[item.first - 1] if item.first else ""
                if before in self.lex.articles and item.first > 1:
                    before = self.words[item.first - 2]
                where = (self.clause, self.group, self.chunk, before in self.lex.prepositions)
                self.attributes.append(Attribute(kind, item.value, item.first, *where))
            else:
                self._cue(index, item)
        self._claim_nothing()

    # -- separators ---------------------------------------------------------------------------------------------

    def _separate(self, index: int, kind: str) -> None:
        self.chunk += 1
        if kind == "hard":
            self._new_group()
            self.clause += 1
            self.subjects.clear()
            self.source = None
        elif kind == "with":
            self._new_group()
            self.source = None
        elif kind == "list":
            following = self.items[index + 1].kind if index + 1 < len(self.items) else ""
            if following == "or" or following == "list":
                return
            if self._opens(index):
                self._new_group()
            elif self.hedged and not self.or_ahead[index] and self.words[self.items[index].first] == ",":
                self.hedged = False

    def _new_group(self) -> None:
        self.group += 1
        self.group_start = len(self.mentions)
        self.negated = self.hedged = self.history = self.near = False
        self.normal_ahead = None

    def _opens(self, index: int) -> bool:
        """Whether the words after this comma or "and" start a statement of their own."""
        after = self.items[index].last + 1
        if after >= len(self.words):
            return False
        if self.words[after] in self.lex.articles:
            return True
        following = self.items[index + 1] if index + 1 < len(self.items) else None
        if following is not None and following.first == after:
            if following.kind in ("severity", "change"):
                return not (self.negated and self.or_ahead[index])
            if following.kind in ("negation before", "uncertainty before", "normal"):
                return True
        return self._has_verb(index, after)

    def _has_verb(self, index: int, after: int) -> bool:
        """Whether the chunk is a subject with a verb of its own: ", the heart is enlarged"."""
        named = False
        stop = len(self.words)
        for item in self.items[index + 1 :: 1][:8]:
            if item.kind in _SEPARATORS:
                stop = item.first
                break
            if item.kind in ("finding", "subject"):
                named = True
        if not named:
            return False
        for at in range(after, min(stop, after + 16)):
            if self.words[at] in self.lex.verbs:
                nxt = self.words[at + 1] if at + 1 < len(self.words) else ""
                return nxt not in self.lex.seen
        return False

    # -- findings and cues --------------------------------------------------------------------------------------

    def _mention(self, item: Item, name: str, implied: bool = False, negated: bool = False) -> None:
        self.mentions.append(
            Mention(
                name, item.first, item.last, self.clause, self.group, self.chunk,
                negated=self.negated or negated, hedged=self.hedged,
                unasserted=self.history or self.recommended, implied=implied,
                near=self.near, source=self.source, committed=self.committed,
            )
        )  # fmt: skip

    def _cue(self, index: int, item: Item) -> None:
        kind = item.kind
        last = self.mentions[-1] if len(self.mentions) > self.group_start else None
        inside = last is not None and not last.implied and last.first < item.first < last.last
        if kind == "negation before":
            self._negate(item, last if inside else None)
        elif kind == "negation after":
            for mention in self.mentions[max(self.group_start, len(self.mentions) - REACH) :]:
                mention.negated = True
            self.subjects.clear()
        elif kind == "uncertainty before":
            if inside and last is not None:
                last.hedged = True
            elif item.last + 1 >= len(self.words) and last is not None:
                last.hedged = True  # "a nodule, possibly" has nothing after it to hedge
            else:
                self.hedged = True
                self._link(committed=False)
        elif kind == "uncertainty after":
            for mention in self.mentions[max(self.group_start, len(self.mentions) - REACH) :]:
                mention.hedged = True
        elif kind == "commitment":
            self._link(committed=not self.hedged)
        elif kind == "history":
            self.history = True
        elif kind == "recommendation":
            self.recommended = True
        elif kind == "nearby":
            self.near = True
        elif kind == "abnormal":
            self._abnormal(item)
        elif kind == "subject":
            self._subject(item)
        elif kind == "normal":
            self._normal(index, item)

    def _negate(self, item: Item, inside: Mention | None) -> None:
        if inside is not None:
            inside.negated = True
            return
        self.negated = True
        self.hedged = False

    def _link(self, *, committed: bool) -> None:
        source = len(self.mentions) - 1
        if source >= 0 and self.mentions[source].clause == self.clause and not self.mentions[source].implied:
            self.source, self.committed = source, committed
        self.group += 1
        self.group_start = len(self.mentions)
        self.chunk += 1

    # -- statements of normality --------------------------------------------------------------------------------

    def _abnormal(self, item: Item) -> None:
        if self.negated and not self.recommended:
            self._imply(item.value, item.first, item.last)

    def _subject(self, item: Item) -> None:
        if self.normal_ahead is not None:
            self._imply(item.value, self.normal_ahead.first, item.last)
        else:
            self.subjects.append(item)

    def _normal(self, index: int, item: Item) -> None:
        previous = self.items[index - 1] if index else None
        if previous is not None and previous.kind == "negation before" and previous.last >= item.first - 2:
            self.subjects.clear()
            self.negated = False
            return
        following = self.items[index + 1] if index + 1 < len(self.items) else None
        if following is not None and following.kind == "subject" and following.first - item.last <= 3:
            self.normal_ahead = item
            return
        for subject in self.subjects:
            self._imply(subject.value, subject.first, item.last)
        self.subjects.clear()

    def _imply(self, normal: NormalSpec, first: int, last: int) -> None:
        for name in normal.absent:
            self._mention(Item(first, last, "finding", name), name, implied=True, negated=True)

    def _claim_nothing(self) -> None:
        """Drop what a subject without a word of normality leaves behind."""
        self.subjects.clear()


class _Attach:
    """Second pass: attributes to mentions."""

    def __init__(self, lex: Lexicon, walk: _Walk) -> None:
        self.lex = lex
        self.mentions = [mention for mention in walk.mentions if not mention.implied]
        self.starts = [mention.first for mention in self.mentions]
        self.walk = walk

    def run(self) -> None:
        for attribute in self.walk.attributes:
            self._attach(attribute)
        for index, mention in enumerate(self.mentions):
            if mention.shares:
                self._share(index)
        for index, mention in enumerate(self.mentions):
            if mention.near and not mention.sides and index:
                mention.sides |= self.mentions[index - 1].sides
        self._links()

    def _attach(self, attribute: Attribute) -> None:
        target = self._target(attribute)
        if target is None:
            return
        mention = self.mentions[target]
        if attribute.kind == "side":
            mention.sides.add(attribute.value)
        elif attribute.kind == "place":
            mention.places.append(attribute.value)
        elif attribute.kind == "severity":
            mention.severities.append(attribute.value)
        else:
            self._change(target, attribute)
        if attribute.after_preposition and attribute.at > mention.first and attribute.kind in ("side", "place"):
            mention.shares = True

    def _change(self, target: int, attribute: Attribute) -> None:
        """Attach a change; at either end of a list it is said of the whole list."""
        group = self.mentions[target].group
        low = high = target
        while low > 0 and self.mentions[low - 1].group == group and target - low < REACH:
            low -= 1
        while high + 1 < len(self.mentions) and self.mentions[high + 1].group == group and high - target < REACH:
            high += 1
        outside = attribute.at < self.mentions[low].first or attribute.at > self.mentions[high].first
        for mention in self.mentions[low : high + 1] if outside else (self.mentions[target],):
            mention.changes.append(attribute.value)

    def _takes(self, index: int, attribute: Attribute) -> bool:
        spec = self.lex.findings[self.mentions[index].name]
        allowed = {
            "side": spec.sides, "place": spec.locations or spec.sides, "severity": spec.severities, "change": spec.changes,
        }  # fmt: skip
        return bool(allowed[attribute.kind])

    def _target(self, attribute: Attribute) -> int | None:
        """Return the mention that the word belongs to: in its chunk if there is one, else in its clause."""
        after = bisect_left(self.starts, attribute.at)
        before = after - 1
        has_before = before >= 0 and self.mentions[before].clause == attribute.clause
        has_after = after < len(self.mentions) and self.mentions[after].clause == attribute.clause
        if has_before and self.mentions[before].last > attribute.at:
            return before
        near_before = has_before and self.mentions[before].chunk == attribute.chunk
        near_after = has_after and self.mentions[after].chunk == attribute.chunk
        if attribute.after_preposition and near_before and attribute.kind != "severity":
            return before
        if near_after and self._takes(after, attribute):
            return after
        if near_before:
            return before
        if has_before and self._takes(before, attribute) and not self._filled(before, attribute):
            return before
        if has_after and self._takes(after, attribute):
            return after
        return before if has_before else None

    def _filled(self, index: int, attribute: Attribute) -> bool:
        mention = self.mentions[index]
        return attribute.kind == "side" and bool(mention.sides) and attribute.group != mention.group

    def _share(self, index: int) -> None:
        """Give "on the left" at the end of a list to the members that state no side of their own."""
        mention = self.mentions[index]
        for other in reversed(self.mentions[max(0, index - REACH) : index]):
            if other.group != mention.group or other.sides or other.places:
                break
            other.sides |= mention.sides
            other.places.extend(mention.places)

    def _links(self) -> None:
        """Pass attributes from a sign to what explains it, and drop a descriptive sign that is explained for certain."""
        for mention in self.mentions:
            if mention.source is None:
                continue
            sign = self.walk.mentions[mention.source]
            if sign.negated or sign.unasserted:
                continue
            if not mention.sides and not mention.places:
                mention.sides |= sign.sides
                mention.places.extend(sign.places)
            if mention.committed and not mention.negated and self.lex.findings[sign.name].descriptive:
                mention.severities.extend([] if mention.severities else sign.severities)
                mention.changes.extend([] if mention.changes else sign.changes)
                sign.unasserted = True


def read(text: str, knowledge: Knowledge) -> Reading:
    """Return what one sentence says; indices are of its words."""
    lex = lexicon(knowledge)
    walk = _Walk(lex, lex.speller.tokens(text))
    walk.run()
    _Attach(lex, walk).run()
    reading = Reading(walk.tokens, [mention for mention in walk.mentions if not mention.unasserted])
    named = any(item.kind in ("finding", "subject", "abnormal", "place") for item in walk.items)
    changes = [item for item in walk.items if item.kind == "change"]
    if changes and not named and not walk.recommended:
        lead = [item for item in walk.items if item.first <= 1]
        if any(item.kind == "anaphora" for item in lead):
            reading.referred = changes[-1].value
        elif changes[-1].value == "unchanged" and (
            changes[0] in lead or any(item.kind == "everything" for item in walk.items)
        ):
            reading.everything = "unchanged"
    return reading
