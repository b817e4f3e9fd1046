"""How easily a text reads, for drafts in lay words: Flesch-Kincaid grade and Dale-Chall score. No reference is needed.

Syllables come from pyphen's hyphenation points, as in textstat where its dictionary has no entry; familiar words from
textstat's Dale-Chall list. BioLaySumm reports both scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wetread.errors import MissingError
from wetread.metrics.entry import MEAN, MetricEntry, check_lengths
from wetread.records import MetricSpec, Report, Score

_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_END = re.compile(r"[.!?]+(?=\s|$)")
_ENDINGS = (("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"),
            ("er", ""), ("er", "e"), ("est", ""), ("est", "e"), ("ly", ""), ("'s", ""))  # fmt: skip
"""Regular endings that do not make a familiar word unfamiliar (Dale and Chall 1948)."""


def fkgl(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Score each draft by its Flesch-Kincaid grade: 0.39 words/sentence + 11.8 syllables/word - 15.59.

    About the year of US school that reads it with ease; lower is easier. Kincaid et al. 1975. Corpus: mean.
    """
    return _score_drafts("fkgl", flesch_kincaid, drafts, references)


def dcrs(drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Score each draft by its Dale-Chall score: 15.79 unfamiliar/words + 0.0496 words/sentence, + 3.6365 above 5 %.

    Up to 4.9 a pupil of the fourth year reads it, from 9 on a student; lower is easier. Dale and Chall 1948. Corpus: mean.
    """
    return _score_drafts("dcrs", dale_chall, drafts, references)


def flesch_kincaid(text: str) -> float:
    """Return the Flesch-Kincaid grade of a text with at least one word.

    >>> round(flesch_kincaid("The heart is not large. The lungs look clear."), 2)
    -2.03
    """
    words, count = _words(text)
    return 0.39 * len(words) / count + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def dale_chall(text: str) -> float:
    """Return the Dale-Chall score of a text with at least one word.

    >>> dale_chall("The heart is not large.") < 5 < dale_chall("Cardiomediastinal silhouette unremarkable.")
    True
    """
    words, count = _words(text)
    share = sum(not familiar(word) for word in words) / len(words)
    return 15.79 * share + 0.0496 * len(words) / count + (3.6365 if share > 0.05 else 0.0)


def _words(text: str) -> tuple[list[str], int]:
    return _WORD.findall(text), max(1, len(_END.findall(text.strip())) + (text.strip()[-1:] not in ".!?"))


@lru_cache(maxsize=65_536)
def syllables(word: str) -> int:
    """Return the number of syllables of an English word, at least 1.

    >>> syllables("heart"), syllables("effusion")
    (1, 3)
    """
    return max(1, len(_hyphenation().positions(word.lower())) + 1)


@lru_cache(maxsize=65_536)
def familiar(word: str) -> bool:
    """Return whether a word, or what is left without a regular ending, is on the Dale-Chall list."""
    lower = word.lower().replace("’", "'")
    known = _easy_words()
    if lower in known or all(part in known for part in lower.split("-")):
        return True
    for ending, instead in _ENDINGS:
        if lower.endswith(ending):
            stem = lower[: -len(ending)] + instead
            if stem in known or (len(stem) > 2 and stem[-1] == stem[-2] and stem[:-1] in known):
                return True
    return False


@cache
def _hyphenation() -> Any:
    from pyphen import Pyphen

    return Pyphen(lang="en_US")


@cache
def _easy_words() -> frozenset[str]:
    """Return textstat's list; its file is read, since importing textstat loads a language toolkit that is not needed."""
    found = find_spec("textstat")
    path = Path(found.origin).parent / "resources" / "en" / "easy_words.txt" if found and found.origin else None
    if path is None or not path.is_file():
        raise MissingError("dcrs needs textstat's Dale-Chall list, which is not there; run `pip install textstat`.")
    return frozenset(path.read_text(encoding="utf-8").lower().split())


def _score_drafts(
    name: str, formula: Callable[[str], float], drafts: Sequence[Report], references: Sequence[Report]
) -> list[Score]:
    check_lengths(drafts, references)
    return [
        Score(name, formula(text)) if _WORD.search(text) else Score(name, None, "the draft has no words")
        for text in (f"{draft.findings} {draft.impression}".strip() for draft in drafts)
    ]


def _entry(name: str, function: Callable[..., list[Score]], source: str) -> MetricEntry:
    return MetricEntry(
        MetricSpec(name, "lower", None, frozenset(), "1", source=source, reference_free=True, empty_draft="not scored"),
        function,
        MEAN,
    )


FKGL = _entry("fkgl", fkgl, "Kincaid et al. 1975; syllables by pyphen; reference-free; corpus: mean")
DCRS = _entry("dcrs", dcrs, "Dale and Chall 1948; word list of textstat; reference-free; corpus: mean")
