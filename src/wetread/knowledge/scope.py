"""First pass over a sentence: which findings it names, denied or hedged or not, and which attribute words stand where.

The sentence is cut three ways: *clauses* end at hard breaks (semicolons, "but", "there is"), *groups* are the lists that
one negation, hedge or change word governs, *chunks* are the list members. Every pass is linear in the words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wetread.knowledge.gapping import filled
from wetread.knowledge.lexicon import Item, Lexicon
from wetread.knowledge.ontology import Location, NormalSpec
from wetread.knowledge.text import Token

REACH = 12
"""Most list members that a word after the list governs; keeps the work linear on any text."""


@dataclass
class Mention:
    """One finding named in a sentence, while its attributes are gathered."""

    name: str
    """Name of the finding."""
    first: int
    """Index of its first word."""
    last: int
    """Index of its last word."""
    clause: int
    """Number of its clause."""
    group: int
    """Number of its list."""
    chunk: int
    """Number of its list member."""
    negated: bool = False
    """Whether it is denied."""
    hedged: bool = False
    """Whether it is called possible or probable."""
    likely: bool = False
    """Whether it is called probable, or one of two alternatives."""
    unasserted: bool = False
    """Whether it is only history, a recommendation, or a sign that has been explained."""
    implied: bool = False
    """Whether a statement of normality denies it without naming it."""
    qualified: bool = False
    """Whether only a large, new, acute or focal one is denied, or what is left apart from the rest."""
    near: bool = False
    """Whether it is called adjacent to the finding before, and so lies on its side."""
    source: int | None = None
    """Index of the sign that it explains."""
    committed: bool = False
    """Whether the writer is sure of that explanation."""
    sides: set[str] = field(default_factory=set)
    """Sides stated of it."""
    places: list[Location] = field(default_factory=list)
    """Places stated of it, in order."""
    severities: list[str] = field(default_factory=list)
    """Grades stated of it."""
    changes: list[str] = field(default_factory=list)
    """Changes stated of it."""
    shares: bool = False
    """Whether its place ends a list and may be meant for all of it."""


class Attribute(NamedTuple):
    """One attribute word and where it stands."""

    kind: str
    """side, place, severity or change."""
    value: Any
    """What it says."""
    at: int
    """Index of its first word."""
    clause: int
    """Number of its clause."""
    group: int
    """Number of its list."""
    chunk: int
    """Number of its list member."""
    after_preposition: bool
    """Whether a preposition stands before it, as in "on the left"."""


@dataclass
class Reading:
    """What one sentence says."""

    tokens: list[Token]
    """Its words and marks."""
    mentions: list[Mention] = field(default_factory=list)
    """The findings that it asserts or denies."""
    everything: str = ""
    """A change that is said of all findings: "the findings are unchanged"."""
    referred: str = ""
    """A change that is said of the finding before: "it has increased"."""


_SEPARATORS = frozenset({"hard", "with", "list", "or"})
_ATTRIBUTES = frozenset({"side", "place", "severity", "change"})


_NAMES = 4
"""Most words before the colon of "name: value"."""
_VALUES = 8
"""Most words after it."""


def _joined(tokens: list[Token], lex: Lexicon) -> list[Token]:
    """Return the tokens of "Pneumothorax: none" without the colon or dash, which parts clauses anywhere else."""
    for at, token in enumerate(tokens[: _NAMES + 1]):
        if token.word in (":", "--"):
            if at and len(tokens) - at - 1 <= _VALUES and lex.verbs.isdisjoint(one.word for one in tokens):
                return [*tokens[:at], *tokens[at + 1 :]]
            break
    return tokens


class Walk:
    """First pass: mentions with their presence, and attributes with their place."""

    def __init__(self, lex: Lexicon, tokens: list[Token]) -> None:
        self.lex = lex
        self.tokens = tokens = _joined(tokens, lex)
        self.words = [token.word for token in tokens]
        self.items = filled(lex.items(self.words), self.words, lex.articles)
        self.mentions: list[Mention] = []
        self.attributes: list[Attribute] = []
        self.clause = self.group = self.chunk = 0
        self.group_start = 0
        self.chunk_first = 0
        self.negated = self.qualified = self.hedged = self.likely = self.listing = False
        self.history = self.recommended = self.near = False
        self.remaining = not lex.remaining.isdisjoint(self.words)
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
        """Fill ``mentions`` and ``attributes`` from the items, in one pass."""
        for index, item in enumerate(self.items):
            kind = item.kind
            if kind in _SEPARATORS:
                self._separate(index, kind)
            elif kind == "finding":
                self._mention(item, item.value.name)
                self.mentions[-1].places.extend(item.value.places)
            elif kind in _ATTRIBUTES:
                before = self.words[item.first - 1] if item.first else ""
                if before in self.lex.articles and item.first > 1:
                    before = self.words[item.first - 2]
                where = (self.clause, self.group, self.chunk, before in self.lex.prepositions)
                self.attributes.append(Attribute(kind, item.value, item.first, *where))
            else:
                self._cue(index, item)

    # -- separators ---------------------------------------------------------------------------------------------

    def _separate(self, index: int, kind: str) -> None:
        self.chunk += 1
        self.chunk_first = self.items[index].last + 1
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
            elif (
                self.hedged
                and not (self.listing or self.or_ahead[index])
                and self.words[self.items[index].first] == ","
            ):
                self.hedged = False

    def _new_group(self) -> None:
        self.group += 1
        self.group_start = len(self.mentions)
        self.negated = self.qualified = self.hedged = self.likely = self.listing = self.history = self.near = False
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
        ahead = self.items[index + 1 : index + 9]
        for item in ahead:
            if item.kind in _SEPARATORS:
                stop = item.first
                break
            if item.kind in ("finding", "subject"):
                named = True
        if not named:
            return False
        for at in range(after, min(stop, after + 16)):
            if self.words[at] in self.lex.verbs:
                if self.words[at] in self.lex.plural_verbs and any(
                    item.kind in ("change", "negation after") and item.first in (at, at + 1) for item in ahead
                ):
                    return False  # "consolidation, atelectasis and edema have cleared" is one list
                following = self.words[at + 1] if at + 1 < len(self.words) else ""
                return following not in self.lex.seen
        return False

    # -- findings and cues --------------------------------------------------------------------------------------

    def _mention(self, item: Item, name: str, *, implied: bool = False, qualified: bool = False) -> None:
        narrow = not self.lex.qualifiers.isdisjoint(
            self.words[max(self.chunk_first, item.first - REACH) : item.last + 1]
        )
        self.mentions.append(
            Mention(
                name, item.first, item.last, self.clause, self.group, self.chunk,
                negated=self.negated or implied, qualified=self.qualified or self.remaining or qualified or narrow, hedged=self.hedged, likely=self.likely,
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
            if last is not None and (inside or item.last + 1 >= len(self.words)):
                self._hedge(last, item)  # "a nodule, possibly" has nothing after it to hedge
            else:
                self.hedged, self.likely, self.listing = True, "probable" in item.value, "listing" in item.value
                self._link(committed=False)
        elif kind == "uncertainty after":
            for mention in self.mentions[max(self.group_start, len(self.mentions) - REACH) :]:
                self._hedge(mention, item)
        elif kind == "uncertainty between":
            if last is not None:
                self._hedge(last, item)
            self.likely = "probable" in item.value and (self.likely or not self.hedged)
            self.hedged = True
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
            where = (self.clause, self.group, self.chunk, True)
            for place in item.value.places:
                self.attributes.append(Attribute("place", place, item.first, *where))
            self._subject(item)
        elif kind == "normal":
            self._normal(index, item)

    def _negate(self, item: Item, inside: Mention | None) -> None:
        if inside is not None:
            inside.negated = True
            return
        if item.last + 1 >= len(self.words) and len(self.mentions) > self.group_start:
            for mention in self.mentions[max(self.group_start, len(self.mentions) - REACH) :]:
                mention.negated = True  # "pneumothorax: none" has nothing after it to deny
            return
        self.negated, self.qualified = True, "qualified" in item.value
        self.hedged = False

    def _hedge(self, mention: Mention, item: Item) -> None:
        """Hedge a mention; of two hedges the weaker certainty counts."""
        mention.likely = "probable" in item.value and (mention.likely or not mention.hedged)
        mention.hedged = True

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
            self._imply(item.value, item.first, item.last, qualified=True)

    def _subject(self, item: Item) -> None:
        if self.normal_ahead is not None:
            self._imply(item.value.normal, self.normal_ahead.first, item.last)
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
            self._imply(subject.value.normal, subject.first, item.last)
        self.subjects.clear()

    def _imply(self, normal: NormalSpec, first: int, last: int, *, qualified: bool = False) -> None:
        for name in normal.absent:
            self._mention(Item(first, last, "finding", name), name, implied=True, qualified=qualified)
