"""What a sentence of reasoning rests on: words of the report, of what is known of its findings, and words of reasoning.

A language model that does not see the image may still tell what it would have looked like, in everyday words that no
extractor reads as a finding: "the lung has collapsed", "full of water". Such a sentence consists of words that neither the
report nor the knowledge of a reported finding has. Ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from wetread.knowledge import Knowledge

SPARE = 5
"""Content words of a sentence for each of them that may come from nowhere: a sentence of fewer may have none."""
_SENTENCE = re.compile(r"[^.!?;]+(?:\.\d[^.!?;]*)*")
_DENIES = re.compile(r"\b(?:no|not|nor|neither|without|absent|absence|exclud\w+|rules? out|free of)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "s", "ly", "al", "y", "e")
_LEAST = 3
"""Letters that stay of a word at least."""


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


FUNCTION = words_of(
    """
    a about across after again all also although an and any are as at be because been before being both but by can cannot
    could did do does done each either else every few first for from further had has have having hence here how however i if
    in instead into is it its itself just last least less like made make makes many may might more most much must near neither
    no nor not nothing now of off often on once one only or other others otherwise our out over own part rather same second seem
    seems several shall she he her his should since so some still such than that the their them then there thereby therefore
    these they this those three through thus to together too two under until up upon very was we well were what when where
    whether which while who whole whose why will with within without would yet
    """
)
"""Words that carry no content."""
NEUTRAL = words_of(
    """
    abnormal abnormality anything everything something increased decreased resolved worsened improved above absent accord account acute add additional against alone appear appearance area associated
    attention basis below benign beside best case cause certain change chest clear clinical close combination combine common
    compare comparison compatible concern confirm confirmed consider consistent context correlate correlation current decide
    decisive definite demonstrate density depend describe despite detail detect diagnosis differ differential direct display
    distinct due earlier early emergency evaluate evidence evident examination examine exclude exist expect explain
    explanation favor favour feature film find finding focus follow form frontal general give given healthy help history
    identify image imaging immediate importance important impression include indicate indication indirect individual inspect
    instance interpret interpretation interval involve isolated key know lead level likely limit locate location look main
    manage management matter mean meaning moreover name nature necessary need negative new next noted note observation observe
    obvious occur opposite order organ organs overall particular patient pattern picture place point positive possibility
    possible possibly potential present presence press pressing previous primary prior priority probability probable process
    prompt prove question quick radiograph radiographic raise read report reported reason recommend recommended refer reflect regard region
    relate related remain represent require rest result review right routine rule sequence show side sign significant similar
    simple single site situation specific stable step study suggest suggestive summary support suspect suspicion suspicious
    take tell thereof think treat treatment true turn typical unchanged understand unlikely unremarkable urgency urgent usual
    view visible visualize warrant weigh weight worth lung lungs lobe heart cardiac mediastinum mediastinal pleura pleural
    bone bones rib ribs spine diaphragm hilum hila hilar vessel vessels pulmonary airway airways trachea soft tissue tissues
    abdomen upper device devices thorax thoracic normal intact preserved seen see mild moderate severe slight minimal small
    left lower bilateral
    """
)
"""Words of reasoning, and of the places that every film shows. Grades and sides are held against the report elsewhere, where a
finding is named with them."""
_HELD = words_of(
    """
    mild moderate severe slight minimal small left right upper lower bilateral
    """
)
"""Words of ``NEUTRAL`` that count as from nowhere where no finding of the report stands in the sentence."""


def loose(reasoning: str, report: str, names: Iterable[str], denied: Iterable[str], known: Knowledge) -> list[str]:
    """Return the sentences that rest on nothing.

    Parameters
    ----------
    reasoning
        What is argued.
    report
        The report that it must lead to.
    names
        Findings that the report claims, and those that may be spoken of with them.
    denied
        Findings that it denies: what is known of them may be said in a sentence that denies, too.
    known
        What is known of them.

    >>> from wetread.knowledge import load
    >>> loose("The lungs are clear. The lungs are full of water.", "The lungs are clear.", [], [], load())
    ['The lungs are full of water']
    """
    told = sorted(name for name in set(names) if name in known)
    own = roots(report).union(*(of_finding(name, known) for name in told))
    subjects = frozenset().union(*(named(name, known) for name in told)) | roots(report)
    gone = own.union(*(of_finding(name, known) for name in set(denied) if name in known))
    said = map(str.strip, _SENTENCE.findall(reasoning))
    return [one for one in said if not _rests(one, gone if _DENIES.search(one) else own, subjects)]


def _rests(sentence: str, own: frozenset[str], subjects: frozenset[str]) -> bool:
    words = _content(sentence)
    anchored = any(root(word) in subjects for word in words)
    free = _free(anchored)
    strange = [word for word in words if root(word) not in own and root(word) not in free]
    return len(strange) <= len(words) // SPARE and not any(word[0].isdigit() for word in strange)


def _content(text: str) -> Sequence[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in FUNCTION and (len(word) > 1 or word.isdigit())]


def root(word: str) -> str:
    """Return a word without its ending, so that forms of one word are equal.

    >>> {root(word) for word in ("suggests", "suggested", "suggesting")}, root("3.5"), root("ribs")
    ({'suggest'}, '3.5', 'rib')
    """
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST:
            return word[: -len(ending)]
    return word


def roots(text: str) -> frozenset[str]:
    """Return the roots of the content words of a text."""
    return frozenset(map(root, _content(text)))


@lru_cache(maxsize=4096)
def of_finding(name: str, known: Knowledge) -> frozenset[str]:
    """Return the roots of all that is known of a finding."""
    one = known[name]
    return named(name, known) | roots(" ".join((one.knowledge, one.lay, *one.locations)))


@lru_cache(maxsize=4096)
def named(name: str, known: Knowledge) -> frozenset[str]:
    """Return the roots of the names of a finding."""
    one = known[name]
    return roots(" ".join((name, one.radlex, *one.terms)))


@lru_cache(maxsize=2)
def _free(anchored: bool) -> frozenset[str]:
    """Return the roots of the words that any sentence may have, or only one that speaks of a finding of the report."""
    return frozenset(map(root, NEUTRAL if anchored else NEUTRAL - _HELD))
