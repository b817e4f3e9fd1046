"""Edits that change the meaning of a report: what is there and what is not. The others are in `edit_attributes.py`.

Each edit is made by rule from the words of the knowledge file, on sentences that `edit_text.py` calls plain, and in every
sentence that names the finding, so that the edited report says one new thing and not two. What the extractor thinks of
the result plays no part. An edit that cannot be made cleanly is not made (None).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from edit_text import CUES, Sentence, cut, join, tied_before

from wetread.knowledge import load
from wetread.records import Report


@dataclass(frozen=True)
class Edit:
    """One edited report."""

    kind: str
    """Which edit."""
    draft: Report
    """The report as edited."""
    findings: frozenset[str]
    """Findings of which it now says something else; empty when the meaning is the same."""
    presence: bool
    """Whether one of them is now there that was not, or the other way round."""
    changed: tuple[tuple[str, str], ...] = ()
    """Sentences before and after, for the reader of a failure."""
    sure: bool = True
    """Whether the report plainly asserts the findings; False: it may only call them possible."""


Maker = Callable[[Sequence[Sentence], Random], Edit | None]
"""Makes an edit of a report, or None where it cannot be made cleanly."""
SIDES = {"left": "right", "right": "left"}
"""Each side and the other."""
GRADES: tuple[dict[str, tuple[str, ...]], ...] = (
    {"mild": ("mild", "slight", "minimal"), "moderate": ("moderate",), "severe": ("severe", "marked")},
    {"mild": ("mildly", "slightly", "minimally"), "moderate": ("moderately",), "severe": ("severely", "markedly")},
    {"mild": ("small", "tiny", "trace"), "moderate": ("moderate",), "severe": ("large",)},
)
"""Words of degree, adverbs and words of size, by grade; all of them are in the knowledge file."""
SIZED = frozenset(
    {"pleural effusion", "pneumothorax", "hiatal hernia", "pericardial effusion", "nodule", "mass", "pneumoperitoneum"}
)
"""Findings whose grade is said as a size."""


def edited(
    kind: str,
    before: Sequence[Sentence],
    after: Sequence[Sentence | None],
    findings: frozenset[str] = frozenset(),
    *,
    presence: bool = False,
    sure: bool = True,
) -> Edit | None:
    """Return the edit; ``after`` is ``before`` place by place, None where a sentence has gone."""
    draft = join([sentence for sentence in after if sentence is not None])
    changed = tuple((a.text, b.text if b else "") for a, b in zip(before, after, strict=True) if a is not b)
    return Edit(kind, draft, findings, presence, changed, sure) if draft and changed else None


def naming(sentences: Sequence[Sentence], name: str) -> list[int]:
    """Return the places of the sentences that name a finding, whatever they say of it."""
    return [index for index, sentence in enumerate(sentences) if name in sentence.names]


def asserted(sentences: Sequence[Sentence], rng: Random, *, doubtful: bool = False) -> list[str]:
    """Return the findings that some sentence plainly asserts and none denies, in random order; ``doubtful``: hedged ones too."""
    names = {name for sentence in sentences for name in (sentence.names if doubtful else sentence.asserted)}
    bad = {"denial", "gone", "aside", *(("normal",) if doubtful else ())}
    names -= {name for s in sentences for name, cues in s.stances.items() if cues & bad or "?" in s.text}
    return rng.sample(sorted(names), len(names))


_NOT_FLIPPED = frozenset(
    ("change", "increase", "decrease", "other", "additional", "further", "longer", "prior", "previous", "comparison",
     "interval", "new")
)  # fmt: skip
_DENIED = re.compile(
    r"(?P<lead>there (?:is|are|has been) )?(?:no|without|negative for)(?: (?:definite |radiographic |visible |convincing )?"
    r"(?:evidence|sign|signs) (?:of|for))? (?P<rest>.+)$",
    re.IGNORECASE,
)
_NEITHER = re.compile(r"neither (?P<one>.+) nor (?P<two>.+)$", re.IGNORECASE)
_NEGATED_AFTER = re.compile(
    r"\b(is|are) not (?=seen|identified|present|noted|enlarged|widened|visualized|demonstrated)"
)


def flip_negation(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Assert a finding that the report denies, or deny one that it asserts, wherever it is named."""
    makers = [_assert_denied, _deny_asserted]
    rng.shuffle(makers)
    return next((edit for maker in makers if (edit := maker(sentences, rng))), None)


def _assert_denied(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    flipped = {index: text for index, sentence in enumerate(sentences) if (text := _affirmed(sentence))}
    places = rng.sample(sorted(flipped), len(flipped))
    for place in places:
        names = sentences[place].names
        everywhere = {index for name in names for index in naming(sentences, name)}
        if everywhere <= set(flipped):
            after = [s.with_text(flipped[i]) if i in everywhere else s for i, s in enumerate(sentences)]
            return edited("negation flipped", sentences, after, names, presence=True)
    return None


def _affirmed(sentence: Sentence) -> str:
    """Return a sentence that only denies as one that asserts the same list; empty when it is not so simple."""
    words = [token.word for token in sentence.tokens]
    denials = [word for word in words if word in CUES["denial"]]
    if not sentence.mentions or sentence.cues - {"denial", "back"} or re.search(r"[;:()/?]", sentence.text):
        return ""
    neither = _NEITHER.match(sentence.text)
    if neither and len(denials) == 2:
        return f"{neither['one']} and {neither['two']}"
    if len(denials) != 1:
        return ""
    after = _NEGATED_AFTER.sub(r"\1 ", sentence.text)
    if after != sentence.text:
        return after
    if sentence.text.endswith(" is absent."):
        return sentence.text.replace(" is absent.", " is present.")
    match = _DENIED.match(sentence.text)
    if not match or set(words) & _NOT_FLIPPED or sentence.mentions[0].first > 8:
        return ""
    rest = re.sub(r"\b(and/or|or)\b", "and", match["rest"])
    return f"{match['lead'] or ''}{rest}"


_ADJECTIVE = re.compile(r"(ive|ed|ous|ic|ent|cent)$")


def _deny_asserted(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    for name in asserted(sentences, rng):
        places = naming(sentences, name)
        if all(sentences[place].plain and sentences[place].names == {name} for place in places):
            after = [s.with_text(_denied(s)) if i in places else s for i, s in enumerate(sentences)]
            return edited("negation flipped", sentences, after, frozenset({name}), presence=True)
    return None


def _denied(sentence: Sentence) -> str:
    """Return a sentence that asserts one finding as one that denies it: "not" after its verb, or "No" before its name."""
    mention = sentence.mentions[0]
    last = mention.last
    for other in sentence.mentions[1:]:
        last = other.last if other.first == last + 1 else last
    for index in range(mention.first + 1, mention.last):
        token = sentence.tokens[index]
        if index not in mention.used and token.word in ("is", "are", "appears", "appear"):
            rest = [t for i, t in enumerate(sentence.tokens) if index < i < mention.last and i not in mention.used]
            text = sentence.text[: token.end] + " not"
            kept = sentence.text[rest[-1].end :] if rest else sentence.text[token.end :]
            return text + " " + kept.strip()
    side = next(
        (t.word for i, t in enumerate(sentence.tokens) if t.word in SIDES and tied_before(sentence, i, mention)), ""
    )
    phrase = sentence.text[slice(*sentence.span(mention.first, last))]
    if _ADJECTIVE.search(phrase):
        phrase = mention.name
    lowered = phrase if phrase[:2].isupper() else phrase[:1].lower() + phrase[1:]
    return " ".join(word for word in ("No", side, lowered) if word)


def drop_finding(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Leave out every sentence that names one of the asserted findings."""
    for name in asserted(sentences, rng):
        after = [None if name in sentence.names else sentence for sentence in sentences]
        gone = lost(sentences, [sentence for sentence in after if sentence is not None])
        if name in gone and (edit := edited("finding dropped", sentences, after, gone, presence=True)):
            return edit
    return None


def lost(before: Sequence[Sentence], after: Sequence[Sentence]) -> frozenset[str]:
    """Return the findings asserted before of which nothing is named any more, nor a more general or finer one."""
    known = load()
    left = {name for sentence in after for name in sentence.names}
    left |= {ancestor for name in left for ancestor in known.ancestors(name)}
    gone = {name for sentence in before for name in sentence.asserted} - left
    return frozenset(name for name in gone if not left & set(known.ancestors(name)))


def add_finding(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Put a sentence with a finding that the report does not name, nor a more general or finer one, between two others."""
    known = load()
    named = {name for sentence in sentences for name in sentence.names}
    related = {ancestor for name in named for ancestor in known.ancestors(name)} | named
    free = [
        spec
        for spec in known.findings.values()
        if not spec.normal and spec.name not in related and not set(known.ancestors(spec.name)) & named
        and spec.name not in ("pleural other", "support devices", "lung lesion")
    ]  # fmt: skip
    spec = rng.choice(free)
    side = rng.choice([side for side in spec.sides if side != "bilateral"]) if spec.sides else ""
    sized = spec.name in SIZED
    grade = rng.choice(GRADES[2 if sized else 0][rng.choice(spec.severities)]) if spec.severities else ""
    words = " ".join(word for word in (grade, side, spec.name) if word)
    places = [at for at in range(len(sentences) + 1) if at == len(sentences) or "back" not in sentences[at].cues]
    at = rng.choice(places)
    before = sentences[max(0, at - 1)]
    new = Sentence(before.section, "", "").with_text(words)
    after = [*sentences[:at], new, *sentences[at:]]
    return Edit(
        "finding added", join(after), frozenset({spec.name}), True, ((before.text, f"{before.text} {new.text}"),)
    )


def truncate(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Keep the first half of the words, where a finding that the rest asserts is not named in what is kept."""
    report = join(list(sentences))
    words = [len(report.findings.split()), len(report.impression.split())]
    keep = sum(words) // 2
    kept = Report(
        " ".join(report.findings.split()[:keep]), " ".join(report.impression.split()[: max(0, keep - words[0])])
    )
    tail = [
        s for i, s in enumerate(sentences) if sum(len(x.text.split()) + bool(x.mark) for x in sentences[:i]) >= keep
    ]
    gone = lost(tail, cut(kept)) & set(asserted(sentences, rng))
    return Edit("truncated", kept, gone, True, ((report.text, kept.text),)) if kept and gone else None
