"""RadGraph annotations: what a report states as a graph of entities and relations, and how two graphs are compared.

Nothing here needs weights. A graph is what the network of ``metrics.neural.radgraph`` found in a text, or an annotation in
the form that the ``radgraph`` package writes. The word splitting and the sets compared are those of radgraph 0.1.18; the
last pair of sets (``entities``, ``relations``) is that of CXR-Report-Metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Piece = tuple[object, ...]
"""One thing that a graph states, as a level of comparison sees it."""
Facet = Callable[["Graph", bool], frozenset[Piece]]
"""What of a graph is compared: the graph and whether words are lower-cased first."""

_RUN = re.compile(r"\w+|[^\w\s]+")
_PUNCTUATION = "[/,:.!?()]"
_EDGE = re.compile(rf"(?<! )(?={_PUNCTUATION})|(?<={_PUNCTUATION})(?! )")
# Both are spelled out in report files as they are here: a backslash and what follows it.
_ESCAPES = (("\\n", "  "), ("\\f", "  "), ("\\u2122", " " * 6), ("\n", " "), ('\\"', "``"))
_APART = (").", ") ."), ("%.", "% ."), (".'", ". '"), ("%,", "% ,"), ("%)", "% )")


def words_of(text: str, model: str) -> tuple[str, ...]:
    r"""Return the words that the checkpoint called ``model`` reads; none in a text without any.

    ``radgraph`` sets ``/ , : . ! ? ( )`` apart and splits on white space. All others split into runs of letters and digits
    and runs of anything else, after the escapes of report files (a written-out ``\n``) have become spaces.

    >>> words_of("No effusion (3.5 cm).", "radgraph")
    ('No', 'effusion', '(', '3', '.', '5', 'cm', ')', '.')
    >>> words_of("Left-sided (55%).", "radgraph-xl")
    ('Left', '-', 'sided', '(', '55', '%).')
    """
    if model == "radgraph":
        return tuple(_EDGE.sub(" ", text).split())
    for written, meant in _ESCAPES:
        text = text.replace(written, meant)
    text = " ".join(_RUN.findall(text))
    for together, apart in _APART:
        text = text.replace(together, apart)
    return tuple(text.split())


@dataclass(frozen=True)
class Entity:
    """A span of words that names an anatomy or an observation."""

    tokens: str
    """Its words, with a space between."""
    label: str
    """Its kind and certainty, in the checkpoint's own terms: ``ANAT-DP``, ``Observation::definitely absent``."""
    start: int
    """Number of its first word."""
    end: int
    """Number of its last word, inclusive."""
    relations: tuple[tuple[str, int], ...] = ()
    """Each relation from it: the relation's name and the place of the other entity in ``Graph.entities``."""


@dataclass(frozen=True)
class Graph:
    """What one report states."""

    words: tuple[str, ...] = ()
    """The report's words."""
    entities: tuple[Entity, ...] = ()
    """Its entities, by first word and then by length."""

    @classmethod
    def of(cls, words: Sequence[str], found: Sequence[Sequence[Any]]) -> Graph:
        """Return the graph of ``words`` from rows ``[first, last, label, [[relation, entity], …]]``."""
        entities = tuple(
            Entity(" ".join(words[first : last + 1]), label, first, last, tuple((name, other) for name, other in to))
            for first, last, label, to in found
        )
        return cls(tuple(words), entities)

    @classmethod
    def from_annotation(cls, annotation: Mapping[str, Any]) -> Graph:
        """Return the graph of an annotation in the package's form, in which entities are called "1", "2" and so on."""
        places = {key: place for place, key in enumerate(annotation["entities"])}
        entities = tuple(
            Entity(
                row["tokens"],
                row["label"],
                row["start_ix"],
                row["end_ix"],
                tuple((name, places[other]) for name, other in row["relations"]),
            )
            for row in annotation["entities"].values()
        )
        return cls(tuple(annotation["text"].split()), entities)

    def to_annotation(self) -> dict[str, Any]:
        """Return the annotation in the form that the ``radgraph`` package gives one text."""
        return {
            "text": " ".join(self.words),
            "entities": {
                str(number): {
                    "tokens": entity.tokens,
                    "label": entity.label,
                    "start_ix": entity.start,
                    "end_ix": entity.end,
                    "relations": [[name, str(other + 1)] for name, other in entity.relations],
                }
                for number, entity in enumerate(self.entities, 1)
            },
            "data_source": None,
            "data_split": "inference",
        }


def simple(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return the entities as (words, label)."""
    return frozenset((_case(entity, fold), entity.label) for entity in graph.entities)


def partial(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return the entities as (words, label), with a third part, True, for those that a relation leaves."""
    return frozenset(
        (_case(entity, fold), entity.label, True) if entity.relations else (_case(entity, fold), entity.label)
        for entity in graph.entities
    )


def complete(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return (words, label) of each entity that no relation leaves, else (words, label, relation, other's words) of each.

    Words of entities with a relation are lower-cased in every version of the package.
    """
    pieces: set[Piece] = set()
    for entity in graph.entities:
        if not entity.relations:
            pieces.add((_case(entity, fold), entity.label))
        for name, other in entity.relations:
            pieces.add((entity.tokens.lower(), entity.label, name, graph.entities[other].tokens.lower()))
    return frozenset(pieces)


def relations(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return the relations as (entity, other entity, name), an entity being (words, label)."""
    return frozenset(
        (_case(entity, fold), entity.label, _case(graph.entities[other], fold), graph.entities[other].label, name)
        for entity in graph.entities
        for name, other in entity.relations
    )


LEVELS: Mapping[str, Facet] = {"simple": simple, "partial": partial, "complete": complete}
"""The three levels of the package, also called RG_E, RG_ER and RG_ER-bar."""


def overlap(draft: frozenset[Piece], reference: frozenset[Piece]) -> dict[str, float]:
    """Return tp, fp and fn: what both state, the draft alone, the reference alone."""
    both = len(draft & reference)
    return {"tp": float(both), "fp": float(len(draft) - both), "fn": float(len(reference) - both)}


def f1(counts: Mapping[str, float]) -> float:
    """Return ``2·tp / (2·tp + fp + fn)``; 0 where nothing is stated on either side, as in all the official codes.

    >>> f1({"tp": 1.0, "fp": 0.0, "fn": 2.0}), f1({"tp": 0.0, "fp": 0.0, "fn": 0.0})
    (0.5, 0.0)
    """
    total = 2 * counts["tp"] + counts["fp"] + counts["fn"]
    return 2 * counts["tp"] / total if total else 0.0


def _case(entity: Entity, fold: bool) -> str:
    return entity.tokens.lower() if fold else entity.tokens
