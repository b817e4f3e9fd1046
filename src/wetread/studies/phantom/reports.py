"""From the truth to the report: every statement is true, every finding is said once in Findings."""

from __future__ import annotations

from random import Random

from wetread.records import Report
from wetread.studies.phantom import wording
from wetread.studies.phantom.catalogue import SPEC, Lesion
from wetread.studies.phantom.patients import Patient, Visit
from wetread.studies.phantom.sites import Style
from wetread.studies.phantom.wording import Noun

_ORDER = ("mild", "moderate", "severe")
_MOST_IN_IMPRESSION = 3
_BENIGN = frozenset({"calcified granuloma", "scoliosis", "aortic calcification", "pacemaker", "sternotomy wires"})
_COUNT_NORMALS = {0: (4, 4, 5), 1: (2, 3, 3), 2: (2, 2, 3), 3: (1, 2, 2), 4: (1, 1, 2)}
"""How many normal statements, by the number of findings."""
_HABIT: dict[Style, tuple[str, ...]] = {
    "plain": ("heart", "lungs", "pleura", "abdomen", "bones", "devices"),
    "terse": ("devices", "lungs", "pleura", "heart", "bones", "abdomen"),
    "numbered": ("lungs", "pleura", "heart", "bones", "abdomen", "devices"),
}
"""The order in which each style goes through the regions."""
_STRAY = 0.25
"""Share of reports that leave their site's habit somewhere."""


def indication(patient: Patient, visit: Visit, rng: Random) -> str:
    """Return why the study was asked for: fits what it shows without giving it away, often unspecific."""
    regions = [SPEC[lesion.name].region for lesion in visit.lesions]
    region = rng.choice(regions) if regions and rng.random() < 0.6 else "none"
    if patient.icu and rng.random() < 0.7:
        region = "devices"
    return rng.choice(wording.INDICATIONS[region])


def write_report(patient: Patient, visit: Visit, rng: Random) -> Report:
    """Return the report of one visit in its site's style.

    Findings names every finding once, mostly in the site's order of regions, and some of what is normal; Impression
    repeats the one to three that matter most. No statement denies a finding, and change is spoken of only with a prior.
    """
    style = patient.site.style
    statements: dict[str, list[str]] = {}
    for lesion in (*visit.lesions, *visit.resolved):
        statements.setdefault(SPEC[lesion.name].region, []).append(_sentence(lesion, style, rng))
    for region, words in _normals(visit, style, rng):
        statements.setdefault(region, []).append(words)
    regions = sorted(statements, key=_HABIT[style].index)
    if rng.random() < _STRAY:  # readers have habits, and do not always keep them
        regions.insert(rng.randrange(len(regions)), regions.pop(rng.randrange(len(regions))))
    opening = rng.choice(wording.OPENINGS[style][visit.pose.view])
    sentences = [opening] * bool(opening) + [sentence for region in regions for sentence in statements[region]]
    return Report(" ".join(sentences), _impression(visit, style, rng))


def _normals(visit: Visit, style: Style, rng: Random) -> list[tuple[str, str]]:
    """Return (region, statement) for some of what is normal, at most one a region."""
    named = {lesion.name for lesion in (*visit.lesions, *visit.resolved)}
    possible = [normal for normal in wording.NORMALS if not normal.denies & named]
    if rng.random() < _STRAY:
        rng.shuffle(possible)
    chosen: dict[str, str] = {}
    most = rng.choice(_COUNT_NORMALS[min(4, len(named))])
    for normal in possible:
        if len(chosen) == most:
            break
        if normal.region not in chosen:
            chosen[normal.region] = rng.choice(normal.words[style])
    return list(chosen.items())


def _impression(visit: Visit, style: Style, rng: Random) -> str:
    if not visit.lesions and not visit.resolved:
        return rng.choice(wording.ALL_NORMAL[style])
    if all(lesion.name in _BENIGN for lesion in visit.lesions) and rng.random() < 0.5:
        return rng.choice(wording.NOTHING_ACUTE[style])
    ranked = sorted(visit.lesions, key=lambda lesion: (SPEC[lesion.name].rank, rng.random()))
    most = rng.choice((2, 2, _MOST_IN_IMPRESSION))
    if visit.resolved and len(ranked) < most:
        ranked += [rng.choice(visit.resolved)]
    lines = [_headline(lesion, style, rng) for lesion in ranked[:most]]
    if style == "numbered":
        lines = [f"{number}. {line}" for number, line in enumerate(lines, start=1)]
    return " ".join(lines)


_PREFIX: dict[str, dict[Style, tuple[str, ...]]] = {
    "new": {"plain": ("New",), "terse": ("New",), "numbered": ("New",)},
    "increased": {"plain": ("Increased", "Worsening"), "terse": ("Increased",), "numbered": ("Progressive",)},
    "decreased": {"plain": ("Decreased", "Improving"), "terse": ("Decreased",), "numbered": ("Regressing",)},
    "unchanged": {"plain": ("Unchanged", "Stable"), "terse": ("Unchanged",), "numbered": ("Persistent",)},
    "resolved": {"plain": ("Resolved",), "terse": ("Resolved",), "numbered": ("Cleared",)},
}


def _headline(lesion: Lesion, style: Style, rng: Random) -> str:
    """Return the finding as the impression says it: a phrase with its change in front."""
    phrase, _, _ = _phrase(lesion, rng.choice(wording.NOUNS[lesion.name][style]), style, rng)
    if lesion.change:
        phrase = f"{rng.choice(_PREFIX[lesion.change][style])} {phrase}"
    return _capital(phrase) + "."


def _sentence(lesion: Lesion, style: Style, rng: Random) -> str:
    special = wording.SPECIAL.get(lesion.name)
    if special and not lesion.change and rng.random() < 0.5:
        grade = wording.GRADES["adverb"][style][_ORDER.index(lesion.severity)] if lesion.severity else ""
        words = rng.choice(special[style]).replace("{grade:adverb}", grade).replace("{side}", lesion.side)
        return _capital(words)
    if lesion.change:
        frame = rng.choice(wording.CHANGED[lesion.change][style])
    elif SPEC[lesion.name].course == "device":
        frame = rng.choice(wording.DEVICE[style])
    else:
        frame = rng.choice(wording.PRESENT[style])
    phrase, article, plural = _phrase(lesion, rng.choice(wording.NOUNS[lesion.name][style]), style, rng)
    words = frame.format(
        bare=phrase,
        a=f"{article} {phrase}".strip(),
        the=f"the {phrase}",
        new=f"{'a ' if article else ''}new {phrase}",
        **{"is": "are" if plural else "is", "has": "have" if plural else "has"},
    )
    return _capital(words)


def _phrase(lesion: Lesion, noun: Noun, style: Style, rng: Random) -> tuple[str, str, bool]:
    """Return (phrase, article, whether it is plural) of one finding: grade, side, zone and noun in one of two orders."""
    both = lesion.side == "bilateral" and bool(noun.many)
    words = [noun.many if both else noun.one]
    zone = rng.choice(wording.ZONE_WORDS[style][lesion.zone]) if lesion.zone else ""
    behind = ""
    if noun.tail:
        words.append(noun.tail.format(side=lesion.side))
    elif zone and rng.random() < 0.5:
        if lesion.side == "bilateral":
            words.insert(0, "bilateral")
            behind = f"in the {zone}s"
        else:
            behind = f"in the {lesion.side} {zone}"
    else:
        words[:0] = [word for word in (lesion.side, zone) if word]
    if lesion.severity and lesion.change != "resolved":
        kind = "size" if lesion.name in wording.SIZED else "degree"
        words.insert(0, wording.GRADES[kind][style][_ORDER.index(lesion.severity)])
    phrase = " ".join([*words, behind]).strip()
    plural = both or noun.plural
    vowel = phrase[0].lower() in "aeiou" or phrase.startswith("NG ")
    article = "" if plural or not noun.article else ("an" if vowel else "a")
    return phrase, article, plural


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
