"""Second pass over a sentence: its attribute words to its findings."""

from __future__ import annotations

from bisect import bisect_left

from wetread.knowledge.lexicon import Lexicon, lexicon
from wetread.knowledge.ontology import Knowledge
from wetread.knowledge.scope import REACH, Attribute, Reading, Walk


class _Attach:
    """Second pass: attributes to mentions."""

    def __init__(self, lex: Lexicon, walk: Walk) -> None:
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
        self._halves()

    def _halves(self) -> None:
        """Let "the right lung is clear" deny nothing of the left one."""
        placed = {attribute.clause for attribute in self.walk.attributes if attribute.kind in ("side", "place")}
        for mention in self.walk.mentions:
            if mention.implied and mention.clause in placed:
                mention.qualified = True

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


def _unknown(walk: Walk, lex: Lexicon) -> bool:
    """Whether the sentence speaks of something that is not known: "stable retrolisthesis" is not said of everything."""
    known = lex.articles | lex.prepositions | lex.verbs | lex.comparing
    covered = {at for item in walk.items for at in range(item.first, item.last + 1)}
    return any(word.isalpha() and word not in known for at, word in enumerate(walk.words) if at not in covered)


def read(text: str, knowledge: Knowledge) -> Reading:
    """Return what one sentence says; indices are of its words."""
    lex = lexicon(knowledge)
    walk = Walk(lex, lex.speller.tokens(text))
    walk.run()
    _Attach(lex, walk).run()
    reading = Reading(walk.tokens, [mention for mention in walk.mentions if not mention.unasserted])
    named = any(
        item.kind in ("finding", "abnormal", "place")
        or (item.kind == "subject" and walk.words[item.last] not in lex.everything)
        for item in walk.items
    )
    changes = [item for item in walk.items if item.kind == "change"]
    if changes and not named and not walk.recommended:
        lead = [item for item in walk.items if item.first <= 1]
        if any(item.kind == "anaphora" for item in lead):
            reading.referred = changes[-1].value
        elif changes[-1].value == "unchanged" and (
            any(item.kind == "everything" for item in walk.items) or (changes[0] in lead and not _unknown(walk, lex))
        ):
            reading.everything = "unchanged"
    return reading
