"""Findings that are named once for two sides: "a large left and a small right pleural effusion"."""

from __future__ import annotations

from collections.abc import Sequence

from wetread.knowledge.lexicon import Item

_OWN = frozenset({"severity", "change", "negation before", "uncertainty before"})
"""What a side may have of its own."""


def filled(items: Sequence[Item], words: Sequence[str], articles: frozenset[str]) -> list[Item]:
    """Return the items of a sentence with the finding after the first side, too, where each side has a grade of its own.

    Without one, as in "left and right effusions", the sides are simply both.
    """
    made: list[Item] = []
    for index, item in enumerate(items):
        made.append(item)
        if item.kind == "side" and item.value in ("left", "right"):
            shared = _shared(items, index, words, articles)
            if shared is not None:
                made.append(shared._replace(first=item.first, last=item.last))
    return made


def _shared(items: Sequence[Item], index: int, words: Sequence[str], articles: frozenset[str]) -> Item | None:
    """Return the finding that is named with the other side and meant with this one; None: there is none."""
    first, rest = items[index], items[index + 1 :]
    if index and items[index - 1].kind == "finding" and items[index - 1].last + 1 == first.first:
        return None
    if not rest or rest[0].kind != "list" or rest[0].first != first.last + 1:
        return None
    place, own, other = rest[0].last + 1, False, False
    for item in rest[1:]:
        while place < item.first and words[place] in articles:
            place += 1
        if item.first != place:
            return None
        if item.kind == "finding":
            return item if own and other else None
        if item.kind == "side" and not other and item.value in ("left", "right") and item.value != first.value:
            other = True
        elif item.kind in _OWN:
            own = own or not other
        else:
            return None
        place = item.last + 1
    return None
