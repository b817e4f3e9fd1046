"""Edits that change the attributes of a finding: its side, its severity, its change against the prior study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from edit_text import SPELLER, Sentence, tied_after, tied_before
from edits import GRADES, SIDES, SIZED, Edit, asserted, edited, naming

from wetread.knowledge import load

_BOTH = frozenset(
    map(SPELLER.word, ("bilateral", "bilaterally", "both", "bibasilar", "bibasal", "biapical", "either", "greater"))
)
"""Words of both sides; a finding that has one of them is not of one side."""


def swap_side(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Put a finding of one side on the other, wherever its side is stated."""
    for name in asserted(sentences, rng, doubtful=True):
        after: list[Sentence | None] = list(sentences)
        kinds: set[str] = set()
        for place in naming(sentences, name):
            sentence = sentences[place]
            words = {token.word for token in sentence.tokens}
            sides = _tied(sentence, name, set(SIDES))
            kinds |= {sentence.tokens[at].word for at in sides}
            others = {token.word for at, token in enumerate(sentence.tokens) if at not in sides} & set(SIDES)
            kinds |= words & _BOTH | (others if not sides else set())
            if others and not sentence.plain:  # "blunting of the left angle, likely a left effusion" is one statement
                kinds.add("both")
            after[place] = _put(sentence, {at: SIDES[sentence.tokens[at].word] for at in sides}) if sides else sentence
        if len(kinds) == 1 and kinds <= set(SIDES):
            return edited("side swapped", sentences, after, frozenset({name}), sure=_sure(sentences, name))
    return None


def _sure(sentences: Sequence[Sentence], name: str) -> bool:
    return all(name in sentence.asserted for sentence in sentences if name in sentence.names)


def _tied(sentence: Sentence, name: str, words: set[str], *, after: bool = True) -> list[int]:
    """Return the tokens among ``words`` that belong to the finding ``name``."""
    mentions = [mention for mention in sentence.mentions if mention.name == name]
    return [
        at
        for at, token in enumerate(sentence.tokens)
        if token.word in words
        and at not in sentence.blocked
        and any(tied_before(sentence, at, m) or (after and tied_after(sentence, at, m)) for m in mentions)
    ]


def _put(sentence: Sentence, words: dict[int, str]) -> Sentence:
    """Return the sentence with other words at some tokens, in the case of the old ones."""
    text = sentence.text
    for at in sorted(words, reverse=True):
        token = sentence.tokens[at]
        old = text[token.start : token.end]
        new = words[at].upper() if old.isupper() and len(old) > 1 else words[at]
        text = text[: token.start] + (new[:1].upper() + new[1:] if old[0].isupper() else new) + text[token.end :]
    return sentence.with_text(text)


def change_severity(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Give a graded finding another grade, wherever its grade is stated."""
    every = {
        SPELLER.word(word)
        for words in load().words["severities"].values()
        for phrase in words
        for word in phrase.split()
    }
    grades = {word: grade for table in GRADES for grade, words in table.items() for word in words}
    for name in asserted(sentences, rng, doubtful=True):
        if load()[name].region == "devices":
            continue
        found: dict[int, list[int]] = {}
        clean = True
        for place in naming(sentences, name):
            sentence = sentences[place]
            found[place] = _tied(sentence, name, set(grades), after=False)
            others = [
                at for at, token in enumerate(sentence.tokens) if token.word in every - {"degree", "in", "to", "size"}
            ]
            inside = {at for mention in sentence.mentions for at in mention.used}
            clean = clean and set(others) - inside <= set(found[place]) and _single(sentence, found[place], name)
        stated = {grades[sentences[place].tokens[at].word] for place, ats in found.items() for at in ats}
        left = [grade for grade in ("mild", "moderate", "severe") if grade not in stated]
        if not stated or not left or not clean:
            continue
        target = rng.choice(left)
        after = [
            _put(s, {at: _graded(s.tokens[at].word, target, name, rng) for at in found[i]}) if found.get(i) else s
            for i, s in enumerate(sentences)
        ]
        return edited("severity changed", sentences, after, frozenset({name}), sure=_sure(sentences, name))
    return None


def _single(sentence: Sentence, ats: list[int], name: str) -> bool:
    """Whether each grade stands alone and grades the finding: not "mild to moderate", "slightly increased", "mildly displaced"."""
    around = {sentence.tokens[i].word for at in ats for i in (at - 1, at + 1) if 0 <= i < len(sentence.tokens)}
    own = {at for mention in sentence.mentions if mention.name == name for at in mention.used}
    adverbs = [at for at in ats if sentence.tokens[at].word.endswith("ly")]
    return not around & {"to", "or", "and", "very", "more", "less", *CHANGE_WORDS} and {at + 1 for at in adverbs} <= own


def _graded(word: str, target: str, name: str, rng: Random) -> str:
    table = next(t for t in GRADES if any(word in words for words in t.values()))
    if word == "moderate" and name in SIZED:
        table = GRADES[2]
    return rng.choice(table[target][:2])


BEFORE: dict[str, tuple[str, ...]] = {
    "new": ("new",),
    "increased": ("increased", "worsening", "increasing", "progressive"),
    "decreased": ("decreased", "improving", "improved", "decreasing", "regressing"),
    "unchanged": ("unchanged", "stable", "persistent"),
    "resolved": ("resolved",),
}
"""Words of change that stand before a finding."""
AFTER: dict[str, tuple[str, ...]] = {
    "new": ("is new", "has developed", "has appeared", "new"),
    "increased": ("has increased", "has worsened", "has progressed", "is larger", "is more extensive", "is increased", "increased", "worsened"),
    "decreased": ("has decreased", "has improved", "has regressed", "is smaller", "is less extensive", "is decreased", "decreased", "improved"),
    "unchanged": ("is unchanged", "is stable", "has not changed", "is similar to prior", "is again seen", "remains unchanged",
                  "remains stable", "unchanged", "stable"),
    "resolved": ("has resolved", "has cleared", "has disappeared", "is no longer seen", "resolved", "cleared"),
}  # fmt: skip
"""Predicates of change, singular; those without a verb follow a finding as in "small effusion, unchanged"."""
CHANGE_WORDS = frozenset(
    SPELLER.word(word) for group in (*BEFORE.values(), *AFTER.values()) for phrase in group for word in phrase.split()
) - {"is", "has", "not", "to", "no", "seen", "remains", "again", "more", "less", "prior", "extensive", "longer"}
_VERBS = {"is": "are", "has": "have", "remains": "remain"}


def _predicates() -> dict[str, str]:
    """Return every predicate of change, singular and plural, with the change that it states."""
    found = {}
    for change, phrases in AFTER.items():
        for phrase in phrases:
            verb, _, rest = phrase.partition(" ")
            found[phrase] = change
            if verb in _VERBS:
                found[f"{_VERBS[verb]} {rest}"] = change
    return found


_PREDICATES = _predicates()
_PREDICATE = re.compile(
    r"(?P<gap>(?:,| (?:in|at|of|on) the(?: [a-z]+){1,4}|) )(?P<what>"
    + "|".join(sorted(map(re.escape, _PREDICATES), key=len, reverse=True))
    + r")(?= in size| from| since| compared|[.,;]|$)",
    re.IGNORECASE,
)


def reverse_change(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Give a finding another change against the prior, wherever its change is stated."""
    adjectives = {SPELLER.word(word): change for change, words in BEFORE.items() for word in words}
    names = sorted({name for sentence in sentences for name in sentence.names})
    for name in rng.sample(names, len(names)):
        places = naming(sentences, name)
        stated = {place: _stated_change(sentences[place], name, adjectives) for place in places}
        kinds = {change for found in stated.values() if found for change in (found[0],)}
        if not kinds or any(not _clean_change(sentences[place], name, stated[place]) for place in places):
            continue
        device = load()[name].region == "devices"
        possible = ["new", "unchanged"] if device else list(BEFORE)
        silent = any(found is None for found in stated.values())
        left = [change for change in possible if change not in kinds and not (change == "resolved" and silent)]
        if not left or ("resolved" in kinds and silent):
            continue
        target = rng.choice(left)
        after = [_with_change(s, stated[i], target, rng) if stated.get(i) else s for i, s in enumerate(sentences)]
        if any(_phrases(one) != _phrases(other) for one, other in zip(sentences, after, strict=True)):
            continue  # "increased interstitial markings" is a finding's own phrase
        presence = "resolved" in kinds or target == "resolved"
        return edited("change reversed", sentences, after, frozenset({name}), presence=presence)
    return None


_Change = tuple[str, int, int, str]
"""Which change; first and last character of the words that say it; the words, empty for an adjective."""


def _phrases(sentence: Sentence) -> list[str]:
    return [sentence.words(mention.first, mention.last) for mention in sentence.mentions]


def _stated_change(sentence: Sentence, name: str, adjectives: dict[str, str]) -> _Change | None:
    ats = _tied(sentence, name, set(adjectives), after=False)
    if sum(mention.name == name for mention in sentence.mentions) > 1:
        return None
    if len(ats) == 1 and not (ats[0] and sentence.tokens[ats[0] - 1].word.endswith("ly")):
        start, end = sentence.span(ats[0], ats[0])
        return adjectives[sentence.tokens[ats[0]].word], start, end, ""
    for mention in sentence.mentions:
        match = _PREDICATE.match(sentence.text, sentence.tokens[mention.last].end) if mention.name == name else None
        if match:
            what = match["what"].lower()
            return _PREDICATES[what], match.start("what"), match.end("what"), what
    return None


def _clean_change(sentence: Sentence, name: str, stated: _Change | None) -> bool:
    """Whether, but for the change that was found, the sentence is plain and speaks of no other change."""
    _, start, end, _ = stated or ("", 0, 0, "")
    rest = Sentence(0, "", sentence.text[:start] + "XXXX " * bool(stated) + sentence.text[end:])
    inside = {index for mention in rest.mentions for index in mention.used}
    others = {token.word for index, token in enumerate(rest.tokens) if index not in inside}
    allowed = name in rest.asserted or name not in sentence.names
    return allowed and not others & (CHANGE_WORDS | {"interval", "change", "size", "appearing"})


def _with_change(sentence: Sentence, stated: _Change | None, target: str, rng: Random) -> Sentence:
    assert stated is not None
    _, start, end, what = stated
    verb = what.partition(" ")[0]
    if not what:
        new = rng.choice(BEFORE[target])
    elif verb in _VERBS or verb in _VERBS.values():
        new = rng.choice([phrase for phrase in AFTER[target] if phrase.startswith(("is ", "has "))])
        first, _, rest = new.partition(" ")
        new = f"{_VERBS[first]} {rest}" if verb in _VERBS.values() else new
    else:
        new = rng.choice([phrase for phrase in AFTER[target] if phrase.partition(" ")[0] not in _VERBS])
    if sentence.text[start].isupper():
        new = new[:1].upper() + new[1:]
    return sentence.with_text(sentence.text[:start] + new + sentence.text[end:])
